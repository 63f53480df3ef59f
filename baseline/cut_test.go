package baseline

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/verdict"
)

// slowly passes a Write on when the test lets it.
type slowly struct {
	io.Writer
	turn chan struct{}
}

func (s *slowly) Write(b []byte) (int, error) {
	<-s.turn
	return s.Writer.Write(b)
}

// TestCutWhileObserving holds that a cut written while events go on gives the
// bytes of a snapshot at its position, and changes nothing for the engine.
func TestCutWhileObserving(t *testing.T) {
	events := crowd(11, 6000)
	cfg := Config{Entities: 1 << 14, Cases: 512}
	for _, at := range []int{0, 1, 2500, 5000} {
		stopped, running := New(cfg), New(cfg)
		digest(stopped, events[:at], 0)
		digest(running, events[:at], 0)
		var want, got, wantEnd, gotEnd bytes.Buffer
		if err := stopped.Snapshot(&want); err != nil {
			t.Fatal(err)
		}
		cut, err := running.Cut()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := running.Cut(); !errors.Is(err, ErrCutOpen) {
			t.Fatalf("a second cut at the same time: %v", err)
		}
		turn, done := make(chan struct{}, 1), make(chan error)
		go func() { done <- cut.Write(&slowly{&got, turn}) }()
		// The writer is somewhere in the middle when the events are over.
		for i, ev := range events[at:] {
			running.Observe(ev, verdict.Position{Offset: int64(at + i)})
			if i%64 == 0 {
				select {
				case turn <- struct{}{}:
				default:
				}
			}
		}
		close(turn)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want.Bytes(), got.Bytes()) {
			t.Errorf("cut at %d differs from the snapshot there", at)
		}
		digest(stopped, events[at:], at)
		if err := errors.Join(stopped.Snapshot(&wantEnd), running.Snapshot(&gotEnd)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(wantEnd.Bytes(), gotEnd.Bytes()) {
			t.Errorf("the engine that was cut at %d went another way", at)
		}
	}
}

// TestCutGivenUp holds that a cut that fails or is released lets the next begin.
func TestCutGivenUp(t *testing.T) {
	e := New(Config{Entities: 1 << 12, Cases: 64})
	events := crowd(12, 500)
	digest(e, events, 0)
	for _, giveUp := range []func(c *sketch.Cut){
		(*sketch.Cut).Release,
		func(c *sketch.Cut) {
			r, w := io.Pipe()
			_ = r.Close()
			if err := c.Write(w); err == nil {
				t.Error("a write that fails is not reported")
			}
		},
	} {
		c, err := e.Cut()
		if err != nil {
			t.Fatal(err)
		}
		giveUp(c)
		digest(e, events, 0)
	}
	if err := e.Snapshot(io.Discard); err != nil {
		t.Error(err)
	}
}
