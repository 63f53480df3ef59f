package enforcer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

func limit(l verdict.Limit) func(*verdict.Verdict) {
	return func(v *verdict.Verdict) { v.Limit = &l }
}

// at decides a request some seconds after the start.
func at(e *enforcer.Enforcer, seconds int64, change ...func(*event.Event)) verdict.Decision {
	ev := request()
	ev.Time = start + seconds*second
	for _, c := range change {
		c(ev)
	}
	return e.Decide(ev)
}

func TestInsideAnAllowancePassesAndOverItIsRefused(t *testing.T) {
	e := newEnforcer(t, enforce)
	e.Apply(give(1, event.ActionRateLimit, limit(verdict.Limit{Per: "1m", Requests: 5, Key: "actor"})))
	for i := range 5 {
		if d := at(e, 0); d.Action != event.ActionAllow || d.Proposed != event.ActionRateLimit || d.RetryAfterSeconds != 0 || enforcer.IsPlain(&d) {
			t.Fatalf("request %d: %+v", i, d)
		}
	}
	if d := at(e, 0); d.Action != event.ActionRateLimit || d.RetryAfterSeconds != 12 {
		t.Fatalf("over: %s, retry after %d", d.Action, d.RetryAfterSeconds)
	}
	if d := at(e, 12); d.Action != event.ActionAllow {
		t.Errorf("after the wait: %s", d.Action)
	}
	if d := at(e, 12); d.Action != event.ActionRateLimit {
		t.Errorf("again: %s", d.Action)
	}
}

func TestAShadowedLimitCountsAndNeverRefuses(t *testing.T) {
	e := newEnforcer(t, enforcer.Config{})
	e.Apply(give(1, event.ActionRateLimit, limit(verdict.Limit{Per: "1m", Requests: 1, Key: "actor"})))
	inside, over := at(e, 0), at(e, 0)
	if inside.Action != event.ActionAllow || inside.RetryAfterSeconds != 0 || !strings.Contains(inside.Reason, "within") {
		t.Errorf("inside: %+v", inside)
	}
	if over.Action != event.ActionAllow || over.Proposed != event.ActionRateLimit || over.RetryAfterSeconds != 60 || !strings.Contains(over.Reason, "over") {
		t.Errorf("over: %+v", over)
	}
}

func TestALimitMayBeKeyedByAnIdentifier(t *testing.T) {
	e := newEnforcer(t, enforce)
	e.Apply(give(1, event.ActionRateLimit, bind("client"), limit(verdict.Limit{Per: "1m", Requests: 1, Key: "session"})))
	at(e, 0)
	if d := at(e, 0, func(ev *event.Event) { ev.Keys[event.KindSession] = 8 }); d.Action != event.ActionAllow {
		t.Errorf("another session: %s", d.Action)
	}
	if d := at(e, 0); d.Action != event.ActionRateLimit {
		t.Errorf("the same session: %s", d.Action)
	}
}

func TestALimitOfCost(t *testing.T) {
	e := newEnforcer(t, enforce)
	e.Apply(give(1, event.ActionRateLimit, limit(verdict.Limit{Per: "1m", Cost: 1000, Key: "actor"})))
	cost := func(ev *event.Event) { ev.Cost = 600 }
	if d := at(e, 0, cost); d.Action != event.ActionAllow {
		t.Errorf("first: %s", d.Action)
	}
	if d := at(e, 0, cost); d.Action != event.ActionRateLimit || d.RetryAfterSeconds != 12 {
		t.Errorf("second: %s, retry after %d", d.Action, d.RetryAfterSeconds)
	}
}

func TestWithoutAnAllowanceTheDefaultCounts(t *testing.T) {
	e := newEnforcer(t, enforce)
	e.Apply(give(1, event.ActionRateLimit))
	n := 0
	for range 30 {
		if at(e, 0).Action == event.ActionAllow {
			n++
		}
	}
	if n != 10 {
		t.Errorf("%d passed, want 10", n)
	}
}

func TestLimitsOfWhatTheAnswerCosts(t *testing.T) {
	for _, l := range []verdict.Limit{{Per: "1m", Bytes: 1000, Key: "actor"}, {Per: "1m", Seconds: 10, Key: "actor"}} {
		t.Run("known after the answer "+fmt.Sprint(l), func(t *testing.T) {
			e := newEnforcer(t, enforce)
			e.Apply(give(1, event.ActionRateLimit, limit(l)))
			d := at(e, 0)
			ev := request()
			ev.Time, ev.ResponseBytes, ev.Duration = start, 3000, 30*second
			e.Settle(ev, &d)
			if d := at(e, 60); d.Action != event.ActionRateLimit || d.RetryAfterSeconds != 60 {
				t.Errorf("three allowances used: %s, retry after %d", d.Action, d.RetryAfterSeconds)
			}
			if d := at(e, 121); d.Action != event.ActionAllow {
				t.Errorf("after two periods: %s", d.Action)
			}
		})
	}
}
