package scoreboard

import (
	"strings"
	"testing"

	"github.com/weirproject/weir/bench/traffic/scenario"
)

// TestFalsePositiveBoundsHold checks what verdicts claim on 20,000 clean sessions
// of the three populations, with stale clients and without; docs/scoreboard.md has
// the check on a million. Bounds of the empirical kind need more sessions of one
// site than these: baseline/threat tests how they are made.
func TestFalsePositiveBoundsHold(t *testing.T) {
	runs, err := BoundRuns(scenario.Development, 20000)
	if err != nil {
		t.Fatal(err)
	}
	c := NewClaims()
	for _, r := range runs {
		if err := c.Play(r); err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	if err := c.Write(&text); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	if c.Sessions < 20000 || c.Stale == 0 || len(c.rows) < 40 {
		t.Errorf("%d clean sessions (%d of stale clients) under %d bounds: want 20,000, some, and at least two per threat", c.Sessions, c.Stale, len(c.rows))
	}
	for _, stale := range []bool{true, false} {
		if broken := c.Broken(stale); len(broken) > 0 {
			t.Errorf("stale clients counted %v: these claims do not hold: %s", stale, strings.Join(broken, "; "))
		}
	}
	if c.Blocked > 0 || c.Challenged > c.Sessions/5000 {
		t.Errorf("of %d clean sessions %d were blocked and %d acted on", c.Sessions, c.Blocked, c.Challenged)
	}
}

// TestABrokenClaimIsSeen: a check that cannot fail checks nothing.
func TestABrokenClaimIsSeen(t *testing.T) {
	k := claim{threat: "OAT-008", kind: "model"}
	for _, c := range []struct {
		hit    int
		mean   float64
		broken bool
	}{{0, 0, false}, {1, .5, false}, {4, .5, true}, {120, 100, false}, {150, 100, true}} {
		check := NewClaims()
		*check.row(k) = exposure{sessions: 1000000, claimed: c.mean, hit: c.hit}
		if got := len(check.Broken(true)) > 0; got != c.broken {
			t.Errorf("%d hits where %.1f were claimed: broken %v, want %v", c.hit, c.mean, got, c.broken)
		}
	}
	if got := Statement("challenged", 0, 30000); !strings.Contains(got, "at most 1.00 of 10,000 sessions") {
		t.Errorf("rule of three: %q", got)
	}
}
