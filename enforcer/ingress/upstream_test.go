package ingress_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/enforcer/ingress"
	"github.com/weirproject/weir/stream/event"
)

func TestClientAbortEndsTheRequestUpstream(t *testing.T) {
	for _, tc := range []struct{ name, raw string }{
		{"while waiting for the answer", "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"while reading the answer", "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"while sending a large body", "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc"},
		{"while sending a small body", "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc"},
		{"while sending chunks", "POST /wait HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
			up := origin(t, func(w http.ResponseWriter, r *http.Request) {
				began <- struct{}{}
				if r.URL.Path == "/stream" {
					say(w, "some")
					w.(http.Flusher).Flush()
				}
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					<-r.Context().Done()
				}
				ended <- struct{}{}
			})
			p := start(t, "http://"+up, nil, nil)
			c, br := dial(t, p.addr)
			_, _ = io.WriteString(c, tc.raw)
			small := strings.Contains(tc.name, "small")
			if !small {
				<-began
			}
			if strings.Contains(tc.name, "reading") {
				_, _ = readHead(br)
			}
			_ = c.Close()
			if !small {
				<-ended
			} // a small body that never ended was never sent on
			ev := p.brain.wait(t, 1)[0]
			if ev.Status != 499 && !strings.Contains(tc.name, "reading") {
				t.Errorf("event status %d", ev.Status)
			}
		})
	}
}

func TestUpstreamFaults(t *testing.T) {
	silent := script(t, func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
	for _, tc := range []struct {
		name, upstream string
		status         int
		cause          string
	}{
		{"refused", "http://127.0.0.1:1", 502, "connect"},
		{"silent", "http://" + silent, 504, "timeout"},
		{"plain behind https", "https://" + answers(t, "HTTP/1.1 400 Bad Request\r\n\r\n", true), 502, "protocol"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, tc.upstream, nil, func(c *ingress.Config) { c.Timeouts.Upstream = 50 * time.Millisecond })
			res, body := do(t, request(t, "GET", p.url("/"), ""))
			if res.StatusCode != tc.status || !strings.Contains(body, res.Header.Get("X-Weir-Request-Id")) {
				t.Errorf("%d %q", res.StatusCode, body)
			}
			if n := p.counter(t, "weir_ingress_upstream_errors_total", "cause", tc.cause); n != 1 {
				t.Errorf("%v counted as %s", n, tc.cause)
			}
			if ev := p.brain.wait(t, 1)[0]; int(ev.Status) != tc.status || ev.Action != event.ActionAllow {
				t.Errorf("event %+v", ev)
			}
		})
	}
}

// TestStaleConnections: an upstream that closes after each answer without saying
// so costs no request, whatever its method.
func TestStaleConnections(t *testing.T) {
	up := answers(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true)
	p := start(t, "http://"+up, nil, nil)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := range 200 {
		method, body := []string{"GET", "POST", "PUT"}[i%3], ""
		if i%3 > 0 {
			body = "some body"
		}
		res, err := client.Do(request(t, method, p.url("/"), body))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		// A POST may meet a close that arrives after it was sent; all others are
		// repeated.
		if (res.StatusCode != http.StatusOK || string(b) != "ok") && method != "POST" {
			t.Fatalf("%s %d: %d %q", method, i, res.StatusCode, b)
		}
	}
}

func TestPoolIsBoundedAndQueues(t *testing.T) {
	release := make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) { <-release; say(w, "ok") })
	p := start(t, "http://"+up, nil, func(c *ingress.Config) { c.MaxUpstreamConns, c.Timeouts.Connect = 2, 100*time.Millisecond })
	codes := make(chan int, 6)
	for range 6 {
		go func() {
			res, err := noKeepAlive.Get(p.url("/"))
			if err != nil {
				codes <- 0
				return
			}
			_ = res.Body.Close()
			codes <- res.StatusCode
		}()
	}
	for range 4 {
		if c := <-codes; c != 503 {
			t.Errorf("status %d, want 503 while two hold the pool", c)
		}
	}
	close(release)
	for range 2 {
		if c := <-codes; c != 200 {
			t.Errorf("status %d", c)
		}
	}
	if n := p.counter(t, "weir_ingress_upstream_errors_total", "cause", "busy"); n != 4 {
		t.Errorf("%v counted as busy", n)
	}
}

