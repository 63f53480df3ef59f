package baseline

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// TestTerm: a challenge of an account lasts for as long as its attack keeps coming
// back, any other verdict for its lease.
func TestTerm(t *testing.T) {
	of := func(s threat.Subject, name string, count, span uint32) *threat.Case {
		c := &threat.Case{}
		c.Subject, c.Count, c.First, c.Last = s, count, 1e6, 1e6+span
		c.NameLen = uint8(copy(c.Name[:], name))
		return c
	}
	for _, c := range []struct {
		name   string
		of     *threat.Case
		action event.Action
		want   time.Duration
	}{
		{"every hour", of(threat.Object, "account", 11, 36000), event.ActionChallenge, 4 * time.Hour},
		{"every minute", of(threat.Object, "account", 61, 3600), event.ActionChallenge, time.Hour},
		{"twice a day", of(threat.Object, "account", 5, 172800), event.ActionChallenge, 12 * time.Hour},
		{"once", of(threat.Object, "account", 1, 0), event.ActionChallenge, 12 * time.Hour},
		{"a card", of(threat.Object, "card", 11, 36000), event.ActionChallenge, 12 * time.Hour},
		{"an actor", of(threat.Actor, "", 11, 36000), event.ActionBlock, 4 * time.Hour},
		{"a rate limit", of(threat.Object, "account", 11, 36000), event.ActionRateLimit, 30 * time.Minute},
	} {
		if got := term(c.action, c.of); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestWhatIsRefutedBindsNobody: when later conduct takes a case's evidence away, its
// block becomes a challenge, and what the actor carries then is not bound any more.
func TestWhatIsRefutedBindsNobody(t *testing.T) {
	for _, test := range []struct {
		name string
		left int32
		want event.Action
		bind bool
	}{
		{"all of it", threat.BarBlock, event.ActionBlock, true},
		{"some of it", threat.BarRateLimit, event.ActionChallenge, true},
		{"none of it", 0, event.ActionBlock, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := New(Config{Entities: 1 << 14})
			events := crowd(3, 3000)
			for i, ev := range events {
				e.Observe(ev, verdict.Position{Offset: int64(i)})
			}
			now, n := time.Unix(0, events[len(events)-1].Time).UTC(), len(events)
			send := func(w map[string]string) []verdict.Verdict {
				now, n = now.Add(20*time.Second), n+1
				w["client"], w["ua"], w["template"] = "bot", "tool", "tool"
				return e.Observe(build("shop", now, fmt.Sprint("bot-", n), w), verdict.Position{Offset: int64(n)}).Verdicts
			}
			last := verdict.Verdict{}
			for i := 0; i < 60 && last.Action < event.ActionBlock; i++ {
				for _, v := range send(map[string]string{
					"role": "login", "path": "/api/login", "outcome": "failure", "secret": strconv.Itoa(i), "session": fmt.Sprint("bot", i), "claimed": fmt.Sprint("user", i%12),
				}) {
					if v.Scope == verdict.ScopeActor {
						last = v
					}
				}
			}
			if last.Action != event.ActionBlock {
				t.Fatalf("no block: %+v", last)
			}
			for i := range e.set.Facts() {
				if c := e.set.Find(threat.Actor, e.in.Identity.ID, i); c != nil {
					c.Parts = [threat.MaxParts]int32{test.left}
					if test.left > 0 {
						c.Parts[1] = 1
					}
				}
			}
			act, bound := last.Action, false
			for _, v := range send(map[string]string{"path": "/", "session": "another"}) {
				if v.ID != last.ID {
					continue
				}
				act = v.Action
				for _, g := range v.Binds {
					for _, b := range g.All {
						bound = bound || b.Kind == "session" && b.Value == hash("session", "another")
					}
				}
			}
			if act != test.want {
				t.Errorf("%s, want %s", act, test.want)
			}
			if bound != test.bind {
				t.Errorf("the next session is bound: %v, want %v", bound, test.bind)
			}
		})
	}
}
