package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"
)

// errUpstreamBusy: no connection became free within the connect timeout.
var errUpstreamBusy = errors.New("all upstream connections are busy")

// upstreamIdle is how long an unused connection is kept. Servers close theirs
// after 2 s (gunicorn) to 75 s (nginx); what they closed is found before use.
const upstreamIdle = 30 * time.Second

// probeAfter is the idle time past which a connection is looked at before it is
// used again. Requests that cannot be repeated always look.
const probeAfter = 500 * time.Millisecond

// upstream is one application's address with its pool of HTTP/1.1 connections.
// The most recently used one is taken first, so that a quiet pool shrinks.
type upstream struct {
	raw     string
	scheme  string
	addr    string // host:port
	tls     *tls.Config
	max     int
	connect time.Duration
	// blind is how long an answer over HTTP/2 may wait for its client once others
	// wait for its connection: a third of the time that idle clients have. A window
	// may be megabytes, granted all at once.
	blind  time.Duration
	dialer net.Dialer

	mu      sync.Mutex
	idle    []*upConn
	open    int
	waiting []chan *upConn // FIFO; nil on the channel: dial yourself
	closed  bool
	// uploads and downloads are what may hold a connection for a slow client; they
	// were looked at last at looked.
	uploads   map[*upConn]*upload
	downloads map[*upConn]*download
	looked    time.Time
}

func newUpstream(raw string, cfg Config) (*upstream, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	up := &upstream{raw: raw, scheme: u.Scheme, addr: u.Host, max: cfg.MaxUpstreamConns, connect: cfg.Timeouts.Connect, blind: cfg.Timeouts.Idle / 3}
	secure := u.Scheme == "https" || u.Scheme == "h2"
	if u.Port() == "" {
		port := "80"
		if secure {
			port = "443"
		}
		up.addr = net.JoinHostPort(u.Hostname(), port)
	}
	if secure {
		up.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	up.dialer = net.Dialer{Timeout: up.connect, KeepAlive: 30 * time.Second}
	return up, nil
}

// same reports whether cfg asks for the same pool.
func (u *upstream) same(cfg Config) bool {
	return u.max == cfg.MaxUpstreamConns && u.connect == cfg.Timeouts.Connect && u.blind == cfg.Timeouts.Idle/3
}

// get returns a connection: an idle one unless fresh is asked for, else a new
// one, else, when max are open, the next that becomes free. probe says that the
// request cannot be repeated, so that a connection which the server closed
// meanwhile must be found before use.
func (u *upstream) get(cl client, fresh, probe bool) (*upConn, error) {
	now := time.Now()
	for {
		u.mu.Lock()
		if n := len(u.idle); n > 0 && !fresh {
			c := u.idle[n-1]
			u.idle[n-1] = nil
			u.idle = u.idle[:n-1]
			u.mu.Unlock()
			if (probe || now.Sub(c.idleSince) > probeAfter) && !c.alive() {
				u.discard(c)
				continue
			}
			c.reused = true
			return c, nil
		}
		if u.open < u.max {
			u.open++
			u.mu.Unlock()
			return u.dial(cl.context())
		}
		if n := len(u.idle); n > 0 { // fresh, and the bound is reached: trade one in
			c := u.idle[0]
			u.idle = append(u.idle[:0], u.idle[1:]...)
			u.mu.Unlock()
			_ = c.conn.Close()
			return u.dial(cl.context())
		}
		ready := make(chan *upConn, 1)
		u.waiting = append(u.waiting, ready)
		u.mu.Unlock()
		return u.wait(cl.context(), ready)
	}
}

func (u *upstream) wait(ctx context.Context, ready chan *upConn) (*upConn, error) {
	t, look := time.NewTimer(u.connect), time.NewTicker(evictEvery)
	defer t.Stop()
	defer look.Stop()
	var err error
	for u.evict(time.Now()); err == nil; {
		select {
		case c := <-ready:
			return u.granted(ctx, c)
		case now := <-look.C:
			u.evict(now)
		case <-t.C:
			err = errUpstreamBusy
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	u.mu.Lock()
	for i, w := range u.waiting {
		if w == ready {
			u.waiting = append(u.waiting[:i], u.waiting[i+1:]...)
			u.mu.Unlock()
			return nil, err
		}
	}
	u.mu.Unlock()
	return u.granted(ctx, <-ready) // granted just now
}

func (u *upstream) granted(ctx context.Context, c *upConn) (*upConn, error) {
	if c == nil {
		return u.dial(ctx)
	}
	c.reused = true
	return c, nil
}

// dial opens a connection in a slot that is counted already.
func (u *upstream) dial(ctx context.Context) (*upConn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.connect)
	defer cancel()
	conn, err := u.dialer.DialContext(ctx, "tcp", u.addr)
	conn = newSocket(conn)
	if err == nil && u.tls != nil {
		tc := tls.Client(conn, u.tls)
		if err = tc.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
		}
		conn = tc
	}
	if err != nil {
		u.freed()
		return nil, err
	}
	return newUpConn(conn), nil
}

// put takes a connection back for reuse.
func (u *upstream) put(c *upConn) {
	c.idleSince = time.Now()
	u.mu.Lock()
	switch {
	case u.closed:
		u.open--
		u.mu.Unlock()
		_ = c.conn.Close()
		return
	case len(u.waiting) > 0:
		ready := u.waiting[0]
		u.waiting = append(u.waiting[:0], u.waiting[1:]...)
		ready <- c
	default:
		u.idle = append(u.idle, c)
	}
	u.mu.Unlock()
}

// discard closes a connection that cannot be used again.
func (u *upstream) discard(c *upConn) {
	_ = c.conn.Close()
	u.freed()
}

// freed gives a closed connection's slot to who waits longest.
func (u *upstream) freed() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) > 0 {
		ready := u.waiting[0]
		u.waiting = append(u.waiting[:0], u.waiting[1:]...)
		ready <- nil
		return
	}
	u.open--
}

// expire closes connections that nobody used for upstreamIdle.
func (u *upstream) expire(now time.Time) {
	u.mu.Lock()
	keep := 0
	for keep < len(u.idle) && now.Sub(u.idle[keep].idleSince) > upstreamIdle {
		keep++
	}
	old := append([]*upConn(nil), u.idle[:keep]...)
	u.idle = append(u.idle[:0], u.idle[keep:]...)
	u.open -= keep
	u.mu.Unlock()
	for _, c := range old {
		_ = c.conn.Close()
	}
}

// close closes idle connections now and the others when they come back.
func (u *upstream) close() {
	u.mu.Lock()
	u.closed = true
	idle := u.idle
	u.idle = nil
	u.open -= len(idle)
	u.mu.Unlock()
	for _, c := range idle {
		_ = c.conn.Close()
	}
}

// alive looks whether the server closed an idle connection, or sent something
// that nobody asked for, without waiting.
func (c *upConn) alive() bool {
	conn := c.conn
	if tc, ok := conn.(*tls.Conn); ok {
		conn = tc.NetConn() // bytes there are an alert, if anything
	}
	s, ok := conn.(*socket)
	return !ok || s.quiet()
}
