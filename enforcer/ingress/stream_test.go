package ingress_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/enforcer/ingress"
	"github.com/weirproject/weir/stream/event"
)

// answers serves every request on a connection with the same raw answer.
func answers(tb testing.TB, raw string, thenClose bool) string {
	tb.Helper()
	return script(tb, func(c net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, raw)
			if thenClose {
				return
			}
		}
	})
}

func TestReadsEveryFormOfAnswer(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 20000)
	for _, tc := range []struct {
		name, method, raw string
		close             bool
		status            int
		body              string
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello"},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", false, 200, "hello"},
		{"upper case sizes", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n00\r\n\r\n", false, 200, "0123456789"},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\nhello", true, 200, "hello"},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n\r\nhello", true, 200, "hello"},
		{"HTTP/1.0 kept alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello"},
		{"bare line feeds", "GET", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", false, 200, "hello"},
		{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello"},
		{"folded field", "GET", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello"},
		{"length beside chunked", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false, 200, "hello"},
		{"equal lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello", false, 200, "hello"},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 200, ""},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", false, 204, ""},
		{"304 with length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, 304, ""},
		{"HEAD with length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, 200, ""},
		{"HEAD chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, 200, ""},
		{"100 unasked", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello"},
		{"large by length", "GET", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(big), big), false, 200, big},
		{"large chunk", "GET", fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big), false, 200, big},
		{"large head", "GET", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+big[:1000]+"\r\n", 200) + "Content-Length: 5\r\n\r\nhello", false, 200, "hello"},
		{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", false, 502, ""},
		{"bad length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", false, 502, ""},
		{"unknown coding", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", false, 502, ""},
		{"not HTTP", "GET", "SSH-2.0-OpenSSH_9.2\r\n\r\n", false, 502, ""},
		{"bad status", "GET", "HTTP/1.1 2x0 OK\r\n\r\n", false, 502, ""},
		{"HTTP/2 frames", "GET", "\x00\x00\x00\x04\x00\x00\x00\x00\x00\n\n", true, 502, ""},
		{"nothing", "GET", "", true, 502, ""},
		{"half a head", "GET", "HTTP/1.1 200 OK\r\nContent-", true, 502, ""},
		{"a head without end", "GET", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat(big, 2), false, 502, ""},
		{"a control character", "GET", "HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n", false, 502, ""},
		{"101 unasked", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", false, 502, ""},
		{"endless interim answers", "GET", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 50), false, 502, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, "http://"+answers(t, tc.raw, tc.close), nil, nil)
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for range 3 { // over the same connections where they last
				res, err := client.Do(request(t, tc.method, p.url("/"), ""))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || res.StatusCode != tc.status || tc.status != 502 && string(b) != tc.body {
					t.Fatalf("%d %.80q %v, want %d %.80q", res.StatusCode, b, err, tc.status, tc.body)
				}
			}
		})
	}
}

func TestBrokenAnswerIsNotPassedAsWhole(t *testing.T) {
	for name, raw := range map[string]string{
		"length":     "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
		"chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhello",
		"last chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"bad size":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "http://"+answers(t, raw, true), nil, nil)
			res, err := noKeepAlive.Do(request(t, "GET", p.url("/"), ""))
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if err == nil {
				t.Error("the client took a broken answer for a whole one")
			}
			if ev := p.brain.wait(t, 1)[0]; ev.Status != 200 {
				t.Errorf("event %+v", ev)
			}
			if n := p.counter(t, "weir_requests_total", "outcome", "upstream_error"); n != 1 {
				t.Errorf("counted %v", n)
			}
		})
	}
}

func TestStreamsEventsAsTheyCome(t *testing.T) {
	next := make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for i := 0; ; i++ {
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
			sayf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
		}
	})
	p := start(t, "http://"+up, nil, nil)
	ctx := t.Context()
	res, err := noKeepAlive.Do(request(t, "GET", p.url("/"), "").WithContext(ctx)) // the head comes before any event
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	br := bufio.NewReader(res.Body)
	for i := range 5 {
		next <- struct{}{}
		line, err := br.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("event %d: %q %v", i, line, err)
		}
		_, _ = br.ReadString('\n')
	}
}

