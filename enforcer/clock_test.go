package enforcer_test

import (
	"testing"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

const day = 24 * 3600

// TestLeasesFollowTheClock: a verdict acts while the wall clock is within its
// lease, whatever the clock showed in between.
func TestLeasesFollowTheClock(t *testing.T) {
	e := newEnforcer(t, enforce)
	v := give(1, event.ActionBlock)
	v.Expires = verdict.Time(start + 3600*second)
	e.Apply(v)
	for _, step := range []struct {
		seconds int64
		want    event.Action
	}{{0, event.ActionBlock}, {-day, event.ActionBlock}, {2 * day, event.ActionAllow}, {60, event.ActionBlock}, {3601, event.ActionAllow}} {
		if d := at(e, step.seconds); d.Action != step.want {
			t.Errorf("%d s after the start: %s, want %s", step.seconds, d.Action, step.want)
		}
	}
}

// TestAllowanceAfterTheClockWasSetBack: nobody waits for a day that has been
// taken back.
func TestAllowanceAfterTheClockWasSetBack(t *testing.T) {
	e := newEnforcer(t, enforce)
	v := give(1, event.ActionRateLimit, limit(verdict.Limit{Per: "1m", Requests: 5, Key: "actor"}))
	v.Expires = verdict.Time(start + 3*day*second)
	e.Apply(v)
	for range 6 {
		at(e, 2*day)
	}
	if d := at(e, 0); d.Action != event.ActionRateLimit || d.RetryAfterSeconds > 60 {
		t.Errorf("at once: %s, retry after %d s", d.Action, d.RetryAfterSeconds)
	}
	if d := at(e, 61); d.Action != event.ActionAllow {
		t.Errorf("after the period: %s, retry after %d s", d.Action, d.RetryAfterSeconds)
	}
}

// TestFeedsAgeWhenTheClockIsSetBack: a feed that has died counts as absent
// after staleAfter, although it was last heard of in what is now the future.
func TestFeedsAgeWhenTheClockIsSetBack(t *testing.T) {
	e := newEnforcer(t, enforce)
	const s = second
	for _, step := range []struct{ note, want int64 }{
		{start, start},
		{start - s, start},                           // merely late
		{start + day*s, start + day*s},               // ahead
		{start + 10*s, start + 10*s},                 // set right again
		{start - day*s, start - day*s},               // back
		{start - day*s - 2*s, start - day*s},         // late again
		{start - day*s + 60*s, start - day*s + 60*s}, // and on
	} {
		e.Alive(step.note)
		if got := int64(e.Status().Feed); got != step.want {
			t.Errorf("heard of at %d: fresh as of %d, want %d", step.note-start, got-start, step.want-start)
		}
	}
}
