package ingress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

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

func testGate(causes *[]cause) *gate {
	g := &Server{}
	return &gate{
		headLimit: 8192, maxFields: 100, headTimeout: time.Minute, idle: time.Minute, hard: &g.hard,
		reject: func(c cause) []byte {
			*causes = append(*causes, c)
			return rejection(c.status(), "id")
		},
	}
}

// FuzzGate checks what the gate promises about any input, however it is cut into
// reads: no panic, at most one rejection, and every message that gets through is
// read by net/http with the framing that the recorded head says.
func FuzzGate(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /1 HTTP/1.1\r\nHost: a\r\nOne: 1\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"\r\n\r\nGET http://a/x?y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\n\r\n",
		"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
		h2cPreface + "SM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"\x16\x03\x01\x02\x00\x01\x00",
	} {
		for _, piece := range []byte{0, 1, 7} {
			f.Add([]byte(s), piece)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, piece byte) {
		var causes []cause
		conn := &memConn{in: bytes.NewReader(in), piece: int(piece)}
		fc := newFrontConn(conn, testGate(&causes), &connInfo{})
		br := bufio.NewReader(fc)
		for range 100 {
			if _, err := br.Peek(1); err != nil || fc.state == gateRaw {
				break
			}
			req, err := http.ReadRequest(br)
			if err != nil {
				t.Fatalf("net/http refuses what the gate let through: %v\n%q", err, fc.short)
			}
			h := fc.head
			if req.Method != h.method || req.Host != h.host && h.host != "" || h.chunked != (len(req.TransferEncoding) > 0) ||
				!h.chunked && req.ContentLength != max(h.length, 0) {
				t.Fatalf("head %+v, net/http read %+v", h, req)
			}
			if !validTarget(h.path) || strings.ContainsAny(h.path, "\r\n \x00") {
				t.Fatalf("target %q", h.path)
			}
			for _, fd := range h.fields {
				if !isToken(fd.Name) || strings.ContainsAny(fd.Value, "\r\n\x00") {
					t.Fatalf("field %q", fd)
				}
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				break
			}
		}
		if len(causes) > 1 {
			t.Fatalf("causes %v", causes)
		}
		if n := bytes.Count(conn.out.Bytes(), []byte("HTTP/1.1 ")); n > 1 {
			t.Fatalf("%d answers", n)
		}
	})
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
		x := &exchange{r: &http.Request{Method: h.method, ProtoMajor: 1}, conn: &connInfo{peer: netip.MustParseAddrPort("192.0.2.9:1"), address: "192.0.2.9", trusted: trusted}}
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
		wt := &waiter{ctx: context.Background()}
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
	conf := (&certificate{}).config()
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
