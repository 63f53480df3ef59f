package wire

import (
	"strings"
	"testing"

	"github.com/weirproject/weir/stream/event"
)

// TestFullKeepsRoomForAnyEvent adds events of every size while the encoder says
// that it is not full: none of them is refused, and no record is too long.
func TestFullKeepsRoomForAnyEvent(t *testing.T) {
	for _, c := range []struct {
		name   string
		events int
		size   func(i int) int
	}{
		{"small", 12_000, func(int) int { return 40 }},
		{"greatest", 100, func(int) int { return MaxEventBytes }},
		{"mixed", 300, func(i int) int { return i * 7919 % MaxEventBytes }},
		{"last is long", 12_000, func(i int) int { return max(20, (i%1000-998)*MaxEventBytes) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := NewEncoder(EncoderConfig{})
			records, events := 0, 0
			for i := range c.events {
				if e.Full() {
					events += e.Len()
					if rec, ok := e.Flush("p", 1); !ok || len(rec.Value) > 900_000 {
						t.Fatalf("record of %d bytes, %v", len(rec.Value), ok)
					}
					records++
				}
				ev := event.Event{Time: int64(i), UserAgent: strings.Repeat(string(rune('a'+i%26)), c.size(i))}
				if err := e.Append(&ev); err != nil {
					t.Fatalf("event %d of %d bytes: %v", i, c.size(i), err)
				}
			}
			if records == 0 || events == 0 {
				t.Fatal("never full")
			}
			t.Logf("%d events a record", events/records)
		})
	}
}
