package ingress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// errMalformedBody ends a request whose chunked body is malformed.
var errMalformedBody = errors.New("malformed request body")

// h2cPreface begins an HTTP/2 connection (RFC 9113 section 3.4).
const h2cPreface = "PRI * HTTP/2.0\r\n\r\n"

// readBuffer is a connection's read buffer in bytes; a larger head grows it.
const readBuffer = 4096

// limits bound what a connection may send.
type limits struct {
	headLimit, maxFields int
	headTimeout, idle    time.Duration
}

// h1Conn is a client's HTTP/1 connection. One goroutine reads a head, checks it
// against the strict grammar of head.parse, serves the request, and goes on with
// the next. The body is delivered without its framing; where it ends the next
// head begins, so that no message is ever framed in two ways.
//
// Pipelined requests wait in buf and are served in order.
type h1Conn struct {
	conn   net.Conn // a baseConn, or a tls.Conn on one
	s      *Server
	front  *front
	limits limits
	info   *connInfo
	state  atomic.Int32 // connIdle and so on
	since  time.Time    // ready for its first request

	head    head
	buf     []byte // buf[r:] is read and not consumed
	r       int
	scanned int       // buf[r:r+scanned] holds only complete, checked lines
	line    int       // start of the current line, relative to r
	begun   time.Time // when the head's first byte came, then when it was whole
	handed  bool      // the connection is net/http's now

	// The body. A second goroutine reads it while it streams.
	remain   int64
	received int64
	waited   time.Time // first wait for it
	chunks   chunkDecoder
	expect   bool        // the client waits for 100 (Continue)
	ended    atomic.Bool // the body was read to its end
	bad      atomic.Bool // its framing was malformed

	answering

	// mu guards what the reading goroutine shares with the serving one.
	mu       sync.Mutex
	stopped  bool      // reads fail from now on
	applied  time.Time // read deadline in force
	wanted   bool      // the exchange wants to know when the client leaves
	watching chan struct{}
	left     bool // the client left
	ctx      context.Context
	cancel   context.CancelFunc
}

// The states of a connection, for a stop: one that waits for a request may be
// closed, one that serves a request may not.
const (
	connNew int32 = iota
	connIdle
	connBusy
	connClosed
)

func newH1Conn(f *front, conn net.Conn, info *connInfo, cfg Config) *h1Conn {
	hc := &h1Conn{conn: conn, s: f.s, front: f, info: info, since: time.Now(), limits: limits{
		headLimit: cfg.HeadLimit, maxFields: cfg.MaxFields, headTimeout: cfg.Timeouts.Header, idle: cfg.Timeouts.Idle,
	}}
	hc.ended.Store(true)
	return hc
}

// serve serves requests until the connection ends, and closes it.
func (c *h1Conn) serve() {
	defer c.shut()
	defer func() {
		if p := recover(); p != nil {
			c.broken = true
			c.s.metrics.faults.WithLabelValues("serve").Inc()
			c.s.log.Error("serving a connection panicked", "client", c.info.address, "panic", p)
		}
	}()
	for wait := c.limits.headTimeout; c.next(wait); wait = c.limits.idle {
		c.s.serveH1(c)
		if !c.done() {
			return
		}
	}
}

// next reads the head of the next request, waiting for its first byte up to wait.
// false: the connection is over, and what there was to answer is answered.
func (c *h1Conn) next(wait time.Duration) bool {
	deadline := time.Now().Add(wait)
	for reads := 0; ; reads++ {
		c.skipEmptyLines()
		if len(c.buf) > c.r {
			if c.begun.IsZero() {
				if !c.state.CompareAndSwap(connIdle, connBusy) && !c.state.CompareAndSwap(connNew, connBusy) {
					return false
				}
				c.begun = time.Now()
				deadline = c.begun.Add(c.limits.headTimeout)
			}
			if c.isPreface() {
				c.handOver()
				return false
			}
			end, bad := c.scanLines()
			if bad == causeNone && end == 0 && len(c.buf)-c.r > c.limits.headLimit {
				bad = causeHeadTooLarge
			}
			if bad == causeNone && end > 0 {
				if bad = c.accept(end); bad == causeNone {
					if reads > 1 {
						c.begun = time.Now() // the head came in pieces
					}
					return true
				}
			}
			if bad != causeNone {
				c.refuse(bad)
				return false
			}
		}
		if err := c.fill(deadline); err != nil {
			if len(c.buf) > c.r && errors.Is(err, os.ErrDeadlineExceeded) {
				c.refuse(causeHeadTimeout)
			}
			return false
		}
	}
}

