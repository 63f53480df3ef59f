package baseline

import (
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// mixture makes n events of a shop's usual traffic in memory: sixteen sub-resources
// or pages of known sessions to one attempt.
func mixture(n, people int) []event.Event {
	d := &dice{3}
	t := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	out := make([]event.Event, 0, n)
	for i := range n {
		t = t.Add(time.Duration(d.n(2000)) * time.Microsecond)
		p := d.n(people)
		words := map[string]string{
			"client": fmt.Sprintf("home%d", p/2), "ua": fmt.Sprintf("browser%d", p%40), "session": fmt.Sprintf("s%d", p),
			"device": fmt.Sprintf("d%d", p), "template": fmt.Sprintf("t%d", p%9), "path": fmt.Sprintf("/item/%d", d.n(900)),
			"account": fmt.Sprintf("user%d", p),
		}
		switch d.n(32) {
		case 0:
			words["role"], words["path"], words["claimed"], words["secret"] = "login", "/api/login", fmt.Sprintf("user%d", p), fmt.Sprint("p", p)
			words["outcome"], words["flags"] = "success", "proves"
		case 1:
			words["role"], words["path"], words["obj.card"], words["outcome"] = "pay_auth", "/pay", fmt.Sprintf("card%d", p), "success"
		case 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14:
			words["path"] = fmt.Sprintf("/static/%d.css", d.n(50))
		}
		out = append(out, *build("shop", t, strconv.Itoa(i), words))
	}
	return out
}

// BenchmarkObserve measures the whole engine with all detectors on in-memory
// events of known sessions.
func BenchmarkObserve(b *testing.B) {
	for _, people := range []int{2000, 100000} {
		b.Run(fmt.Sprintf("people=%d", people), func(b *testing.B) {
			e := New(Config{})
			events := mixture(200000, people)
			for i := range events {
				e.Observe(&events[i], verdict.Position{Offset: int64(i)})
			}
			span := events[len(events)-1].Time - events[0].Time
			b.ReportAllocs()
			i, from := 0, cpuTime()
			for b.Loop() {
				ev := &events[i]
				ev.Time += span
				e.Observe(ev, verdict.Position{Offset: int64(i)})
				if i++; i == len(events) {
					i = 0
				}
			}
			b.ReportMetric(float64(b.N)/(cpuTime()-from).Seconds(), "events/cpu-s")
		})
	}
}

// cpuTime is the user time of this process: machines that build and test are
// shared, and wall time says more about the neighbours.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano())
}

// TestObserveTail prints the tail of the time per event. Three engines fold the same
// events by the same steps, so that of each event's times the least is its own and
// the rest the neighbours'. It fails only far above the promise.
func TestObserveTail(t *testing.T) {
	events := mixture(60000, 20000)
	times := slices.Repeat([]time.Duration{time.Hour}, len(events))
	var bytes int
	for range 3 {
		e := New(Config{Entities: 1 << 18})
		for i := range events {
			from := time.Now()
			e.Observe(&events[i], verdict.Position{Offset: int64(i)})
			times[i] = min(times[i], time.Since(from))
		}
		bytes = e.Counters().Bytes
	}
	times = times[len(times)/3:]
	slices.Sort(times)
	p50, p99 := times[len(times)/2], times[len(times)*99/100]
	t.Logf("per event p50 %v p99 %v; %d bytes of tables", p50, p99, bytes)
	if p50 > time.Millisecond {
		t.Errorf("p50 %v", p50)
	}
}
