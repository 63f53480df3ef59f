package threat

import (
	"testing"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// TestRegression06SevenSwitchesDoNotExplainTheEighth: with a heavy-tailed prior
// whoever had changed the account seven times was expected to change it again
// (p = 0.82), and rotation went unseen. Before any data an eighth change must
// still be worth something, and people who change nothing must raise its worth.
func TestRegression06SevenSwitchesDoNotExplainTheEighth(t *testing.T) {
	r, err := actor.New(actor.Config{Identifiers: 1024, Actors: 256, Accounts: 256, Popular: 4})
	if err != nil {
		t.Fatal(err)
	}
	l, err := feature.New(feature.Config{Stats: 64, Routes: 64, Paths: 64}, r)
	if err != nil {
		t.Fatal(err)
	}
	_, site := l.AddSite(7)
	for _, c := range []struct {
		name string
		urn  feature.UrnName
	}{{"account", feature.UrnSwitch}, {"place", feature.UrnMove}} {
		u := &site.Urns[event.RoleLogin][c.urn]
		before := u.Share(7, 7)
		if before > 600000 {
			t.Errorf("%s: after seven changes the eighth is expected with %d ppm, want at most 600000", c.name, before)
		}
		for range 2000 {
			u.Learn(1, 0, false)
			u.Learn(7, 7, false)
		}
		if after := u.Share(7, 7); after >= before/4 {
			t.Errorf("%s: people who stopped after seven changes leave the eighth at %d ppm, was %d", c.name, after, before)
		}
	}
}

// TestEmpiricalBoundsCover: of sites whose clean episodes reach a bar at a known
// rate, at least nineteen in twenty must be told a bound that is no smaller.
func TestEmpiricalBoundsCover(t *testing.T) {
	const detector, rate, sites = 3, 2000, 400 // one episode in 2,000
	for _, clean := range []uint32{3000, 30000} {
		covered := 0
		for n := range uint64(sites) {
			site := &feature.Site{Clean: clean}
			for i := range uint64(clean) {
				if sketch.Mix(n<<32|i)%rate == 0 {
					site.Peaks[detector][0]++
				}
			}
			nano, empirical := FalsePositives(site, detector, event.ActionRateLimit)
			if !empirical {
				t.Fatalf("%d clean episodes give no empirical bound", clean)
			}
			if nano >= 1000000000/rate {
				covered++
			}
		}
		if covered*20 < sites*19 {
			t.Errorf("%d clean episodes: the bound covers the rate of %d of %d sites", clean, covered, sites)
		}
	}
	for a, want := range map[event.Action]int64{event.ActionBlock: 1000, event.ActionChallenge: 100000, event.ActionRateLimit: 1000000} {
		if nano, empirical := FalsePositives(&feature.Site{Clean: 100}, detector, a); empirical || nano != want {
			t.Errorf("%v after 100 clean episodes: %d, empirical %v, want the model's %d", a, nano, empirical, want)
		}
	}
	if nano, empirical := FalsePositives(&feature.Site{Clean: 30000}, detector, event.ActionChallenge); !empirical || nano != 100000 {
		t.Errorf("30,000 clean episodes without a score: %d, empirical %v, want 1e-4 by the rule of three", nano, empirical)
	}
}
