package stream

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/weirproject/weir/stream/event"
)

func TestMarks(t *testing.T) {
	var m marks
	for i, c := range []struct {
		producer     string
		first        uint64
		count        int
		wantRepeated bool
		wantMissing  uint64
		wantErr      bool
	}{
		{"a", 1, 10, false, 0, false},
		{"a", 11, 5, false, 0, false},
		{"a", 1, 10, true, 0, false}, // sent again after a broker's death
		{"a", 11, 5, true, 0, false},
		{"b", 1, 3, false, 0, false},
		{"a", 20, 5, false, 4, false}, // 16..19 expired
		{"a", 22, 5, false, 0, true},  // overlaps
		{"c", 500, 1, false, 0, false},
		{"a", 25, 1, false, 0, false},
	} {
		repeated, missing, err := m.take(c.producer, c.first, c.count, int64(i))
		if repeated != c.wantRepeated || missing != c.wantMissing || (err != nil) != c.wantErr {
			t.Errorf("record %d: repeated %v, missing %d, err %v", i, repeated, missing, err)
		}
	}
	for i := range 2 * maxProducers {
		_, _, _ = m.take(strconv.Itoa(i), 1, 1, int64(100+i))
	}
	if n := len(m.byProducer); n != maxProducers {
		t.Errorf("%d producers remembered, want %d", n, maxProducers)
	}
	if repeated, _, _ := m.take(strconv.Itoa(2*maxProducers-1), 1, 1, 1e6); !repeated {
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
	if len(p.fed) != maxRecentIDs || len(p.recent) != maxRecentIDs || len(p.sites) != maxSites {
		t.Errorf("%d ids, %d sites remembered", len(p.fed), len(p.sites))
	}
	flagged := &event.Event{Flags: event.FlagShadowed, Source: event.SourceReplay}
	if !p.shadowed(flagged) {
		t.Error("an event that its collector flagged feeds the engine")
	}
}
