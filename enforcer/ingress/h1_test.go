package ingress_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirproject/weir/enforcer/ingress"
	"github.com/weirproject/weir/stream/event"
)

// TestAnswersKeepOrderAndSpelling compares the bytes of answers: end-to-end fields
// stand as the upstream wrote them, hop-by-hop ones are gone, framing is ours.
func TestAnswersKeepOrderAndSpelling(t *testing.T) {
	const date = "Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
	for _, tc := range []struct{ name, request, answer, want string }{
		{
			"by length", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
			"HTTP/1.1 200 Fine\r\nx-B: 1\r\n" + date + "Connection: keep-alive, x-gone\r\nX-Gone: 1\r\nKeep-Alive: x\r\ncontent-LENGTH: 2\r\nX-Weir-Request-Id: forged\r\nx-b: 2\r\nTrailer: x\r\n\r\nok",
			"HTTP/1.1 200 OK\r\nx-B: 1\r\n" + date + "content-LENGTH: 2\r\nx-b: 2\r\nX-Weir-Request-Id: ID\r\nConnection: close\r\n\r\nok",
		},
		{
			"chunked with trailers", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2;e=1\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Trailer: X-Sum\r\nX-Weir-Request-Id: ID\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
		},
		{
			"HTTP/1.0 cannot be chunked", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "X-Weir-Request-Id: ID\r\nConnection: close\r\n\r\nok",
		},
		{
			"HTTP/1.0 kept alive, then not", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\n\r\nok",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\nX-Weir-Request-Id: ID\r\nConnection: keep-alive\r\n\r\nok" +
				"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\nX-Weir-Request-Id: ID\r\nConnection: close\r\n\r\nok",
		},
		{
			"no body to HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 2\r\nX-Weir-Request-Id: ID\r\nConnection: close\r\n\r\n",
		},
		{
			"no length in 204", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
			"HTTP/1.1 204 Gone Away\r\n" + date + "Content-Length: 0\r\n\r\n",
			"HTTP/1.1 204 No Content\r\n" + date + "X-Weir-Request-Id: ID\r\nConnection: close\r\n\r\n",
		},
		{
			"an unknown status", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
			"HTTP/1.1 799 Odd\r\n" + date + "Content-Length: 0\r\n\r\n",
			"HTTP/1.1 799 \r\n" + date + "Content-Length: 0\r\nX-Weir-Request-Id: ID\r\nConnection: close\r\n\r\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, "http://"+answers(t, tc.answer, false), nil, nil)
			got := ask(t, p.addr, tc.request)
			for _, ev := range p.brain.wait(t, strings.Count(tc.want, "ID\r\n")) {
				got = strings.ReplaceAll(got, ev.ID, "ID")
			}
			if got != tc.want {
				t.Errorf("got\n%q\nwant\n%q", got, tc.want)
			}
		})
	}
}

func TestAnswersCarryADate(t *testing.T) {
	p := start(t, "http://"+answers(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false), nil, nil)
	res, _ := do(t, request(t, "GET", p.url("/"), ""))
	if at, err := http.ParseTime(res.Header.Get("Date")); err != nil || time.Since(at) > time.Minute {
		t.Errorf("date %q: %v", res.Header.Get("Date"), err)
	}
	// RFC 9110 6.6.1 asks for it in answers of our own too.
	if got := ask(t, p.addr, "GET / HTTP/1.1\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "\r\nDate: ") {
		t.Errorf("a refused head is answered %q", got)
	}
}

// TestRefusedBodiesKeepTheConnection: what is left of a small body is read past,
// a large one ends the connection, and neither is taken for a request.
func TestRefusedBodiesKeepTheConnection(t *testing.T) {
	p := start(t, "http://127.0.0.1:1", &brain{decide: decided(event.ActionBlock)}, nil)
	next := "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	for _, tc := range []struct {
		name, raw string
		answers   int
	}{
		{"by length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /" + next, 2},
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n" + next, 2},
		{"malformed", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET / HTTP\r\n\r\n" + next, 1},
		{"too large to read past", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + next, 1},
		{"withheld for 100", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ask(t, p.addr, tc.raw)
			if n := strings.Count(got, "HTTP/1.1 403 Forbidden\r\n"); n != tc.answers || strings.Count(got, "HTTP/1.1 ") != n {
				t.Errorf("%d answers, want %d: %q", n, tc.answers, got)
			}
		})
	}
}

// TestABrokenAnswerUntilCloseIsReset: where the connection's end is the body's, an
// orderly end would make a whole answer of a broken one.
func TestABrokenAnswerUntilCloseIsReset(t *testing.T) {
	p := start(t, "http://"+answers(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhello", true), nil, nil)
	c, br := dial(t, p.addr)
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	if b, err := io.ReadAll(br); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q %v", b, err)
	}
}

// TestAStreamedBodysDeadlineEndsWithIt: the next request on the same upstream
// connection must not fail by it.
func TestAStreamedBodysDeadlineEndsWithIt(t *testing.T) {
	up := answers(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false)
	p := start(t, "http://"+up, nil, func(c *ingress.Config) { c.Timeouts.Upstream = 100 * time.Millisecond })
	for range 3 {
		req := request(t, "POST", p.url("/"), strings.Repeat("x", 100<<10))
		req.ContentLength = -1
		if res, _ := do(t, req); res.StatusCode != http.StatusOK {
			t.Fatalf("streamed: %d", res.StatusCode)
		}
		<-time.After(150 * time.Millisecond) // past the deadline of the writes above
		if res, _ := do(t, request(t, "POST", p.url("/"), "small")); res.StatusCode != http.StatusOK {
			t.Fatalf("after it: %d", res.StatusCode)
		}
	}
}

// TestPipelinedRequestsBehindASlowOne: what comes while the client is watched for
// its leaving is served in order.
func TestPipelinedRequestsBehindASlowOne(t *testing.T) {
	began, release := make(chan struct{}, 1), make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			began <- struct{}{}
			<-release
		}
		say(w, r.URL.Path)
	})
	p := start(t, "http://"+up, nil, nil)
	c, br := dial(t, p.addr)
	_, _ = io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-began
	<-time.After(400 * time.Millisecond) // beyond the first, unwatched wait
	_, _ = io.WriteString(c, "GET /two HTTP/1.1\r\nHost: a\r\n\r\nGET /three HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	close(release)
	for _, want := range []string{"/slow", "/two", "/three"} {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(b) != want {
			t.Errorf("%q, want %q", b, want)
		}
	}
}

// TestLargeRequestHeads: a head that does not fit the socket's buffers on the way
// to the upstream arrives whole, and the answer to it is read.
func TestLargeRequestHeads(t *testing.T) {
	size := make(chan int, 1)
	up := script(t, func(c net.Conn, br *bufio.Reader) {
		_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
		for {
			head, err := readHead(br)
			if err != nil {
				return
			}
			size <- len(head)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	p := start(t, "http://"+up, nil, func(c *ingress.Config) { c.HeadLimit = 1 << 20 })
	var head bytes.Buffer
	for range 100 {
		head.WriteString("X-Large: " + strings.Repeat("v", 9000) + "\r\n")
	}
	for range 2 {
		got := ask(t, p.addr, "GET / HTTP/1.1\r\nHost: a\r\n"+head.String()+"Connection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
			t.Fatalf("answer %q", got)
		}
		if n := <-size; n < head.Len() {
			t.Errorf("%d bytes of %d arrived", n, head.Len())
		}
	}
}
