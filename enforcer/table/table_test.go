package table_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	start  = int64(1_772_442_900_000_000_000)
)

func newTable(tb testing.TB, cfg table.Config) *table.Table {
	tb.Helper()
	if cfg.MaxVerdicts == 0 {
		cfg.MaxVerdicts = 1 << 16 // the default takes 16 MiB
	}
	tab, err := table.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return tab
}

// give returns a block verdict for ten minutes whose groups each bind the given
// "kind=value" lists.
func give(n int, groups ...string) *verdict.Verdict {
	v := &verdict.Verdict{
		ID: fmt.Sprintf("v_%032x", n), Revision: 1, Site: "shop", Time: verdict.Time(start), Expires: verdict.Time(start + 10*minute),
		Scope: verdict.ScopeActor, Actor: fmt.Sprintf("a_%016x", n), Action: event.ActionBlock, Mode: event.ModeEnforce,
		Threats: []verdict.Threat{"OAT-008"}, Score: 27400, Confidence: 999900, FalsePositiveBound: 100000, Bound: "model",
	}
	for _, g := range groups {
		v.Binds = append(v.Binds, group(g))
	}
	return v
}

// group reads "session=1 device=2 !account=3 @/login".
func group(s string) verdict.Group {
	var g verdict.Group
	for f := range strings.FieldsSeq(s) {
		if route, ok := strings.CutPrefix(f, "@"); ok {
			g.Routes = append(g.Routes, strings.ReplaceAll(route, "+", " "))
			continue
		}
		f, not := strings.CutPrefix(f, "!")
		kind, value, _ := strings.Cut(f, "=")
		var h event.Hash
		_, _ = fmt.Sscan(value, &h)
		b := verdict.Bind{Kind: kind, Value: h}
		if not {
			g.None = append(g.None, b)
		} else {
			g.All = append(g.All, b)
		}
	}
	return g
}

// request reads the same form: what the request carries, and its route.
func request(s string) *event.Event {
	ev := &event.Event{Site: "shop", Time: start + second, Method: "POST"}
	g := group(s)
	for _, b := range g.All {
		if name, ok := strings.CutPrefix(b.Kind, "object:"); ok {
			ev.Objects = append(ev.Objects, event.Object{Name: name, Hash: b.Value})
			continue
		}
		k, err := event.ParseKind(b.Kind)
		if err != nil {
			panic(err)
		}
		ev.Keys[k] = b.Value
	}
	if len(g.Routes) > 0 {
		ev.Route = g.Routes[0]
	}
	return ev
}

func apply(tb testing.TB, tab *table.Table, v *verdict.Verdict, now int64, want table.Outcome) {
	tb.Helper()
	if got, err := tab.Apply(v, now); got != want {
		tb.Fatalf("apply %s revision %d: %s (%v), want %s", v.ID, v.Revision, got, err, want)
	}
}

func found(tab *table.Table, ev *event.Event, now int64) []string {
	ids := []string{}
	for _, m := range tab.Match(ev, now, nil) {
		ids = append(ids, m.ID())
	}
	slices.Sort(ids)
	return ids
}

func TestARequestMatchesWhenAGroupFits(t *testing.T) {
	for _, c := range []struct {
		name, group, request string
		want                 bool
	}{
		{"one identifier", "session=7", "session=7 device=1", true},
		{"another value", "session=7", "session=8", false},
		{"the value under another kind", "session=7", "device=7", false},
		{"all of two", "session=7 client=9", "client=9 session=7", true},
		{"one of two", "session=7 client=9", "session=7", false},
		{
			"every kind", "session=1 device=2 account=3 client=4 client_net=5 asn=6 fingerprint=7 client_fingerprint=8 target_account=9 request_template=10",
			"session=1 device=2 account=3 client=4 client_net=5 asn=6 fingerprint=7 client_fingerprint=8 target_account=9 request_template=10", true,
		},
		{"an object by name", "object:card=5", "object:item=1 object:card=5", true},
		{"an object of another name", "object:card=5", "object:coupon=5", false},
		{"a proved context is spared", "target_account=1 request_template=2 !device=3", "target_account=1 request_template=2 device=3", false},
		{"an unproved context is not", "target_account=1 request_template=2 !device=3", "target_account=1 request_template=2 device=4", true},
		{"a proved account is spared, whichever", "object:item=5 !account=", "object:item=5 account=3", false},
		{"a request without one is not", "object:item=5 !account=", "object:item=5 session=3", true},
		{"on its route", "session=7 @/api/login", "session=7 @/api/login", true},
		{"on another route", "session=7 @/api/login", "session=7 @/api/pay", false},
		{"with its method", "session=7 @POST+/api/login", "session=7 @/api/login", true},
		{"with another method", "session=7 @GET+/api/login", "session=7 @/api/login", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := newTable(t, table.Config{})
			apply(t, tab, give(1, c.group), start, table.Added)
			if got := len(found(tab, request(c.request), start+second)) == 1; got != c.want {
				t.Errorf("group %q, request %q: matched %v, want %v", c.group, c.request, got, c.want)
			}
		})
	}
}

