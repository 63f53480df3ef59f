package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// http2Upstreams speaks HTTP/2 to upstreams: the standard library's transport,
// since one connection there carries many requests and the own client's serial
// connections bring nothing.
type http2Upstreams struct {
	clear, secure *http.Transport
}

func newHTTP2Upstreams() *http2Upstreams {
	transport := func() *http.Transport {
		return &http.Transport{
			DialContext:        (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			DisableCompression: true,
			IdleConnTimeout:    upstreamIdle,
			Protocols:          new(http.Protocols),
			// Dead connections are found by PING, since requests share them.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		}
	}
	h := &http2Upstreams{clear: transport(), secure: transport()}
	h.clear.Protocols.SetUnencryptedHTTP2(true)
	h.secure.Protocols.SetHTTP2(true)
	h.secure.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	return h
}

func (h *http2Upstreams) close() {
	h.clear.CloseIdleConnections()
	h.secure.CloseIdleConnections()
}

// forwardHTTP2 sends the request over HTTP/2 and relays the answer, trailers
// included: gRPC's status is one.
func (x *exchange) forwardHTTP2(up *upstream) (abort bool) {
	ctx, cancel := context.WithCancel(x.client.context())
	defer cancel()
	x.client.watch()
	x.client.proceed()
	req, body := x.http2Request(ctx, up)
	defer body.detach()
	transport := x.s.fallback.clear
	if up.tls != nil {
		transport = x.s.fallback.secure
	}
	// A streaming call may wait long for its head on purpose; only a call whose
	// body is complete is held to the timeout.
	var timer *time.Timer
	if x.body.whole {
		timer = time.AfterFunc(x.st.cfg.Timeouts.Upstream, cancel)
	}
	res, err := transport.RoundTrip(req)
	if timer != nil && !timer.Stop() && !x.client.gone() {
		err = errUpstreamTimeout
	}
	if err != nil {
		if res != nil {
			_ = res.Body.Close()
		}
		if failed := x.body.failed.Load(); failed != nil {
			x.sent.bodyErr = clientError{*failed}
		}
		x.upstreamFailed(err)
		return false
	}
	defer func() { _ = res.Body.Close() }()
	x.res = upResponse{status: res.StatusCode, fields: sortedFields(x.res.fields[:0], res.Header), length: res.ContentLength}
	for _, name := range announced(res.Trailer) {
		x.res.fields = append(x.res.fields, flow.Field{Name: "Trailer", Value: name})
	}
	x.writeHead()
	x.slow()
	return x.relayHTTP2(res)
}

func announced(t http.Header) (names []string) {
	for n := range t {
		if !forbiddenTrailer(n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func (x *exchange) relayHTTP2(res *http.Response) (abort bool) {
	p := copyBuffers.Get().(*[]byte) //nolint:forcetypeassert // the pool's New
	defer copyBuffers.Put(p)
	x.client.flush()
	for {
		n, err := res.Body.Read(*p)
		if n > 0 {
			if !x.deliver((*p)[:n]) {
				return true
			}
			x.client.flush()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			x.broken(err)
			return true
		}
	}
	for n := range res.Trailer {
		if forbiddenTrailer(n) {
			delete(res.Trailer, n)
		}
	}
	x.client.end(sortedFields(nil, res.Trailer))
	return false
}

func (x *exchange) http2Request(ctx context.Context, up *upstream) (*http.Request, *transportBody) {
	scheme := "http"
	if up.tls != nil {
		scheme = "https"
	}
	// Opaque keeps the target's bytes as they came. One that begins with "//" would
	// be read as an authority; the transport strips the host that stands before it.
	u := &url.URL{Scheme: scheme, Host: up.addr, Opaque: x.raw.Target}
	switch {
	case x.raw.Target == "*":
		u.Opaque, u.Path = "", "*"
	case strings.HasPrefix(x.raw.Target, "//"):
		u.Opaque = "//" + x.raw.Host + x.raw.Target
	}
	req := (&http.Request{
		Method: x.out.method, URL: u, Host: x.raw.Host, Header: toHeader(x.out.fields), ContentLength: x.body.length,
		Proto: "HTTP/2.0", ProtoMajor: 2, Body: http.NoBody,
	}).WithContext(ctx)
	if x.body.length == 0 {
		return req, nil
	}
	body := &transportBody{x: x, prefix: x.body.prefix, trailer: http.Header{}}
	for _, n := range x.body.src.announced() {
		body.trailer[http.CanonicalHeaderKey(n)] = nil
	}
	req.Body, req.Trailer = body, body.trailer
	return req, body
}

// transportBody is a request's body as the transport reads it, on a goroutine
// that may outlive the exchange: after detach it touches it no more.
type transportBody struct {
	trailer http.Header // filled at the end

	mu     sync.Mutex
	x      *exchange // nil once detached
	prefix []byte
}

func (b *transportBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.x == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	if len(b.prefix) > 0 {
		n := copy(p, b.prefix)
		b.prefix = b.prefix[n:]
		return n, nil
	}
	n, err := 0, io.EOF
	if !b.x.body.whole {
		n, err = b.x.body.Read(p)
	}
	if errors.Is(err, io.EOF) {
		for _, f := range b.x.body.trailers() {
			k := http.CanonicalHeaderKey(f.Name)
			b.trailer[k] = append(b.trailer[k], f.Value)
		}
	}
	return n, err
}

// Close does nothing: the exchange detaches.
func (*transportBody) Close() error { return nil }

func (b *transportBody) detach() {
	if b == nil {
		return
	}
	if !b.x.body.whole {
		b.x.client.stopReading() // ends a Read that holds mu
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.x = nil
}

func toHeader(fields []flow.Field) http.Header {
	h := make(http.Header, len(fields))
	for _, f := range fields[1:] { // without Host
		h[http.CanonicalHeaderKey(f.Name)] = append(h[http.CanonicalHeaderKey(f.Name)], f.Value)
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // none of the transport's own
	}
	return h
}
