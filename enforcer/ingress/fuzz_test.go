package ingress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weirproject/weir/stream/flow"
)

// memConn is a connection whose input is in memory, handed out in pieces.
type memConn struct {
	in    *bytes.Reader
	piece int
	out   bytes.Buffer
}

func (c *memConn) Read(p []byte) (int, error) {
	if c.piece > 0 && len(p) > c.piece {
		p = p[:c.piece]
	}
	return c.in.Read(p)
}
func (c *memConn) Write(p []byte) (int, error)    { return c.out.Write(p) }
func (*memConn) Close() error                     { return nil }
func (*memConn) CloseWrite() error                { return nil }
func (*memConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*memConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*memConn) SetDeadline(time.Time) error      { return nil }
func (*memConn) SetReadDeadline(time.Time) error  { return nil }
func (*memConn) SetWriteDeadline(time.Time) error { return nil }

// memFront is what connections in memory are served with.
var memFront = sync.OnceValue(func() *front {
	m, err := newMetrics(prometheus.NewRegistry(), "test")
	if err != nil {
		panic(err)
	}
	return &front{s: &Server{metrics: m, log: slog.New(slog.DiscardHandler)}, base: context.Background()}
})

func memServe(conn net.Conn) *h1Conn {
	cfg := DefaultConfig()
	cfg.HeadLimit, cfg.MaxFields = 8192, 100
	return newH1Conn(memFront(), conn, &connInfo{}, cfg)
}

// TestAPanicEndsOneConnection: a fault of our own while serving is counted and
// costs its connection only. The server in memory has nothing to serve with.
func TestAPanicEndsOneConnection(t *testing.T) {
	conn := &memConn{in: bytes.NewReader([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))}
	faults := func() float64 {
		t.Helper()
		m := &dto.Metric{}
		if err := memFront().s.metrics.faults.WithLabelValues("serve").Write(m); err != nil {
			t.Fatal(err)
		}
		return m.GetCounter().GetValue()
	}
	before := faults()
	memServe(conn).serve()
	if n := faults() - before; n != 1 {
		t.Errorf("%v faults counted", n)
	}
	if conn.out.Len() > 0 {
		t.Errorf("answer %q", conn.out.Bytes())
	}
}

// FuzzRequests checks what is promised about any input, however it is cut into
// reads: no panic, at most one rejection, and every message that is taken is read
// by net/http in the same way: same head, same body, same trailers, same end.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /1 HTTP/1.1\r\nHost: a\r\nOne: 1\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun\u212aed\r\nConnection: clo\u017fe\r\n\r\n0\r\n\r\n",
		"\r\n\r\nGET http://a/x?y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\n\r\n",
		"POST / HTTP/1.0\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\nxGET / HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
		"GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00",
	} {
		for _, piece := range []byte{0, 1, 7} {
			f.Add([]byte(s), piece)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, piece byte) {
		if bytes.Contains(in, []byte(h2cPreface)) {
			return // goes to net/http
		}
		conn := &memConn{in: bytes.NewReader(in), piece: int(piece)}
		c := memServe(conn)
		read := func() int { return len(in) - conn.in.Len() - (len(c.buf) - c.r) }
		for c.next(time.Minute) {
			begin := read()
			h := c.head
			h.fields = slices.Clone(h.fields)
			if !validTarget(h.path) || strings.ContainsAny(h.path, "\r\n \x00") {
				t.Fatalf("target %q", h.path)
			}
			for _, fd := range h.fields {
				if !isToken(fd.Name) || strings.ContainsAny(fd.Value, "\r\n\x00") {
					t.Fatalf("field %q", fd)
				}
			}
			body, err := io.ReadAll(c)
			if err != nil {
				break
			}
			// What a target means is the application's business: net/http refuses some.
			text := h.method + " / " + h.proto + strings.TrimPrefix(string(in[begin-h.size:]), h.method+" "+h.target+" "+h.proto)
			compareWithNetHTTP(t, text, &h, body, c.trailers(), len(in)-read())
			c.proceed()
			if !c.done() {
				break
			}
		}
		if n := bytes.Count(conn.out.Bytes(), []byte("HTTP/1.1 4")) + bytes.Count(conn.out.Bytes(), []byte("HTTP/1.1 5")); n > 1 {
			t.Fatalf("%d answers", n)
		}
	})
}

