package stream

import (
	"context"
	"sync"
	"time"
)

// cursor is an offset that only rises and that others wait for.
type cursor struct {
	mu      sync.Mutex
	at      int64
	changed chan struct{}
}

func newCursor(at int64) *cursor { return &cursor{at: at, changed: make(chan struct{})} }

func (c *cursor) load() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *cursor) set(at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at > c.at {
		c.at = at
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// wait returns true once the cursor is at or past at, false when ctx ends first.
func (c *cursor) wait(ctx context.Context, at int64) bool {
	for {
		c.mu.Lock()
		now, changed := c.at, c.changed
		c.mu.Unlock()
		if now >= at {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// pause waits for d or until ctx ends, and reports whether ctx is still good.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// backoff doubles from first up to most.
type backoff struct{ next, first, most time.Duration }

func (b *backoff) wait(ctx context.Context) bool {
	if b.next == 0 {
		b.next = b.first
	}
	d := b.next
	b.next = min(2*b.next, b.most)
	return pause(ctx, d)
}
