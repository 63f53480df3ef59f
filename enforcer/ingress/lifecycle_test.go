package ingress_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproject/weir/enforcer/ingress"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// TestStopFailsNoRequest stops the ingress while keep-alive clients hammer it
// over HTTP/1.1 and HTTP/2. Every request that was sent is answered; a client
// notices the stop by "Connection: close", GOAWAY or a refused connection only.
func TestStopFailsNoRequest(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-time.After(100 * time.Millisecond) // a slow application
		}
		say(w, "served")
	})
	p := startTLS(t, "http://"+up, nil)
	h2 := tlsClient(t, p)
	var wg sync.WaitGroup
	var served, failed atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			client, path := h2, "/"
			if i%2 == 0 {
				client = tlsClient(t, p, "http/1.1")
			}
			if i >= 4 {
				path = "/slow"
			}
			for {
				res, err := client.Get("https://shop.example" + path)
				if err != nil {
					// A connection that was never made carried no request.
					if oe := (*net.OpError)(nil); !errors.As(err, &oe) || oe.Op != "dial" {
						failed.Add(1)
						t.Errorf("client %d: %v", i, err)
					}
					return
				}
				b, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || string(b) != "served" {
					failed.Add(1)
					t.Errorf("client %d: %q %v", i, b, err)
				}
				served.Add(1)
			}
		})
	}
	eventually(t, func() bool { return served.Load() > 200 })
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	wg.Wait()
	if n := len(p.brain.wait(t, int(served.Load()))); int64(n) != served.Load() {
		t.Errorf("%d events for %d requests", n, served.Load())
	}
}

func TestStopTellsKeepAliveClientsToClose(t *testing.T) {
	release := make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) { <-release; say(w, "ok") })
	p := start(t, "http://"+up, nil, nil)
	c, br := dial(t, p.addr)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, func() bool { return p.counter(t, "weir_ingress_requests_in_flight") == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()
	eventually(t, func() bool {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(release)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if b, _ := io.ReadAll(res.Body); string(b) != "ok" {
		t.Errorf("%q", b)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStopHasADeadline(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	up := script(t, func(_ net.Conn, br *bufio.Reader) { _, _ = readHead(br); <-block })
	p := start(t, "http://"+up, nil, func(c *ingress.Config) { c.DrainTimeout = 50 * time.Millisecond })
	c, br := dial(t, p.addr)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, func() bool { return p.counter(t, "weir_ingress_requests_in_flight") == 1 })
	if err := p.stop(); err == nil {
		t.Error("a stop that cut a request off says so")
	}
	_, _ = io.ReadAll(br)
	if n := len(p.brain.wait(t, 1)); n != 1 {
		t.Errorf("%d events", n)
	}
}

// TestReloadSwapsUpstreamsWithoutAFailedRequest moves the site back and forth
// between two upstreams under load.
func TestReloadSwapsUpstreamsWithoutAFailedRequest(t *testing.T) {
	ups := []string{
		"http://" + origin(t, func(w http.ResponseWriter, _ *http.Request) { say(w, "one") }),
		"http://" + origin(t, func(w http.ResponseWriter, _ *http.Request) { say(w, "two") }),
	}
	var cfg ingress.Config
	p := start(t, ups[0], nil, func(c *ingress.Config) { cfg = *c })
	done := make(chan struct{})
	var wg sync.WaitGroup
	var seen [2]atomic.Int64
	for range 4 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-done:
					return
				default:
				}
				res, err := client.Get(p.url("/"))
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				switch string(b) {
				case "one":
					seen[0].Add(1)
				case "two":
					seen[1].Add(1)
				default:
					t.Errorf("%d %q", res.StatusCode, b)
				}
			}
		})
	}
	for i := range 20 {
		next := cfg
		next.Sites = []ingress.Site{{Name: "shop", Hosts: []string{"*"}, Upstream: ups[(i+1)%2]}}
		before := seen[(i+1)%2].Load()
		if err := p.Reload(next); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return seen[(i+1)%2].Load() > before })
	}
	close(done)
	wg.Wait()

	bad := cfg
	bad.Listen = "127.0.0.1:9"
	if err := p.Reload(bad); err == nil {
		t.Error("a changed address was accepted")
	}
	bad = cfg
	bad.Sites = []ingress.Site{{Name: "", Hosts: nil, Upstream: "ftp://x/y"}}
	if err := p.Reload(bad); err == nil || !strings.Contains(err.Error(), "sites[0].name") || !strings.Contains(err.Error(), "sites[0].upstream") {
		t.Errorf("faults of a bad configuration: %v", err)
	}
}

