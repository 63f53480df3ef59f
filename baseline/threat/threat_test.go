package threat

import (
	"fmt"
	"math/bits"
	"testing"

	"github.com/weirproject/weir/stream/event"
)

func TestEveryThreatHasOneDetectorThatSaysWhatItIs(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Detectors() {
		f := d.Facts()
		if seen[string(f.Threat)] {
			t.Errorf("%s has two detectors", f.Threat)
		}
		seen[string(f.Threat)] = true
		names := map[string]bool{}
		for _, p := range f.Parts {
			if p == "" || names[p] {
				t.Errorf("%s: part %q is empty or repeated", f.Threat, p)
			}
			names[p] = true
		}
		if f.Name == "" || f.Verb == "" || f.Compares == "" || len(f.Parts) == 0 || len(f.Parts) >= MaxParts || f.Strongest < event.ActionChallenge {
			t.Errorf("%s is incomplete: %+v", f.Threat, f)
		}
	}
	for i := 1; i <= 21; i++ {
		if code := fmt.Sprintf("OAT-%03d", i); !seen[code] {
			t.Errorf("%s has no detector", code)
		}
	}
}

// TestEveryPartCounts holds that a detector may have as many parts as it may name.
func TestEveryPartCounts(t *testing.T) {
	var o Observation
	for i := range MaxParts - 1 {
		o.Add(Actor, i, 1000, 0, 0)
	}
	if n := bits.OnesCount16(o.said[Actor].mask); n != MaxParts-1 {
		t.Errorf("%d of %d parts count", n, MaxParts-1)
	}
}

func TestACaseKeepsTheFirstThreeAndTheLastSixEvents(t *testing.T) {
	var c Case
	for i := range 20 {
		c.Sample(fmt.Sprint("e", i))
	}
	if got := fmt.Sprint(c.Samples()); got != "[e0 e1 e2 e14 e15 e16 e17 e18 e19]" {
		t.Error(got)
	}
	var short Case
	for i := range 4 {
		short.Sample(fmt.Sprint("e", i))
	}
	if got := fmt.Sprint(short.Samples()); got != "[e0 e1 e2 e3]" {
		t.Error(got)
	}
}

func TestSessionsDoNotDriveOutTargets(t *testing.T) {
	var c Case
	target := Bound{Kind: uint8(event.KindTargetAccount), Value: 7, At: 1}
	if !c.Bind(target) || c.Bind(target) {
		t.Fatal("a bound identifier is new once")
	}
	for i := range uint64(1000) {
		c.Bind(Bound{Kind: uint8(event.KindSession), Value: 100 + i, At: uint32(2 + i)})
		c.Bind(Bound{Kind: uint8(event.KindClientFingerprint), Value: 100 + i, At: uint32(2 + i)})
	}
	if c.Bind(target) {
		t.Error("the target was forgotten")
	}
	if c.BindCount > MaxBinds {
		t.Errorf("%d binds", c.BindCount)
	}
}

func TestEvidenceHalvesWhileNothingHappens(t *testing.T) {
	c := Case{Head: Head{Subject: Actor, Last: 100000}}
	c.Parts[0], c.Parts[1] = 8000, 4000
	c.decay(100000 + halfLife)
	if s := c.Score(); s < 5900 || s > 6100 {
		t.Errorf("score %d after a half-life, want about 6000", s)
	}
	if c.Groups() != 2 {
		t.Errorf("%d groups", c.Groups())
	}
}
