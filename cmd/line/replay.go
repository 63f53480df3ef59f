package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/replay"
	"github.com/weirproject/weir/collector/accesslog"
	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// ReplayOptions say what a replay works with.
type ReplayOptions struct {
	// Config is nil to ignore weir.yaml: a fixed public key and one site.
	Config *config.Loaded
	Mode   event.Mode
	// Site is given to all exchanges; Flows is its flow map's file.
	Site, Flows string
}

// ReplayParts are the very parts that a live line runs.
type ReplayParts struct {
	Extractor *flow.Extractor
	Engine    *baseline.Engine
	Decider   *enforcer.Enforcer
}

// NewReplay makes the parts of a replay.
func NewReplay(opt ReplayOptions) (*ReplayParts, error) {
	keys, err := flow.NewKeyring(flow.PublicKey)
	if err != nil {
		return nil, err
	}
	decide := enforcer.Config{}
	var sites []flow.Site
	var known lookup // without verification by name: a replay asks no network
	if opt.Config != nil {
		data, err := loadLookup(opt.Config.Lookup)
		if err != nil {
			return nil, err
		}
		known.data.Store(data)
		own, err := config.Keyring(opt.Config.Keys.Pseudonym, os.LookupEnv)
		switch {
		case err == nil:
			keys = own
		case !errors.Is(err, fs.ErrNotExist): // nobody has started here yet: a replay makes no key
			return nil, err
		}
		if decide, err = EnforcerConfig(opt.Config, keys); err != nil {
			return nil, err
		}
		sites = opt.Config.FlowSites()
	}
	decide.StaleAfter = 0 // there is no feed to be late
	decide.Mode = opt.Mode
	if opt.Flows != "" {
		if sites, err = withMap(sites, opt.Site, opt.Flows); err != nil {
			return nil, err
		}
	}
	p := &ReplayParts{Engine: baseline.New(baseline.Config{Mode: opt.Mode})}
	if p.Extractor, err = flow.NewExtractor(flow.Config{Keys: keys, Sites: sites, Lookup: known.find}); err != nil {
		return nil, fmt.Errorf("flow maps: %w", err)
	}
	if p.Decider, err = enforcer.New(decide, nil, nil); err != nil {
		return nil, fmt.Errorf("enforcer: %w", err)
	}
	return p, nil
}

// withMap puts a flow map over the configured sites: it is its site's map, and
// without other sites it serves all hosts.
func withMap(sites []flow.Site, site, file string) ([]flow.Site, error) {
	m, err := config.LoadMap(file)
	if err != nil {
		return nil, err
	}
	if site == "" {
		site = m.Site
	}
	for i := range sites {
		if sites[i].Name == site {
			sites[i].Map = m
			return sites, nil
		}
	}
	return append(sites, flow.Site{Name: site, Hosts: []string{"*"}, Map: m}), nil
}

// Observe implements replay.Engine.
func (p *ReplayParts) Observe(ev *event.Event, pos verdict.Position) (event.Hash, string, []verdict.Verdict) {
	r := p.Engine.Observe(ev, pos)
	return r.Actor, r.Route, r.Verdicts
}

// State lists what --state-out keeps: what was learned, and whose sessions are
// whose. The enforcer is not in it: the engine holds the verdicts in force and
// gives them back.
func (p *ReplayParts) State() []replay.State {
	return []replay.State{
		{Name: "engine", Save: p.Engine.Snapshot, Load: p.restore},
		{Name: "owners", Save: p.Extractor.SaveOwners, Load: func(r io.Reader) error {
			_, err := p.Extractor.LoadOwners(r)
			return err
		}},
	}
}

func (p *ReplayParts) restore(r io.Reader) error {
	if err := p.Engine.Restore(r); err != nil {
		return err
	}
	for _, v := range p.Engine.InForce() {
		p.Decider.Apply(&v)
	}
	return nil
}

// maxUnknownKeys bounds the keys without a meaning that a reader hears of.
const maxUnknownKeys = 8

// ReadExchanges feeds recorded files to a runner. complain hears of each line
// that is rejected, and once of each key that is passed over.
func ReadExchanges(ctx context.Context, files []string, format, site string, strict bool, r *replay.Runner, complain func(error), progress func(int64)) error {
	f, err := accesslog.ParseFormat(format)
	if err != nil {
		return err
	}
	var n int64
	var unknown []string
	stats, err := accesslog.Replay(ctx, accesslog.ReplayConfig{
		Paths: files, Format: f, Site: site, Strict: strict, Stdin: os.Stdin, Reject: complain,
	}, func(x *flow.Exchange) error {
		if n++; n&1023 == 0 {
			progress(n)
		}
		if k := x.Unknown; k != "" && len(unknown) < maxUnknownKeys && !slices.Contains(unknown, k) {
			unknown = append(unknown, k)
			complain(fmt.Errorf("%s: key %q has no meaning here and is passed over, in this and further lines", x.ID, k))
		}
		r.Take(x)
		return nil
	})
	for reason, lines := range stats.ByReason {
		for range lines {
			r.Reject(reason)
		}
	}
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}
