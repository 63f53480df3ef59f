package enforcer

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// settings is a compiled Config; immutable, swapped as a whole.
type settings struct {
	cfg     Config
	sites   map[string]*siteRules
	other   *siteRules
	allow   allowRules
	limit   table.Limit
	capOf   map[verdict.Scope]event.Action
	version int // counts reloads
}

type siteRules struct {
	rules  routeRules
	routes []routeRules
}

// routeRules is what counts for one request.
type routeRules struct {
	method, path string
	mode         event.Mode
	closed       bool
	// failSet is true where site or route say open or closed themselves.
	failSet bool
	rollout int
	// carried maps an action to the strongest one not above it that can be
	// carried out here.
	carried  [event.ActionBlock + 1]event.Action
	redirect string
}

func compile(cfg Config) (*settings, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("enforcer: %w", err)
	}
	cfg = cfg.withDefaults()
	s := &settings{cfg: cfg, sites: map[string]*siteRules{}, other: compileSite(cfg, Site{})}
	for _, site := range cfg.Sites {
		s.sites[site.Name] = compileSite(cfg, site)
	}
	s.allow = compileAllowlists(cfg.Allowlists)
	s.limit = limitOf(cfg.DefaultLimit)
	s.capOf = map[verdict.Scope]event.Action{
		verdict.ScopeRequest: event.ActionBlock, verdict.ScopeSession: event.ActionBlock, verdict.ScopeActor: event.ActionBlock,
		verdict.ScopeCohort: event.ActionBlock, verdict.ScopeSite: event.ActionChallenge,
	}
	maps.Copy(s.capOf, cfg.ScopeCaps)
	return s, nil
}

func compileSite(cfg Config, site Site) *siteRules {
	out := &siteRules{rules: routeRules{
		mode: narrower(cfg.Mode, site.Mode), closed: site.Fail == FailClosed, failSet: site.Fail != FailInherit,
		rollout: fullRollout, redirect: site.RedirectTo,
	}}
	if site.Rollout > 0 {
		out.rules.rollout = site.Rollout
	}
	for a := event.ActionAllow; a <= event.ActionBlock; a++ {
		out.rules.carried[a] = out.rules.carried[a-1]
		if canCarry(cfg, site, a) {
			out.rules.carried[a] = a
		}
	}
	for _, r := range site.Routes {
		rules := out.rules
		rules.method, rules.path = r.Method, r.Path
		rules.mode = narrower(rules.mode, r.Mode)
		if r.Fail != FailInherit {
			rules.closed, rules.failSet = r.Fail == FailClosed, true
		}
		if r.Rollout > 0 {
			rules.rollout = r.Rollout
		}
		out.routes = append(out.routes, rules)
	}
	return out
}

func canCarry(cfg Config, site Site, a event.Action) bool {
	switch a {
	case event.ActionAllow, event.ActionObserve, event.ActionBlock:
		return true
	case event.ActionRedirect:
		if site.RedirectTo == "" {
			return false
		}
	case event.ActionNone, event.ActionRateLimit, event.ActionChallenge, event.ActionRewrite:
	}
	return cfg.Actions == nil || slices.Contains(cfg.Actions, a)
}

// narrower joins two modes: shadow wins, none inherits.
func narrower(outer, inner event.Mode) event.Mode {
	if inner == event.ModeNone {
		return outer
	}
	return min(outer, inner)
}

// rules finds what counts for the request.
func (s *settings) rules(ev *event.Event) *routeRules {
	site, ok := s.sites[ev.Site]
	if !ok {
		site = s.other
	}
	for i := range site.routes {
		r := &site.routes[i]
		if (r.method == "" || r.method == ev.Method) && (ev.Route == r.path || table.TemplateFits(r.path, ev.Path)) {
			return r
		}
	}
	return &site.rules
}

// limitOf converts an allowance that checkLimit has accepted.
func limitOf(l verdict.Limit) table.Limit {
	per, _ := time.ParseDuration(l.Per)
	out := table.Limit{Key: table.LimitKeyActor, Per: int64(per)}
	for u, amount := range [...]int64{l.Requests, l.Bytes, l.Seconds, l.Cost} {
		if amount > 0 {
			out.Unit, out.Amount = table.LimitUnit(u), amount
		}
	}
	if k, err := event.ParseKind(l.Key); err == nil {
		out.Key = uint8(k)
	}
	return out
}

func checkLimit(l verdict.Limit) error {
	if l == (verdict.Limit{}) {
		return nil
	}
	per, err := time.ParseDuration(l.Per)
	if err != nil || per < time.Second || per > 366*24*time.Hour {
		return fmt.Errorf("per %q: want a duration from 1s to 366 days", l.Per)
	}
	n := 0
	for _, amount := range [...]int64{l.Requests, l.Bytes, l.Seconds, l.Cost} {
		if amount < 0 || amount > 1<<40 {
			return fmt.Errorf("allowance %d: want 1 to %d", amount, int64(1)<<40)
		}
		if amount > 0 {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%d allowances: want exactly one", n)
	}
	if l.Key != "" && l.Key != "actor" {
		if _, err := event.ParseKind(l.Key); err != nil {
			return fmt.Errorf("key: %w", err)
		}
	}
	return nil
}
