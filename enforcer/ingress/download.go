package ingress

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// An answer holds its upstream connection until its client has taken it: a few
// hundred clients that ask for much and read nothing would hold all of them. So
// while others wait for a connection, answers that are not read give theirs up,
// as slow uploads do.
const (
	// followFrom is how much of an answer surely fits the sockets' buffers.
	followFrom = 32 << 10
	// evictEvery is how often those who wait for a connection look for one that a
	// slow client holds.
	evictEvery = 100 * time.Millisecond
)

// download is a long answer on its way to its client. What the upstream takes its
// time for is not held against the client.
type download struct {
	// blind is how long a write may wait for a client whose progress does not show.
	blind time.Duration
	since atomic.Int64 // when the present write began, in Unix nanoseconds; 0: none
	// evicted: the connection was given to somebody else.
	evicted atomic.Bool
	// acked tells how many bytes the client's system has confirmed, if that can be
	// told of this answer alone; cut ends the answer.
	acked func() (n uint64, known bool)
	cut   func()
	// seen is what a look at the present write found, at most a grace ago while
	// somebody looks; under upstream.mu.
	seen struct {
		since int64
		at    time.Time
		acked uint64
	}
}

// writing and wrote enclose a write to the client.
func (d *download) writing() {
	if d != nil {
		d.since.Store(time.Now().UnixNano())
	}
}

func (d *download) wrote() {
	if d != nil {
		d.since.Store(0)
	}
}

// slow reports whether a write waits for a client that takes next to nothing.
func (d *download) slow(now time.Time) bool {
	since := d.since.Load()
	if since == 0 {
		return false
	}
	waited := now.Sub(d.seen.at)
	if d.seen.since == since && waited < clientGrace {
		return false
	}
	acked, known := d.acked()
	if !known {
		return now.UnixNano()-since >= int64(d.blind)
	}
	slow := d.seen.since == since && acked-d.seen.acked < uint64(clientRate*waited/time.Second)
	// Each grace counts by itself: what the sockets took at first is no pace.
	d.seen.since, d.seen.at, d.seen.acked = since, now, acked
	return slow
}

// download follows a long answer on c, until downloaded.
func (x *exchange) download(up *upstream, c *upConn) {
	d := &download{blind: up.blind}
	if x.h1 != nil {
		base := x.conn.base
		d.acked = base.acked
		d.cut = func() {
			base.reset() // what waits in the socket is not read either
			_ = base.Close()
		}
		x.h1.pace = d
	} else {
		d.acked, d.cut = func() (uint64, bool) { return 0, false }, x.h2.stopWriting
		x.h2.pace = d
	}
	x.pace = d
	up.mu.Lock()
	defer up.mu.Unlock()
	if up.downloads == nil {
		up.downloads = make(map[*upConn]*download)
	}
	up.downloads[c] = d
}

// downloaded ends that; nothing of the exchange is touched by others then. evicted:
// the connection was given away.
func (x *exchange) downloaded(up *upstream, c *upConn) (evicted bool) {
	if x.pace == nil {
		return false
	}
	up.mu.Lock()
	delete(up.downloads, c)
	up.mu.Unlock()
	if evicted = x.pace.evicted.Load(); evicted {
		x.outcome = "client_gone"
		x.s.metrics.upstream.WithLabelValues("slow_client").Inc()
	}
	x.pace, x.h2.pace = nil, nil
	if x.h1 != nil {
		x.h1.pace = nil
	}
	return evicted
}

// acked is how many bytes the peer has confirmed (Linux's tcpi_bytes_acked).
func (c *baseConn) acked() (n uint64, known bool) {
	s, ok := c.Conn.(*socket)
	if !ok {
		return 0, false
	}
	_ = s.raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n, known = info.Bytes_acked, true
		}
	})
	return n, known
}

// evict ends uploads and answers whose clients are slow, the slowest uploads
// first, but no more than there are requests that wait. Their exchanges find their
// connections closed; the client of an upload gets a 408, that of an answer sees it
// break off.
func (u *upstream) evict(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.looked) < evictEvery/2 {
		return // somebody else has just looked
	}
	u.looked = now
	wanted := len(u.waiting)
	type candidate struct {
		c    *upConn
		rate int64
	}
	var slow []candidate
	for c, l := range u.uploads {
		if rate, is := l.slow(now); is {
			slow = append(slow, candidate{c, rate})
		}
	}
	slices.SortFunc(slow, func(a, b candidate) int { return cmp.Compare(a.rate, b.rate) })
	for _, victim := range slow[:min(wanted, len(slow))] {
		u.uploads[victim.c].evicted.Store(true)
		delete(u.uploads, victim.c)
		_ = victim.c.conn.Close()
		wanted--
	}
	for c, d := range u.downloads {
		if wanted > 0 && d.slow(now) {
			d.evicted.Store(true)
			delete(u.downloads, c)
			_ = c.conn.Close()
			d.cut()
			wanted--
		}
	}
}
