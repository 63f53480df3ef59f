package ingress

import (
	"errors"
	"net"
	"os"
	"time"
)

// SetReadDeadline notes what net/http wants; a read that waits feels it at once.
func (c *frontConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit, c.own = t, false
	if isPast(t) {
		c.wake.Broadcast()
	}
	if c.reading {
		c.applied = t
		return c.Conn.SetReadDeadline(t)
	}
	return nil
}

// SetDeadline sets both deadlines.
func (c *frontConn) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

// isPast reports a deadline by which net/http ends a read, not one that expired.
func isPast(t time.Time) bool { return !t.IsZero() && t.Unix() <= 1 }

// read reads from the connection under net/http's deadline or own, whichever is
// earlier; zero is none.
func (c *frontConn) read(p []byte, own time.Time) (int, error) {
	c.mu.Lock()
	c.reading, c.own = true, false
	want := c.limit
	if !own.IsZero() && (want.IsZero() || own.Before(want)) {
		want, c.own = own, true
	}
	err := c.apply(want)
	c.mu.Unlock()
	n := 0
	if err == nil {
		n, err = c.Conn.Read(p)
	}
	c.mu.Lock()
	c.reading = false
	c.mu.Unlock()
	return n, err
}

// apply sets the socket's deadline, unless it has one that ends at most a quarter
// of the wait too early: an idle connection is so closed after 45 to 60 s of 60.
func (c *frontConn) apply(want time.Time) error {
	if want.Equal(c.applied) {
		return nil
	}
	if early := want.Sub(c.applied); !want.IsZero() && !c.applied.IsZero() && early > 0 && early < time.Until(want)/4 {
		return nil
	}
	c.applied = want
	return c.Conn.SetReadDeadline(want)
}

// timedOut reports whether err is our own deadline.
func (c *frontConn) timedOut(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own && errors.Is(err, os.ErrDeadlineExceeded)
}

// watch lets net/http's background read really wait for the client. Until the
// handler asks, it only waits to be ended, which most requests are before they
// would care whether the client is still there.
func (c *frontConn) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.watched {
		c.watched = true
		c.wake.Broadcast()
	}
}

// park waits until watch, or until net/http ends its background read.
func (c *frontConn) park() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.watched && !c.closed && !isPast(c.limit) {
		c.wake.Wait()
	}
	switch {
	case c.closed:
		return net.ErrClosed
	case isPast(c.limit):
		return os.ErrDeadlineExceeded
	}
	return nil
}
