package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// front accepts connections, reads PROXY headers, performs TLS handshakes and
// serves HTTP/1 on a goroutine of each connection's own. Those that speak HTTP/2,
// by ALPN or by prior knowledge, it hands to net/http.
type front struct {
	s     *Server
	l     net.Listener
	ready chan net.Conn
	done  chan struct{} // closed when net/http stops accepting
	once  sync.Once
	wg    sync.WaitGroup
	slots chan struct{}

	stopping chan struct{} // closed to end accept
	stopped  chan struct{} // closed when it ended

	// base is the parent of all exchanges' contexts over HTTP/1; cut ends it.
	base context.Context
	cut  context.CancelFunc

	mu     sync.Mutex
	early  map[net.Conn]struct{} // connections before their first request
	conns  map[*h1Conn]struct{}  // those that are served here
	closed atomic.Bool
}

func newFront(s *Server, l net.Listener, maxConns int) *front {
	base, cut := context.WithCancel(context.Background())
	return &front{
		base: base, cut: cut,
		s: s, l: l, ready: make(chan net.Conn), done: make(chan struct{}),
		slots: make(chan struct{}, maxConns), early: map[net.Conn]struct{}{}, conns: map[*h1Conn]struct{}{},
		stopping: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// accept runs until stopAccepting, and then through the queue of connections that
// the kernel had accepted already: closing it would reset them.
func (f *front) accept() {
	defer f.wg.Wait()
	defer close(f.stopped)
	defer func() { _ = f.l.Close() }()
	backoff := time.Duration(0)
	for {
		select {
		case f.slots <- struct{}{}:
		default:
			select {
			case f.slots <- struct{}{}:
			case <-f.stopping:
				return
			}
		}
		c, err := f.l.Accept()
		if err != nil {
			<-f.slots
			if f.closed.Load() || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, or a connection reset in the queue: wait and go on.
			f.s.metrics.acceptErrors.Inc()
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(backoff):
			case <-f.stopping:
				return
			}
			continue
		}
		backoff = 0
		f.start(c)
	}
}

func (f *front) start(c net.Conn) {
	st := f.s.state.Load()
	base := &baseConn{Conn: newSocket(c), stall: st.cfg.Timeouts.Idle, onClose: func() { <-f.slots }, peer: addrPortOf(c.RemoteAddr())}
	f.wg.Go(func() {
		if st.cert == nil && !st.cfg.ProxyProtocol {
			f.serve(st, base, f.info(st, base))
			return
		}
		f.mu.Lock()
		f.early[c] = struct{}{}
		f.mu.Unlock()
		conn, info, err := f.prepare(st, base)
		f.mu.Lock()
		delete(f.early, c)
		f.mu.Unlock()
		switch {
		case err != nil:
			_ = base.Close()
		case info == nil:
			f.hand(conn)
		default:
			f.serve(st, conn, info)
		}
	})
}

// serve serves HTTP/1 until the connection ends.
func (f *front) serve(st *state, conn net.Conn, info *connInfo) {
	c := newH1Conn(f, conn, info, st.cfg)
	f.mu.Lock()
	f.conns[c] = struct{}{}
	f.mu.Unlock()
	if f.base.Err() != nil { // closeAll may have come before
		_ = conn.Close()
	}
	defer func() {
		f.mu.Lock()
		delete(f.conns, c)
		f.mu.Unlock()
	}()
	c.serve()
}

// hand gives a connection that speaks HTTP/2 to net/http.
func (f *front) hand(c net.Conn) {
	select {
	case f.ready <- c:
	case <-f.done:
		_ = c.Close()
	}
}

// prepare reads what comes before the first request. Without info the connection
// is net/http's.
func (f *front) prepare(st *state, base *baseConn) (net.Conn, *connInfo, error) {
	deadline := time.Now().Add(st.cfg.Timeouts.Header)
	if err := base.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	if st.cfg.ProxyProtocol && (len(st.cfg.TrustedProxies) == 0 || st.cfg.trusts(base.peer.Addr())) {
		src, rest, err := readProxyHeader(base.Conn)
		if err != nil {
			f.s.metrics.reject(causeProxyHeader)
			return nil, nil, err
		}
		base.early = rest
		if src.IsValid() {
			base.peer = src
		}
	}
	info := f.info(st, base)
	if st.cert == nil {
		return base, info, base.SetDeadline(time.Time{})
	}
	info.secure = true
	tc := tls.Server(&helloConn{base, info}, st.tls)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		f.s.metrics.reject(causeHandshake)
		return nil, nil, fmt.Errorf("TLS handshake: %w", err)
	}
	cs := tc.ConnectionState()
	info.tls.Version = tlsVersionName(cs.Version)
	if err := base.SetDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	if cs.NegotiatedProtocol == "h2" {
		info = nil
	}
	return tc, info, nil
}

func (f *front) info(st *state, base *baseConn) *connInfo {
	return &connInfo{base: base, peer: base.peer, address: base.peer.Addr().String(), trusted: st.cfg.trusts(base.peer.Addr())}
}

// Accept gives net/http the next ready connection.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.ready:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Addr is the listener's address.
func (f *front) Addr() net.Addr { return f.l.Addr() }

// stopAccepting closes the socket; what it accepted is still served.
func (f *front) stopAccepting() {
	if !f.closed.CompareAndSwap(false, true) {
		return
	}
	close(f.stopping)
	if d, ok := f.l.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Now().Add(acceptQueue)) != nil {
		_ = f.l.Close()
	}
	<-f.stopped
}

// settleTime is how long a stop lets busy keep-alive connections come back once
// more to be told to close, before idle ones are closed from our side: a close
// that crosses a request on the way fails that request.
const settleTime = 250 * time.Millisecond

// drain ends the connections that are served here: those that wait for a request
// when settleTime is over, the others after their answer. It returns how many
// there are still when ctx ends.
func (f *front) drain(ctx context.Context) int {
	settled := time.Now().Add(settleTime)
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if len(f.slots) == 0 {
			return 0
		}
		now := time.Now()
		if now.After(settled) {
			if f.closeIdle(now) == 0 {
				return 0
			}
		} else {
			pause = min(pause, 5*time.Millisecond)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return f.closeIdle(now)
		}
	}
}

// closeIdle closes the connections that wait for a request, but for those that
// had no time yet to send their first, and returns how many are left.
func (f *front) closeIdle(now time.Time) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := len(f.early)
	for c := range f.conns {
		if c.state.CompareAndSwap(connIdle, connClosed) || now.Sub(c.since) > settleTime && c.state.CompareAndSwap(connNew, connClosed) {
			_ = c.conn.Close()
		} else {
			left++
		}
	}
	return left
}

// closeAll cuts off what is left.
func (f *front) closeAll() {
	f.cut()
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		_ = c.conn.Close()
	}
}

// acceptQueue is how long a stop looks for connections in the kernel's queue.
const acceptQueue = 20 * time.Millisecond

// Close ends the hand-over; net/http calls it at shutdown.
func (f *front) Close() error {
	f.once.Do(func() {
		close(f.done)
		f.stopAccepting()
		f.mu.Lock()
		defer f.mu.Unlock()
		for c := range f.early {
			_ = c.Close()
		}
	})
	return nil
}

func addrPortOf(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	return netip.AddrPort{}
}
