package ingress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// tunnels are the connections that left HTTP by an upgrade: net/http no longer
// knows them, so a stop waits for them here.
type tunnels struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
	wg   sync.WaitGroup
}

func (t *tunnels) add(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[net.Conn]struct{}{}
	}
	t.open[c] = struct{}{}
	t.wg.Add(1)
}

func (t *tunnels) remove(c net.Conn) {
	t.mu.Lock()
	delete(t.open, c)
	t.mu.Unlock()
	t.wg.Done()
}

// wait reports whether all ended before ctx.
func (t *tunnels) wait(ctx context.Context) bool {
	done := make(chan struct{})
	go func() { t.wg.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// closeAll cuts off what is open and waits for the ends.
func (t *tunnels) closeAll() int {
	t.mu.Lock()
	n := len(t.open)
	for c := range t.open {
		_ = c.Close()
	}
	t.mu.Unlock()
	t.wg.Wait()
	return n
}

// tunnel answers 101 and copies bytes both ways until both sides ended.
func (x *exchange) tunnel(up *upstream, c *sent) {
	defer up.discard(c.upConn)
	if !c.release() {
		x.outcome = "client_gone"
		return
	}
	x.raw.Status = x.res.status
	x.raw.ResponseHeaders = append(x.raw.ResponseHeaders, x.res.fields...)
	client, buffered, err := x.controller().Hijack()
	if err != nil {
		x.broken(err)
		return
	}
	defer func() { _ = client.Close() }()
	x.s.tunnels.add(client)
	defer x.s.tunnels.remove(client)
	x.s.metrics.tunnels.Inc()
	defer x.s.metrics.tunnels.Dec()
	if fc := x.conn.front; fc != nil {
		fc.tunnel()
	}
	_ = client.SetDeadline(time.Time{})
	_ = c.conn.SetDeadline(time.Time{})
	x.slow()

	h := x.w.Header()
	x.copyFields(h, x.res.fields)
	head := []byte("HTTP/1.1 101 " + http.StatusText(x.res.status) + "\r\nConnection: Upgrade\r\nUpgrade: " + x.res.upgrade + "\r\n")
	for k, vs := range h {
		for _, v := range vs {
			head = append(head, k+": "+v+"\r\n"...)
		}
	}
	head = append(head, "\r\n"...)
	head = append(head, c.buf[c.r:c.w]...)
	x.written.Add(int64(c.w - c.r))
	if _, err := client.Write(head); err != nil {
		return
	}
	var early []byte
	if n := buffered.Reader.Buffered(); n > 0 {
		early, _ = buffered.Peek(n)
	}
	x.copyBoth(client, c.conn, early)
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
