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
	// clientGrace is how long a client may be waited for before it can be called
	// slow: for an upload in all, for an answer in one write.
	clientGrace = 2 * time.Second
	// clientRate is the pace that keeps a connection, in bytes per second of waiting
	// for the client: that of a poor mobile connection.
	clientRate = 4 << 10
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
	if waited < int64(clientGrace) {
		return 0, false
	}
	rate = l.read.Load() / max(1, waited/int64(time.Second))
	return rate, rate < clientRate
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
