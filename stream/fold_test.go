package stream

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
)

func TestMarks(t *testing.T) {
	var m marks
	for i, c := range []struct {
		producer string
		first    uint64
		count    int
		want     taken
		wantErr  bool
	}{
		{"a", 1, 10, taken{}, false},
		{"a", 11, 5, taken{}, false},
		{"a", 1, 10, taken{repeated: true}, false}, // sent again after a broker's death
		{"a", 11, 5, taken{repeated: true}, false},
		{"b", 1, 3, taken{}, false},
		{"a", 20, 5, taken{missing: 4}, false}, // 16..19
		{"a", 22, 5, taken{}, true},            // overlaps
		{"a", 15, 3, taken{}, true},            // half in the hole
		{"a", 17, 2, taken{late: true}, false},
		{"a", 17, 2, taken{repeated: true}, false},
		{"a", 16, 1, taken{late: true}, false},
		{"a", 19, 1, taken{late: true}, false},
		{"a", 16, 4, taken{repeated: true}, false},
		{"c", 500, 1, taken{}, false},
		{"a", 25, 1, taken{}, false},
	} {
		got, err := m.take(c.producer, c.first, c.count, int64(i))
		if got != c.want || (err != nil) != c.wantErr {
			t.Errorf("record %d: %+v, %v", i, got, err)
		}
		var w stateWriter
		m.appendTo(&w)
		var again marks
		again.readFrom(&stateReader{buf: w.buf})
		m = again
	}
	for i := range uint64(20) {
		_, _ = m.take("h", 1+2*i, 1, int64(i))
	}
	if n := len(m.byProducer["h"].holes); n != maxHoles {
		t.Errorf("%d holes remembered, want %d", n, maxHoles)
	}
	for i := range 2 * maxProducers {
		_, _ = m.take(strconv.Itoa(i), 1, 1, int64(100+i))
	}
	if n := len(m.byProducer); n != maxProducers {
		t.Errorf("%d producers remembered, want %d", n, maxProducers)
	}
	if got, _ := m.take(strconv.Itoa(2*maxProducers-1), 1, 1, 1e6); !got.repeated {
		t.Error("the newest producer was forgotten")
	}
}

func TestOneSourceFeedsTheEngine(t *testing.T) {
	const second = int64(1e9)
	type step struct {
		source event.Source
		id     string
		at     int64 // seconds
		want   bool  // shadowed
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"a lone access log feeds", []step{
			{event.SourceAccessLog, "a:1", 1, false}, {event.SourceAccessLog, "a:2", 2, false},
		}},
		{"the enforcer keeps the others out", []step{
			{event.SourceEnforcer, "1", 1, false},
			{event.SourceEBPF, "1", 1, true},
			{event.SourceAccessLog, "a:1", 1, true},
			{event.SourceEBPF, "9", 60, true},
		}},
		{"until it is silent", []step{
			{event.SourceEnforcer, "1", 1, false}, {event.SourceEBPF, "2", 100, true}, {event.SourceEBPF, "3", 122, false},
		}},
		{"a copy that came first is matched by id", []step{
			{event.SourceEBPF, "1", 1, false},
			{event.SourceEnforcer, "1", 1, true},
			{event.SourceEnforcer, "2", 2, false},
			{event.SourceEBPF, "2", 2, true},
		}},
		{"ebpf comes before the access log", []step{
			{event.SourceAccessLog, "a:1", 1, false}, {event.SourceEBPF, "1", 2, false}, {event.SourceAccessLog, "a:2", 3, true},
		}},
		{"replayed events always feed", []step{
			{event.SourceEnforcer, "1", 1, false}, {event.SourceReplay, "2", 1, false},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p preference
			for i, s := range c.steps {
				// The state survives a snapshot at any step.
				var w stateWriter
				p.appendTo(&w)
				r := &stateReader{buf: w.buf}
				var q preference
				if q.readFrom(r); r.err != nil || len(r.buf) != 0 {
					t.Fatal(r.err)
				}
				p = q
				ev := &event.Event{ID: s.id, Source: s.source, Site: "shop", Time: 1_000*second + s.at*second}
				if got := p.shadowed(ev); got != s.want {
					t.Errorf("step %d, %v %s: shadowed %v", i, s.source, s.id, got)
				}
			}
		})
	}
	var p preference
	for i := range 3 * maxRecentIDs {
		p.shadowed(&event.Event{ID: strconv.Itoa(i), Source: event.SourceAccessLog, Site: fmt.Sprint("s", i), Time: int64(i + 1)})
	}
	if len(p.fed) != maxRecentIDs || p.recent != nil || len(p.sites) != maxSites {
		t.Errorf("%d ids, %d sites remembered, %d to look up", len(p.fed), len(p.sites), len(p.recent))
	}
	id := func(i int) uint64 {
		return requestHash(&event.Event{ID: strconv.Itoa(i), Site: fmt.Sprint("s", i)})
	}
	if last := 3*maxRecentIDs - 1; !p.wasFed(id(last)) || p.wasFed(id(last-maxRecentIDs)) {
		t.Error("the newest ids are to be remembered, and no others")
	}
	p.remember(&event.Event{ID: "a", Site: "s"}) // from now on the look-up follows
	if oldest := 2 * maxRecentIDs; p.wasFed(id(oldest)) || !p.wasFed(id(oldest+1)) || len(p.recent) != maxRecentIDs {
		t.Errorf("the oldest id stays, or others went: %d to look up", len(p.recent))
	}
	flagged := &event.Event{Flags: event.FlagShadowed, Source: event.SourceReplay}
	if !p.shadowed(flagged) {
		t.Error("an event that its collector flagged feeds the engine")
	}
}

func TestSecondReadingsTakeTurns(t *testing.T) {
	turn := newTurns()
	if !turn.take(t.Context()) || turn.over(time.Now().Add(-time.Hour)) {
		t.Fatal("a lone reading must not be hurried")
	}
	got := make(chan bool)
	go func() { got <- turn.take(t.Context()) }()
	waitFor(t, "somebody waiting", func() bool { return turn.waiting.Load() == 1 })
	if !turn.over(time.Now().Add(-readSlice-1)) || turn.over(time.Now()) || turn.over(time.Time{}) {
		t.Error("a turn ends after its slice, counted from its first row")
	}
	turn.release()
	if !<-got {
		t.Error("the turn was not passed on")
	}
}