// skipEmptyLines drops empty lines before a request line (RFC 9112 section 2.2).
func (c *h1Conn) skipEmptyLines() {
	for c.scanned == 0 && len(c.buf)-c.r >= 2 && c.buf[c.r] == '\r' && c.buf[c.r+1] == '\n' {
		c.r += 2
	}
}

// isPreface recognises HTTP/2 with prior knowledge, before any HTTP/1 request.
func (c *h1Conn) isPreface() bool {
	return c.head.size == 0 && !c.info.secure && len(c.buf)-c.r >= len(h2cPreface) &&
		string(c.buf[c.r:c.r+len(h2cPreface)]) == h2cPreface
}

// scanLines checks line ends up to the empty line and returns the head's length.
func (c *h1Conn) scanLines() (end int, bad cause) {
	b := c.buf[c.r:]
	if !tokenByte[b[0]] {
		if b[0] == 0x16 {
			return 0, causeTLSOnPlain
		}
		if b[0] != '\r' { // "\r" alone may be the start of an empty line
			return 0, causeRequestLine
		}
	}
	for {
		i := bytes.IndexByte(b[c.scanned:], '\n')
		if i < 0 {
			return 0, causeNone
		}
		lf := c.scanned + i
		if lf == 0 || b[lf-1] != '\r' {
			return 0, causeBareLF
		}
		c.scanned = lf + 1
		if lf-1 == c.line {
			return c.scanned, causeNone
		}
		c.line = c.scanned
	}
}

// accept checks the head of end bytes and prepares for its body.
func (c *h1Conn) accept(end int) cause {
	if end > c.limits.headLimit {
		return causeHeadTooLarge
	}
	if bad := c.head.parse(string(c.buf[c.r:c.r+end]), c.limits.maxFields); bad != causeNone {
		return bad
	}
	c.r += end
	c.scanned, c.line, c.received = 0, 0, 0
	c.remain, c.waited = max(c.head.length, 0), time.Time{}
	if c.head.chunked {
		c.chunks = chunkDecoder{section: c.chunks.section[:0]}
	}
	body := c.head.chunked || c.remain > 0
	c.ended.Store(!body)
	c.expect = c.head.expect && body && !c.head.http10
	return causeNone
}

// fill reads once into buf, until deadline at the latest.
func (c *h1Conn) fill(deadline time.Time) error {
	if c.r > 0 && c.r == len(c.buf) {
		c.buf, c.r = c.buf[:0], 0
	}
	if len(c.buf) == cap(c.buf) {
		grown := make([]byte, len(c.buf)-c.r, max(readBuffer, 2*(len(c.buf)-c.r)))
		copy(grown, c.buf[c.r:])
		c.buf, c.r = grown, 0
	}
	n, err := c.read(c.buf[len(c.buf):cap(c.buf)], deadline)
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}

