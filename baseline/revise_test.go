package baseline

import (
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// stuff plays log-in attempts on a site that knows its people: n of them, one
// every gap, each with a session of its own.
func stuff(n int, gap time.Duration, words func(i int) map[string]string, seen func(ev *event.Event, vs []verdict.Verdict)) {
	e := New(Config{Entities: 1 << 14})
	events := crowd(3, 3000)
	for i, ev := range events {
		e.Observe(ev, verdict.Position{Offset: int64(i)})
	}
	now := time.Unix(0, events[len(events)-1].Time).UTC()
	for i := range n {
		now = now.Add(gap)
		w := map[string]string{
			"role": "login", "path": "/api/login", "outcome": "failure", "secret": strconv.Itoa(i), "template": "tool",
			"session": fmt.Sprint("bot", i), "newsession": fmt.Sprint("bot", i+1), "claimed": fmt.Sprint("user", i%12),
		}
		maps.Copy(w, words(i))
		ev := build("shop", now, fmt.Sprint("bot-", i), w)
		r := e.Observe(ev, verdict.Position{Offset: int64(len(events) + i)})
		seen(ev, r.Verdicts)
	}
}

// TestRevisionsOfAFloodAreFew: 1,500 requests of one address, each with another
// session, are met by its address and program from the first verdict on.
func TestRevisionsOfAFloodAreFew(t *testing.T) {
	per := map[string]int{}
	stuff(1500, 200*time.Millisecond, func(int) map[string]string { return map[string]string{"client": "bot", "ua": "tool"} },
		func(_ *event.Event, vs []verdict.Verdict) {
			for i := range vs {
				per[vs[i].ID]++
			}
		})
	if len(per) == 0 {
		t.Fatal("no verdict")
	}
	for id, n := range per {
		if n > 80 {
			t.Errorf("%d revisions of %s in five minutes", n, id)
		}
	}
}

// TestWhatTheNextRequestNeedsIsPublishedAtOnce: whoever changes address, program
// and session with every request is met when it uses one of them again.
func TestWhatTheNextRequestNeedsIsPublishedAtOnce(t *testing.T) {
	g, missed, acted := &gate{map[string]*verdict.Verdict{}}, 0, 0
	stuff(200, 2*time.Second, func(i int) map[string]string {
		return map[string]string{"client": fmt.Sprint("proxy", i), "ua": fmt.Sprint("tool", i%40)}
	}, func(ev *event.Event, vs []verdict.Verdict) {
		g.apply(vs)
		if act := g.decide(ev); act >= event.ActionRateLimit {
			acted++
		} else if acted > 0 {
			missed++
		}
	})
	if acted < 150 || missed > 0 {
		t.Errorf("%d of 200 requests would be met if they came again, %d not after the first", acted, missed)
	}
}
