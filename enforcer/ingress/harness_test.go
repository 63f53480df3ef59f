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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/weirproject/weir/enforcer/ingress"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// brain is Extractor, Decider and Recorder in one, each part replaceable.
type brain struct {
	needs  func(target string) flow.Needs
	begin  func(x *flow.Exchange, ev *event.Event)
	end    func(x *flow.Exchange, ev *event.Event)
	decide func(ev *event.Event) verdict.Decision

	mu        sync.Mutex
	events    []*event.Event
	decisions []verdict.Decision
	exchanges []flow.Exchange // deep enough copies for the tests
}

func (b *brain) Needs(_, _, target string) flow.Needs {
	if b.needs != nil {
		return b.needs(target)
	}
	return flow.Needs{}
}

func (b *brain) Begin(x *flow.Exchange, ev *event.Event) {
	ev.ID, ev.Time, ev.Site, ev.Source = x.ID, x.Time.UnixNano(), x.Site, x.Source
	ev.Client, ev.ClientPort, ev.JA4, ev.TLSVersion, ev.SNI = x.Client.Addr(), x.Client.Port(), x.TLS.JA4, x.TLS.Version, x.TLS.SNI
	ev.Protocol, ev.Method, ev.Host, ev.Path = x.Protocol, x.Method, x.Host, x.Target
	if b.begin != nil {
		b.begin(x, ev)
	}
}

func (b *brain) End(x *flow.Exchange, ev *event.Event) {
	ev.Status, ev.Duration = uint16(x.Status), int64(x.Duration)
	ev.RequestBytes, ev.ResponseBytes = x.RequestBytes, x.ResponseBytes
	b.mu.Lock()
	c := *x
	c.Headers = append([]flow.Field(nil), x.Headers...)
	c.ResponseHeaders = append([]flow.Field(nil), x.ResponseHeaders...)
	c.Body, c.ResponseBody = bytes.Clone(x.Body), bytes.Clone(x.ResponseBody)
	b.exchanges = append(b.exchanges, c)
	b.mu.Unlock()
	if b.end != nil {
		b.end(x, ev)
	}
}

func (b *brain) Decide(ev *event.Event) verdict.Decision {
	if b.decide != nil {
		return b.decide(ev)
	}
	return verdict.Decision{Action: event.ActionAllow, Proposed: event.ActionAllow, Mode: event.ModeEnforce}
}

func (b *brain) Event(ev *event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, ev.Clone())
}

func (b *brain) Decision(d *verdict.Decision) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decisions = append(b.decisions, *d)
}

// wait returns the events once there are n of them.
func (b *brain) wait(t *testing.T, n int) []*event.Event {
	t.Helper()
	eventually(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.events) >= n })
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*event.Event(nil), b.events...)
}

func (b *brain) count() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.events) }

func (b *brain) lastExchange(t *testing.T) flow.Exchange {
	t.Helper()
	b.wait(t, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.exchanges[len(b.exchanges)-1]
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("condition did not become true within 10 s")
		}
		<-time.After(time.Millisecond) // polling, bounded by the deadline
	}
}

// proxy is a running ingress.
type proxy struct {
	*ingress.Server
	addr  string
	brain *brain
	reg   *prometheus.Registry
	stop  func() error
}

func (p *proxy) url(path string) string { return "http://" + p.addr + path }

// parts are what an ingress works with, in one value.
type parts interface {
	ingress.Extractor
	ingress.Decider
	ingress.Recorder
}

// start runs an ingress in front of upstream until the test ends.
func start(tb testing.TB, upstream string, b *brain, edit func(*ingress.Config)) *proxy {
	tb.Helper()
	if b == nil {
		b = &brain{}
	}
	p := startWith(tb, upstream, b, edit)
	p.brain = b
	return p
}

