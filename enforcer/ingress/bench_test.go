package ingress_test

import (
	"bufio"
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// idle is an Extractor, Decider and Recorder that does nothing, so that the
// benchmark shows the proxy alone.
type idle struct{}

func (idle) Needs(_, _, _ string) flow.Needs          { return flow.Needs{} }
func (idle) Begin(*flow.Exchange, *event.Event)       {}
func (idle) End(*flow.Exchange, *event.Event)         {}
func (idle) Decide(*event.Event) (d verdict.Decision) { return d }
func (idle) Event(*event.Event)                       {}
func (idle) Decision(*verdict.Decision)               {}

const benchHeaders = "Host: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example/list\r\nCookie: sid=0123456789abcdef; did=fedcba9876543210\r\n" +
	"Sec-Fetch-Site: same-origin\r\nX-Requested-With: fetch\r\n"

// BenchmarkProxy sends one request after another over one connection through
// the ingress, net/http/httputil.ReverseProxy with a tuned transport, and
// directly. Client and upstream are bare loops that allocate nothing, so that
// allocations are the proxy's.
func BenchmarkProxy(b *testing.B) {
	up := benchUpstream(b)
	addrs := []struct{ name, addr string }{
		{"ingress", startBench(b, up)},
		{"reverseproxy", startReverseProxy(b, up)},
		{"direct", up},
	}
	for _, req := range []struct{ name, raw string }{
		{"get", "GET /item/42?ref=list HTTP/1.1\r\n" + benchHeaders + "\r\n"},
		{"post", "POST /api/login HTTP/1.1\r\n" + benchHeaders + "Content-Type: application/json\r\nContent-Length: 330\r\n\r\n" + strings.Repeat("x", 330)},
	} {
		for _, p := range addrs {
			b.Run(req.name+"/"+p.name, func(b *testing.B) {
				c, err := net.Dial("tcp", p.addr)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				raw, br := []byte(req.raw), bufio.NewReaderSize(c, 16<<10)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Write(raw); err != nil {
						b.Fatal(err)
					}
					if err := skipMessage(br); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func startBench(b *testing.B, up string) string {
	b.Helper()
	return startWith(b, "http://"+up, idle{}, nil).addr
}

func startReverseProxy(b *testing.B, up string) string {
	b.Helper()
	target, err := url.Parse("http://" + up)
	if err != nil {
		b.Fatal(err)
	}
	tr := &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}
	proxy := &httputil.ReverseProxy{
		Transport: tr, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	b.Cleanup(func() { _ = srv.Close(); <-done; tr.CloseIdleConnections() })
	return l.Addr().String()
}

func benchUpstream(b *testing.B) string {
	b.Helper()
	answer := []byte("HTTP/1.1 200 OK\r\nServer: app\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nContent-Type: text/html\r\n" +
		"Cache-Control: private\r\nContent-Length: 128\r\n\r\n" + strings.Repeat("y", 128))
	return script(b, func(c net.Conn, br *bufio.Reader) {
		for skipMessage(br) == nil {
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

// skipMessage reads one message framed by Content-Length without allocating.
func skipMessage(br *bufio.Reader) error {
	length := 0
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			_, err := br.Discard(length)
			return err
		}
		if i := bytes.IndexByte(line, ':'); i == 14 && bytes.EqualFold(line[:i], []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[i+1:]))); err != nil {
				return err
			}
		}
	}
}
