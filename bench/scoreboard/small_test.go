package scoreboard

import (
	"testing"
)

// TestSmallScoreboard is the scoreboard in small, on the development seeds: it
// fails on a drop beyond noise. The figures of the day it was written stand
// beside the bounds; docs/scoreboard.md has the ones that count.
func TestSmallScoreboard(t *testing.T) {
	runs, err := Suite("small", 0)
	if err != nil {
		t.Fatal(err)
	}
	tallies := map[string]*Tally{}
	for _, r := range runs {
		tallies[r.Name] = NewTally()
		if r.Site != "shop" {
			tallies[r.Name].Sources = NewSources()
		}
		if err := r.Play(tallies[r.Name], Options{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		run, level  string
		mean, right float64
	}{
		{"plain", "plain", .93, .93},     // 0.97, 1.00
		{"evasive", "evasive", .85, .85}, // 0.98, 0.95
	} {
		rows := tallies[c.run].Rows()
		mean, worst, which, right := Mean(rows, c.level)
		t.Logf("%s: mean %.3f, worst %.3f (%s), right threat %.3f", c.level, mean, worst, which, right)
		if mean < c.mean || right < c.right {
			t.Errorf("%s: mean share acted on %.3f, right threat %.3f: want at least %.2f and %.2f", c.level, mean, right, c.mean, c.right)
			for _, r := range rows {
				t.Logf("%s %s %.3f", r.Threat, r.Level, r.Acted())
			}
		}
	}
	acted, families := 0.0, 0
	for _, c := range tallies["blog"].Campaigns() {
		families++
		acted += c.Acted()
		t.Logf("log family %-16s %.3f", c.Level, c.Acted())
	}
	if families < 23 || acted/float64(families) < .7 {
		t.Errorf("%d log families, mean share acted on %.3f: want 23 and 0.70", families, acted/float64(families))
	}
	recall, classes, benign := tallies["blog"].Sources.Macro()
	t.Logf("by address: macro recall %.3f over %d classes, %.4f of benign addresses acted on", recall, classes, benign)
	if recall < .9 || benign > .01 {
		t.Errorf("by address: macro recall %.3f, %.4f of benign addresses acted on: want at least 0.90 and at most 0.01", recall, benign)
	}
	for name, tally := range tallies {
		k := tally.Kinds()[0]
		t.Logf("%s: %d sessions of people, %d blocked, %d challenged", name, k.Sessions, k.Blocked, k.Challenged)
		if k.Sessions < 1000 || k.Blocked > 0 || k.Challenged > k.Sessions/500 {
			t.Errorf("%s: of %d sessions of people %d were blocked and %d challenged", name, k.Sessions, k.Blocked, k.Challenged)
		}
	}
}