func TestUndeclaredRoutesAreComparedByPath(t *testing.T) {
	for _, c := range []struct {
		route, path string
		want        bool
	}{
		{"/item/{id}", "/item/17", true},
		{"/item/{id}", "/item/17/reviews", false},
		{"/item/{id}", "/item/", false},
		{"/item/{id}/reviews", "/item/17/reviews", true},
		{"/api/*", "/api/v1/login", true},
		{"/api/*", "/app", false},
		{"*", "/any", true},
		{"/a", "/", false},
		{"/{x}", "", false},
	} {
		tab := newTable(t, table.Config{})
		apply(t, tab, give(1, "session=7 @"+c.route), start, table.Added)
		ev := request("session=7")
		ev.Path = c.path
		if got := len(found(tab, ev, start+second)) == 1; got != c.want {
			t.Errorf("route %q, path %q: matched %v, want %v", c.route, c.path, got, c.want)
		}
	}
}

func TestSitesDoNotMix(t *testing.T) {
	tab := newTable(t, table.Config{})
	apply(t, tab, give(1, "session=7"), start, table.Added)
	ev := request("session=7")
	ev.Site = "blog"
	if got := found(tab, ev, start); len(got) != 0 {
		t.Errorf("site blog matched %v of site shop", got)
	}
}

func TestASiteVerdictMayBindNothing(t *testing.T) {
	tab := newTable(t, table.Config{})
	v := give(1)
	v.Scope, v.Actor = verdict.ScopeSite, ""
	v.Binds = []verdict.Group{{Routes: []string{"/api/login"}}}
	apply(t, tab, v, start, table.Added)
	if got := found(tab, request("@/api/login"), start); len(got) != 1 {
		t.Error("a site verdict did not match a request without identifiers")
	}
	v.Scope, v.Revision = verdict.ScopeActor, 2
	apply(t, tab, v, start, table.Malformed)
}

func TestExpiryIsJudgedInTheCallersTime(t *testing.T) {
	tab := newTable(t, table.Config{})
	v := give(1, "session=7", "device=8")
	v.Binds[1].Expires = verdict.Time(start + minute)
	apply(t, tab, v, start, table.Added)
	for _, c := range []struct {
		request string
		at      int64
		want    int
	}{
		{"session=7", start + 10*minute - 1, 1},
		{"session=7", start + 10*minute, 0},
		{"session=7", start, 1}, // time may run backwards
		{"device=8", start + minute - 1, 1},
		{"device=8", start + minute, 0},
	} {
		if got := len(found(tab, request(c.request), c.at)); got != c.want {
			t.Errorf("%s at +%s: %d matches, want %d", c.request, time.Duration(c.at-start), got, c.want)
		}
	}
	apply(t, tab, give(2, "session=1"), start+10*minute, table.Expired)
	if n := tab.Sweep(start + 14*minute); n != 0 {
		t.Errorf("swept %d within the grace", n)
	}
	if n := tab.Sweep(start + 15*minute); n != 1 {
		t.Errorf("swept %d after the grace, want 1", n)
	}
	if c := tab.Counts(); c.Verdicts != 0 || c.Swept != 1 {
		t.Errorf("after the sweep: %+v", c)
	}
}

