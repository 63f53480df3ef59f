package stream

import (
	"sync"
	"time"
)

// chunk is one record on its way to the store: the record with the engine's
// rows, and the offset after it. A chunk without rows only moves the cursor.
type chunk struct {
	stored Stored
	rows   int
	offset int64
	next   int64
}

func (c *chunk) bytes() int { return c.stored.Record.bytes() + c.rows*rowBytes }

const rowBytes = 24

// backlog holds what the engine cursor has passed and the store cursor has not
// taken. Policy when it is full: from there on only the offset is remembered
// (gap), and the store cursor reads the log again when it gets there. So the
// engine never waits for the store, and memory stays within limit.
type backlog struct {
	mu     sync.Mutex
	chunks []chunk
	bytes  int
	limit  int
	// next is the engine cursor as far as this queue has been told.
	next int64
	// from is where keeping resumed: the second reading had what is below.
	from int64
	// gap is the first offset that was not kept; -1 when none is missing.
	gap  int64
	wake chan struct{}
}

func newBacklog(limit int, next, gap int64) *backlog {
	return &backlog{limit: limit, next: next, gap: gap, wake: make(chan struct{}, 1)}
}

// add is called by the engine cursor in offset order. It never blocks. A chunk
// that is not kept is deferred: it will be read again; or the second reading has
// had it.
func (b *backlog) add(c chunk) (kept, deferred bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = c.next
	switch {
	case b.gap >= 0:
		return false, true
	case c.offset < b.from:
		return false, false
	case b.bytes+c.bytes() > b.limit && len(b.chunks) > 0:
		b.gap, deferred = c.offset, true
	default:
		b.chunks = append(b.chunks, c)
		b.bytes += c.bytes()
		kept = true
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return kept, deferred
}

// pop takes the oldest chunk. When there is none, gap is the offset from which
// the log must be read again, or -1.
func (b *backlog) pop() (c chunk, ok bool, gap int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.chunks) == 0 {
		return chunk{}, false, b.gap
	}
	c = b.chunks[0]
	b.chunks[0] = chunk{} // let the record go
	b.chunks = b.chunks[1:]
	if len(b.chunks) == 0 {
		b.chunks = nil
	}
	b.bytes -= c.bytes()
	return c, true, -1
}

// reopen keeps chunks again if the reader at offset at is within distance
// records of the engine cursor, and returns the offset where they will begin:
// the engine cursor, or at, when the reader has overtaken it.
func (b *backlog) reopen(at, distance int64) (from int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next-at > distance {
		return 0, false
	}
	b.gap, b.from = -1, max(b.next, at)
	return b.from, true
}

// forget drops what was kept since reopen: the second reading ended at offset at,
// before it had reached what is kept, and begins there again.
func (b *backlog) forget(at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chunks, b.bytes, b.gap = nil, 0, at
}

// oldest returns the log time of the oldest waiting chunk.
func (b *backlog) oldest() (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.chunks) == 0 {
		return time.Time{}, false
	}
	return b.chunks[0].stored.Record.Time, true
}

func (b *backlog) size() (bytes int, gapped bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes, b.gap >= 0
}
