package ingress

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// upBuffer is the read buffer of an upstream connection in bytes.
const upBuffer = 16 << 10

// firstWait is how long a read waits before it is tied to the client's context:
// most answers come sooner, and tying costs allocations.
const firstWait = 250 * time.Millisecond

// errClientGone: the client went away while the upstream was working.
var errClientGone = errors.New("client closed the connection")

// errUpstreamTimeout: the upstream did not answer in time.
var errUpstreamTimeout = errors.New("upstream timed out")

// upConn is one connection to an upstream. One request uses it at a time, from
// one goroutine (a second one only writes a streamed body).
type upConn struct {
	conn      net.Conn
	reused    bool
	idleSince time.Time
	out       []byte // the request's head and small body, kept for its capacity
	unsent    []byte // what of out goes out with the next read
	writeErr  error  // of that

	buf  []byte // buf[r:w] is read and not consumed
	r, w int
	got  bool // bytes of this response arrived

	deadline time.Time // read deadline in force
	stop     func() bool
}

func newUpConn(c net.Conn) *upConn {
	return &upConn{conn: c, buf: make([]byte, upBuffer)}
}

// waiter is what a read waits with.
type waiter struct {
	client client
	// limit bounds the wait for one read; 0 is none.
	limit time.Duration
	// x is told of waits while a body streams; nil before that.
	x *exchange
	// eager: what was written goes out before every read that may wait; else only
	// when a wait becomes long.
	eager bool
}

// fill reads once into the buffer, growing it up to maxSize when it is full.
func (c *upConn) fill(wt *waiter, maxSize int) error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		if c.r > 0 {
			copy(c.buf, c.buf[c.r:c.w])
			c.w -= c.r
			c.r = 0
		} else if len(c.buf) >= maxSize {
			return errResponseHead
		} else {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
	}
	n, err := c.read(wt, c.buf[c.w:])
	c.w += n
	return err
}

// read waits for bytes: first a short while on a plain deadline, then tied to
// the client's context, so that a client's leaving ends the request upstream.
func (c *upConn) read(wt *waiter, p []byte) (int, error) {
	if wt.eager {
		wt.client.flush()
	}
	now := time.Now()
	if c.stop == nil {
		step := firstWait
		if wt.limit > 0 && wt.limit < step {
			step = wt.limit
		}
		if until := c.deadline.Sub(now); until < step/2 || until > step {
			c.deadline = now.Add(step)
			_ = c.conn.SetReadDeadline(c.deadline)
		}
		n, err := c.ask(p)
		if n > 0 {
			c.got = true
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, orEOF(err)
		}
		if wt.x != nil {
			wt.x.slow()
			wt.client.flush()
			wt.eager = true
		}
		wt.client.watch()
		conn := c.conn
		c.stop = context.AfterFunc(wt.client.context(), func() { _ = conn.Close() })
	}
	c.deadline = time.Time{}
	if wt.limit > 0 {
		c.deadline = now.Add(wt.limit)
	}
	_ = c.conn.SetReadDeadline(c.deadline)
	n, err := c.conn.Read(p)
	switch {
	case n > 0:
		c.got = true
		return n, nil
	case wt.client.gone():
		return 0, errClientGone
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, errUpstreamTimeout
	}
	return 0, orEOF(err)
}

// ask sends what is unsent and reads.
func (c *upConn) ask(p []byte) (n int, err error) {
	q := c.unsent
	if q == nil {
		return c.conn.Read(p)
	}
	c.unsent = nil
	if s, ok := c.conn.(*socket); ok {
		n, c.writeErr, err = s.converse(q, p)
		return n, err
	}
	_, c.writeErr = c.conn.Write(q)
	return c.conn.Read(p)
}

func orEOF(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// release unties the connection from the client's context. It reports false
// when the context's end is closing the connection.
func (c *upConn) release() bool {
	if c.stop == nil {
		return true
	}
	ok := c.stop()
	c.stop = nil
	return ok
}

// reset prepares for the next request.
func (c *upConn) reset() {
	c.got, c.unsent, c.writeErr = false, nil, nil
	if cap(c.out) > 64<<10 {
		c.out = nil
	}
	if len(c.buf) > upBuffer {
		c.buf = make([]byte, upBuffer)
	}
}
