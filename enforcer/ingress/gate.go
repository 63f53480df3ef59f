package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errMalformedBody ends a request whose chunked body is malformed.
var errMalformedBody = errors.New("malformed request body")

// gateState is where in the stream of messages a frontConn stands.
type gateState uint8

const (
	gateHead gateState = iota
	gateLength
	gateChunked
	gateRaw  // HTTP/2, or a tunnel: bytes pass as they come
	gateDead // rejected: reads end, writes vanish
)

// h2cPreface begins an HTTP/2 connection (RFC 9113 section 3.4).
const h2cPreface = "PRI * HTTP/2.0\r\n\r\n"

// gate is what frontConns share.
type gate struct {
	headLimit, maxFields int
	headTimeout, idle    time.Duration
	hard                 *atomic.Bool // a stop whose time is over: no lingering
	// reject is told why a message was refused and returns the bytes to answer.
	reject func(c cause) []byte
}

// frontConn stands between a client's bytes and net/http's server. It reads a
// whole head, checks it against the strict grammar of head.parse, keeps it as it
// came for the handler, and only then lets net/http see a short form of it: the
// fields that steer the connection, since the handler works with the recorded
// ones and net/http's map of them would cost a quarter of the server's time. Then
// it follows the body's framing to where the next head begins. net/http so never
// parses a message that another parser might frame differently.
//
// Pipelining: net/http reads the next head only after the handler returned, so
// head is the current request's until then. Its background read of one byte
// during the handler gets that byte and nothing is parsed yet.
type frontConn struct {
	net.Conn
	gate *gate
	info *connInfo

	head head

	state    gateState
	buf      []byte // buf[r:] is read and not delivered
	r        int
	scanned  int    // buf[r:r+scanned] holds only complete, checked lines
	line     int    // start of the current line, relative to r
	short    []byte // the checked head as net/http gets it
	pending  []byte // what of short is still to deliver
	peeked   bool   // net/http has the first byte of the head already
	served   bool   // a head was delivered on this connection
	remain   int64
	received int64 // bytes of the current body
	chunks   chunkScanner
	begun    time.Time // first byte of the current head or body

	// Deadlines reach the socket only when a read really waits there: net/http
	// sets six for every request.
	mu      sync.Mutex
	wake    sync.Cond // on mu
	limit   time.Time // what net/http wants
	applied time.Time // what the socket has
	reading bool      // somebody is in Conn.Read
	own     bool      // and our own deadline is the one in force
	watched bool      // the handler wants to know when the client leaves
	closed  bool

	writeMu sync.Mutex
	dead    bool        // under writeMu
	linger  atomic.Bool // input that nobody will read may follow
}

func newFrontConn(c net.Conn, g *gate, info *connInfo) *frontConn {
	fc := &frontConn{Conn: c, gate: g, info: info}
	fc.wake.L = &fc.mu
	info.front = fc
	return fc
}

func (c *frontConn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.dead {
		return len(p), nil // net/http's own 400 after ours
	}
	return c.Conn.Write(p)
}

// CloseWrite ends our direction.
func (c *frontConn) CloseWrite() error { return closeWrite(c.Conn) }

// tunnel lets all further bytes pass unchecked, after a hijack.
func (c *frontConn) tunnel() {
	if c.peeked { // net/http gave that byte away with the hijack
		c.r++
		c.peeked = false
	}
	c.state = gateRaw
	c.linger.Store(false)
}

func (c *frontConn) Read(p []byte) (int, error) {
	for {
		switch c.state {
		case gateRaw:
			return c.readRaw(p)
		case gateLength:
			return c.readLength(p)
		case gateChunked:
			return c.readChunked(p)
		case gateDead:
			return 0, io.EOF
		case gateHead:
		}
		if len(c.pending) > 0 {
			return c.deliver(p), nil
		}
		if len(p) == 1 && !c.peeked {
			return c.peek(p)
		}
		if err := c.readHead(); err != nil {
			return 0, err
		}
	}
}

func (c *frontConn) readRaw(p []byte) (int, error) {
	if n := len(c.buf) - c.r; n > 0 {
		n = copy(p, c.buf[c.r:])
		c.r += n
		return n, nil
	}
	c.buf = nil
	return c.read(p, time.Time{})
}

// fill reads once into buf, until own at the latest.
func (c *frontConn) fill(own time.Time) error {
	if c.r > 0 && c.r == len(c.buf) {
		c.buf, c.r = c.buf[:0], 0
	}
	if len(c.buf) == cap(c.buf) {
		grown := make([]byte, len(c.buf)-c.r, max(4096, 2*(len(c.buf)-c.r)))
		copy(grown, c.buf[c.r:])
		c.buf, c.r = grown, 0
	}
	n, err := c.read(c.buf[len(c.buf):cap(c.buf)], own)
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}

// peek serves net/http's background read: the first byte of what follows the
// current request, which stays in buf for the check of its head.
func (c *frontConn) peek(p []byte) (int, error) {
	for c.skipEmptyLines(); len(c.buf) == c.r || len(c.buf) == c.r+1 && c.buf[c.r] == '\r'; c.skipEmptyLines() {
		if err := c.park(); err != nil {
			return 0, err
		}
		if err := c.fill(time.Time{}); err != nil {
			return 0, err
		}
	}
	c.peeked = true
	p[0] = c.buf[c.r]
	return 1, nil
}

// skipEmptyLines drops empty lines before a request line (RFC 9112 section 2.2).
func (c *frontConn) skipEmptyLines() {
	for !c.peeked && c.scanned == 0 && len(c.buf)-c.r >= 2 && c.buf[c.r] == '\r' && c.buf[c.r+1] == '\n' {
		c.r += 2
	}
}

