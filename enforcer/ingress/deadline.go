package ingress

import (
	"context"
	"os"
	"time"
)

// past ends a read at once.
var past = time.Unix(1, 0)

// read reads from the connection until deadline at the latest.
func (c *h1Conn) read(p []byte, deadline time.Time) (int, error) {
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	err := c.apply(deadline)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.conn.Read(p)
}

// apply sets the socket's deadline, unless it has one that ends at most a quarter
// of the wait too early: an idle connection is so closed after 45 to 60 s of 60.
// A deadline costs the runtime a timer, so most requests set none.
func (c *h1Conn) apply(want time.Time) error {
	if want.Equal(c.applied) {
		return nil
	}
	if early := want.Sub(c.applied); !want.IsZero() && !c.applied.IsZero() && early > 0 && early < time.Until(want)/4 {
		return nil
	}
	c.applied = want
	return c.conn.SetReadDeadline(want)
}

// stopReading fails a read of the body in progress and all later ones.
func (c *h1Conn) stopReading() {
	if c.ended.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped, c.wanted, c.applied = true, false, past
	_ = c.conn.SetReadDeadline(past)
}

func (c *h1Conn) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// context ends when the client leaves, once it is watched, and when a stop's time
// is over. Most exchanges never need one.
func (c *h1Conn) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancel(c.front.base)
	}
	return c.ctx
}

// gone reports whether the exchange's context ended.
func (c *h1Conn) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx != nil && c.ctx.Err() != nil
}

// watch looks from now on, once the body is read, whether the client leaves: an
// exchange asks for it when it takes long.
func (c *h1Conn) watch() {
	_ = c.context()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = true
	c.startWatch()
}

// bodyEnded notes that the whole body was read.
func (c *h1Conn) bodyEnded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended.Store(true)
	c.startWatch()
}

// startWatch reads ahead into the empty buffer, under mu. What arrives there is a
// pipelined request; then the client cannot be watched any more.
func (c *h1Conn) startWatch() {
	if !c.wanted || !c.ended.Load() || c.watching != nil || c.stopped || c.r < len(c.buf) {
		return
	}
	if cap(c.buf) == 0 {
		c.buf = make([]byte, 0, readBuffer)
	}
	c.applied = time.Time{}
	_ = c.conn.SetReadDeadline(c.applied)
	done := make(chan struct{})
	c.watching = done
	go func() {
		defer close(done)
		b := c.buf[:cap(c.buf)]
		n, _ := c.conn.Read(b)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.buf, c.r = b[:n], 0
		if n == 0 && c.wanted {
			c.left = true
			c.cancel()
		}
	}()
}

// unwatch ends the watch and the exchange's context.
func (c *h1Conn) unwatch() {
	c.mu.Lock()
	c.wanted = false
	done := c.watching
	if done != nil {
		c.applied = past
		_ = c.conn.SetReadDeadline(past)
	}
	c.mu.Unlock()
	if done != nil {
		<-done
		c.watching = nil
	}
	if c.cancel != nil {
		c.cancel()
		c.ctx, c.cancel = nil, nil
	}
}
