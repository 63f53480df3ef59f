package table_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

func TestAgainstAPlainModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tab := newTable(t, table.Config{})
	model := map[string]*verdict.Verdict{}
	kinds := []string{"session", "device", "client", "client_net", "object:card"}
	pick := func() string { return fmt.Sprintf("%s=%d ", kinds[rng.IntN(len(kinds))], rng.IntN(40)+1) }
	for range 30_000 {
		v := give(rng.IntN(400))
		v.Revision = uint32(rng.IntN(50) + 1)
		v.Expires = verdict.Time(start + rng.Int64N(20)*minute)
		v.Revoked = rng.IntN(8) == 0
		for range rng.IntN(3) + 1 {
			g := []string{pick()}
			for rng.IntN(2) == 0 {
				g = append(g, pick())
			}
			if rng.IntN(4) == 0 {
				g = append(g, "!"+pick())
			}
			v.Binds = append(v.Binds, group(strings.Join(g, " ")))
		}
		if old := model[v.ID]; old == nil && int64(v.Expires) > start || old != nil && v.Revision > old.Revision {
			model[v.ID] = v
		}
		_, _ = tab.Apply(v, start)
		if rng.IntN(10) != 0 {
			continue
		}
		ev := request(pick() + pick() + pick())
		now := start + rng.Int64N(20)*minute
		want := []string{}
		for id, m := range model {
			if !m.Revoked && int64(m.Expires) > start && matches(m, ev, now) {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		if len(want) > table.MaxMatches {
			continue
		}
		if diff := cmp.Diff(want, found(tab, ev, now)); diff != "" {
			t.Fatalf("request %+v: %s", ev.Keys, diff)
		}
	}
}

func matches(v *verdict.Verdict, ev *event.Event, now int64) bool {
	has := func(b verdict.Bind) bool {
		if name, ok := strings.CutPrefix(b.Kind, "object:"); ok {
			return slices.ContainsFunc(ev.Objects, func(o event.Object) bool { return o.Name == name && o.Hash == b.Value })
		}
		k, _ := event.ParseKind(b.Kind)
		return ev.Keys[k] == b.Value
	}
	return int64(v.Expires) > now && slices.ContainsFunc(v.Binds, func(g verdict.Group) bool {
		return !slices.ContainsFunc(g.All, func(b verdict.Bind) bool { return !has(b) }) && !slices.ContainsFunc(g.None, has)
	})
}

func TestReadersNeverLoseAStandingVerdict(t *testing.T) {
	tab := newTable(t, table.Config{MaxBytes: 8 << 20})
	const n = 200
	put := func(i int, rev uint32) {
		v := give(i, fmt.Sprintf("session=%d", i+1), "client=5")
		v.Revision = rev
		if o, err := tab.Apply(v, start); o > table.Updated {
			t.Errorf("apply: %s %v", o, err)
		}
	}
	for i := range n {
		put(i, 1)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	var lookups atomic.Int64
	for r := range 2 {
		wg.Go(func() {
			buf := make([]table.Match, 0, table.MaxMatches)
			for i := r; !stop.Load(); i++ {
				ev := event.Event{Site: "shop"}
				ev.Keys[event.KindSession] = event.Hash(i%n + 1)
				m := tab.Match(&ev, start, buf)
				if len(m) != 1 || m[0].ID() != fmt.Sprintf("v_%032x", i%n) {
					t.Errorf("session %d: %d matches", i%n+1, len(m))
					return
				}
				ev.Keys[event.KindClient] = 5
				tab.Match(&ev, start, buf)
				lookups.Add(1)
			}
		})
	}
	rounds := uint32(60)
	for rev := uint32(2); rev < rounds; rev++ {
		for i := range n {
			put(i, rev)
		}
	}
	stop.Store(true)
	wg.Wait()
	if lookups.Load() == 0 {
		t.Fatal("no lookup ran")
	}
}

func TestLookupsAllocateNothing(t *testing.T) {
	tab := newTable(t, table.Config{})
	for i := range 1000 {
		apply(t, tab, give(i, fmt.Sprintf("session=%d", i+1)), start, table.Added)
	}
	buf := make([]table.Match, 0, table.MaxMatches)
	hit, miss := request("session=5 device=6 object:card=9"), request("session=5000 device=6 client=9")
	if n := testing.AllocsPerRun(100, func() {
		tab.Match(hit, start, buf)
		tab.Match(miss, start, buf)
	}); n != 0 {
		t.Errorf("%g allocations per lookup", n)
	}
}