func TestTrailersBothWays(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		sayf(w, "%s %s", b, r.Trailer.Get("X-Check"))
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	})
	p := start(t, "http://"+up, nil, nil)
	for _, body := range []string{"short", strings.Repeat("long ", 20000)} {
		req := request(t, "POST", p.url("/"), body)
		req.ContentLength, req.Trailer = -1, http.Header{"X-Check": {"seven"}}
		res, got := do(t, req)
		if got != body+" seven" {
			t.Errorf("upstream saw %.20q...%.20q", got, got[max(0, len(got)-20):])
		}
		if res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("X-Late") != "unannounced" {
			t.Errorf("trailers %v", res.Trailer)
		}
	}
}

func TestInterimResponsesPass(t *testing.T) {
	up := answers(t, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false)
	p := start(t, "http://"+up, nil, nil)
	var hints []string
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, h.Get("Link")))
			return nil
		},
	})
	res, body := do(t, request(t, "GET", p.url("/"), "").WithContext(ctx))
	if body != "ok" || fmt.Sprint(hints) != "[103</a.css>]" || res.Header.Get("Link") != "" {
		t.Errorf("%q %v %v", body, hints, res.Header)
	}
}

func TestExpectContinue(t *testing.T) {
	// The upstream sees the expectation, and the client's body is asked for only
	// when the upstream asked.
	asked := make(chan struct{})
	up := script(t, func(c net.Conn, br *bufio.Reader) {
		head, _ := readHead(br)
		if strings.Contains(head, "/no ") {
			_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			return
		}
		if !strings.Contains(head, "Expect: 100-continue\r\n") {
			return
		}
		close(asked)
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		b := make([]byte, 5)
		_, _ = io.ReadFull(br, b)
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n%s", b)
	})
	p := start(t, "http://"+up, nil, nil)
	c, br := dial(t, p.addr)
	_, _ = io.WriteString(c, "POST /yes HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if head, err := readHead(br); err != nil || head != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("%q %v", head, err)
	}
	select {
	case <-asked:
	default:
		t.Error("100 came before the upstream asked for the body")
	}
	_, _ = io.WriteString(c, "hello")
	if head, _ := readHead(br); !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("%q", head)
	}
	c, br = dial(t, p.addr)
	_, _ = io.WriteString(c, "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if head, _ := readHead(br); !strings.HasPrefix(head, "HTTP/1.1 401 ") {
		t.Errorf("%q", head)
	}
}

func TestEarlyAnswerToALargeUpload(t *testing.T) {
	up := script(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = readHead(br)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.CopyN(io.Discard, br, 1<<20)
	})
	p := start(t, "http://"+up, nil, func(c *ingress.Config) { c.BodyLimit = -1 })
	c, br := dial(t, p.addr)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
	_, _ = c.Write(make([]byte, 64<<10))
	// The client still owes most of the body and gets the answer all the same.
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || string(b) != "big" {
		t.Errorf("%d %q %v", res.StatusCode, b, err)
	}
}

func TestLargeBodiesStreamBothWays(t *testing.T) {
	const size = 24 << 20
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	})
	p := start(t, "http://"+up, nil, func(c *ingress.Config) { c.BodyLimit = -1 })
	for _, chunked := range []bool{false, true} {
		req := request(t, "POST", p.url("/"), "")
		req.Body = io.NopCloser(io.LimitReader(pattern{}, size))
		req.ContentLength = size
		if chunked {
			req.ContentLength = -1
		}
		res, err := noKeepAlive.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(&check{}, res.Body)
		_ = res.Body.Close()
		if n != size || err != nil {
			t.Errorf("chunked %v: %d bytes came back: %v", chunked, n, err)
		}
	}
	p.brain.wait(t, 2)
	if x := p.brain.lastExchange(t); x.ResponseBytes < size {
		t.Errorf("response bytes %d", x.ResponseBytes)
	}
}

