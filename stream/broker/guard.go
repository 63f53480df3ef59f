package broker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kfake trusts its clients: an unknown request key is a nil dereference, and a
// length prefix is allocated before the bytes arrive. The guard sits in its
// listener and lets through only frames that it can parse.

const (
	// maxFrameBytes bounds a request; the largest honest one carries a 1 MiB
	// batch for each of a few dozen partitions.
	maxFrameBytes = 64 << 20
	// maxLoginFrameBytes bounds a request before the handshake is done.
	maxLoginFrameBytes = 16 << 10
	// minFrameBytes is a request header: key, version, correlation id, client id.
	minFrameBytes = 10
	// loginFrames is how many SaslAuthenticate requests a SCRAM login has.
	loginFrames = 2
	// loginTimeout bounds the whole handshake, frameTimeout the arrival of one
	// frame once it has begun and the writing of one response.
	loginTimeout = 10 * time.Second
	frameTimeout = 60 * time.Second
)

// Request keys the guard treats on its own.
const (
	keyProduce          = 0
	keySASLHandshake    = 17
	keyAPIVersions      = 18
	keyDeleteRecords    = 21
	keySASLAuthenticate = 36
)

// Reasons why the guard closes a connection.
const (
	rejectConnections = "too_many_connections"
	rejectSize        = "frame_size"
	rejectKey         = "unknown_request"
	rejectVersion     = "request_version"
	rejectLogin       = "not_logged_in"
	rejectForbidden   = "forbidden_request"
	rejectTimeout     = "timeout"
)

var rejectReasons = []string{
	rejectConnections, rejectSize, rejectKey, rejectVersion, rejectLogin, rejectForbidden, rejectTimeout,
}

// guard is a listener whose connections check every frame.
type guard struct {
	net.Listener
	slots  chan struct{}
	reject func(reason string)
	// full reports whether records are to be refused; refused hears of each
	// request that was, produced of each that was let through. The guard does
	// this itself: kfake's control functions keep the last request of every
	// connection there ever was.
	full              func() bool
	refused, produced func()
}

// acceptPause follows an accept that failed for want of descriptors.
const acceptPause = 10 * time.Millisecond

func newGuard(l net.Listener, maxConnections int, reject func(string)) *guard {
	return &guard{
		Listener: l, slots: make(chan struct{}, maxConnections), reject: reject,
		full: func() bool { return false }, refused: func() {}, produced: func() {},
	}
}

// Accept returns the next guarded connection.
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			// A passing fault such as "too many open files" must not end kfake's
			// accept loop, which returns at the first error.
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			<-time.After(acceptPause)
			continue
		}
		select {
		case g.slots <- struct{}{}:
		default:
			g.reject(rejectConnections)
			_ = c.Close()
			continue
		}
		return newGuardedConn(c, g), nil
	}
}

// guardedConn is read by one goroutine of kfake and written by another.
type guardedConn struct {
	net.Conn
	guard  *guard
	r      *bufio.Reader
	left   int    // bytes of the current frame that kfake has not read
	held   []byte // the same for a frame that was inspected as a whole
	logins int    // SaslAuthenticate requests still to come
	// passed counts the frames given to kfake, answered its responses; wake says
	// that one was written.
	passed   int64
	answered atomic.Int64
	wake     chan struct{}
	closed   sync.Once
}

func newGuardedConn(c net.Conn, g *guard) *guardedConn {
	_ = c.SetReadDeadline(time.Now().Add(loginTimeout))
	return &guardedConn{
		Conn: c, guard: g, r: bufio.NewReaderSize(c, 64<<10), logins: loginFrames, wake: make(chan struct{}, 1),
	}
}

// Read returns bytes of checked frames only.
func (c *guardedConn) Read(p []byte) (int, error) {
	for c.left == 0 && len(c.held) == 0 {
		if err := c.next(); err != nil {
			_ = c.Close()
			return 0, err
		}
	}
	if len(c.held) > 0 {
		n := copy(p, c.held)
		if c.held = c.held[n:]; len(c.held) == 0 {
			c.held = nil
			c.idle()
		}
		return n, nil
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		c.idle()
	}
	c.noteTimeout(err)
	return n, err
}

// idle lets a client that has logged in wait as long as it likes.
func (c *guardedConn) idle() {
	if c.logins == 0 {
		_ = c.SetReadDeadline(time.Time{})
	}
}

func (c *guardedConn) noteTimeout(err error) {
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		c.guard.reject(rejectTimeout)
	}
}

// next waits for a frame's first bytes and judges it.
func (c *guardedConn) next() error {
	head, err := c.r.Peek(8)
	if err != nil {
		c.noteTimeout(err)
		return io.EOF
	}
	size := binary.BigEndian.Uint32(head)
	key, version := int16(binary.BigEndian.Uint16(head[4:])), int16(binary.BigEndian.Uint16(head[6:]))
	if reason := c.judge(size, key, version); reason != "" {
		c.guard.reject(reason)
		return io.EOF
	}
	if key == keySASLAuthenticate && c.logins > 0 {
		c.logins--
	}
	if c.logins == 0 {
		_ = c.SetReadDeadline(time.Now().Add(frameTimeout))
	}
	if inspected(key) || key == keyProduce && c.guard.full() {
		return c.inspect(int(size)+4, key, version)
	}
	if key == keyProduce {
		c.guard.produced()
	}
	c.passed++
	c.left = int(size) + 4
	return nil
}

// judge returns why a frame is refused, or "".
func (c *guardedConn) judge(size uint32, key, version int16) string {
	if size < minFrameBytes || size > maxFrameBytes {
		return rejectSize
	}
	request := kmsg.RequestForKey(key)
	switch {
	case request == nil:
		return rejectKey
	case version < 0 || version > request.MaxVersion() && key != keyAPIVersions:
		// ApiVersions of a newer client is answered with the versions known here.
		return rejectVersion
	case key == keyDeleteRecords:
		// An emptied partition would count from 0 again after a restart.
		return rejectForbidden
	}
	login := key == keySASLHandshake || key == keyAPIVersions || key == keySASLAuthenticate
	switch {
	case c.logins > 0 && !login:
		return rejectLogin
	case login && size > maxLoginFrameBytes:
		return rejectSize
	}
	return ""
}

// Write bounds how long a client may take to accept a response.
func (c *guardedConn) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(frameTimeout))
	n, err := c.Conn.Write(p)
	c.answered.Add(1) // kfake writes each response at once
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return n, err
}

// Close frees the connection's slot.
func (c *guardedConn) Close() error {
	err := c.Conn.Close()
	c.closed.Do(func() { <-c.guard.slots })
	return err
}
