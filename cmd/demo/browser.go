package demo

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// profile is what a piece of client software looks like on the wire: the order
// and spelling of its header fields, and its user agent.
type profile struct {
	agent  string
	fields []flow.Field // {} values are filled per request
}

// profiles are common browsers' header orders, written from what they send.
var profiles = makeProfiles()

func makeProfiles() []profile {
	chrome := func(agent, platform, version string) profile {
		return profile{agent: agent, fields: []flow.Field{
			{Name: "Host"},
			{Name: "Connection", Value: "keep-alive"},
			{Name: "sec-ch-ua", Value: `"Chromium";v="` + version + `", "Not.A/Brand";v="24"`},
			{Name: "sec-ch-ua-mobile", Value: "?0"},
			{Name: "sec-ch-ua-platform", Value: `"` + platform + `"`},
			{Name: "User-Agent", Value: agent},
			{Name: "Accept"},
			{Name: "Referer"},
			{Name: "Accept-Encoding", Value: "gzip, deflate"},
			{Name: "Accept-Language"},
			{Name: "Cookie"},
		}}
	}
	firefox := func(agent string) profile {
		return profile{agent: agent, fields: []flow.Field{
			{Name: "Host"},
			{Name: "User-Agent", Value: agent},
			{Name: "Accept"},
			{Name: "Accept-Language"},
			{Name: "Accept-Encoding", Value: "gzip, deflate"},
			{Name: "Referer"},
			{Name: "Connection", Value: "keep-alive"},
			{Name: "Cookie"},
		}}
	}
	var out []profile
	for v := 128; v < 136; v++ {
		out = append(out,
			chrome(fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", v), "Windows", strconv.Itoa(v)),
			chrome(fmt.Sprintf("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", v), "macOS", strconv.Itoa(v)),
			firefox(fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%d.0", v, v)))
	}
	return out
}

// browser is one client: software, address and cookies.
type browser struct {
	profile  profile
	language string
	client   netip.Addr
	cookies  []flow.Field
	last     string // the page it is on
	wire     wire
}

// response is what a browser reads.
type response struct {
	status int
	fields []flow.Field
	body   []byte
}

// wire carries one request: over a socket, or into the record.
type wire interface {
	send(ctx context.Context, b *browser, method, target string, fields []flow.Field, body []byte) (response, error)
	// pause lets the person think.
	pause(ctx context.Context, d time.Duration)
}

// get and post perform one request and keep the cookies.
func (b *browser) get(ctx context.Context, target string) (int, error) {
	return b.request(ctx, http.MethodGet, target, nil)
}

func (b *browser) post(ctx context.Context, target string, body []byte) (int, error) {
	return b.request(ctx, http.MethodPost, target, body)
}

func (b *browser) request(ctx context.Context, method, target string, body []byte) (int, error) {
	fields := make([]flow.Field, 0, len(b.profile.fields)+2)
	for _, f := range b.profile.fields {
		switch f.Name {
		case "Host":
			f.Value = "shop.example"
		case "Accept":
			f.Value = "text/html,application/xhtml+xml,*/*;q=0.8"
			if body != nil {
				f.Value = "application/json"
			}
		case "Referer":
			if b.last == "" {
				continue
			}
			f.Value = "http://shop.example" + b.last
		case "Accept-Language":
			f.Value = b.language
		case "Cookie":
			if len(b.cookies) == 0 {
				continue
			}
			f.Value = b.cookieHeader()
		}
		fields = append(fields, f)
	}
	if body != nil {
		fields = append(fields,
			flow.Field{Name: "Content-Type", Value: "application/json"},
			flow.Field{Name: "Content-Length", Value: strconv.Itoa(len(body))})
	}
	resp, err := b.wire.send(ctx, b, method, target, fields, body)
	if err != nil {
		return 0, err
	}
	for _, f := range resp.fields {
		if f.Name == "Set-Cookie" {
			b.keep(f.Value)
		}
	}
	if method == http.MethodGet && !strings.HasPrefix(target, "/static/") {
		b.last = target
	}
	return resp.status, nil
}

func (b *browser) cookieHeader() string {
	parts := make([]string, len(b.cookies))
	for i, c := range b.cookies {
		parts[i] = c.Name + "=" + c.Value
	}
	return strings.Join(parts, "; ")
}

func (b *browser) keep(setCookie string) {
	pair, _, _ := strings.Cut(setCookie, ";")
	name, value, _ := strings.Cut(pair, "=")
	for i := range b.cookies {
		if b.cookies[i].Name == name {
			b.cookies[i].Value = value
			return
		}
	}
	b.cookies = append(b.cookies, flow.Field{Name: name, Value: value})
}

// live sends requests to the ingress from the browser's own loopback address,
// one connection each.
type live struct{ ingress string }

func (l live) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (l live) send(ctx context.Context, b *browser, method, target string, fields []flow.Field, body []byte) (response, error) {
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: b.client.AsSlice()}}
	conn, err := d.DialContext(ctx, "tcp", l.ingress)
	if err != nil {
		return response{}, fmt.Errorf("reach the shop: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	var req bytes.Buffer
	_, _ = fmt.Fprintf(&req, "%s %s HTTP/1.1\r\n", method, target)
	for _, f := range fields {
		_, _ = fmt.Fprintf(&req, "%s: %s\r\n", f.Name, f.Value)
	}
	req.WriteString("\r\n")
	req.Write(body)
	if _, err := conn.Write(req.Bytes()); err != nil {
		return response{}, fmt.Errorf("ask the shop: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return response{}, fmt.Errorf("the shop's answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return response{}, fmt.Errorf("the shop's answer: %w", err)
	}
	return response{status: resp.StatusCode, fields: fieldsOf(resp.Header), body: text}, nil
}

func fieldsOf(h http.Header) []flow.Field {
	var out []flow.Field
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			out = append(out, flow.Field{Name: name, Value: v})
		}
	}
	return out
}

// recorder answers from the shop's handler in simulated time and keeps each
// exchange.
type recorder struct {
	shop  http.Handler
	clock time.Time
	rng   *rand.Rand
	keep  func(*flow.Exchange)
}

func (r *recorder) pause(_ context.Context, d time.Duration) { r.clock = r.clock.Add(d) }

func (r *recorder) send(ctx context.Context, b *browser, method, target string, fields []flow.Field, body []byte) (response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://shop.example"+target, bytes.NewReader(body))
	if err != nil {
		return response{}, fmt.Errorf("request %s: %w", target, err)
	}
	for _, f := range fields {
		req.Header.Add(f.Name, f.Value)
	}
	w := &page{header: http.Header{}, status: http.StatusOK}
	r.shop.ServeHTTP(w, req)
	took := time.Duration(400+r.rng.IntN(1500)) * time.Microsecond
	resp := response{status: w.status, fields: fieldsOf(w.header), body: w.body.Bytes()}
	r.keep(&flow.Exchange{
		Time: r.clock, Duration: took,
		Client:   netip.AddrPortFrom(b.client, uint16(20000+r.rng.IntN(40000))),
		Protocol: "HTTP/1.1", Method: method, Host: "shop.example", Target: target,
		Headers: fields, HeadersKnown: true, Body: body,
		Status: w.status, ResponseHeaders: resp.fields, ResponseBody: resp.body,
		RequestBytes: int64(300 + len(body)), ResponseBytes: int64(w.body.Len() + 200),
	})
	r.clock = r.clock.Add(took)
	return resp, nil
}

// page is the http.ResponseWriter of a recorded answer.
type page struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (p *page) Header() http.Header         { return p.header }
func (p *page) WriteHeader(status int)      { p.status = status }
func (p *page) Write(b []byte) (int, error) { return p.body.Write(b) }