// pattern is an endless reader, check a writer that verifies what it wrote.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	n := copy(p, "0123456789abcdef")
	if len(p) < 16 {
		return 0, io.ErrShortBuffer
	}
	for n+16 <= len(p) {
		n += copy(p[n:], p[:16])
	}
	return n - n%16, nil
}

type check struct{ off int }

func (c *check) Write(p []byte) (int, error) {
	for i, b := range p {
		if b != "0123456789abcdef"[(c.off+i)%16] {
			return i, errors.New("byte differs")
		}
	}
	c.off += len(p)
	return len(p), nil
}

func TestUpgradeTunnels(t *testing.T) {
	up := script(t, func(c net.Conn, br *bufio.Reader) {
		head, err := readHead(br)
		if err != nil || !strings.Contains(head, "Connection: Upgrade\r\nUpgrade: websocket\r\n") {
			_, _ = io.WriteString(c, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nwelcome ")
		_, _ = io.Copy(c, br)
		_, _ = io.WriteString(c, " bye")
	})
	p := start(t, "http://"+up, nil, nil)
	c, br := dial(t, p.addr)
	// The first frame comes with the request, as some clients send it.
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly ")
	head, err := readHead(br)
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n") ||
		!strings.Contains(head, "Sec-WebSocket-Accept: x\r\n") || !strings.Contains(head, "X-Weir-Request-Id: ") {
		t.Fatalf("%q %v", head, err)
	}
	blob := bytes.Repeat([]byte("frame"), 100000)
	go func() {
		_, _ = c.Write(blob)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(br)
	if err != nil || string(got) != "welcome early "+string(blob)+" bye" {
		t.Errorf("%d bytes, %.20q ... %v", len(got), got, err)
	}
	if ev := p.brain.wait(t, 1)[0]; ev.Status != 101 || ev.ResponseBytes < int64(len(blob)) {
		t.Errorf("event %+v", ev)
	}
}

func TestRefusedUpgradeIsAnOrdinaryAnswer(t *testing.T) {
	up := answers(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", false)
	p := start(t, "http://"+up, nil, nil)
	got := ask(t, p.addr, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if strings.Count(got, "HTTP/1.1 403 Forbidden\r\n") != 2 {
		t.Errorf("%q", got)
	}
}

// TestLongExchangeGivesAPartialEvent: one event at 5 s, and no second one.
func TestLongExchangeGivesAPartialEvent(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		<-release
		say(w, "end")
	})
	p := start(t, "http://"+up, nil, nil)
	done := make(chan string, 1)
	go func() { _, body := do(t, request(t, "GET", p.url("/"), "")); done <- body }()
	ev := p.brain.wait(t, 1)[0]
	if ev.Flags&event.FlagPartial == 0 || ev.Status != 200 || ev.Duration < int64(4900*time.Millisecond) || ev.Duration > int64(8*time.Second) {
		t.Errorf("event %+v", ev)
	}
	close(release)
	if body := <-done; body != "end" {
		t.Errorf("body %q", body)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(p.brain.wait(t, 1)); n != 1 {
		t.Errorf("%d events for one exchange", n)
	}
}

// TestUpgradesThatWouldHideRequests: an upgrade to HTTP/2, alone or in a list, or
// beside a body, is forwarded as an ordinary request.
func TestUpgradesThatWouldHideRequests(t *testing.T) {
	for _, fields := range []string{
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
		"Upgrade: websocket\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n",
	} {
		r := newRawRecorder(t)
		p := start(t, "http://"+r.addr, nil, nil)
		got := ask(t, p.addr, "GET / HTTP/1.1\r\nHost: a\r\n"+fields+"Connection: close\r\n\r\nabc")
		if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || strings.Contains(r.bytes(), "pgrade") || strings.Contains(r.bytes(), "HTTP2") {
			t.Errorf("%q: answer %q, upstream got %q", fields, got, r.bytes())
		}
	}
}
