package baseline

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

func TestCensusAndWhatIsLearned(t *testing.T) {
	e := New(Config{Entities: 1 << 14, Cases: 512})
	if c := e.Census(); c.Identifiers != 0 || len(c.Sites) != 0 || e.Sites() != 0 {
		t.Errorf("an empty engine: %+v", c)
	}
	start := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for i := range 600 {
		ev := build("shop", start.Add(time.Duration(i)*10*time.Second), fmt.Sprint("r", i), map[string]string{
			"client": fmt.Sprintf("203.0.113.%d", i%60), "session": fmt.Sprint("s", i%60), "ua": "browser", "role": "item_view", "path": "/item/1",
		})
		if ev.Route, ev.Method, ev.Status = "/item/{id}", "GET", 200; i%4 == 0 {
			ev.Status = 404
		}
		e.Observe(ev, verdict.Position{Offset: int64(i)})
	}
	c := e.Census()
	if len(c.Sites) != 1 || c.Sites[0].Name != "shop" || c.Sites[0].Since != start.UnixNano() || c.Sites[0].Events != 600 || c.Sites[0].Actors == 0 {
		t.Errorf("sites: %+v", c.Sites)
	}
	if c.Identifiers == 0 || c.Features == 0 || c.LargestActor > 600 {
		t.Errorf("census: %+v", c)
	}

	got := map[string]Learned{}
	for _, l := range e.Learned(0) {
		if l.Site != "shop" || l.Baseline == "" || l.Since < start.UnixNano() || l.Since > start.Add(time.Minute).UnixNano() {
			t.Errorf("%+v: want site, version and since", l)
		}
		got[l.Key+" "+l.Name] = l
	}
	// 600 requests in 1 h 39 m 50 s: whole hours count. The first request of a
	// route may only make its template.
	near := func(key string, low, high verdict.Milli) {
		if l, ok := got[key]; !ok || l.Value < low || l.Value > high || l.Observations < 599 {
			t.Errorf("%s: %+v, want %v to %v from 600 requests", key, l, low, high)
		}
	}
	near("GET /item/{id} requests_per_hour", 599000, 600000)
	near("GET /item/{id} error_share", 248, 250)
	if l := got["role:"+event.RoleItemView.String()+" failure_share"]; l.Observations < 20 || l.Value <= 0 {
		t.Errorf("a role's share: %+v in %d quantities", l, len(got))
	}
}

// TestTheCensusFindsTheLargestActor: however far the pass is.
func TestTheCensusFindsTheLargestActor(t *testing.T) {
	e := New(Config{Entities: 1 << 18, Cases: 512}) // 65,537 actor slots: nine passes' parts
	e.Observe(build("shop", time.Unix(1e9, 0), "r", map[string]string{"client": "203.0.113.1"}), verdict.Position{})
	at := uint32(e.resolver.Slots() - 2)
	e.resolver.Get(at).Merges = 77
	seen := false
	for range 9 {
		seen = seen || e.Census().LargestActor == 77
	}
	if !seen || e.Census().LargestActor != 77 {
		t.Errorf("largest actor: %d", e.Census().LargestActor)
	}
	e.resolver.Get(at).Merges = 5
	for range 18 {
		e.Census()
	}
	if n := e.Census().LargestActor; n != 5 {
		t.Errorf("largest actor after it was dissolved: %d", n)
	}
}
