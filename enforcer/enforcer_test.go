package enforcer_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/enforcer/wasm"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

const (
	start  = int64(1_772_442_900_000_000_000)
	second = int64(time.Second)
)

func newEnforcer(tb testing.TB, cfg enforcer.Config) *enforcer.Enforcer {
	tb.Helper()
	if cfg.Table.MaxVerdicts == 0 {
		cfg.Table.MaxVerdicts = 1 << 14 // the default takes 16 MiB
	}
	if cfg.MaxBuckets == 0 {
		cfg.MaxBuckets = 1 << 12
	}
	e, err := enforcer.New(cfg, wasm.Strongest{}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

var enforce = enforcer.Config{Mode: event.ModeEnforce}

// give returns a verdict on a session that is in force for ten minutes.
func give(n int, a event.Action, change ...func(*verdict.Verdict)) *verdict.Verdict {
	v := &verdict.Verdict{
		ID: fmt.Sprintf("v_%032x", n), Revision: 1, Site: "shop", Time: verdict.Time(start), Expires: verdict.Time(start + 600*second),
		Scope: verdict.ScopeActor, Actor: fmt.Sprintf("a_%016x", n), Action: a, Mode: event.ModeEnforce,
		Threats: []verdict.Threat{"OAT-008"}, Score: 27400, Confidence: 999900,
		Binds: []verdict.Group{{All: []verdict.Bind{{Kind: "session", Value: 7}}}},
	}
	for _, c := range change {
		c(v)
	}
	return v
}

func shadowed(v *verdict.Verdict) { v.Mode = event.ModeShadow }

func bind(kinds ...string) func(*verdict.Verdict) {
	return func(v *verdict.Verdict) {
		v.Binds = []verdict.Group{{}}
		for _, k := range kinds {
			v.Binds[0].All = append(v.Binds[0].All, verdict.Bind{Kind: k, Value: 7})
		}
	}
}

// request carries the value 7 in every identifier.
func request() *event.Event {
	ev := &event.Event{
		ID: "r-1", Time: start + second, Site: "shop", Method: "POST", Host: "shop.example", Path: "/api/login", Route: "/api/login",
		Client: netip.MustParseAddr("203.0.113.7"), UserAgent: "Mozilla/5.0", ASN: 64500,
	}
	for k := range ev.Keys {
		ev.Keys[k] = 7
	}
	return ev
}

func decide(tb testing.TB, e *enforcer.Enforcer, ev *event.Event) verdict.Decision {
	tb.Helper()
	return e.Decide(ev)
}

func TestARequestWithoutVerdictIsAPlainAllow(t *testing.T) {
	e := newEnforcer(t, enforce)
	d := decide(t, e, request())
	want := verdict.Decision{
		ID: "r-1", Time: verdict.Time(start + second), Site: "shop", Action: event.ActionAllow, Proposed: event.ActionAllow,
		Mode: event.ModeEnforce, Threats: []verdict.Threat{},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	if !enforcer.IsPlain(&d) {
		t.Error("not plain")
	}
}

func TestABlockSaysWhyAndWhom(t *testing.T) {
	e := newEnforcer(t, enforce)
	e.Apply(give(1, event.ActionBlock))
	e.Apply(give(2, event.ActionObserve, bind("client")))
	d := decide(t, e, request())
	want := verdict.Decision{
		ID: "r-1", Time: verdict.Time(start + second), Site: "shop", Action: event.ActionBlock, Proposed: event.ActionBlock,
		Mode: event.ModeEnforce, Verdict: give(1, 0).ID, Actor: "a_0000000000000001", Scope: verdict.ScopeActor,
		Threats: []verdict.Threat{"OAT-008"}, Reason: "OAT-008: session bound by a verdict of 27.4 bits on this actor",
		Revision: 1, Matched: []string{give(1, 0).ID, give(2, 0).ID}, Rule: "verdict",
		Request: &verdict.Request{
			Client: "203.0.113.7", Method: "POST", Host: "shop.example", Path: "/api/login", Route: "/api/login", UserAgent: "Mozilla/5.0",
			Session: "0000000000000007", Account: "0000000000000007", Device: "0000000000000007", Target: "0000000000000007",
		},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

// TestShadowAlwaysWins tries every combination of the four modes.
func TestShadowAlwaysWins(t *testing.T) {
	modes := []event.Mode{event.ModeShadow, event.ModeEnforce}
	for _, global := range modes {
		for _, site := range modes {
			for _, route := range modes {
				for _, policy := range modes {
					for _, own := range modes {
						e := newEnforcer(t, enforcer.Config{
							Mode: global, PolicyMode: policy,
							Sites: []enforcer.Site{{Name: "shop", Mode: site, Routes: []enforcer.Route{{Path: "/api/login", Mode: route}}}},
						})
						e.Apply(give(1, event.ActionBlock, func(v *verdict.Verdict) { v.Mode = own }))
						want, mode := event.ActionBlock, event.ModeEnforce
						if min(global, site, route, policy, own) == event.ModeShadow {
							want, mode = event.ActionAllow, event.ModeShadow
						}
						d := decide(t, e, request())
						if d.Action != want || d.Proposed != event.ActionBlock || d.Mode != mode {
							t.Errorf("global %s site %s route %s policy %s verdict %s: %s, proposed %s, mode %s",
								global, site, route, policy, own, d.Action, d.Proposed, d.Mode)
						}
					}
				}
			}
		}
	}
}

func TestTheStrongestInForceActsAndAllAreRecorded(t *testing.T) {
	for _, c := range []struct {
		name             string
		give             []*verdict.Verdict
		action, proposed event.Action
		mode             event.Mode
		matched          int
	}{
		{"stronger wins", []*verdict.Verdict{give(1, event.ActionObserve), give(2, event.ActionBlock)}, event.ActionBlock, event.ActionBlock, event.ModeEnforce, 2},
		{"a shadowed one only proposes", []*verdict.Verdict{give(1, event.ActionBlock, shadowed)}, event.ActionAllow, event.ActionBlock, event.ModeShadow, 1},
		{
			"one in force below a shadowed one acts",
			[]*verdict.Verdict{give(1, event.ActionBlock, shadowed), give(2, event.ActionObserve)},
			event.ActionObserve, event.ActionBlock, event.ModeEnforce, 2,
		},
		{"an allow verdict beats all", []*verdict.Verdict{give(1, event.ActionBlock), give(2, event.ActionAllow)}, event.ActionAllow, event.ActionAllow, event.ModeEnforce, 2},
		{"a target account alone", []*verdict.Verdict{give(1, event.ActionBlock, bind("target_account"))}, event.ActionObserve, event.ActionObserve, event.ModeEnforce, 1},
		{"the software alone", []*verdict.Verdict{give(1, event.ActionBlock, bind("fingerprint", "request_template"))}, event.ActionChallenge, event.ActionChallenge, event.ModeEnforce, 1},
		{"the software at one address", []*verdict.Verdict{give(1, event.ActionBlock, bind("client", "request_template"))}, event.ActionBlock, event.ActionBlock, event.ModeEnforce, 1},
		{"a network alone", []*verdict.Verdict{give(1, event.ActionBlock, bind("client_net", "asn"))}, event.ActionObserve, event.ActionObserve, event.ModeEnforce, 1},
		{
			"a target account with a template",
			[]*verdict.Verdict{give(1, event.ActionBlock, bind("target_account", "request_template"), func(v *verdict.Verdict) {
				v.Binds[0].None = []verdict.Bind{{Kind: "device", Value: 8}}
			})},
			event.ActionBlock, event.ActionBlock, event.ModeEnforce, 1,
		},
		{
			"a target account whose owner nobody has met",
			[]*verdict.Verdict{give(1, event.ActionBlock, bind("target_account", "request_template"))},
			event.ActionChallenge, event.ActionChallenge, event.ModeEnforce, 1,
		},
		{"a site verdict is capped", []*verdict.Verdict{give(1, event.ActionBlock, func(v *verdict.Verdict) {
			v.Scope, v.Binds = verdict.ScopeSite, []verdict.Group{{Routes: []string{"/api/login"}}}
		})}, event.ActionChallenge, event.ActionChallenge, event.ModeEnforce, 1},
		{"a proved context is spared", []*verdict.Verdict{give(1, event.ActionBlock, func(v *verdict.Verdict) {
			v.Binds[0].None = []verdict.Bind{{Kind: "device", Value: 7}}
		})}, event.ActionAllow, event.ActionAllow, event.ModeEnforce, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnforcer(t, enforce)
			for _, v := range c.give {
				e.Apply(v)
			}
			d := decide(t, e, request())
			if d.Action != c.action || d.Proposed != c.proposed || d.Mode != c.mode || len(d.Matched) != c.matched {
				t.Errorf("%s, proposed %s, mode %s, %d matched: %s", d.Action, d.Proposed, d.Mode, len(d.Matched), d.Reason)
			}
		})
	}
}

// TestAnAllowlistAlwaysWins holds the property over random verdicts and modes.
func TestRoutesFailOpenOrClosed(t *testing.T) {
	cfg := enforcer.Config{Mode: event.ModeEnforce, StaleAfter: 10 * time.Minute, Sites: []enforcer.Site{{
		Name: "shop", Routes: []enforcer.Route{{Method: "POST", Path: "/api/login", Fail: enforcer.FailClosed}},
	}}}
	e := newEnforcer(t, cfg)
	open := request()
	open.Route, open.Path = "/", "/"
	if d := decide(t, e, request()); d.Action != event.ActionBlock || d.Rule != "fail_closed" {
		t.Errorf("closed route without a feed: %s by %q", d.Action, d.Rule)
	}
	if d := decide(t, e, open); d.Action != event.ActionAllow || d.Rule != "" {
		t.Errorf("open route without a feed: %s by %q", d.Action, d.Rule)
	}
	e.Touch(start, "7")
	if d := decide(t, e, request()); d.Action != event.ActionAllow {
		t.Errorf("closed route with a feed: %s", d.Action)
	}
	late := request()
	late.Time = start + 601*second
	if d := decide(t, e, late); d.Action != event.ActionBlock {
		t.Errorf("closed route with a stale feed: %s", d.Action)
	}
	cfg.Mode = event.ModeShadow
	if err := e.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if d := decide(t, e, late); d.Action != event.ActionAllow || d.Proposed != event.ActionBlock || d.Mode != event.ModeShadow {
		t.Errorf("the same in shadow: %+v", d)
	}
}

func TestTheKillSwitchPassesAndRecords(t *testing.T) {
	e := newEnforcer(t, enforce)
	e.Apply(give(1, event.ActionBlock))
	e.SetKillSwitch(true)
	if d := decide(t, e, request()); d.Action != event.ActionAllow || d.Proposed != event.ActionBlock || !strings.Contains(d.Reason, "kill switch") {
		t.Errorf("%+v", d)
	}
	e.SetKillSwitch(false)
	if d := decide(t, e, request()); d.Action != event.ActionBlock {
		t.Errorf("off again: %s", d.Action)
	}
}

func TestARolloutGrowsByActor(t *testing.T) {
	blocked := func(share int) map[int]bool {
		e := newEnforcer(t, enforcer.Config{Mode: event.ModeEnforce, Sites: []enforcer.Site{{Name: "shop", Rollout: share}}})
		in := map[int]bool{}
		for n := range 2000 {
			e.Apply(give(n, event.ActionBlock, func(v *verdict.Verdict) { v.Binds[0].All[0].Value = event.Hash(n + 1) }))
			ev := request()
			ev.Keys = event.Keys{}
			ev.Keys[event.KindSession] = event.Hash(n + 1)
			d := e.Decide(ev)
			if d.Proposed != event.ActionBlock {
				t.Fatalf("proposed %s", d.Proposed)
			}
			if d.Action == event.ActionBlock {
				in[n] = true
			}
		}
		return in
	}
	one, ten := blocked(100), blocked(1000)
	if len(one) < 5 || len(one) > 45 || len(ten) < 140 || len(ten) > 270 {
		t.Errorf("1 %%: %d, 10 %%: %d of 2000 actors", len(one), len(ten))
	}
	for n := range one {
		if !ten[n] {
			t.Errorf("actor %d is in at 1 %% and out at 10 %%", n)
		}
	}
}

func TestWhatCannotBeCarriedOutIsWeakened(t *testing.T) {
	for _, c := range []struct {
		action   event.Action
		redirect string
		want     event.Action
	}{
		{event.ActionChallenge, "", event.ActionRateLimit},
		{event.ActionRewrite, "/wait", event.ActionRedirect},
		{event.ActionRedirect, "", event.ActionRateLimit},
		{event.ActionBlock, "", event.ActionBlock},
	} {
		e := newEnforcer(t, enforcer.Config{
			Mode: event.ModeEnforce, Actions: []event.Action{event.ActionRateLimit, event.ActionRedirect},
			Sites: []enforcer.Site{{Name: "shop", RedirectTo: c.redirect}},
		})
		e.Apply(give(1, c.action))
		d := decide(t, e, request())
		if d.Proposed != c.want || d.Action == event.ActionRedirect && d.Location != c.redirect {
			t.Errorf("%s: proposed %s, location %q", c.action, d.Proposed, d.Location)
		}
	}
}

// brokenPolicy fails, panics or answers nonsense.
func TestTheTableSurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verdicts")
	a := newEnforcer(t, enforce)
	a.Apply(give(1, event.ActionBlock))
	a.Touch(start, "0:17")
	if err := a.SaveTable(path); err != nil {
		t.Fatal(err)
	}
	b := newEnforcer(t, enforce)
	if n, err := b.LoadTable(path, start); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if d := b.Decide(request()); d.Action != event.ActionBlock || b.Position() != "0:17" || int64(b.Status().Feed) != start {
		t.Errorf("%s, position %q", d.Action, b.Position())
	}
	if n, err := newEnforcer(t, enforce).LoadTable(path+".none", start); n != 0 || err != nil {
		t.Errorf("missing file: %d, %v", n, err)
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newEnforcer(t, enforce)
	if _, err := c.LoadTable(path, start); !errors.Is(err, table.ErrCorrupt) {
		t.Errorf("corrupt file: %v", err)
	}
	c.Apply(give(1, event.ActionBlock))
	if d := c.Decide(request()); d.Action != event.ActionBlock {
		t.Errorf("after a corrupt file: %s", d.Action)
	}
}

func TestASnapshotOfTheFeedReplacesWhatIsHeld(t *testing.T) {
	e := newEnforcer(t, enforce)
	for n := range 3 {
		e.Apply(give(n, event.ActionBlock, func(v *verdict.Verdict) { v.Binds[0].All[0].Value = event.Hash(n + 1) }))
	}
	e.BeginSnapshot()
	for _, n := range []int{1, 5} { // 1 is known, 5 is new; 0 and 2 were taken back unseen
		if _, err := e.ApplyVerdict(give(n, event.ActionBlock), false); err != nil {
			t.Fatal(err)
		}
	}
	if n := e.EndSnapshot(); n != 2 {
		t.Errorf("%d verdicts dropped, want 2", n)
	}
	left := map[string]bool{}
	e.Verdicts(start, func(v verdict.Verdict) bool { left[v.ID] = true; return true })
	if diff := cmp.Diff(map[string]bool{give(1, 0).ID: true, give(5, 0).ID: true}, left); diff != "" {
		t.Error(diff)
	}
	if n := e.EndSnapshot(); n != 0 {
		t.Errorf("an end without a begin dropped %d", n)
	}
}

func TestDecisionsAreReproducible(t *testing.T) {
	run := func() []verdict.Decision {
		rng := rand.New(rand.NewPCG(5, 6))
		e := newEnforcer(t, enforcer.Config{Mode: event.ModeEnforce, MaxBuckets: 64})
		var out []verdict.Decision
		for i := range 5000 {
			if i%10 == 0 {
				e.Apply(give(rng.IntN(50), event.Action(rng.IntN(7)+1), func(v *verdict.Verdict) {
					v.Revision, v.Binds[0].All[0].Value = uint32(i+1), event.Hash(rng.IntN(30)+1)
				}))
			}
			ev := request()
			ev.Time = start + int64(i)*second/20
			ev.Keys[event.KindSession] = event.Hash(rng.IntN(30) + 1)
			out = append(out, e.Decide(ev))
		}
		return out
	}
	if diff := cmp.Diff(run(), run()); diff != "" {
		t.Error(diff)
	}
}

func TestConcurrentDecisions(t *testing.T) {
	e := newEnforcer(t, enforce)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				e.Decide(request())
			}
		})
	}
	for i := range 200 {
		e.Apply(give(1, event.ActionRateLimit, func(v *verdict.Verdict) { v.Revision = uint32(i + 1) }))
		if i%50 == 0 {
			if err := e.Reload(enforce); err != nil {
				t.Error(err)
			}
			e.SwapPolicy(wasm.Strongest{})
		}
	}
	wg.Wait()
	if got := e.Status().Verdicts; got != 1 {
		t.Errorf("%d verdicts", got)
	}
}