func startWith(tb testing.TB, upstream string, b parts, edit func(*ingress.Config)) *proxy {
	tb.Helper()
	cfg := ingress.DefaultConfig()
	cfg.Listen, cfg.Mode, cfg.DrainTimeout = "127.0.0.1:0", event.ModeEnforce, 5*time.Second
	cfg.Sites = []ingress.Site{{Name: "shop", Hosts: []string{"*"}, Upstream: upstream}}
	if edit != nil {
		edit(&cfg)
	}
	reg := prometheus.NewRegistry()
	s, err := ingress.New(cfg, ingress.Options{Registry: reg, Extractor: b, Decider: b, Recorder: b})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	var stopErr error
	stop := func() error {
		once.Do(func() { cancel(); stopErr = <-done })
		return stopErr
	}
	tb.Cleanup(func() { _ = stop() })
	addr := s.Addr(ctx)
	return &proxy{Server: s, addr: addr.String(), reg: reg, stop: stop}
}

// origin runs an HTTP/1.1 server that ends with the test.
func origin(tb testing.TB, h http.HandlerFunc) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	tb.Cleanup(func() { _ = srv.Close(); <-done })
	return l.Addr().String()
}

// script runs a raw TCP server: each connection is served by f.
func script(tb testing.TB, f func(c net.Conn, br *bufio.Reader)) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() { defer func() { _ = c.Close() }(); f(c, bufio.NewReader(c)) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// readHead reads a raw head as it stands on the wire.
func readHead(br *bufio.Reader) (string, error) {
	var sb strings.Builder
	for {
		line, err := br.ReadString('\n')
		sb.WriteString(line)
		if err != nil {
			return sb.String(), err
		}
		if line == "\r\n" {
			return sb.String(), nil
		}
	}
}

// recorder is a raw upstream that keeps the bytes it got and answers 200 to each
// request head (it understands Content-Length and chunked bodies).
type rawRecorder struct {
	addr string
	mu   sync.Mutex
	got  bytes.Buffer
	n    int
}

func newRawRecorder(tb testing.TB) *rawRecorder {
	tb.Helper()
	r := &rawRecorder{}
	r.addr = script(tb, func(c net.Conn, br *bufio.Reader) {
		tee := bufio.NewReader(io.TeeReader(br, writerFunc(func(p []byte) (int, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.got.Write(p)
		})))
		for {
			req, err := http.ReadRequest(tee)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.n++
			r.mu.Unlock()
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	return r
}

func (r *rawRecorder) bytes() string { r.mu.Lock(); defer r.mu.Unlock(); return r.got.String() }
func (r *rawRecorder) count() int    { r.mu.Lock(); defer r.mu.Unlock(); return r.n }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// dial opens a raw client connection with a deadline for the whole test.
func dial(tb testing.TB, addr string) (net.Conn, *bufio.Reader) {
	tb.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	tb.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

// ask sends raw bytes on a new connection and returns all that comes back.
func ask(tb testing.TB, addr, request string) string {
	tb.Helper()
	c, br := dial(tb, addr)
	if _, err := io.WriteString(c, request); err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(br)
	_ = c.Close()
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		tb.Fatalf("read answer: %v (got %q)", err, b)
	}
	return string(b)
}

// counter reads one sample of a metric.
func (p *proxy) counter(tb testing.TB, name string, labels ...string) float64 {
	tb.Helper()
	fams, err := p.reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	sum := 0.0
	for _, f := range fams {
		if f.GetName() != name {
			continue
		}
	next:
		for _, m := range f.GetMetric() {
			for i := 0; i+1 < len(labels); i += 2 {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				if !found {
					continue next
				}
			}
			sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()) + m.GetGauge().GetValue()
		}
	}
	return sum
}

var noKeepAlive = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answered is a response whose body was read and closed.
type answered struct {
	StatusCode      int
	Header, Trailer http.Header
	Request         *http.Request
}

func do(tb testing.TB, req *http.Request) (*answered, string) {
	tb.Helper()
	res, err := noKeepAlive.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return &answered{res.StatusCode, res.Header, res.Trailer, res.Request}, string(b)
}

func request(tb testing.TB, method, url, body string) *http.Request {
	tb.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url, r)
	if err != nil {
		tb.Fatal(err)
	}
	return req
}

// say and sayf write an application's answer; a failing write is the client's
// business.
func say(w io.Writer, a ...any) { _, _ = fmt.Fprint(w, a...) }

func sayf(w io.Writer, format string, a ...any) { _, _ = fmt.Fprintf(w, format, a...) }