func TestSitesByHost(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) { say(w, r.Host) })
	p := start(t, "http://"+up, nil, func(c *ingress.Config) {
		c.Sites = []ingress.Site{
			{Name: "shop", Hosts: []string{"Shop.example", "[::1]"}, Upstream: "http://" + up},
			{Name: "any", Hosts: []string{"*.example.org"}, Upstream: "http://" + up},
		}
	})
	for host, want := range map[string]string{
		"shop.example": "shop", "SHOP.example:8080": "shop", "shop.example.": "shop", "[::1]:80": "shop",
		"a.example.org": "any", "a.b.example.org": "any", "example.org": "", "other": "", "shop.example.evil": "",
	} {
		req := request(t, "GET", p.url("/"), "")
		req.Host = host
		n := p.brain.count()
		res, body := do(t, req)
		if want == "" {
			if res.StatusCode != http.StatusMisdirectedRequest {
				t.Errorf("%s: %d", host, res.StatusCode)
			}
			continue
		}
		if body != host || p.brain.wait(t, n+1)[n].Site != want {
			t.Errorf("%s: %q", host, body)
		}
	}
	if n := p.counter(t, "weir_ingress_rejects_total", "cause", "no_site"); n != 3 {
		t.Errorf("%v counted without a site", n)
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/flood" {
			for b := make([]byte, 1<<20); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}
	})
	p := start(t, "http://"+up, nil, func(c *ingress.Config) {
		c.Timeouts.Header, c.Timeouts.Idle = 100*time.Millisecond, 150*time.Millisecond
	})
	for _, tc := range []struct{ name, first, drip, want, cause string }{
		{"drips its head", "GET / HTTP/1.1\r\nHost: a\r\n", "A: b\r\n", "HTTP/1.1 408 ", "head_timeout"},
		{"drips its request line", "G", "E", "HTTP/1.1 408 ", "head_timeout"},
		{"sends nothing", "", "", "", ""},
		{"stops within a head", "GET / HTTP", "", "HTTP/1.1 408 ", "head_timeout"},
		{"stops within a small body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", "", "HTTP/1.1 408 ", "body_timeout"},
		{"stops within a large body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc", "", "", "body_timeout"},
		{"stops within a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "", "", "body_timeout"},
		{"stays idle after a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", "HTTP/1.1 200 ", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := p.counter(t, "weir_ingress_rejects_total", "cause", tc.cause)
			c, br := dial(t, p.addr)
			began := time.Now()
			_, _ = io.WriteString(c, tc.first)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for tc.drip != "" {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
						_, _ = io.WriteString(c, tc.drip)
					}
				}
			})
			got, _ := io.ReadAll(br)
			close(stop)
			wg.Wait()
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("cut off after %v", d)
			}
			if !strings.HasPrefix(string(got), tc.want) {
				t.Errorf("answer %q", got)
			}
			if n := p.counter(t, "weir_ingress_rejects_total", "cause", tc.cause) - before; tc.cause != "" && n != 1 {
				t.Errorf("%v counted as %s", n, tc.cause)
			}
		})
	}
	t.Run("takes no answer", func(t *testing.T) {
		c, _ := dial(t, p.addr)
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		n := len(p.brain.wait(t, 0))
		_, _ = io.WriteString(c, "GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
		p.brain.wait(t, n+1) // the exchange ends although nobody reads
	})
}