// TestSlowUploadsDoNotHoldThePool: clients that send a byte of a long body now and
// then hold every upstream connection; whoever comes then is served all the same,
// and an upload that is fast, or whose upstream is slow, goes on.
func TestSlowUploadsDoNotHoldThePool(t *testing.T) {
	release := make(chan struct{})
	began := make(chan struct{}, 4)
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		if r.URL.Path == "/unread" {
			<-release
		}
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // net/http would linger beyond the test's end
		}
		say(w, strconv.FormatInt(n, 10))
	})
	p := start(t, "http://"+up, nil, func(c *ingress.Config) {
		c.MaxUpstreamConns, c.Timeouts.Connect = 3, time.Minute
	})
	const long = 1 << 20
	post := func(path string) (net.Conn, *bufio.Reader) {
		c, br := dial(t, p.addr)
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nabc", path, long)
		return c, br
	}
	_, slow := post("/slow")
	fast, answer := post("/fast")
	unread, taken := post("/unread")
	for range 3 {
		<-began // each holds a connection now
	}
	rest := make([]byte, long-3)
	go func() { _, _ = unread.Write(rest) }() // more than the sockets hold
	stop, sent := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sent)
		left := rest
		for tick := time.NewTicker(20 * time.Millisecond); len(left) > 32<<10; left = left[4<<10:] {
			select {
			case <-stop:
				_, _ = fast.Write(left)
				return
			case <-tick.C:
				_, _ = fast.Write(left[:4<<10])
			}
		}
		_, _ = fast.Write(left)
	}()
	res, err := noKeepAlive.Get(p.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d while slow uploads hold the pool", res.StatusCode)
	}
	if line, _ := slow.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 408 ") {
		t.Errorf("the slow upload: %q", line)
	}
	close(stop)
	close(release)
	<-sent
	for name, br := range map[string]*bufio.Reader{"fast": answer, "unread": taken} {
		if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
			t.Errorf("the %s upload: %q, %v", name, line, err)
		}
	}
	if n := p.counter(t, "weir_ingress_rejects_total", "cause", "body_timeout"); n != 1 {
		t.Errorf("%v counted as slow bodies", n)
	}
}

// TestSlowReadersDoNotHoldThePool: clients that ask for a long answer and read
// nothing of it hold every upstream connection; whoever comes then is served all
// the same, and an answer whose client reads, or whose upstream is slow, goes on.
func TestSlowReadersDoNotHoldThePool(t *testing.T) {
	const long = 32 << 20 // more than the sockets of all hold
	release := make(chan struct{})
	began := make(chan struct{}, 4)
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		w.Header().Set("Content-Length", strconv.Itoa(long))
		part := make([]byte, 64<<10)
		for n := 0; n < long; n += len(part) {
			if n == 1<<20 && r.URL.Path == "/paused" {
				<-release
			}
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	})
	p := start(t, "http://"+up, nil, func(c *ingress.Config) {
		c.MaxUpstreamConns, c.Timeouts.Connect = 3, time.Minute
	})
	get := func(path string) *bufio.Reader {
		c, br := dial(t, p.addr)
		_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
		_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path)
		return br
	}
	unread, steady, paused := get("/unread"), get("/steady"), get("/paused")
	for range 3 {
		<-began // each holds a connection now
	}
	stop := make(chan struct{})
	type taken struct {
		name string
		n    int64
	}
	results := make(chan taken, 2)
	go func() { // some 800 KB/s, then as fast as can be
		var n int64
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				k, _ := io.CopyN(io.Discard, steady, 16<<10)
				n += k
				continue
			case <-stop:
			}
			k, _ := io.Copy(io.Discard, steady)
			results <- taken{"steady", n + k}
			return
		}
	}()
	go func() {
		n, _ := io.Copy(io.Discard, paused)
		results <- taken{"paused", n}
	}()
	c, br := dial(t, p.addr)
	_, _ = io.WriteString(c, "HEAD /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
		t.Errorf("while an unread answer holds the pool: %q, %v", line, err)
	}
	if n, err := io.Copy(io.Discard, unread); err == nil && n >= long {
		t.Errorf("the unread answer came whole, %d bytes", n)
	}
	close(stop)
	close(release)
	for range 2 {
		if r := <-results; r.n < long {
			t.Errorf("the %s answer broke off after %d bytes of %d", r.name, r.n, long)
		}
	}
	if n := p.counter(t, "weir_ingress_upstream_errors_total", "cause", "slow_client"); n != 1 {
		t.Errorf("%v counted as slow clients", n)
	}
}

// TestSlowReadersOverHTTP2: one stream that is not read gives its connection up, and
// the client's other streams go on.
func TestSlowReadersOverHTTP2(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		for r.URL.Path == "/endless" {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	p := start(t, "http://"+up, nil, func(c *ingress.Config) {
		c.MaxUpstreamConns, c.Timeouts.Connect, c.Timeouts.Idle = 1, 10*time.Second, 3*time.Second
	})
	client := h2cClient(t)
	get := func(path string) *http.Response {
		t.Helper()
		res, err := client.Get(p.url(path))
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	unread := get("/endless")
	defer func() { _ = unread.Body.Close() }()
	if res := get("/"); res.StatusCode != http.StatusOK || res.Proto != "HTTP/2.0" {
		t.Errorf("%s %s while an unread stream holds the pool", res.Proto, res.Status)
	} else {
		_ = res.Body.Close()
	}
	if _, err := io.Copy(io.Discard, unread.Body); err == nil {
		t.Error("the unread stream ended properly")
	}
	if n := p.counter(t, "weir_ingress_upstream_errors_total", "cause", "slow_client"); n != 1 {
		t.Errorf("%v counted as slow clients", n)
	}
}
