package scoreboard

import (
	"testing"

	"github.com/weirproject/weir/bench/traffic"
)

// TestTheForestIsolatesWhatIsFarOff: ordinary sessions score about one half, a
// stranger far from all more than any of them, and the seed decides the rest.
func TestTheForestIsolatesWhatIsFarOff(t *testing.T) {
	r := traffic.NewRand(5, 5)
	var sessions [][12]float64
	for range 4000 {
		var x [12]float64
		for k := range x {
			x[k] = r.LogNormal(1, .3)
		}
		sessions = append(sessions, x)
	}
	f, again := grow(sessions), grow(sessions)
	odd := [12]float64{9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0}
	if got := f.score(&odd); got <= f.bar || got != again.score(&odd) {
		t.Errorf("a stranger scores %.4f and %.4f with a bar of %.4f", got, again.score(&odd), f.bar)
	}
	if got := f.score(&sessions[7]); got < .3 || got >= f.bar {
		t.Errorf("an ordinary session scores %.4f with a bar of %.4f", got, f.bar)
	}
	if grow(sessions[:100]) != nil {
		t.Error("a forest grew from 100 sessions")
	}
}
