// Package assembly turns the records of connections into HTTP exchanges: it
// puts the bytes of each direction in order of position, frames HTTP/1.1
// messages, and pairs requests with responses.
//
// It promises bounded memory whatever the peers send (connections, messages in
// flight per connection and bytes per message each have a bound), that it
// never panics on any input, that a message cut by the capture budget becomes an
// event with a flag and not silence, and that what it cannot pair is counted by
// cause. It reads no clock and starts no goroutine.
package assembly

import (
	"time"

	"github.com/weirproject/weir/collector/bpf"
	"github.com/weirproject/weir/stream/flow"
)

// Config of an Assembler.
type Config struct {
	// MessageBytes bounds the head and body prefix kept of one message; default
	// 8192.
	MessageBytes int
	// MaxConns bounds live connections; default 65536. Past it the one idle for
	// longest is evicted and counted.
	MaxConns int
	// Wall converts CLOCK_MONOTONIC nanoseconds to wall time.
	Wall func(monotonic uint64) time.Time
	// Node is written to each exchange; Workload names the process behind a
	// connection.
	Node     string
	Workload func(tgid uint32, comm string) string
}

const (
	defaultMessageBytes = 8192
	defaultMaxConns     = 65536
	// maxInFlight bounds the messages of one direction that wait for the other.
	maxInFlight = 64
	// lingerNanos is how long a closed connection waits for the records of its
	// last transfer, which another processor may still be writing.
	lingerNanos = 200_000_000
)

// Counters say what became of records and messages. Exchanges + Orphans +
// Incomplete is the number of messages pairs, halves and fragments seen.
type Counters struct {
	Records, Exchanges uint64
	// Orphans are responses without their request, Incomplete requests without
	// a response when the connection ended.
	Orphans, Incomplete uint64
	// Gaps are holes in a direction's positions, LostRecords what the kernel
	// said it dropped, Resyncs bytes skipped until a message starts.
	Gaps, LostRecords, Resyncs uint64
	// Truncated exchanges have a head or body that was cut, Evicted connections
	// and Overflowed messages fell to a bound.
	Truncated, Evicted, Overflowed uint64
	// Malformed messages do not parse as HTTP/1.
	Malformed uint64
}

// Assembler is for one goroutine. Use New.
type Assembler struct {
	cfg      Config
	out      func(*flow.Exchange)
	conns    map[uint64]*conn
	head     conn // ring of live connections, least recently used first
	closing  []closing
	messages []*message
	now      uint64
	sequence uint64
	x        flow.Exchange
	count    Counters
}

type closing struct {
	conn     *conn
	deadline uint64
}

type conn struct {
	id         uint64
	tgid       uint32
	open       bpf.Open
	dirs       [2]stream
	closed     bool
	prev, next *conn
}

// stream is one direction of a connection.
type stream struct {
	begun bool
	// pos is the position of the next byte expected.
	pos   uint64
	queue []*message
}

// New returns an assembler that calls out with each exchange; the exchange is
// valid until out returns.
func New(cfg Config, out func(*flow.Exchange)) *Assembler {
	if cfg.MessageBytes == 0 {
		cfg.MessageBytes = defaultMessageBytes
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = defaultMaxConns
	}
	a := &Assembler{cfg: cfg, out: out, conns: map[uint64]*conn{}}
	a.head.next, a.head.prev = &a.head, &a.head
	return a
}

// Counters returns the counts so far.
func (a *Assembler) Counters() Counters { return a.count }

// Live returns the number of connections held.
func (a *Assembler) Live() int { return len(a.conns) }

// Handle takes one record, in the order of the ring.
func (a *Assembler) Handle(r *bpf.Record) {
	a.count.Records++
	a.now = max(a.now, r.Time)
	a.expire()
	c := a.conns[r.Conn]
	if c == nil {
		if r.Kind == bpf.KindClose {
			return
		}
		c = a.admit(r)
	}
	a.touch(c)
	switch r.Kind {
	case bpf.KindOpen:
		c.open = r.Open()
	case bpf.KindData:
		if r.Flags&bpf.FlagLost != 0 {
			a.count.LostRecords += uint64(r.Lost)
		}
		a.data(c, r)
	case bpf.KindClose:
		if !c.closed {
			c.closed = true
			a.closing = append(a.closing, closing{conn: c, deadline: a.now + lingerNanos})
		}
	}
}

// Idle tells that the ring is empty at the given monotonic time, so that closed
// connections can be let go.
func (a *Assembler) Idle(monotonic uint64) {
	a.now = max(a.now, monotonic)
	a.expire()
}

// Flush ends every connection as if it had closed; for the end of a run.
func (a *Assembler) Flush() {
	for len(a.conns) > 0 {
		a.end(a.head.next)
	}
	a.closing = a.closing[:0]
}

func (a *Assembler) expire() {
	n := 0
	for n < len(a.closing) && a.closing[n].deadline <= a.now {
		if c := a.closing[n].conn; a.conns[c.id] == c {
			a.end(c)
		}
		n++
	}
	if n > 0 {
		a.closing = a.closing[:copy(a.closing, a.closing[n:])]
	}
}

