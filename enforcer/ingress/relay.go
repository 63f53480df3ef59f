package ingress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// continueWait is how long a body is withheld from an upstream that says nothing
// to "Expect: 100-continue" (RFC 9110 section 10.1.1 leaves the time to us).
const continueWait = time.Second

// maxInterim bounds the 1xx responses before a final one.
const maxInterim = 16

// largeBody is when a response counts as slow whatever the clock says.
const largeBody = 1 << 20

// earlyGrace is how long a finished response waits for the request body's writer
// to end by itself before the body is cut off.
const earlyGrace = 20 * time.Millisecond

var (
	errInterim   = errors.New("upstream sent too many interim responses")
	errUpgradeTo = errors.New("upstream switched protocols unasked")
)

// forward sends the request to the site's upstream and the answer back. It
// reports whether the answer broke off after it had begun.
func (x *exchange) forward() (abort bool) {
	x.out.build(x)
	if tag := x.tag(); tag != "" {
		x.out.add(headerTag, tag)
	}
	if x.body.whole {
		x.out.expect = false
	}
	up := x.site.upstream
	if up.scheme == "h2" || up.scheme == "h2c" || x.isGRPC() {
		return x.forwardHTTP2(up)
	}
	if n := x.body.length; n > 0 && n <= smallBody && !x.out.expect {
		if err := x.body.buffer(int(n)); err != nil {
			x.refuseBody(err)
			return false
		}
	}
	c, err := x.roundTrip(up)
	if err != nil {
		x.upstreamFailed(err)
		return false
	}
	if x.res.status == http.StatusSwitchingProtocols {
		x.tunnel(up, c)
		return false
	}
	return x.relay(up, c)
}

// isGRPC: gRPC exists on HTTP/2 only, so both ways must speak it.
func (x *exchange) isGRPC() bool {
	return x.h1 == nil && strings.HasPrefix(x.h2.r.Header.Get("Content-Type"), "application/grpc")
}

