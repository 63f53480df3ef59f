package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Live sends simulated exchanges as requests to a running ingress, each simulated
// address from an address of 127.0.0.0/8 of its own, and plays the application
// behind it: the simulated answer of a request is what the origin gives when that
// request arrives there. It learns of a decision only what a client sees.
type Live struct {
	// Target is the ingress, such as http://127.0.0.1:8080.
	Target *url.URL
	// Speed is how many seconds of simulated time pass in one second; 0 sends as
	// fast as answers come.
	Speed float64
	// OnAnswer sees the status of each answer and whether the origin gave it; it is
	// called from one goroutine at a time.
	OnAnswer func(l *Label, id string, status int, origin bool)

	client  http.Client
	mu      sync.Mutex
	waiting map[string][]*Exchange
	begin   time.Time
	first   int64
	senders sync.WaitGroup
	slots   chan struct{}
	errs    []error
}

// maxSenders bounds the requests under way.
const maxSenders = 64

// NewLive makes a driver for an ingress.
func NewLive(target string, speed float64) (*Live, error) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("live target %q: want http://HOST:PORT", target)
	}
	host, err := netip.ParseAddr(u.Hostname())
	if err != nil || !host.Is4() || !host.IsLoopback() {
		return nil, fmt.Errorf("live target %q: want an address of 127.0.0.0/8, simulated attacks stay on this machine", target)
	}
	l := &Live{Target: u, Speed: speed, waiting: map[string][]*Exchange{}, slots: make(chan struct{}, maxSenders)}
	l.client = http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				from, _ := ctx.Value(localAddr{}).(netip.Addr)
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
				return d.DialContext(ctx, network, addr)
			},
			// A connection belongs to one simulated client; the next may be another.
			DisableKeepAlives: true, DisableCompression: true,
		},
		Timeout: 30 * time.Second,
	}
	return l, nil
}

type localAddr struct{}

// Loopback is the address of 127.0.0.0/8 that stands for a simulated one. It is
// never 127.0.x.x, where servers live.
func Loopback(a netip.Addr) netip.Addr {
	h := uint64(1469598103934665603)
	for _, b := range a.As16() {
		h = Mix(h^uint64(b), 3)
	}
	return netip.AddrFrom4([4]byte{127, byte(1 + h%254), byte(h >> 8), byte(1 + h>>16%254)})
}

// key is what a request and its simulated answer have in common. The origin sees
// the client's address in X-Real-IP, as the ingress sets it.
func key(client netip.Addr, method, target string) string {
	return client.String() + " " + method + " " + target
}

// Send is a Sink. It waits until the exchange is due and returns before its answer
// has come; Wait waits for all.
func (l *Live) Send(x *Exchange, label *Label) error {
	if l.first == 0 {
		l.first, l.begin = x.Time, time.Now()
	}
	if l.Speed > 0 {
		if wait := time.Duration(float64(x.Time-l.first)/l.Speed) - time.Since(l.begin); wait > 0 {
			timer := time.NewTimer(wait)
			<-timer.C
		}
	}
	one, truth := *x, *label
	one.Headers = append([]Header(nil), x.Headers...)
	one.RespHeaders = append([]Header(nil), x.RespHeaders...)
	l.slots <- struct{}{}
	l.senders.Go(func() {
		defer func() { <-l.slots }()
		if err := l.exchange(&one, &truth); err != nil {
			l.mu.Lock()
			l.errs = append(l.errs, err)
			l.mu.Unlock()
		}
	})
	return nil
}

// Wait returns when every answer has come, with the first few errors.
func (l *Live) Wait() error {
	l.senders.Wait()
	if n := len(l.errs); n > 5 {
		return errors.Join(append(l.errs[:5:5], fmt.Errorf("and %d more", n-5))...)
	}
	return errors.Join(l.errs...)
}

func (l *Live) exchange(x *Exchange, label *Label) error {
	from := Loopback(x.Client)
	ctx := context.WithValue(context.Background(), localAddr{}, from)
	req, err := http.NewRequestWithContext(ctx, x.Method, l.Target.String(), strings.NewReader(x.Body))
	if err != nil {
		return fmt.Errorf("request %s %s: %w", x.Method, x.Target, err)
	}
	// The target goes out as it is: payloads are not cleaned.
	req.URL.Opaque, req.Host = x.Target, x.Host
	for _, h := range x.Headers {
		switch strings.ToLower(h.Name) {
		case "host", "content-length", "connection", "te":
		default:
			req.Header[h.Name] = append(req.Header[h.Name], h.Value)
		}
	}
	if x.Header("user-agent") == "" {
		req.Header["User-Agent"] = []string{""}
	}
	k := key(from, x.Method, x.Target)
	l.mu.Lock()
	l.waiting[k] = append(l.waiting[k], x)
	l.mu.Unlock()
	resp, err := l.client.Do(req)
	if err != nil {
		l.forget(k, x)
		return fmt.Errorf("request %s %s from %s: %w", x.Method, x.Target, from, err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	err = errors.Join(err, resp.Body.Close())
	origin := !l.forget(k, x)
	if l.OnAnswer != nil {
		l.mu.Lock()
		l.OnAnswer(label, resp.Header.Get("X-Weir-Request-Id"), resp.StatusCode, origin)
		l.mu.Unlock()
	}
	return err
}

// forget takes an exchange back that never came to the origin, and says whether
// there was one.
func (l *Live) forget(k string, x *Exchange) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, one := range l.waiting[k] {
		if one == x {
			l.take(k, i)
			return true
		}
	}
	return false
}

func (l *Live) take(k string, i int) {
	if l.waiting[k] = append(l.waiting[k][:i:i], l.waiting[k][i+1:]...); len(l.waiting[k]) == 0 {
		delete(l.waiting, k)
	}
}

// ServeHTTP is the origin: it gives the simulated answer of the request that comes
// in.
func (l *Live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client, err := netip.ParseAddr(r.Header.Get("X-Real-IP"))
	if err != nil {
		peer, _ := netip.ParseAddrPort(r.RemoteAddr)
		client = peer.Addr()
	}
	k := key(client.Unmap(), r.Method, r.RequestURI)
	var x *Exchange
	l.mu.Lock()
	if list := l.waiting[k]; len(list) > 0 {
		x = list[0]
		l.take(k, 0)
	}
	l.mu.Unlock()
	if x == nil {
		http.Error(w, "no simulated answer waits for this request", http.StatusNotFound)
		return
	}
	for _, h := range x.RespHeaders {
		w.Header().Add(h.Name, h.Value)
	}
	w.WriteHeader(x.Status)
	if r.Method == http.MethodHead || x.Status == http.StatusNoContent || x.Status == http.StatusNotModified {
		return
	}
	body := x.RespBody
	if body == "" {
		body = strings.Repeat("x", min(x.RespBytes, 1<<16))
	}
	_, _ = io.WriteString(w, body) // the client has gone: nobody to tell
}
