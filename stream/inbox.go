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
	closed bool
	// end is the log's end as the last fetch saw it.
	end  int64
	wake chan struct{}
	// fetch lets the partition be fetched, or not. It is called with mu held, so
	// that of two changes the later one stays.
	fetch func(on bool)
}

func newInbox(limit int, end int64, fetch func(on bool)) *inbox {
	return &inbox{limit: limit, end: end, wake: make(chan struct{}, 1), fetch: fetch}
}

// put adds records; those for a closed inbox are the next owner's, who fetches
// them again.
func (b *inbox) put(recs []Record, end int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
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
		b.fetch(false)
	}
}

// close drops what waits and lets the partition be fetched, for whoever owns it
// next.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.recs = true, nil
	b.fetch(true)
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
	defer b.mu.Unlock()
	recs := b.recs
	b.recs, b.bytes = nil, 0
	if b.paused {
		b.paused = false
		b.fetch(true)
	}
	return recs
}

func (b *inbox) logEnd() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end
}