// repeatable reports whether the request may be sent again after a connection
// that had been idle turned out closed (RFC 9112 section 9.3.1).
func (x *exchange) repeatable() bool {
	if !x.body.whole {
		return false
	}
	switch x.raw.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// roundTrip sends the request and reads the final response's head. It tries a
// fresh connection once when an idle one fails before any byte of an answer.
func (x *exchange) roundTrip(up *upstream) (*sent, error) {
	repeatable := x.repeatable()
	for fresh := x.out.upgrade != ""; ; fresh = true {
		conn, err := up.get(x.client, fresh, !repeatable)
		if err != nil {
			return nil, err
		}
		c := &x.sent
		c.upConn, c.streaming, c.bodyErr = conn, false, nil
		conn.reset()
		x.wait = waiter{client: x.client, limit: x.st.cfg.Timeouts.Upstream}
		if err = x.send(c); err == nil {
			return c, nil
		}
		stale := conn.reused && !conn.got && repeatable && !errors.Is(err, errUpstreamTimeout) && !x.client.gone()
		x.stopSending(c, true)
		conn.release()
		up.discard(conn)
		if !stale || fresh {
			return nil, err
		}
		x.s.metrics.upstream.WithLabelValues("stale_retried").Inc()
	}
}

// sent is a request on an upstream connection, with its body's writer if that
// streams.
type sent struct {
	*upConn
	streaming bool
	done      chan error
	bodyErr   error
}

func (x *exchange) send(c *sent) error {
	b := x.out.appendHead(c.out[:0], &x.body)
	if x.body.whole {
		b = x.appendWhole(b)
	}
	c.out = b
	if x.body.whole {
		c.unsent = b
		return x.readFinal(c)
	}
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	if !x.out.expect {
		x.stream(c)
	}
	return x.readFinal(c)
}

// appendWhole appends a body that is in memory, with its framing.
func (x *exchange) appendWhole(b []byte) []byte {
	if x.body.length >= 0 {
		return append(b, x.body.prefix...)
	}
	if len(x.body.prefix) > 0 {
		b = appendChunk(b, x.body.prefix)
	}
	b = x.body.appendTrailers(append(b, "0\r\n"...))
	return append(b, "\r\n"...)
}

// readFinal reads responses until a final one, passing interim ones on. A server
// may answer and close before it took the whole request: its answer counts, and
// only without one what went wrong in writing.
func (x *exchange) readFinal(c *sent) error {
	for range maxInterim {
		if x.out.expect && !c.streaming {
			x.wait.limit = min(continueWait, x.st.cfg.Timeouts.Upstream)
		}
		err := c.readResponse(&x.wait, x.raw.Method, &x.res)
		x.wait.limit = x.st.cfg.Timeouts.Upstream
		switch {
		case errors.Is(err, errUpstreamTimeout) && x.out.expect && !c.streaming:
			x.stream(c)
			continue
		case err != nil && c.writeErr != nil:
			return c.writeErr
		case err != nil:
			return err
		case x.res.status == http.StatusSwitchingProtocols:
			if x.out.upgrade == "" {
				return errUpgradeTo
			}
			return nil
		case x.res.status >= 200:
			return nil
		case x.res.status == http.StatusContinue:
			if x.out.expect && !c.streaming {
				x.stream(c)
			}
		default:
			x.client.interim(x.res.status, x.res.fields)
		}
	}
	return errInterim
}

// stream starts the goroutine that sends a body while the answer is awaited.
func (x *exchange) stream(c *sent) {
	x.client.proceed()
	c.streaming, c.done, c.bodyErr = true, make(chan error, 1), nil
	up, conn, done := x.site.upstream, c.upConn, c.done
	stall := x.st.cfg.Timeouts.Upstream
	pace := up.uploading(conn)
	go func() {
		err := sendBody(&x.body, conn.conn, stall, pace)
		up.uploaded(conn)
		if pace.evicted.Load() {
			x.s.metrics.reject(causeBodyTimeout)
		}
		done <- err
	}()
}

// stopSending waits for the body's writer. now cuts it off at once; else it gets
// a moment, since an upstream usually answers after it read everything. It
// reports whether the whole body was sent.
func (x *exchange) stopSending(c *sent, now bool) bool {
	if !c.streaming {
		return true
	}
	c.streaming = false
	grace := earlyGrace
	if now {
		grace = 0
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case c.bodyErr = <-c.done:
		return c.bodyErr == nil
	case <-t.C:
	}
	_ = c.conn.SetWriteDeadline(past)
	x.client.stopReading()
	c.bodyErr = <-c.done
	return false
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// clientError wraps an error of reading the client's body.
type clientError struct{ err error }

func (e clientError) Error() string { return "read request body: " + e.err.Error() }
func (e clientError) Unwrap() error { return e.err }

// sendBody writes body with its framing to an upstream connection. When the
// client's part fails, the connection is closed so that the upstream sees an
// incomplete request and not a shorter one.
func sendBody(body *requestBody, conn interface {
	io.WriteCloser
	SetWriteDeadline(time.Time) error
}, stall time.Duration, pace *upload,
) error {
	p := copyBuffers.Get().(*[]byte) //nolint:forcetypeassert // the pool's New
	defer copyBuffers.Put(p)
	var frame []byte
	defer func() { _ = conn.SetWriteDeadline(time.Time{}) }() // the next request's is its own
	write := func(b []byte) error {
		_ = conn.SetWriteDeadline(time.Now().Add(stall))
		if body.length < 0 {
			frame = appendChunk(frame[:0], b)
			b = frame
		}
		_, err := conn.Write(b)
		return err
	}
	if len(body.prefix) > 0 {
		if err := write(body.prefix); err != nil {
			return err
		}
	}
	left := body.length - int64(len(body.prefix))
	for body.length < 0 || left > 0 {
		pace.reading()
		n, err := body.Read(*p)
		pace.came(n)
		if body.length >= 0 {
			n = int(min(int64(n), left))
			left -= int64(n)
		}
		if n > 0 {
			if err := write((*p)[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) && (body.length < 0 || left == 0) {
			break
		}
		if err != nil {
			_ = conn.Close()
			return clientError{err}
		}
	}
	if body.length >= 0 {
		return nil
	}
	_, err := conn.Write(append(body.appendTrailers([]byte("0\r\n")), "\r\n"...))
	return err
}

const hexDigits = "0123456789abcdef"

func appendChunk(b, data []byte) []byte {
	var size [16]byte
	i := len(size)
	for n := len(data); n > 0; n >>= 4 {
		i--
		size[i] = hexDigits[n&15]
	}
	b = append(append(b, size[i:]...), "\r\n"...)
	return append(append(b, data...), "\r\n"...)
}

// relay passes the answer on. The upstream connection goes back to the pool when
// both messages ended cleanly on it.
func (x *exchange) relay(up *upstream, c *sent) (abort bool) {
	x.writeHead()
	streamed := c.streaming
	abort, clean := x.relayBody(up, c)
	if clean && !streamed {
		x.client.end(x.res.trailers)
	} else if clean {
		x.client.flush()
	}
	evicted := x.downloaded(up, c.upConn)
	sentAll := x.stopSending(c, abort)
	if !c.release() || evicted || !clean || !sentAll || x.res.close || c.r != c.w {
		up.discard(c.upConn)
	} else {
		up.put(c.upConn)
	}
	c.upConn = nil
	if abort || !sentAll && x.client.malformed() {
		return true
	}
	if streamed {
		x.client.end(x.res.trailers)
	}
	return false
}

// writeHead passes status and fields on.
func (x *exchange) writeHead() {
	length := x.res.length
	if x.res.framing == bodyChunked || x.res.framing == bodyClose {
		length = -1
	}
	x.begin(length)
}

// begin starts the answer that res holds.
func (x *exchange) begin(length int64) {
	x.raw.Status, x.raw.ResponseHeaders = x.res.status, x.res.fields
	x.answer = answer{id: x.raw.ID, status: x.res.status, fields: x.res.fields, length: length, close: x.close || x.s.draining.Load()}
	x.client.begin(&x.answer)
}

// relayBody copies the body. clean: it ended as its framing says.
func (x *exchange) relayBody(up *upstream, c *sent) (abort, clean bool) {
	x.wait.x = x
	// A short body of known length mostly follows its head at once: one write.
	x.wait.eager = x.res.framing != bodyLength || x.res.length > 4*upBuffer
	if c.stop != nil { // the head took long already
		x.wait.eager = true
		x.slow()
	}
	if isEventStream(x.res.fields) {
		x.wait.limit = 0 // events may be far apart
	}
	for {
		b, err := c.next(&x.wait, &x.res)
		if len(b) > 0 && !x.deliver(b) {
			return true, false
		}
		if x.pace == nil && x.written.Load() > followFrom {
			x.download(up, c.upConn)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			x.broken(err)
			return true, false
		}
	}
	return false, true
}

func isEventStream(fields []flow.Field) bool {
	for _, f := range fields {
		if len(f.Name) == 12 && strings.EqualFold(f.Name, "Content-Type") {
			return strings.HasPrefix(strings.ToLower(f.Value), "text/event-stream")
		}
	}
	return false
}

// deliver hands body bytes to the client and keeps what extraction needs.
func (x *exchange) deliver(b []byte) bool {
	if x.needs.ResponseBody {
		x.keep(b)
	}
	err := x.client.write(b)
	if x.written.Add(int64(len(b))) > largeBody || x.timer == nil && time.Since(x.start) > firstWait {
		x.slow()
	}
	if err != nil {
		x.outcome = "client_gone"
	}
	return err == nil
}

func (x *exchange) keep(b []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if room := maxCapture - len(x.raw.ResponseBody); len(b) > room {
		b, x.raw.ResponseBodyTruncated = b[:room], true
	}
	x.raw.ResponseBody = append(x.raw.ResponseBody, b...)
}

// broken notes why an answer broke off.
func (x *exchange) broken(err error) {
	if x.pace != nil && x.pace.evicted.Load() {
		return // for its client's sake: downloaded counts it
	}
	x.outcome = "upstream_error"
	cause := "body"
	switch {
	case errors.Is(err, errClientGone), x.client.gone():
		x.outcome, cause = "client_gone", "client_gone"
	case errors.Is(err, errUpstreamTimeout):
		cause = "timeout"
	}
	x.s.metrics.upstream.WithLabelValues(cause).Inc()
}

// upstreamFailed answers a request that the upstream did not: 413 or 400 when
// the client's body was at fault, 503 when all connections are busy, 504 for a
// timeout, else 502.
func (x *exchange) upstreamFailed(err error) {
	status, cause := http.StatusBadGateway, "protocol"
	var extra []flow.Field
	bodyErr := x.sent.bodyErr
	var ce clientError
	var ne interface{ Timeout() bool }
	switch {
	case errors.As(bodyErr, &ce):
		x.refuseBody(bodyErr)
		return
	case x.client.gone() || errors.Is(err, errClientGone):
		x.s.metrics.upstream.WithLabelValues("client_gone").Inc()
		x.refuse(statusClientGone, "client_gone")
		return
	case errors.Is(err, errUpstreamBusy):
		status, cause = http.StatusServiceUnavailable, "busy"
		extra = []flow.Field{{Name: "Retry-After", Value: "1"}}
	case errors.Is(err, errUpstreamTimeout), errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		status, cause = http.StatusGatewayTimeout, "timeout"
	case isDialError(err):
		cause = "connect"
	}
	x.s.metrics.upstream.WithLabelValues(cause).Inc()
	x.refuse(status, "upstream_error", extra...)
}
