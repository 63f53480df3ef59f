package line

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// stuffing is one try of a tool that goes through a list of stolen passwords.
func stuffing(now time.Time, i int) *event.Event {
	hash := func(s string) event.Hash {
		h := event.Hash(14695981039346656037)
		for _, c := range []byte(s) {
			h = (h ^ event.Hash(c)) * 1099511628211
		}
		return h
	}
	ev := &event.Event{
		ID: "r-" + strconv.Itoa(i), Source: event.SourceEnforcer, Site: "shop", Time: now.UnixNano(), Client: netip.MustParseAddr("203.0.113.9"),
		Method: "POST", Host: "shop.example", Path: "/api/login", Route: "/api/login", Status: 401, UserAgent: "tool",
		Role: event.RoleLogin, Outcome: event.OutcomeFailure, Claimed: hash("u" + strconv.Itoa(i)), Secret: hash("s" + strconv.Itoa(i)),
	}
	for k, v := range map[event.Kind]string{
		event.KindClient: "203.0.113.9", event.KindClientNet: "203.0.113.0/24", event.KindFingerprint: "tool",
		event.KindClientFingerprint: "203.0.113.9 tool", event.KindRequestTemplate: "tool", event.KindTargetAccount: "t" + strconv.Itoa(i),
	} {
		ev.Keys[k] = hash(v)
	}
	return ev
}

// The records of a campaign's verdicts have expired from the log, and an enforcer
// starts with an empty table: what the owner repeated stops the campaign all the
// same, for as long as the verdicts are in force in event time. One that had the
// originals hears nothing new.
func TestRepeatedVerdictsStopWhatTheOriginalsStopped(t *testing.T) {
	engine := baseline.New(baseline.Config{Entities: 1 << 14, Cases: 512})
	decide := func() *enforcer.Enforcer {
		e, err := enforcer.New(enforcer.Config{Mode: event.ModeEnforce}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	old, young := decide(), decide()
	now, i := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), 0
	for ; i < 60; i++ {
		now = now.Add(2 * time.Second)
		for _, v := range engine.Observe(stuffing(now, i), verdict.Position{Offset: int64(i)}).Verdicts {
			old.Apply(&v)
		}
	}
	inForce := engine.InForce()
	if len(inForce) == 0 {
		t.Fatal("the campaign gave no verdict")
	}
	next := func(e *enforcer.Enforcer, after time.Duration) verdict.Decision {
		d := e.Decide(stuffing(now.Add(after), i))
		d.Nanoseconds = 0
		return d
	}
	if d := next(young, time.Second); d.Action.Refuses() {
		t.Fatalf("an empty table refuses: %+v", d)
	}
	ends := now
	for k := range inForce {
		bare := inForce[k].Bare()
		b, err := wire.AppendVerdict(nil, &bare)
		if err != nil {
			t.Fatal(err)
		}
		v, err := wire.ParseVerdict(b)
		if err != nil {
			t.Fatal(err)
		}
		if outcome, err := young.ApplyVerdict(&v, false); err != nil || v.Evidence.Summary != "" {
			t.Fatalf("%s: %v, %v", b, outcome, err)
		}
		if outcome, err := old.ApplyVerdict(&v, false); err != nil || outcome != table.Duplicate {
			t.Fatalf("the copy of %s changed a table that had it: %v, %v", v.ID, outcome, err)
		}
		if at := v.Expires.Std(); at.After(ends) {
			ends = at
		}
	}
	got, want := next(young, time.Second), next(old, time.Second)
	if !got.Action.Refuses() || got.Verdict != want.Verdict || got.Action != want.Action {
		t.Fatalf("the campaign goes on: %+v, with the originals %+v", got, want)
	}
	if d := next(young, ends.Sub(now)+time.Second); d.Action.Refuses() {
		t.Fatalf("refused after the last verdict's end: %+v", d)
	}
}
