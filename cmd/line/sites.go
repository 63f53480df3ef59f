package line

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// siteBook holds what the engines say of their sites, for status: engines
// belong to their own goroutines.
type siteBook struct {
	mu sync.Mutex
	// maturity by site; at most maxSites, further ones are left out.
	maturity map[string]string
}

const maxSites = 1024

func (b *siteBook) set(site, maturity string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.maturity[site]; !known && len(b.maturity) >= maxSites {
		return
	}
	if b.maturity == nil {
		b.maturity = map[string]string{}
	}
	b.maturity[site] = maturity
}

func (b *siteBook) all() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.maturity)
}

// engine lets stream drive a baseline.Engine; now and then it tells the book
// about the site at hand.
type engine struct {
	*baseline.Engine
	book   *siteBook
	events uint64
}

// tellEvery is how many events pass between two entries in the book.
const tellEvery = 64

// Observe implements stream.Engine.
func (e *engine) Observe(ev *event.Event, pos verdict.Position) stream.Result {
	r := e.Engine.Observe(ev, pos)
	if e.events%tellEvery == 0 {
		site := strings.Clone(ev.Site) // the event's strings are valid during the call only
		e.book.set(site, e.Maturity(site))
	}
	e.events++
	return stream.Result{Actor: r.Actor, Route: r.Route, Verdicts: r.Verdicts}
}

// Cut implements stream.Engine.
func (e *engine) Cut() (stream.Cut, error) {
	c, err := e.Engine.Cut()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// partitionEntities sizes the engine of one partition: half a million
// identifiers in about 190 MB once they are all in use. A processor owns several
// partitions, and a site that outgrows one has a machine of its own.
const partitionEntities = 1 << 19

// newEngine makes the engine of one partition.
func (b *siteBook) newEngine(int32) stream.Engine {
	return &engine{Engine: baseline.New(baseline.Config{Entities: partitionEntities}), book: b}
}

// sites lists the configured sites and those that sent events.
func sites(cfg *config.Loaded, maturity map[string]string) []admin.Site {
	var out []admin.Site
	for i := range cfg.Sites {
		s := &cfg.Sites[i]
		site := admin.Site{Name: s.Name, Mode: cmp.Or(s.Mode, cfg.Enforce.Mode), Maturity: maturity[s.Name]}
		site.Detectors, site.Missing = detectorsOf(cfg.Maps[s.Name])
		out = append(out, site)
	}
	for _, name := range slices.Sorted(maps.Keys(maturity)) {
		if slices.ContainsFunc(out, func(s admin.Site) bool { return s.Name == name }) {
			continue
		}
		site := admin.Site{Name: name, Mode: cfg.Enforce.Mode, Maturity: maturity[name]}
		site.Detectors, site.Missing = detectorsOf(nil)
		out = append(out, site)
	}
	return out
}

// detectorsOf says which detectors work with a flow map (nil: without one) and
// what the others wait for: none of their roles is declared, or only some.
func detectorsOf(m *flow.Map) (working, missing []string) {
	var declared [event.NumRoles]bool
	if m != nil {
		for i := range m.Routes {
			if r, err := event.ParseRole(m.Routes[i].Role); err == nil {
				declared[r] = true
			}
		}
	}
	for _, d := range threat.Detectors() {
		f := d.Facts()
		var absent []string
		for _, r := range f.Roles {
			if !declared[r] {
				absent = append(absent, r.String())
			}
		}
		code := string(f.Threat)
		switch {
		case len(absent) == len(f.Roles) && len(absent) > 0 && m == nil && slices.Contains(f.Roles, event.RoleLogin) && f.Threat != "OAT-020":
			missing = append(missing, code+" works on log-ins guessed from paths, needs "+strings.Join(absent, " or "))
		case len(absent) == len(f.Roles) && len(absent) > 0:
			missing = append(missing, code+" needs "+strings.Join(absent, " or "))
		case len(absent) > 0:
			working = append(working, code)
			missing = append(missing, code+" sees more with "+strings.Join(absent, ", "))
		default:
			working = append(working, code)
		}
	}
	return working, missing
}
