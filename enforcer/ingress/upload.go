package ingress

import (
	"sync/atomic"
	"time"
)

// A request body that is too long to be read before an upstream connection is
// taken holds that connection for as long as its client likes: a few hundred
// clients that send a byte now and then would hold all of them. So while others
// wait for a connection, the slowest upload gives its own up.
const (
	// uploadGrace is how long an upload's client may be waited for in all before
	// it can be called slow.
	uploadGrace = 2 * time.Second
	// uploadRate is the pace that keeps an upload, in bytes per second of waiting
	// for its client: that of a poor mobile connection.
	uploadRate = 4 << 10
	// evictEvery is how often somebody who waits looks for a slow upload.
	evictEvery = 100 * time.Millisecond
)

// upload is the pace of a body that streams to an upstream. What the upstream
// takes its time for is not held against the client.
type upload struct {
	read   atomic.Int64 // bytes
	waited atomic.Int64 // nanoseconds in reads that ended
	since  atomic.Int64 // when the present read began, in Unix nanoseconds; 0: none
	// evicted: the connection was given to somebody else.
	evicted atomic.Bool
}

// reading and came enclose a read of n bytes from the client.
func (l *upload) reading() { l.since.Store(time.Now().UnixNano()) }

func (l *upload) came(n int) {
	l.waited.Add(time.Now().UnixNano() - l.since.Swap(0))
	l.read.Add(int64(n))
}

// slow returns the upload's pace, and whether it is below the least.
func (l *upload) slow(now time.Time) (rate int64, slow bool) {
	since := l.since.Load()
	if since == 0 {
		return 0, false
	}
	waited := l.waited.Load() + now.UnixNano() - since
	if waited < int64(uploadGrace) {
		return 0, false
	}
	rate = l.read.Load() / max(1, waited/int64(time.Second))
	return rate, rate < uploadRate
}

// uploading notes that a body streams on c, until uploaded.
func (u *upstream) uploading(c *upConn) *upload {
	l := &upload{}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.uploads == nil {
		u.uploads = make(map[*upConn]*upload)
	}
	u.uploads[c] = l
	return l
}

func (u *upstream) uploaded(c *upConn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.uploads, c)
}

// evict ends the slowest upload, if one is slow. Its exchange finds its
// connection closed, and its client gets a 408.
func (u *upstream) evict(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var victim *upConn
	lowest := int64(uploadRate)
	for c, l := range u.uploads {
		if rate, slow := l.slow(now); slow && rate < lowest {
			victim, lowest = c, rate
		}
	}
	if victim != nil {
		u.uploads[victim].evicted.Store(true)
		delete(u.uploads, victim)
		_ = victim.conn.Close()
	}
}
