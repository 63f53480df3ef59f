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
// hands ready connections to net/http. The handshake is done here because
// net/http speaks HTTP/2 only on a bare tls.Conn, while HTTP/1 over TLS needs a
// frontConn above it to see the head.
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

	mu     sync.Mutex
	early  map[net.Conn]struct{} // connections not yet handed over
	closed atomic.Bool
}

func newFront(s *Server, l net.Listener, maxConns int) *front {
	return &front{
		s: s, l: l, ready: make(chan net.Conn), done: make(chan struct{}),
		slots: make(chan struct{}, maxConns), early: map[net.Conn]struct{}{},
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
	base := &baseConn{Conn: c, stall: st.cfg.Timeouts.Idle, onClose: func() { <-f.slots }, peer: addrPortOf(c.RemoteAddr())}
	if st.cert == nil && !st.cfg.ProxyProtocol {
		f.hand(base, f.plain(st, base))
		return
	}
	f.mu.Lock()
	f.early[c] = struct{}{}
	f.mu.Unlock()
	f.wg.Go(func() {
		conn, err := f.prepare(st, base)
		f.mu.Lock()
		delete(f.early, c)
		f.mu.Unlock()
		if err != nil {
			_ = base.Close()
			return
		}
		f.hand(base, conn)
	})
}

func (f *front) hand(base *baseConn, c net.Conn) {
	select {
	case f.ready <- c:
	case <-f.done:
		_ = base.Close()
	}
}

// prepare reads what comes before the first request.
func (f *front) prepare(st *state, base *baseConn) (net.Conn, error) {
	deadline := time.Now().Add(st.cfg.Timeouts.Header)
	if err := base.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if st.cfg.ProxyProtocol && (len(st.cfg.TrustedProxies) == 0 || st.cfg.trusts(base.peer.Addr())) {
		src, rest, err := readProxyHeader(base.Conn)
		if err != nil {
			f.s.metrics.reject(causeProxyHeader)
			return nil, err
		}
		base.early = rest
		if src.IsValid() {
			base.peer = src
		}
	}
	if st.cert == nil {
		c := f.plain(st, base)
		return c, base.SetDeadline(time.Time{})
	}
	info := f.info(st, base)
	info.secure = true
	tc := tls.Server(&helloConn{base, info}, st.tls)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		f.s.metrics.reject(causeHandshake)
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	cs := tc.ConnectionState()
	info.tls.Version = tlsVersionName(cs.Version)
	if err := base.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if cs.NegotiatedProtocol == "h2" {
		return tc, nil
	}
	return newFrontConn(tc, f.s.gate(st), info), nil
}

func (f *front) plain(st *state, base *baseConn) net.Conn {
	return newFrontConn(base, f.s.gate(st), f.info(st, base))
}

func (f *front) info(st *state, base *baseConn) *connInfo {
	return &connInfo{peer: base.peer, address: base.peer.Addr().String(), trusted: st.cfg.trusts(base.peer.Addr())}
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