// TestPoliciesAreReplacedUnderLoad swaps compiled modules while requests are
// decided: none may fail, and no module may stay behind.
// gather reads "name label=value ..." -> value; of histograms the count.
func TestFaultyConfigurationIsRefused(t *testing.T) {
	for want, cfg := range map[string]enforcer.Config{
		"names nobody": {Allowlists: []enforcer.Allowlist{{Name: "all", Reason: "x"}}},
		"reason":       {Allowlists: []enforcer.Allowlist{{Name: "all", ASNs: []uint32{1}}}},
		"everybody":    {Allowlists: []enforcer.Allowlist{{Name: "all", Reason: "x", UserAgents: []string{"*"}}}},
		"sites[1]":     {Sites: []enforcer.Site{{Name: "a"}, {Name: "a"}}},
		"match.path":   {Sites: []enforcer.Site{{Name: "a", Routes: []enforcer.Route{{Path: "x"}}}}},
		"rollout":      {Sites: []enforcer.Site{{Name: "a", Rollout: 20_000}}},
		"defaultLimit": {DefaultLimit: verdict.Limit{Per: "1m"}},
	} {
		_, err := enforcer.New(cfg, nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to name %q", err, want)
		}
		if e := newEnforcer(t, enforcer.Config{}); e.Reload(cfg) == nil {
			t.Errorf("reload accepted %q", want)
		}
	}
}