func TestProxyHeaders(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) { say(w, r.Header.Get("X-Forwarded-For")) })
	v2 := "\r\n\r\n\x00\r\nQUIT\n"
	for _, tc := range []struct {
		name, header string
		trusted      []netip.Prefix
		client       string // "" is a closed connection
	}{
		{"version 1", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", loopback, "192.0.2.1:1234"},
		{"version 1 over IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1234 80\r\n", loopback, "[2001:db8::1]:1234"},
		{"version 1 unknown", "PROXY UNKNOWN\r\n", loopback, "127.0.0.1"},
		{"version 2", v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x00\x50", loopback, "192.0.2.1:1234"},
		{"version 2 with a TLV", v2 + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x00\x50\x04\x00\x01x", loopback, "192.0.2.1:1234"},
		{"version 2 local", v2 + "\x20\x00\x00\x00", loopback, "127.0.0.1"},
		{"none from a trusted proxy", "", loopback, ""},
		{"a broken one", "PROXY TCP4 192.0.2.1\r\n", loopback, ""},
		{"any peer when no proxies are named", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", nil, "192.0.2.1:1234"},
		{"none from an untrusted peer", "", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "127.0.0.1"},
		{"one from an untrusted peer", "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, "http://"+up, nil, func(c *ingress.Config) { c.ProxyProtocol, c.TrustedProxies = true, tc.trusted })
			got := ask(t, p.addr, tc.header+"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if tc.client == "" {
				if strings.HasPrefix(got, "HTTP/1.1 200") {
					t.Errorf("answer %q", got)
				}
				return
			}
			ev := p.brain.wait(t, 1)[0]
			if client := netip.AddrPortFrom(ev.Client, ev.ClientPort).String(); !strings.HasPrefix(client, tc.client) {
				t.Errorf("client %s, want %s", client, tc.client)
			}
			if !strings.HasSuffix(got, ev.Client.String()) {
				t.Errorf("X-Forwarded-For in %q", got)
			}
		})
	}
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func TestForwardingFieldsOfTrustedProxies(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		h := r.Header
		say(w, h["X-Forwarded-For"], h["X-Real-Ip"], h["X-Forwarded-Proto"], h["X-Forwarded-Host"])
	})
	for _, tc := range []struct {
		name, fields string
		trusted      bool
		clientHeader string
		client, want string
	}{
		{"untrusted", "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-Host: b\r\n", false, "", "127.0.0.1", "[192.0.2.1, 127.0.0.1][127.0.0.1][http][a]"},
		{"trusted", "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 192.0.2.7\r\nX-Forwarded-Host: b\r\n", true, "", "192.0.2.1", "[192.0.2.1, 127.0.0.1][192.0.2.7][https][b]"},
		{"trusted without fields", "", true, "", "127.0.0.1", "[127.0.0.1][127.0.0.1][http][a]"},
		{"a forged first entry", "X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\n", true, "", "192.0.2.1", "[203.0.113.9, 192.0.2.1, 127.0.0.1][192.0.2.1][http][a]"},
		{"a chain of trusted proxies", "X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\nX-Forwarded-For: 127.0.0.2\r\n", true, "", "192.0.2.1", "[203.0.113.9, 192.0.2.1, 127.0.0.2, 127.0.0.1][192.0.2.1][http][a]"},
		{"rubbish", "X-Forwarded-For: 192.0.2.1, unknown, 127.0.0.3\r\n", true, "", "127.0.0.3", "[192.0.2.1, unknown, 127.0.0.3, 127.0.0.1][127.0.0.3][http][a]"},
		{"with a port", "X-Forwarded-For: [2001:db8::1]:443\r\n", true, "", "2001:db8::1", "[[2001:db8::1]:443, 127.0.0.1][2001:db8::1][http][a]"},
		{"client header", "CF-Connecting-IP: 192.0.2.5\r\nX-Forwarded-For: 192.0.2.1\r\n", true, "CF-Connecting-IP", "192.0.2.5", "[192.0.2.1, 127.0.0.1][192.0.2.5][http][a]"},
		{"client header of an untrusted peer", "CF-Connecting-IP: 192.0.2.5\r\n", false, "CF-Connecting-IP", "127.0.0.1", "[127.0.0.1][127.0.0.1][http][a]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, "http://"+up, nil, func(c *ingress.Config) {
				if c.ClientHeader = tc.clientHeader; tc.trusted {
					c.TrustedProxies = loopback
				}
			})
			got := ask(t, p.addr, "GET / HTTP/1.1\r\nHost: a\r\n"+tc.fields+"Connection: close\r\n\r\n")
			if !strings.HasSuffix(got, strings.ReplaceAll(tc.want, "][", "] [")) {
				t.Errorf("upstream saw %q, want %s", got, tc.want)
			}
			if ev := p.brain.wait(t, 1)[0]; ev.Client.String() != tc.client {
				t.Errorf("client %s, want %s", ev.Client, tc.client)
			}
			if x := p.brain.lastExchange(t); x.FromTrustedProxy != tc.trusted {
				t.Errorf("from trusted proxy: %v", x.FromTrustedProxy)
			}
		})
	}
}

// TestManyClientsAtOnce checks that pooled memory never mixes requests up.
func TestManyClientsAtOnce(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		sayf(w, "%s %s %s", r.URL.Path, r.Header.Get("X-Who"), b)
	})
	b := &brain{decide: func(ev *event.Event) verdict.Decision {
		if strings.HasSuffix(ev.Path, "7") {
			return verdict.Decision{Action: event.ActionBlock, Proposed: event.ActionBlock, Mode: event.ModeEnforce, Verdict: "v" + ev.Path}
		}
		return verdict.Decision{}
	}}
	p := start(t, "http://"+up, b, nil)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for j := range 60 {
				path, who := fmt.Sprintf("/%d/%d", i, j), strconv.Itoa(i*1000+j)
				req := request(t, "PUT", p.url(path), strings.Repeat(who, j*40))
				req.Header.Set("X-Who", who)
				if j%5 == 1 {
					req.ContentLength = -1
				}
				res, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				got, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if strings.HasSuffix(path, "7") {
					if res.StatusCode != http.StatusForbidden || res.Header.Get("X-Weir-Verdict") != "v"+path {
						t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
					}
				} else if want := path + " " + who + " " + strings.Repeat(who, j*40); string(got) != want {
					t.Errorf("%s: %.60q, want %.60q", path, got, want)
				}
			}
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, ev := range b.wait(t, 16*60) {
		ids[ev.ID] = true
	}
	if len(ids) != 16*60 {
		t.Errorf("%d distinct ids for %d requests", len(ids), 16*60)
	}
}