// compareWithNetHTTP reads text as net/http does and holds the first request in
// it against what was read here; rest is what must be left behind it.
func compareWithNetHTTP(t *testing.T, text string, h *head, body []byte, trailers []flow.Field, rest int) {
	t.Helper()
	in := strings.NewReader(text)
	br := bufio.NewReader(in)
	req, err := http.ReadRequest(br)
	if err != nil {
		t.Fatalf("net/http refuses what was taken: %v\n%q", err, text)
	}
	if req.Method != h.method || req.Host != h.host && !h.absolute || h.chunked != (len(req.TransferEncoding) > 0) ||
		!h.chunked && req.ContentLength != max(h.length, 0) || req.Close == h.keepAlive {
		t.Fatalf("head %+v, net/http read %+v", h, req)
	}
	again, err := io.ReadAll(req.Body)
	if err != nil || !bytes.Equal(again, body) {
		t.Fatalf("body %q, net/http read %q, %v", body, again, err)
	}
	n := 0
	for _, vs := range req.Trailer {
		n += len(vs)
	}
	for _, f := range trailers {
		if !slices.Contains(req.Trailer[http.CanonicalHeaderKey(f.Name)], f.Value) {
			t.Fatalf("trailer %q, net/http read %v", f, req.Trailer)
		}
	}
	if left := br.Buffered() + in.Len(); left != rest || n != len(trailers) {
		t.Fatalf("%d bytes and %d trailers, net/http %d and %d in %q", rest, len(trailers), left, n, text)
	}
}

// FuzzOutgoing: whatever head passes the gate, what is sent on is one well-formed
// request without hop-by-hop or forged fields.
func FuzzOutgoing(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-a, cookie\r\nX-A: 1\r\nCookie: s\r\nX-Weir-Tag: t\r\nX_Forwarded_For: 1\r\nUpgrade: h2c\r\n\r\n", false)
	f.Add("POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTE: trailers\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: ::1\r\n\r\n", true)
	f.Fuzz(func(t *testing.T, text string, trusted bool) {
		var h head
		end := strings.Index(text, "\r\n\r\n")
		if end < 0 || strings.Contains(strings.ReplaceAll(text[:end+4], "\r\n", ""), "\n") || strings.HasPrefix(text, "\r\n") || h.parse(text[:end+4], 100) != causeNone {
			return
		}
		x := &exchange{h1: &h1Conn{}, conn: &connInfo{peer: netip.MustParseAddrPort("192.0.2.9:1"), address: "192.0.2.9", trusted: trusted}}
		x.raw = flow.Exchange{ID: "id", Method: h.method, Host: h.host, Target: h.path, Headers: h.fields, Client: x.conn.peer}
		x.body.whole = true
		if h.length > 0 {
			x.body.length = h.length
		}
		x.out.build(x)
		b := x.out.appendHead(nil, &x.body)
		var again head
		if c := again.parse(string(b), 300); c != causeNone && c != causeNoHost {
			t.Fatalf("%s in %q", c, b)
		}
		if again.length != h.length && (h.length > 0 || again.length > 0) {
			t.Fatalf("length %d became %d", h.length, again.length)
		}
		ids := 0
		for _, fd := range again.fields {
			name := strings.ReplaceAll(strings.ToLower(fd.Name), "_", "-")
			if strings.HasPrefix(name, "x-weir-") {
				if ids++; name != "x-weir-request-id" || fd.Value != "id" {
					t.Fatalf("forged %q", fd)
				}
			}
			if name == "connection" && fd.Value != "Upgrade" || name == "transfer-encoding" || name == "keep-alive" || name == "proxy-connection" {
				t.Fatalf("hop-by-hop %q", fd)
			}
		}
		if ids != 1 {
			t.Fatalf("%d ids in %q", ids, b)
		}
	})
}

// FuzzResponse reads any bytes as an upstream's answer; a second reading in
// single bytes must agree.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 404 Not Found\n\nclosed", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 999 \r\nConnection: close\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
	} {
		f.Add([]byte(s), "GET")
		f.Add([]byte(s), "HEAD")
	}
	read := func(in []byte, method string, piece int) (res upResponse, body []byte, err error) {
		c := newUpConn(&memConn{in: bytes.NewReader(in), piece: piece})
		wt := &waiter{}
		if err = c.readResponse(wt, method, &res); err != nil {
			return res, nil, err
		}
		for len(body) < 1<<20 {
			b, err := c.next(wt, &res)
			body = append(body, b...)
			if errors.Is(err, io.EOF) {
				return res, body, nil
			}
			if err != nil {
				return res, body, err
			}
		}
		return res, body, nil
	}
	f.Fuzz(func(t *testing.T, in []byte, method string) {
		res, body, err := read(in, method, 0)
		res2, body2, err2 := read(in, method, 1)
		if (err == nil) != (err2 == nil) || res.status != res2.status || !bytes.Equal(body, body2) || len(res.fields) != len(res2.fields) {
			t.Fatalf("whole: %d %q %v; in bytes: %d %q %v", res.status, body, err, res2.status, body2, err2)
		}
		if err == nil && res.framing == bodyLength && int64(len(body)) != res.length {
			t.Fatalf("%d bytes of %d", len(body), res.length)
		}
		for _, fd := range res.fields {
			if !isToken(fd.Name) || strings.ContainsAny(fd.Value, "\r\n\x00") {
				t.Fatalf("field %q", fd)
			}
		}
	})
}

