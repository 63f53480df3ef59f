package stream

import (
	"errors"
	"sync"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/wire"
)

// lane gathers the events of one partition.
type lane struct {
	partition int32

	mu       sync.Mutex
	open     *batch
	full     []*batch
	next     uint64 // number of the next event
	inFlight int
	sent     time.Time // when a record was last handed to the client
	closed   bool
}

// batch is one record in the making.
type batch struct {
	encoder *wire.Encoder
	first   uint64
	bytes   int64
	sources [numSources]uint32
}

func (b *batch) events() (n uint32) {
	for _, s := range b.sources {
		n += s
	}
	return n
}

// add takes one event. wake asks for the sender; a cause says why the event is
// lost.
func (l *lane) add(p *Producer, ev *event.Event, size int64) (wake bool, cause string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false, LostClosed
	}
	for {
		if l.open == nil {
			l.open = &batch{encoder: p.encoders.Get().(*wire.Encoder), first: l.next} // the pool holds nothing else
			wake = true
		}
		err := l.open.encoder.Append(ev)
		if err == nil {
			break
		}
		if !errors.Is(err, wire.ErrFull) || l.open.encoder.Len() == 0 {
			return wake, LostTooLarge
		}
		l.full = append(l.full, l.open)
		l.open = nil
	}
	l.next++
	l.open.bytes += size
	l.open.sources[sourceIndex(ev.Source)]++
	return wake, ""
}

// due takes the batches to send now: full ones, and the open one when linger has
// passed since the last record. wait is when the open one will be due.
func (l *lane) due(now time.Time, linger time.Duration, all bool) (out []*batch, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.full) > 0 && l.inFlight < maxInFlight {
		out = append(out, l.full[0])
		l.full = l.full[1:]
		l.inFlight++
	}
	if l.open != nil && l.open.encoder.Len() > 0 && l.inFlight < maxInFlight {
		if wait = l.sent.Add(linger).Sub(now); wait <= 0 || all {
			out = append(out, l.open)
			l.open, wait = nil, 0
			l.inFlight++
		}
	}
	if len(out) > 0 {
		l.sent = now
	}
	return out, wait
}

// landed says that a record is settled; true when others wait for its place.
func (l *lane) landed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	return l.open != nil || len(l.full) > 0
}

func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

// rest empties the lane.
func (l *lane) rest() []*batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.full
	if l.open != nil {
		out = append(out, l.open)
	}
	l.full, l.open = nil, nil
	return out
}
