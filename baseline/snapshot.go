package baseline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/verdict"
)

// snapshotMagic names the format; its last digit rises with the layout.
const snapshotMagic = "weir-baseline-8"

// ErrVersion says that a snapshot was written by another engine or with other
// sizes: rebuild the state from the log.
var ErrVersion = errors.New("snapshot is of another engine version or configuration")

// header comes first; maxHeader bounds it when read.
type header struct {
	Magic    string
	Engine   string
	Config   Config
	Sites    []siteHeader
	Counters Counters
	Force    []verdict.Verdict
	Revoked  []revocation
}

type siteHeader struct {
	Name  string
	Allow []allowHeader
}

type allowHeader struct {
	ID    string
	Binds []verdict.Bind
	Until int64
}

type revocation struct {
	ID    [2]uint64
	Until int64
}

const maxHeader = 1 << 30

// ErrCutOpen says that the cut before is still being written.
var ErrCutOpen = errors.New("another cut of this engine is still being written")

// Cut returns the whole state as it is now, to be written by another goroutine
// while this one goes on calling Observe and Control. It takes well under 20 ms
// whatever the size: what is about to change is copied first, page by page, until
// the cut is written or released. The bytes are those that Snapshot would give
// now. One cut at a time; until it is written it may take as much memory again as
// the state that changes meanwhile.
func (e *Engine) Cut() (*sketch.Cut, error) {
	if e.cut != nil && !e.cut.Over() {
		return nil, ErrCutOpen
	}
	h := header{Magic: snapshotMagic, Engine: Version, Config: e.cfg, Counters: e.counters, Force: slices.Clone(e.force.list)}
	for _, s := range e.order {
		sh := siteHeader{Name: s.name}
		for _, a := range s.allow {
			sh.Allow = append(sh.Allow, allowHeader{ID: a.id, Binds: a.binds, Until: a.until})
		}
		h.Sites = append(h.Sites, sh)
	}
	for id, until := range e.force.revoked {
		h.Revoked = append(h.Revoked, revocation{id, until})
	}
	c := new(sketch.Cut)
	c.Bytes(func() ([]byte, error) {
		slices.SortFunc(h.Revoked, func(a, b revocation) int { return slices.Compare(a.ID[:], b.ID[:]) })
		raw, err := json.Marshal(h)
		if err != nil {
			return nil, fmt.Errorf("snapshot header: %w", err)
		}
		return raw, nil
	})
	e.resolver.Cut(c)
	e.layer.Cut(c)
	e.set.Cut(c)
	e.attacks.Cut(c)
	for _, s := range e.order {
		s.frozen = c.Lazy(func() ([]byte, error) { return e.putSite(s) })
	}
	e.cut = c
	return c, nil
}

// putSite encodes what one site has taught.
func (e *Engine) putSite(s *site) ([]byte, error) {
	var b bytes.Buffer
	e.layer.PutSite(sketch.NewWriter(&b), s.index)
	if err := s.routes.Snapshot(&b); err != nil {
		return nil, fmt.Errorf("routes of %s: %w", s.name, err)
	}
	return b.Bytes(), nil
}

// Snapshot writes the whole state. It does not change it, so that an engine
// restored from it gives the same verdicts as one that never stopped.
func (e *Engine) Snapshot(w io.Writer) error {
	c, err := e.Cut()
	if err != nil {
		return err
	}
	if err := c.Write(w); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// Restore replaces the state by a snapshot of the same version and sizes. On an
// error the engine is empty.
func (e *Engine) Restore(r io.Reader) (err error) {
	if err := e.reset(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("restore: %w", err), e.reset())
		}
	}()
	sr := sketch.NewReader(r)
	raw, err := sr.Bytes(maxHeader)
	if err != nil {
		return err
	}
	var h header
	if err := json.Unmarshal(raw, &h); err != nil {
		return fmt.Errorf("snapshot header: %w", err)
	}
	if h.Magic != snapshotMagic || h.Engine != Version || h.Config != e.cfg || len(h.Sites) > e.cfg.Sites {
		return ErrVersion
	}
	for _, sh := range h.Sites {
		s := e.siteOf(sh.Name)
		for _, a := range sh.Allow {
			s.allow = append(s.allow, allowance{binds: a.Binds, until: a.Until, id: a.ID})
		}
	}
	for i := range h.Force {
		e.force.put(h.Force[i])
	}
	for _, r := range h.Revoked {
		e.force.revoked[r.ID] = r.Until
	}
	e.counters = h.Counters
	for _, part := range []func(*sketch.Reader) error{e.resolver.SetState, e.layer.SetState, e.set.SetState, e.attacks.SetState} {
		if err := part(sr); err != nil {
			return err
		}
	}
	for _, s := range e.order {
		raw, err := sr.Bytes(maxHeader)
		if err != nil {
			return err
		}
		if err := e.takeSite(s, raw); err != nil {
			return fmt.Errorf("site %s: %w", s.name, err)
		}
	}
	return sr.Close()
}

func (e *Engine) takeSite(s *site, raw []byte) error {
	r := bytes.NewReader(raw)
	if err := e.layer.TakeSite(sketch.NewReader(r), s.index); err != nil {
		return err
	}
	s.state = e.layer.Site(s.index)
	return s.routes.Restore(r)
}