// FuzzAnswer passes any bytes that an upstream may answer on to a client: what it
// gets is one response to net/http, with the same body, whole only if the
// upstream's was.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-A: b\r\nConnection: close, x-a\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 404 Not Found\n\nclosed", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 304 \r\nContent-Length: 7\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		f.Add([]byte(s), false, false)
		f.Add([]byte(s), true, false)
		f.Add([]byte(s), false, true)
	}
	f.Fuzz(func(t *testing.T, in []byte, isHead, http10 bool) {
		method := http.MethodGet
		if isHead {
			method = http.MethodHead
		}
		out := &memConn{in: bytes.NewReader(nil)}
		c, up, wt := memServe(out), newUpConn(&memConn{in: bytes.NewReader(in)}), &waiter{}
		c.head = head{method: method, http10: http10, keepAlive: true}
		var res upResponse
		if up.readResponse(wt, method, &res) != nil || res.status < 200 {
			return
		}
		length := res.length
		if res.framing == bodyChunked || res.framing == bodyClose {
			length = -1
		}
		c.begin(&answer{id: "id", status: res.status, fields: res.fields, length: length})
		var want []byte
		for {
			b, err := up.next(wt, &res)
			want = append(want, b...)
			if err := c.write(b); err != nil {
				t.Fatal(err)
			}
			if errors.Is(err, io.EOF) {
				c.end(res.trailers)
				break
			}
			if err != nil {
				c.abort()
				break
			}
		}
		br := bufio.NewReader(&out.out)
		got, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses the answer: %v\n%q", err, out.out.Bytes())
		}
		body, err := io.ReadAll(got.Body)
		_ = got.Body.Close() // its error is the read's
		if got.StatusCode != res.status || !bytes.Equal(body, want) || (err != nil) != (c.broken && !c.untilClose) || got.Close != c.closing {
			t.Fatalf("%d %q %v, close %v; want %d %q", got.StatusCode, body, err, got.Close, res.status, want)
		}
		if n := br.Buffered() + out.out.Len(); n > 0 {
			t.Fatalf("%d bytes follow the answer", n)
		}
		if ids := got.Header[headerRequestID]; len(ids) != 1 || ids[0] != "id" {
			t.Fatalf("ids %q", ids)
		}
	})
}

// FuzzProxyHeader: no panic, no read past the bound, and a header that is
// accepted is accepted in pieces too.
func FuzzProxyHeader(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\nGET /", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP4 1 2 3 4\r\n",
		string(proxyV2Signature) + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x00\x50rest",
		string(proxyV2Signature) + "\x21\x21\x00\x24" + strings.Repeat("\x20", 36), string(proxyV2Signature) + "\x20\x00\x00\x00", string(proxyV2Signature) + "\x31\x11\xff\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		src, rest, err := readProxyHeader(&memConn{in: bytes.NewReader(in)})
		src1, rest1, err1 := readProxyHeader(&memConn{in: bytes.NewReader(in), piece: 1})
		if (err == nil) != (err1 == nil) || src != src1 {
			t.Fatalf("whole: %v %v; in bytes: %v %v", src, err, src1, err1)
		}
		if err == nil && (len(rest) > len(in) || len(rest1) != 0 || !bytes.HasPrefix(in[len(in)-len(rest):], rest) && len(in) <= maxProxyV2) {
			t.Fatalf("rest %q and %q", rest, rest1)
		}
	})
}

// FuzzClientHello feeds any bytes to the handshake: no panic, and a fingerprint,
// where one was made, has its form.
func FuzzClientHello(f *testing.F) {
	hello := &memConn{in: bytes.NewReader(nil)}
	_ = tls.Client(hello, &tls.Config{ServerName: "a.example", NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}).HandshakeContext(context.Background())
	f.Add(hello.out.Bytes())
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	conf := (&Certificate{}).config()
	note := conf.GetConfigForClient
	conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		_, _ = note(h)
		return nil, errors.New("enough") // without key exchange, which would only be slow
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		info := &connInfo{}
		base := &baseConn{Conn: &memConn{in: bytes.NewReader(in)}, stall: time.Minute}
		_ = tls.Server(&helloConn{base, info}, conf).HandshakeContext(context.Background())
		if j := info.tls.JA4; j != "" && (len(j) != 36 || j[0] != 't' || j[10] != '_' || j[23] != '_') {
			t.Fatalf("fingerprint %q", j)
		}
	})
}