// readHead reads on until buf holds a whole head and checks it.
func (c *frontConn) readHead() error {
	for {
		var own time.Time
		c.skipEmptyLines()
		if len(c.buf) > c.r {
			if c.begun.IsZero() {
				c.begun = time.Now()
			}
			if c.isPreface() {
				c.state = gateRaw
				return nil
			}
			if end, bad := c.scanLines(); bad != causeNone {
				return c.refuse(bad)
			} else if end > 0 {
				return c.acceptHead(end)
			}
			if len(c.buf)-c.r > c.gate.headLimit {
				return c.refuse(causeHeadTooLarge)
			}
			own = c.begun.Add(c.gate.headTimeout)
		}
		if err := c.fill(own); err != nil {
			if len(c.buf) > c.r && errors.Is(err, os.ErrDeadlineExceeded) { // ours or net/http's
				return c.refuse(causeHeadTimeout)
			}
			return err
		}
	}
}

func (c *frontConn) isPreface() bool {
	return !c.served && c.info != nil && !c.info.secure && len(c.buf)-c.r >= len(h2cPreface) &&
		string(c.buf[c.r:c.r+len(h2cPreface)]) == h2cPreface
}

// scanLines checks line ends up to the empty line and returns the head's length.
func (c *frontConn) scanLines() (end int, bad cause) {
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

func (c *frontConn) acceptHead(end int) error {
	if end > c.gate.headLimit {
		return c.refuse(causeHeadTooLarge)
	}
	if bad := c.head.parse(string(c.buf[c.r:c.r+end]), c.gate.maxFields); bad != causeNone {
		return c.refuse(bad)
	}
	c.r += end
	c.short = c.head.appendShort(c.short[:0])
	c.pending = c.short
	if c.peeked { // the first byte, which is the method's in both
		c.pending, c.peeked = c.short[1:], false
	}
	c.served = true
	c.scanned, c.line, c.received, c.begun = 0, 0, 0, time.Time{}
	c.mu.Lock()
	c.watched = false
	c.mu.Unlock()
	return nil
}

// deliver hands on the checked head and sets the state for what follows it.
func (c *frontConn) deliver(p []byte) int {
	n := copy(p, c.pending)
	if c.pending = c.pending[n:]; len(c.pending) == 0 {
		switch {
		case c.head.chunked:
			c.state, c.chunks = gateChunked, chunkScanner{}
			c.linger.Store(true)
		case c.head.length > 0:
			c.state, c.remain = gateLength, c.head.length
			c.linger.Store(true)
		}
	}
	return n
}

func (c *frontConn) readLength(p []byte) (int, error) {
	p = p[:min(int64(len(p)), c.remain)]
	n, err := c.readBody(p)
	if c.remain -= int64(n); c.remain == 0 {
		c.bodyDone()
	}
	return n, err
}

func (c *frontConn) readChunked(p []byte) (int, error) {
	n, err := c.readBody(p)
	k, done, bad := c.chunks.scan(p[:n])
	switch {
	case bad != causeNone:
		c.gate.reject(bad)
		c.kill(nil)
		return 0, fmt.Errorf("%w: %s", errMalformedBody, bad)
	case done:
		if k < n { // the next message's bytes go back
			c.buf = append(append(c.buf[:0:0], p[k:n]...), c.buf[c.r:]...)
			c.r = 0
		}
		c.bodyDone()
		return k, nil
	}
	return n, err
}

func (c *frontConn) bodyDone() {
	c.state, c.begun = gateHead, time.Time{}
	c.linger.Store(false)
}

// readBody reads body bytes. A client that stalls for the idle time, or sends a
// declared length slower than 500 bytes a second on average, is cut off.
func (c *frontConn) readBody(p []byte) (int, error) {
	if n := len(c.buf) - c.r; n > 0 {
		n = copy(p, c.buf[c.r:])
		c.r += n
		c.received += int64(n)
		return n, nil
	}
	now := time.Now()
	if c.begun.IsZero() {
		c.begun = now
	}
	deadline := now.Add(c.gate.idle)
	if c.state == gateLength {
		if slow := c.begun.Add(c.gate.idle + time.Duration(c.received)*(time.Second/500)); slow.Before(deadline) {
			deadline = slow
		}
	}
	n, err := c.read(p, deadline)
	c.received += int64(n)
	if err != nil && c.timedOut(err) {
		c.gate.reject(causeBodyTimeout)
		c.kill(nil)
	}
	return n, err
}

// refuse answers a bad head, lets the client read the answer, and ends the
// connection. Nothing of the head reaches net/http.
func (c *frontConn) refuse(bad cause) error {
	answer := c.gate.reject(bad)
	c.kill(answer)
	return io.EOF
}

// kill ends the stream after answer; with none, net/http still has the handler's
// to write.
func (c *frontConn) kill(answer []byte) {
	c.state, c.buf, c.r, c.pending = gateDead, nil, 0, nil
	c.linger.Store(true)
	if answer == nil {
		return
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	_, _ = c.Conn.Write(answer)
	c.dead = true
}

// Close closes the connection. After a rejection or an answer before the body's
// end it first reads on for a moment: a close with unread input resets the
// connection and may take the answer with it before the client read it (RFC 9112
// section 9.6).
func (c *frontConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.wake.Broadcast()
	c.mu.Unlock()
	if c.linger.CompareAndSwap(true, false) && !c.gate.hard.Load() && closeWrite(c.Conn) == nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}

// lingerTime and lingerBytes bound the wait for a client to read an early answer.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 8 << 20
)
