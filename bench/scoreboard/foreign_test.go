package scoreboard

import (
	"strings"
	"testing"

	"github.com/weirproject/weir/bench/traffic"
)

// TestForeignScoreboard plays the second simulator in small, on the development
// seeds: nobody is blocked wrongly, and the share acted on does not drop beyond
// noise. The figures of the day it was written stand beside the bounds.
func TestForeignScoreboard(t *testing.T) {
	runs, err := Suite("small-foreign", 0)
	if err != nil {
		t.Fatal(err)
	}
	sum, n := map[string]float64{}, map[string]int{}
	for _, r := range runs {
		tally := NewTally()
		if err := r.Play(tally, Options{}); err != nil {
			t.Fatal(err)
		}
		level := strings.TrimPrefix(r.Config.Attacks[0], "all:")
		mean, worst, which, right := Mean(tally.Rows(), level)
		sum[level] += mean
		n[level]++
		services := 0
		for _, s := range tally.sessions {
			services += boolIndex(s.class == traffic.Service && s.worst > 0)
		}
		k := tally.Kinds()[0]
		t.Logf("%s: mean %.3f, worst %.3f (%s), right threat %.3f; %d sessions of people, %d blocked, %d challenged", r.Name, mean, worst, which, right, k.Sessions, k.Blocked, k.Challenged)
		if k.Sessions < 1000 || k.Blocked > 0 || k.Challenged > k.Sessions/250 || services > 0 {
			t.Errorf("%s: of %d sessions of people %d were blocked and %d challenged; %d of services", r.Name, k.Sessions, k.Blocked, k.Challenged, services)
		}
	}
	for level, floor := range map[string]float64{
		"plain":   .90, // 0.95
		"evasive": .78, // 0.88
	} {
		if got := sum[level] / float64(max(1, n[level])); n[level] != 3 || got < floor {
			t.Errorf("%s: mean share acted on over %d sites %.3f, want at least %.2f over 3", level, n[level], got, floor)
		}
	}
}
