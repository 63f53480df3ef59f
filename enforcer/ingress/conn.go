package ingress

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// baseConn is an accepted connection below TLS. It ends a client that takes
// nothing of what it is sent for the idle time, in steps of a quarter of it.
type baseConn struct {
	net.Conn
	stall   time.Duration
	armed   atomic.Int64 // unix nanoseconds of the write deadline in force
	onClose func()
	closed  atomic.Bool
	peer    netip.AddrPort // the socket's peer, or the PROXY header's source
	// early holds bytes read past a PROXY header.
	early []byte
}

func (c *baseConn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *baseConn) Write(p []byte) (int, error) {
	now := time.Now()
	if until := c.armed.Load(); until-now.UnixNano() < int64(c.stall)*3/4 {
		deadline := now.Add(c.stall)
		c.armed.Store(deadline.UnixNano())
		if err := c.Conn.SetWriteDeadline(deadline); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline replaces the rolling deadline until the next Write that finds
// it due. None is the rolling one: net/http asks for none after every answer.
func (c *baseConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *baseConn) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

// CloseWrite ends our direction, where the connection can.
func (c *baseConn) CloseWrite() error { return closeWrite(c.Conn) }

func (c *baseConn) Close() error {
	if c.closed.CompareAndSwap(false, true) && c.onClose != nil {
		c.onClose()
	}
	return c.Conn.Close()
}

// reset makes the close to come a reset.
func (c *baseConn) reset() {
	if l, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
}

func closeWrite(c net.Conn) error {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Close()
}

// connInfo is what is known of a client connection.
type connInfo struct {
	base    *baseConn
	peer    netip.AddrPort
	address string // peer's address as text
	trusted bool   // peer is in TrustedProxies
	tls     flow.TLS
	secure  bool
}

// connKey finds the connInfo in the context of HTTP/2 requests.
type connKey struct{}

// infoOf finds the connInfo behind a connection that net/http was given.
func infoOf(c net.Conn) *connInfo {
	switch c := c.(type) {
	case *prefaceConn:
		return c.info
	case *tls.Conn:
		if b, ok := c.NetConn().(*helloConn); ok {
			return b.info
		}
	}
	return nil
}

// prefaceConn is a connection of whose HTTP/2 the beginning was read.
type prefaceConn struct {
	net.Conn
	early []byte
	info  *connInfo
}

func (c *prefaceConn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// helloConn is what lies below a tls.Conn: it carries the connection's info to
// where only the tls.Conn is known.
type helloConn struct {
	*baseConn
	info *connInfo
}
