package line

import (
	"slices"
	"strings"
	"testing"

	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/demo"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

func TestStatusSaysWhichDetectorsWorkAndWhichRolesAreMissing(t *testing.T) {
	all := len(threat.Detectors())
	everything := &flow.Map{}
	for _, r := range event.RoleNames() {
		everything.Routes = append(everything.Routes, flow.Route{Role: r})
	}
	shop, err := config.ParseMap("flows.yaml", demo.Flows)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		m       *flow.Map
		working []string // nil: all
		missing []string // some of them
		count   int
	}{
		"no map": {
			nil,
			[]string{"OAT-004", "OAT-011", "OAT-014", "OAT-015", "OAT-018"},
			[]string{"OAT-001 needs pay_auth", "OAT-008 works on log-ins guessed from paths, needs login or reset", "OAT-020 needs login or export"},
			all - 5,
		},
		"an empty map guesses nothing": {
			&flow.Map{},
			[]string{"OAT-004", "OAT-011", "OAT-014", "OAT-015", "OAT-018"},
			[]string{"OAT-008 needs login or reset"},
			all - 5,
		},
		"the demo's map": {
			shop,
			[]string{"OAT-001", "OAT-004", "OAT-005", "OAT-006", "OAT-007", "OAT-008", "OAT-010", "OAT-011", "OAT-014", "OAT-015", "OAT-018", "OAT-020", "OAT-021"},
			[]string{"OAT-002 needs coupon_apply", "OAT-007 sees more with reset", "OAT-005 sees more with checkout_step, order"},
			14,
		},
		"every role": {everything, nil, nil, 0},
	}
	for name, c := range cases {
		working, missing := detectorsOf(c.m)
		if c.working == nil && len(working) != all || c.working != nil && !slices.Equal(working, c.working) {
			t.Errorf("%s: working are %v", name, working)
		}
		if len(missing) != c.count {
			t.Errorf("%s: %d lines of what is missing, want %d: %s", name, len(missing), c.count, strings.Join(missing, "; "))
		}
		for _, want := range c.missing {
			if !slices.Contains(missing, want) {
				t.Errorf("%s: %q is not in %q", name, want, missing)
			}
		}
	}
}

func TestStatusListsSitesWithTheirMaturity(t *testing.T) {
	book := newSiteBook()
	e := book.newEngine(0)
	ev := event.Event{ID: "r-1", Time: 1772000000e9, Site: "seen", Method: "GET", Path: "/", Status: 200}
	e.Observe(&ev, verdict.Position{})
	cfg := &config.Loaded{Config: config.Config{Sites: []config.Site{{Name: "shop", Mode: "enforce"}}, Enforce: config.Enforce{Mode: "shadow"}}}
	got := sites(cfg, book.all())
	if len(got) != 2 || got[0].Name != "shop" || got[0].Mode != "shadow" || got[0].Maturity != "" || got[1].Name != "seen" || got[1].Mode != "shadow" {
		t.Fatalf("%+v", got)
	}
	for name, c := range map[string]struct {
		enforce config.Enforce
		mode    string
	}{
		"shadow wins":     {config.Enforce{Mode: "shadow"}, "shadow"},
		"in force":        {config.Enforce{Mode: "enforce"}, "enforce"},
		"the kill switch": {config.Enforce{Mode: "enforce", KillSwitch: true}, "shadow"},
	} {
		cfg.Enforce = c.enforce
		if got := sites(cfg, nil); got[0].Mode != c.mode {
			t.Errorf("%s: mode %s, want %s", name, got[0].Mode, c.mode)
		}
	}
	if !strings.HasPrefix(got[1].Maturity, "young") || !strings.Contains(got[1].Maturity, "1 events") {
		t.Errorf("maturity %q", got[1].Maturity)
	}
}