func TestTheHighestRevisionWins(t *testing.T) {
	rev := func(r uint32, change func(*verdict.Verdict)) *verdict.Verdict {
		v := give(1, "session=7")
		v.Revision = r
		if change != nil {
			change(v)
		}
		return v
	}
	tab := newTable(t, table.Config{})
	apply(t, tab, rev(2, func(v *verdict.Verdict) { v.Action = event.ActionObserve }), start, table.Added)
	apply(t, tab, rev(2, nil), start, table.Duplicate)
	apply(t, tab, rev(1, nil), start, table.Stale)
	apply(t, tab, rev(3, func(v *verdict.Verdict) { v.Binds = []verdict.Group{group("device=9"), group("session=7")} }), start, table.Updated)
	if m := tab.Match(request("device=9"), start, nil); len(m) != 1 || m[0].Revision() != 3 || m[0].Action() != event.ActionBlock || m[0].Group != 0 {
		t.Fatalf("after escalation: %v", m)
	}
	if m := tab.Match(request("session=7 device=9"), start, nil); len(m) != 1 || m[0].Group != 0 {
		t.Fatalf("one verdict through two groups: %v", m)
	}
	apply(t, tab, rev(4, func(v *verdict.Verdict) { v.Binds = v.Binds[:1] }), start, table.Updated)
	if got := found(tab, request("device=9"), start); len(got) != 0 {
		t.Errorf("a dropped bind still matches: %v", got)
	}
	apply(t, tab, rev(6, func(v *verdict.Verdict) { v.Revoked = true }), start, table.Revoked)
	apply(t, tab, rev(5, nil), start, table.Stale)
	if got := found(tab, request("session=7"), start); len(got) != 0 {
		t.Errorf("a revoked verdict matches: %v", got)
	}
	apply(t, tab, rev(7, nil), start, table.Updated)
	if got := found(tab, request("session=7"), start); len(got) != 1 {
		t.Error("a verdict given again after a revocation does not match")
	}
	apply(t, tab, rev(8, func(v *verdict.Verdict) { v.Expires = verdict.Time(start - 1) }), start, table.Expired)
	if got := found(tab, request("session=7"), start); len(got) != 0 {
		t.Errorf("a verdict ended by its higher revision matches: %v", got)
	}
	if c := tab.Counts(); c.Verdicts != 0 || c.Tombstones != 1 || tab.Active(verdict.ScopeActor, event.ActionBlock, event.ModeEnforce) != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestARevocationMayArriveFirst(t *testing.T) {
	tab := newTable(t, table.Config{})
	v := give(1, "session=7")
	v.Revision, v.Revoked = 2, true
	apply(t, tab, v, start, table.Revoked)
	apply(t, tab, give(1, "session=7"), start, table.Stale)
}

func TestAFullTableKeepsTheStrongestAndLongest(t *testing.T) {
	tab := newTable(t, table.Config{MaxVerdicts: 3})
	lease := func(n int, a event.Action, minutes int64) *verdict.Verdict {
		v := give(n, fmt.Sprintf("session=%d", n))
		v.Action, v.Expires = a, verdict.Time(start+minutes*minute)
		return v
	}
	apply(t, tab, lease(1, event.ActionObserve, 60), start, table.Added)
	apply(t, tab, lease(2, event.ActionBlock, 10), start, table.Added)
	apply(t, tab, lease(3, event.ActionBlock, 20), start, table.Added)
	apply(t, tab, lease(4, event.ActionAllow, 90), start, table.Full)
	apply(t, tab, lease(5, event.ActionBlock, 15), start, table.Added) // for 1
	apply(t, tab, lease(6, event.ActionBlock, 5), start, table.Full)
	apply(t, tab, lease(7, event.ActionBlock, 30), start, table.Added) // for 2
	var left []string
	for v := range tab.All(start) {
		left = append(left, strings.TrimLeft(v.ID[2:], "0"))
	}
	slices.Sort(left)
	if diff := cmp.Diff([]string{"3", "5", "7"}, left); diff != "" {
		t.Error(diff)
	}
	if c := tab.Counts(); c.Evicted != 2 || c.Outcomes[table.Full] != 2 {
		t.Errorf("counts %+v", c)
	}
}

func TestArenaMemoryIsBounded(t *testing.T) {
	tab := newTable(t, table.Config{MaxBytes: 4 << 20})
	n := 40_000
	for i := range n {
		v := give(i, fmt.Sprintf("session=%d client=%d", i+1, i%50+1))
		v.Expires += verdict.Time(i)
		if o, err := tab.Apply(v, start); o != table.Added {
			t.Fatalf("%d: %s %v", i, o, err)
		}
	}
	c := tab.Counts()
	if c.Evicted == 0 || c.Verdicts+int(c.Evicted) != n {
		t.Errorf("counts %+v, want %d verdicts held or evicted", c, n)
	}
	if got := found(tab, request(fmt.Sprintf("session=%d client=%d", n, (n-1)%50+1)), start); len(got) != 1 {
		t.Error("the newest verdict is not found")
	}
	if c.Bytes > 6<<20+int64(n)*200+16<<20 {
		t.Errorf("%d bytes", c.Bytes)
	}
}

func TestOneIdentifierHoldsABoundedNumberOfVerdicts(t *testing.T) {
	tab := newTable(t, table.Config{})
	for i := range table.MaxPerKey + 10 {
		v := give(i, "client_net=1")
		v.Expires += verdict.Time(i)
		apply(t, tab, v, start, table.Added)
	}
	if c := tab.Counts(); c.KeyFull != 10 {
		t.Errorf("%d postings dropped, want 10", c.KeyFull)
	}
	if got := found(tab, request("client_net=1"), start); len(got) != table.MaxMatches {
		t.Errorf("%d matches, want the bound %d", len(got), table.MaxMatches)
	}
}

func TestMalformedVerdictsAreRefusedWithAReason(t *testing.T) {
	for name, spoil := range map[string]func(*verdict.Verdict){
		"no id":             func(v *verdict.Verdict) { v.ID = "" },
		"revision 0":        func(v *verdict.Verdict) { v.Revision = 0 },
		"no site":           func(v *verdict.Verdict) { v.Site = "" },
		"unknown scope":     func(v *verdict.Verdict) { v.Scope = "planet" },
		"no action":         func(v *verdict.Verdict) { v.Action = 0 },
		"no mode":           func(v *verdict.Verdict) { v.Mode = 0 },
		"no binds":          func(v *verdict.Verdict) { v.Binds = nil },
		"an empty group":    func(v *verdict.Verdict) { v.Binds[0].All = nil },
		"an unknown kind":   func(v *verdict.Verdict) { v.Binds[0].All[0].Kind = "shoe_size" },
		"a zero value":      func(v *verdict.Verdict) { v.Binds[0].All[0].Value = 0 },
		"an unnamed object": func(v *verdict.Verdict) { v.Binds[0].All[0].Kind = "object:" },
		"too many groups":   func(v *verdict.Verdict) { v.Binds = slices.Repeat(v.Binds, table.MaxGroups+1) },
		"too many binds":    func(v *verdict.Verdict) { v.Binds[0].All = slices.Repeat(v.Binds[0].All, table.MaxBinds+1) },
		"two allowances":    func(v *verdict.Verdict) { v.Limit = &verdict.Limit{Per: "1m", Requests: 5, Bytes: 1} },
		"no allowance":      func(v *verdict.Verdict) { v.Limit = &verdict.Limit{Per: "1m"} },
		"a bad period":      func(v *verdict.Verdict) { v.Limit = &verdict.Limit{Per: "often", Requests: 5} },
		"a bad limit key":   func(v *verdict.Verdict) { v.Limit = &verdict.Limit{Per: "1m", Requests: 5, Key: "shoe"} },
		"a long route":      func(v *verdict.Verdict) { v.Binds[0].Routes = []string{strings.Repeat("x", 256)} },
	} {
		tab := newTable(t, table.Config{})
		v := give(1, "session=1")
		spoil(v)
		if o, err := tab.Apply(v, start); o != table.Malformed || err == nil {
			t.Errorf("%s: %s, %v", name, o, err)
		}
	}
}

func TestAVerdictIsKeptAsGiven(t *testing.T) {
	tab := newTable(t, table.Config{})
	v := give(1, "session=1 object:card=2 !device=3 @/a @POST+/b", "target_account=4 request_template=5")
	v.Threats = []verdict.Threat{"OAT-001", "OAT-021", "X-ray"}
	v.Action, v.Limit = event.ActionRateLimit, &verdict.Limit{Per: "1m0s", Bytes: 100, Key: "session"}
	v.Sequence = 17
	w := *v
	w.ID, w.Actor, w.Limit, w.Threats = "manual-1", "", nil, []verdict.Threat{}
	for _, want := range []*verdict.Verdict{v, &w} {
		apply(t, tab, want, start, table.Added)
		e, ok := tab.Get(want.ID)
		if !ok {
			t.Fatalf("%s is not held", want.ID)
		}
		if diff := cmp.Diff(*want, e.Verdict()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestAgainstAPlainModel applies random revisions of verdicts over few
// identifiers and compares every lookup with a linear search.
// TestReadersNeverLoseAStandingVerdict renews verdicts as fast as it can, which
// moves records and posting lists and compacts chunks, while readers look up
// verdicts that are in force throughout.
