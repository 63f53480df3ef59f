package stream

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestAnEmptyInboxIsFetchedFor fills and empties an inbox from two sides: however
// they meet, what was paused goes on once there is room.
func TestAnEmptyInboxIsFetchedFor(t *testing.T) {
	var on atomic.Bool
	on.Store(true)
	pauses := 0
	b := newInbox(1, 0, func(fetch bool) {
		if !fetch {
			pauses++
		}
		on.Store(fetch)
	})
	for i := range 20_000 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.put([]Record{{Offset: int64(i), Value: []byte("longer than the limit")}}, 0)
		}()
		recs, ok := b.take(t.Context(), 0)
		if !ok || len(recs) != 1 {
			t.Fatalf("%d records, %v", len(recs), ok)
		}
		<-done
		if !on.Load() {
			t.Fatalf("round %d: the inbox is empty and nothing is fetched for it", i)
		}
	}
	if pauses != 20_000 {
		t.Errorf("%d pauses, want one for each record", pauses)
	}
}

func TestAClosedInboxPausesNothing(t *testing.T) {
	on := true
	b := newInbox(1, 0, func(fetch bool) { on = fetch })
	full := []Record{{Value: []byte("longer than the limit")}}
	if b.put(full, 0); on {
		t.Error("a full inbox is fetched for")
	}
	if b.close(); !on {
		t.Error("the partition stays paused for its next owner")
	}
	if b.put(full, 0); !on {
		t.Error("records of the former owner pause the next one's fetches")
	}
	if recs, _ := b.take(t.Context(), time.Nanosecond); len(recs) > 0 {
		t.Errorf("%d records in a closed inbox", len(recs))
	}
}
