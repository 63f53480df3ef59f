package feature

import (
	"testing"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/sketch"
)

// bitsOf is a counter that has seen about n values: exactly n bits.
func bitsOf(n int) (d sketch.Distinct) {
	for v := uint64(1); d.Bits() < n; v++ {
		d.Add(v)
	}
	return d
}

func TestTaught(t *testing.T) {
	for _, c := range []struct {
		users, others int
		want          bool
	}{
		{3, 0, false}, {4, 0, true}, {5, 1, true}, {5, 2, false}, {7, 3, false}, {8, 3, true}, {8, 4, false}, {32, 8, true}, {40, 38, false},
	} {
		s := &Stats{Users: bitsOf(c.users), Groups: bitsOf(c.others)}
		if got := taught(&Input{Identity: &actor.Actor{}}, s); got != c.want {
			t.Errorf("taught by %d accounts of which %d did not come with the hello: %v", c.users, c.others, got)
		}
		if taught(&Input{Identity: &actor.Actor{Home: 1}}, s) {
			t.Errorf("an account at home is not spared (%d, %d)", c.users, c.others)
		}
	}
}
