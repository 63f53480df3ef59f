package baseline

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// TestTenMillionEntities holds what the tables of ten million live identifiers,
// with their actors, accounts, statistics and paths, take when all are in use.
func TestTenMillionEntities(t *testing.T) {
	if n := New(Config{Entities: 10_000_000}).Counters().Bytes; n > 1500<<20 {
		t.Errorf("%d MiB of tables, want at most 1500", n>>20)
	} else {
		t.Logf("%d MiB of tables", n>>20)
	}
}

// visitor is the event of person p, of whom the engine keeps about six
// identifiers, in a buffer that is used again.
func visitor(ev *event.Event, site string, p uint64, now int64) {
	*ev = event.Event{ID: "e", Time: now, Site: site, Method: "GET", Path: "/item/7", Status: 200, HeaderOrder: 1, Source: event.SourceReplay, Objects: ev.Objects[:0]}
	h := func(kind, v uint64) event.Hash {
		return event.Hash((v+1)*0x9e3779b97f4a7c15 ^ kind*0xd6e8feb86659fd93 | 1)
	}
	ev.Keys[event.KindSession], ev.Keys[event.KindDevice] = h(1, p), h(2, p)
	ev.Keys[event.KindClient], ev.Keys[event.KindFingerprint] = h(3, p/2), h(4, p%400)
	ev.Keys[event.KindClientFingerprint], ev.Keys[event.KindRequestTemplate] = h(5, p), h(6, p%9)
	if p%4 == 0 {
		ev.Keys[event.KindAccount] = h(7, p)
	}
}

// BenchmarkScale shows the cost per event from 100 thousand to ten million
// entities, by how people are chosen, and from one to 100 sites. It needs 2 GB
// and minutes, hence WEIR_E2E=1.
func BenchmarkScale(b *testing.B) {
	if os.Getenv("WEIR_E2E") == "" {
		b.Skip("needs 2 GB and minutes: set WEIR_E2E=1")
	}
	for _, c := range []struct {
		entities, sites int
		zipf            bool
	}{{100_000, 1, true}, {10_000_000, 1, true}, {100_000, 1, false}, {10_000_000, 1, false}, {1_000_000, 1, true}, {1_000_000, 100, true}} {
		b.Run(fmt.Sprintf("entities=%d/sites=%d/zipf=%v", c.entities, c.sites, c.zipf), func(b *testing.B) {
			people := uint64(c.entities / 6)
			r := rand.New(rand.NewPCG(1, 2))
			z := rand.NewZipf(r, 1.05, 8, people-1)
			next := func() uint64 {
				if c.zipf {
					return z.Uint64()
				}
				return r.Uint64N(people)
			}
			names := make([]string, c.sites)
			for i := range names {
				names[i] = fmt.Sprint("site", i)
			}
			e := New(Config{Entities: max(c.entities, 1<<17)})
			var ev event.Event
			now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).UnixNano()
			for p := range people {
				now += int64(time.Millisecond)
				visitor(&ev, names[p%uint64(c.sites)], p, now)
				e.Observe(&ev, verdict.Position{})
			}
			chosen := make([]uint64, 1<<20)
			for i := range chosen {
				chosen[i] = next()
			}
			i, from := 0, cpuTime()
			for b.Loop() {
				p := chosen[i&(len(chosen)-1)]
				now += int64(100 * time.Microsecond)
				visitor(&ev, names[p%uint64(c.sites)], p, now)
				e.Observe(&ev, verdict.Position{Offset: int64(i)})
				i++
			}
			b.ReportMetric(float64(cpuTime()-from)/float64(b.N), "cpu-ns/event")
		})
	}
}

// beside spins as long as write runs and returns how long it stood still at most:
// what a machine with neighbours does to any program.
func beside(t *testing.T, write func() error) (worst time.Duration) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- write() }()
	for at := time.Now(); ; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return worst
		default:
		}
		now := time.Now()
		worst, at = max(worst, now.Sub(at)), now
	}
}

// TestLargeSnapshot takes a cut of a state of a gigabyte while events go on, and
// restores it. It needs 4 GB, hence WEIR_E2E=1.
func TestLargeSnapshot(t *testing.T) {
	if os.Getenv("WEIR_E2E") == "" {
		t.Skip("needs 4 GB and a minute: set WEIR_E2E=1")
	}
	cfg := Config{Entities: 8_000_000}
	e := New(cfg)
	var ev event.Event
	now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).UnixNano()
	r := rand.New(rand.NewPCG(3, 4))
	observe := func(p uint64) {
		now += int64(time.Millisecond)
		visitor(&ev, "shop", p, now)
		e.Observe(&ev, verdict.Position{})
	}
	for p := range uint64(cfg.Entities / 6) {
		observe(p)
	}
	from, user := time.Now(), cpuTime()
	cut, err := e.Cut()
	if err != nil {
		t.Fatal(err)
	}
	pause := time.Since(from)
	file, err := os.Create(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	done := make(chan error, 1)
	go func() { done <- cut.Write(file) }()
	worst, events := time.Duration(0), 0
	for !cut.Over() {
		at := time.Now()
		observe(r.Uint64N(uint64(cfg.Entities / 6)))
		worst, events = max(worst, time.Since(at)), events+1
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB of state: cut %v, written in %v (%v CPU of writer and engine), %d events meanwhile, the slowest took %v",
		size>>20, pause, time.Since(from), cpuTime()-user, events, worst)
	if pause > 20*time.Millisecond {
		t.Errorf("the cut took %v", pause)
	}
	still := beside(t, func() error {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := file.Truncate(0); err != nil {
			return err
		}
		return e.Snapshot(file)
	})
	t.Logf("a loop that does nothing beside the same write stood still for %v at most", still)
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	from, user = time.Now(), cpuTime()
	if err := New(cfg).Restore(bufio.NewReaderSize(file, 1<<20)); err != nil {
		t.Fatal(err)
	}
	t.Logf("restored in %v (%v CPU)", time.Since(from), cpuTime()-user)
}
