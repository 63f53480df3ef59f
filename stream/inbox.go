package stream

import (
	"context"
	"sync"
	"time"
)

// inbox holds fetched records until the engine takes them. Its bound is kept by
// pausing the partition's fetches: nothing is dropped, the log keeps the rest.
type inbox struct {
	mu     sync.Mutex
	recs   []Record
	bytes  int
	limit  int
	paused bool
	// end is the log's end as the last fetch saw it.
	end    int64
	wake   chan struct{}
	resume func()
}

func newInbox(limit int, end int64, resume func()) *inbox {
	return &inbox{limit: limit, end: end, wake: make(chan struct{}, 1), resume: resume}
}

// put adds records and reports whether fetching must pause now.
func (b *inbox) put(recs []Record, end int64) (pause bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = max(end, b.end)
	for i := range recs {
		b.bytes += recs[i].bytes()
	}
	b.recs = append(b.recs, recs...)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	if b.bytes > b.limit && !b.paused {
		b.paused = true
		return true
	}
	return false
}

// take returns all waiting records, none when idle is over first, and false
// when ctx ended. A zero idle waits without limit.
func (b *inbox) take(ctx context.Context, idle time.Duration) ([]Record, bool) {
	var timeout <-chan time.Time
	if idle > 0 {
		t := time.NewTimer(idle)
		defer t.Stop()
		timeout = t.C
	}
	for {
		if ctx.Err() != nil {
			return nil, false
		}
		if recs := b.grab(); recs != nil {
			return recs, true
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-timeout:
			return nil, true
		case <-b.wake:
		}
	}
}

func (b *inbox) grab() []Record {
	b.mu.Lock()
	recs, resume := b.recs, b.paused
	b.recs, b.bytes, b.paused = nil, 0, false
	b.mu.Unlock()
	if resume {
		b.resume()
	}
	return recs
}

func (b *inbox) logEnd() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end
}
