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
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	if x.conn.front != nil {
		x.conn.front.watch()
	}
	req := x.http2Request(ctx, up)
	_ = x.controller().EnableFullDuplex()
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
	if timer != nil && !timer.Stop() && x.r.Context().Err() == nil {
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
	if names := announced(res.Trailer); len(names) > 0 {
		x.w.Header()["Trailer"] = names
	}
	x.writeHead(&x.res)
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
	x.flush()
	for {
		n, err := res.Body.Read(*p)
		if n > 0 {
			if !x.deliver((*p)[:n]) {
				return true
			}
			x.flush()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			x.broken(err)
			return true
		}
	}
	h := x.w.Header()
	for n, vs := range res.Trailer {
		if !forbiddenTrailer(n) {
			h[http.TrailerPrefix+n] = vs
		}
	}
	return false
}

func (x *exchange) http2Request(ctx context.Context, up *upstream) *http.Request {
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
		Trailer: x.r.Trailer, Proto: "HTTP/2.0", ProtoMajor: 2,
	}).WithContext(ctx)
	switch {
	case x.body.length == 0:
		req.Body = http.NoBody
	case x.body.whole:
		req.Body = io.NopCloser(&prefixed{prefix: x.body.prefix})
	default:
		// The transport may read on after the handler's end.
		x.kept = true
		req.Body = io.NopCloser(&prefixed{prefix: x.body.prefix, rest: &x.body})
	}
	return req
}

// prefixed reads bytes in memory, then the rest.
type prefixed struct {
	prefix []byte
	rest   io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	if p.rest == nil {
		return 0, io.EOF
	}
	return p.rest.Read(b)
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