// Read reads the body without its framing, to io.EOF at its end.
func (c *h1Conn) Read(p []byte) (int, error) {
	if c.ended.Load() {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if c.bad.Load() {
		return 0, errMalformedBody
	}
	if c.head.chunked {
		return c.readChunked(p)
	}
	n, err := c.readBody(p[:min(int64(len(p)), c.remain)])
	if c.remain -= int64(n); c.remain == 0 {
		c.bodyEnded()
	}
	return n, err
}

// readChunked decodes in place: data never outgrow the bytes that frame them.
func (c *h1Conn) readChunked(p []byte) (int, error) {
	for {
		n, err := c.readBody(p)
		data, used, done, bad := c.chunks.decode(p[:n])
		switch {
		case bad != causeNone:
			c.s.metrics.reject(bad)
			c.bad.Store(true)
			return 0, fmt.Errorf("%w: %s", errMalformedBody, bad)
		case done:
			if used < n { // the next message's bytes go back
				c.buf = append(append(c.buf[:0:0], p[used:n]...), c.buf[c.r:]...)
				c.r = 0
			}
			c.bodyEnded()
			if data == 0 {
				return 0, io.EOF
			}
			return data, nil
		case data > 0 || err != nil:
			return data, err
		}
	}
}

// readBody reads body bytes as they come. A client that stalls for the idle time,
// or sends a declared length slower than 500 bytes a second on average, is cut
// off.
func (c *h1Conn) readBody(p []byte) (int, error) {
	if n := len(c.buf) - c.r; n > 0 {
		n = copy(p, c.buf[c.r:])
		c.r += n
		c.received += int64(n)
		return n, nil
	}
	now := time.Now()
	if c.waited.IsZero() {
		c.waited = now
	}
	deadline := now.Add(c.limits.idle)
	if !c.head.chunked {
		if slow := c.waited.Add(c.limits.idle + time.Duration(c.received)*(time.Second/500)); slow.Before(deadline) {
			deadline = slow
		}
	}
	n, err := c.read(p, deadline)
	c.received += int64(n)
	if n > 0 {
		return n, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.isStopped() {
		c.s.metrics.reject(causeBodyTimeout)
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// trailers returns the trailer section of a chunked body that ended.
func (c *h1Conn) trailers() []flow.Field { return c.chunks.fields }

// announced returns the names in the request's Trailer fields.
func (c *h1Conn) announced() (names []string) {
	for _, f := range c.head.fields {
		if len(f.Name) == 7 && foldEqual(f.Name, "trailer") {
			names = appendTokens(names, f.Value)
		}
	}
	return names
}

// proceed asks a client that waits for 100 (Continue) for its body. One that sent
// some of it does not wait.
func (c *h1Conn) proceed() {
	if c.expect && len(c.buf) == c.r {
		_, _ = c.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")) // a failure shows at the next read
	}
	c.expect = false
}

func (c *h1Conn) malformed() bool { return c.bad.Load() }

// done readies the connection for its next request; false: it ends.
func (c *h1Conn) done() bool {
	c.unwatch()
	if c.closing || c.broken || c.left || c.stopped || c.bad.Load() {
		return false
	}
	if !c.ended.Load() && (c.expect || !c.discard()) {
		return false
	}
	// An idle connection keeps no head alive and no large buffer.
	c.begun, c.chunks.fields = time.Time{}, nil
	clear(c.head.fields)
	c.head = head{fields: c.head.fields[:0], size: c.head.size}
	if c.r == len(c.buf) && cap(c.buf) > 4*readBuffer {
		c.buf, c.r = nil, 0
	}
	return c.state.CompareAndSwap(connBusy, connIdle)
}

// discardLimit bounds the rest of a body that is read, after an answer that did
// not need it, to keep the connection; net/http's server has the same.
const discardLimit = 256 << 10

func (c *h1Conn) discard() bool {
	if c.remain > discardLimit {
		return false
	}
	p := copyBuffers.Get().(*[]byte) //nolint:forcetypeassert // the pool's New
	defer copyBuffers.Put(p)
	for left := discardLimit; left > 0; {
		n, err := c.Read(*p)
		left -= n
		if err != nil {
			return errors.Is(err, io.EOF)
		}
	}
	return false
}

// refuse answers a bad head. Nothing of it goes any further.
func (c *h1Conn) refuse(bad cause) {
	c.ended.Store(false) // what follows is unread
	_, _ = c.conn.Write(c.s.rejectHead(bad))
}

// handOver gives a connection that speaks HTTP/2 to net/http.
func (c *h1Conn) handOver() {
	_ = c.conn.SetReadDeadline(time.Time{})
	c.handed = true
	c.front.hand(&prefaceConn{Conn: c.conn, early: slices.Clone(c.buf[c.r:]), info: c.info})
}

// shut closes the connection. After a rejection or an answer before the input's
// end it first reads on for a moment: a close with unread input resets the
// connection and may take the answer with it before the client read it (RFC 9112
// section 9.6).
func (c *h1Conn) shut() {
	c.unwatch() // after a panic; done did it otherwise
	c.release()
	if c.handed {
		return
	}
	unread := !c.ended.Load() || len(c.buf) > c.r
	if unread && !c.broken && !c.s.hard.Load() && closeWrite(c.conn) == nil {
		_ = c.conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.conn, lingerBytes)
	}
	if c.broken && c.untilClose { // an orderly end would complete the answer
		c.info.base.reset()
	}
	_ = c.conn.Close()
}

// lingerTime and lingerBytes bound the wait for a client to read an early answer.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 8 << 20
)
