package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/stream/verdict"
)

const (
	latencyRounds   = 20
	latencyEvery    = 5 * time.Millisecond
	slowRounds      = 5
	slowEvery       = 100 * time.Millisecond
	latencyRequests = 400 // a round ends without a verdict after that many
)

// runLatency lets a plain tool try one account after another, with one session
// and address, until it is refused. Every round has a site of its own, so that
// no earlier round's verdict helps.
func runLatency(ctx context.Context, env *environment, res *result) error {
	origin, stop, err := startOrigin()
	if err != nil {
		return err
	}
	defer stop()
	listen, err := freePort()
	if err != nil {
		return err
	}
	var sites []string
	for i := range latencyRounds + slowRounds {
		sites = append(sites, fmt.Sprintf("shop%d", i))
	}
	up, err := startUp(ctx, env, upConfig{sites: sites, upstream: origin, listen: listen})
	if err != nil {
		return err
	}
	defer up.stop()
	res.note("from the end of the last request among the verdict's evidence to the answer that refuses the client; all parts of weir up run; one failed login after another, other accounts, same session and address, each round a new site")
	for i, site := range sites {
		every, subject := latencyEvery, "every 5 ms"
		if i >= latencyRounds {
			every, subject = slowEvery, "every 100 ms"
		}
		r, err := crossing(ctx, up, listen, site, i, every)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		res.add(i, subject, map[string]float64{"ms": ms(r.took), "passed_after": float64(r.passed), "requests": float64(r.requests)})
	}
	var all, passed []float64
	for _, s := range res.Samples {
		if s.Subject == "every 5 ms" {
			all = append(all, s.Values["ms"])
		} else {
			passed = append(passed, s.Values["passed_after"])
		}
	}
	res.value(fmt.Sprintf("threshold to refusal, p50 of %d", len(all)), "ms", percentile(all, .5), atMost(60, " ms"))
	res.value("threshold to refusal, p99", "ms", percentile(all, .99), atMost(200, " ms"))
	res.value(fmt.Sprintf("requests that pass after it at 10/s, most of %d", len(passed)), "requests", slices.Max(passed), atMost(1, ""))
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// startOrigin is a shop that refuses every login and serves any page.
func startOrigin() (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, `{"ok":false}`)
	})}
	go func() { _ = srv.Serve(l) }()
	return l.Addr().String(), func() { _ = srv.Close() }, nil
}

// crossed is one round.
type crossed struct {
	took             time.Duration
	passed, requests int
}

type sent struct {
	id  string
	end time.Time
}

func crossing(ctx context.Context, up *installation, listen, site string, round int, every time.Duration) (c crossed, err error) {
	dial := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 50, byte(round), 7)}}
	tr := &http.Transport{DialContext: dial.DialContext}
	defer tr.CloseIdleConnections()
	web := &http.Client{Transport: tr, Timeout: 10 * time.Second}
	var requests []sent
	tick := time.NewTicker(every)
	defer tick.Stop()
	for len(requests) < latencyRequests {
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-tick.C:
		}
		body := fmt.Sprintf(`{"user":"stolen%d-%d@mail.example","password":"leaked-%d"}`, round, len(requests), len(requests))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+listen+"/api/login", strings.NewReader(body))
		if err != nil {
			return c, err
		}
		req.Host = site + ".example"
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", "python-requests/2.32.3")
		req.Header.Set("Cookie", "sid=bench-"+site)
		resp, err := web.Do(req)
		if err != nil {
			return c, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		end := time.Now()
		if id := resp.Header.Get("X-Weir-Verdict"); id != "" {
			return settle(ctx, up, id, requests, end)
		}
		requests = append(requests, sent{resp.Header.Get("X-Weir-Request-Id"), end})
	}
	return c, fmt.Errorf("%d failed logins of one client gave no refusal", len(requests))
}

// settle finds the request that crossed the threshold: the last one among the
// evidence.
func settle(ctx context.Context, up *installation, id string, requests []sent, refused time.Time) (c crossed, err error) {
	process := admin.NewClient(admin.Socket(up.data, "process"))
	var v *verdict.Verdict
	err = poll(ctx, 5*time.Second, func() (bool, error) {
		var list []verdict.Verdict
		if err := process.Get(ctx, "/v1/verdicts", &list); err != nil {
			return false, err
		}
		for i := range list {
			if list[i].ID == id {
				v = &list[i]
				return true, nil
			}
		}
		return false, nil
	}, "verdict "+id+" on the feed")
	if err != nil {
		return c, err
	}
	last := -1
	for i, r := range requests {
		if slices.Contains(v.Evidence.Events, r.id) {
			last = i
		}
	}
	if last < 0 {
		return c, errors.New("none of the requests is among the verdict's evidence")
	}
	return crossed{took: refused.Sub(requests[last].end), passed: len(requests) - 1 - last, requests: len(requests) + 1}, nil
}
