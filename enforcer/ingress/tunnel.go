package ingress

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// tunnel answers 101 and copies bytes both ways until both sides ended.
func (x *exchange) tunnel(up *upstream, c *sent) {
	defer up.discard(c.upConn)
	if !c.release() {
		x.outcome = "client_gone"
		return
	}
	x.raw.Status, x.raw.ResponseHeaders = x.res.status, x.res.fields
	x.s.metrics.tunnels.Inc()
	defer x.s.metrics.tunnels.Dec()
	client, early := x.h1.take()
	_ = c.conn.SetDeadline(time.Time{})
	x.slow()

	head := appendStatus(nil, x.res.status)
	head = append(append(append(head, "Connection: Upgrade\r\nUpgrade: "...), x.res.upgrade...), "\r\n"...)
	head = appendFields(head, x.res.fields, func(k responseField) bool { return k == fieldLength || k == fieldTrailer })
	head = appendField(head, flow.Field{Name: headerRequestID, Value: x.raw.ID})
	head = append(append(head, "\r\n"...), c.buf[c.r:c.w]...)
	x.written.Add(int64(c.w - c.r))
	if _, err := client.Write(head); err == nil {
		x.copyBoth(client, c.conn, early)
	}
}

// take ends HTTP on the connection and returns it with what was read ahead.
func (c *h1Conn) take() (conn net.Conn, early []byte) {
	c.unwatch()
	c.closing = true
	early, c.buf, c.r = c.buf[c.r:], nil, 0
	_ = c.conn.SetDeadline(time.Time{})
	return c.conn, early
}

// copyBoth copies until both directions ended. An end in one direction is passed
// on as such; an error ends both.
func (x *exchange) copyBoth(client, app net.Conn, early []byte) {
	up := make(chan error, 1)
	go func() {
		_, err := app.Write(early)
		if err == nil {
			err = copyConn(app, client, nil)
		}
		up <- endDirection(app, err)
		if err != nil {
			_ = client.Close()
		}
	}()
	err := endDirection(client, copyConn(client, app, func(n int) { x.written.Add(int64(n)) }))
	if err != nil {
		_ = app.Close()
		_ = client.Close()
	}
	if appErr := <-up; appErr != nil && err == nil {
		_ = client.Close() // nothing more to pass on
	}
}

func endDirection(c net.Conn, err error) error {
	if err == nil {
		return closeWrite(c)
	}
	_ = c.Close()
	return err
}

// copyConn copies without io.Copy's short cuts, so that every byte passes the
// wrappers' counters.
func copyConn(dst io.Writer, src io.Reader, count func(int)) error {
	p := copyBuffers.Get().(*[]byte) //nolint:forcetypeassert // the pool's New
	defer copyBuffers.Put(p)
	for {
		n, err := src.Read(*p)
		if n > 0 {
			if count != nil {
				count(n)
			}
			if _, err := dst.Write((*p)[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func isDialError(err error) bool {
	var oe *net.OpError
	return errors.As(err, &oe) && oe.Op == "dial"
}