func (a *Assembler) admit(r *bpf.Record) *conn {
	if len(a.conns) >= a.cfg.MaxConns {
		a.count.Evicted++
		a.end(a.head.next)
	}
	c := &conn{id: r.Conn, tgid: r.TGID}
	c.prev, c.next = c, c
	a.conns[r.Conn] = c
	return c
}

// touch moves c to the end of the ring: most recently used.
func (a *Assembler) touch(c *conn) {
	c.prev.next, c.next.prev = c.next, c.prev
	c.prev, c.next = a.head.prev, &a.head
	c.prev.next, c.next.prev = c, c
}

// end completes what a close completes and forgets the connection.
func (a *Assembler) end(c *conn) {
	if q := c.dirs[bpf.Out].queue; len(q) > 0 {
		if last := q[len(q)-1]; last.headBytes > 0 && !last.done {
			last.cut = last.cut || last.body != bodyUntilClose
			last.done = true // a response until close ends here
		}
	}
	a.pair(c)
	for d := range c.dirs {
		for _, m := range c.dirs[d].queue {
			if d == bpf.In {
				a.count.Incomplete++
			} else {
				a.count.Orphans++
			}
			a.release(m)
		}
		c.dirs[d].queue = nil
	}
	c.prev.next, c.next.prev = c.next, c.prev
	delete(a.conns, c.id)
}

// data puts a record's bytes at their position.
func (a *Assembler) data(c *conn, r *bpf.Record) {
	s := &c.dirs[r.Dir]
	pos, length, captured := r.Pos, uint64(r.Len), r.Data
	if !s.begun {
		s.begun, s.pos = true, pos
	}
	if pos < s.pos { // seen already
		skip := min(s.pos-pos, length)
		pos, length = pos+skip, length-skip
		captured = captured[min(skip, uint64(len(captured))):]
		if length == 0 {
			return
		}
	}
	if pos > s.pos { // records that were dropped
		a.count.Gaps++
		a.advance(c, s, r, nil, pos-s.pos, true)
	}
	a.advance(c, s, r, captured, length, false)
	s.pos = pos + length
}

// advance feeds n bytes of a stream, of which captured is a prefix.
func (a *Assembler) advance(c *conn, s *stream, r *bpf.Record, captured []byte, n uint64, gap bool) {
	response := r.Dir == bpf.Out
	for n > 0 {
		m := s.current()
		if m == nil {
			if !startsMessage(captured, response) {
				a.count.Resyncs++
				return
			}
			if len(s.queue) >= maxInFlight {
				a.count.Overflowed++
				return
			}
			m = a.acquire(r.Time)
			s.queue = append(s.queue, m)
		}
		m.last = r.Time
		used, usedCaptured := m.feed(captured, n, gap, a.cfg.MessageBytes, response, s.requestOf(c, m), r)
		captured, n = captured[usedCaptured:], n-used
		if m.malformed {
			a.count.Malformed++
			s.queue = s.queue[:len(s.queue)-1]
			a.release(m)
			return
		}
		if m.done {
			a.pair(c)
		}
		if used == 0 {
			return
		}
	}
}

// current is the message that is still being received, or nil.
func (s *stream) current() *message {
	if n := len(s.queue); n > 0 && !s.queue[n-1].done {
		return s.queue[n-1]
	}
	return nil
}

// requestOf returns the request that the response m of this stream answers, if
// it is held; nil for requests themselves.
func (s *stream) requestOf(c *conn, m *message) *message {
	if s != &c.dirs[bpf.Out] {
		return nil
	}
	n := 0 // final responses before m
	for _, x := range s.queue {
		if x == m {
			break
		}
		if !x.interim() {
			n++
		}
	}
	if q := c.dirs[bpf.In].queue; n < len(q) {
		return q[n]
	}
	return nil
}

// pair hands over the exchanges whose response is complete, in order.
func (a *Assembler) pair(c *conn) {
	in, out := &c.dirs[bpf.In], &c.dirs[bpf.Out]
	for len(out.queue) > 0 && out.queue[0].done {
		resp := out.queue[0]
		if resp.interim() {
			a.release(out.pop())
			continue
		}
		if len(in.queue) == 0 {
			a.count.Orphans++
			a.release(out.pop())
			continue
		}
		req := in.queue[0]
		if !req.done { // answered before its body ended
			req.done, req.partial = true, true
			if req.headBytes == 0 {
				req.headBytes, req.headCut, req.cut = len(req.bytes), true, true
			}
		}
		a.emit(c, req, resp)
		a.release(in.pop())
		a.release(out.pop())
	}
}

func (s *stream) pop() *message {
	m := s.queue[0]
	s.queue = s.queue[:copy(s.queue, s.queue[1:])]
	return m
}

func (a *Assembler) acquire(at uint64) *message {
	if n := len(a.messages); n > 0 {
		m := a.messages[n-1]
		a.messages = a.messages[:n-1]
		*m = message{bytes: m.bytes[:0], first: at}
		return m
	}
	return &message{bytes: make([]byte, 0, 1024), first: at}
}

func (a *Assembler) release(m *message) {
	if len(a.messages) < 1024 {
		a.messages = append(a.messages, m)
	}
}
