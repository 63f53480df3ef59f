package ingress_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weirproject/weir/enforcer/ingress"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

func decided(a event.Action) func(*event.Event) verdict.Decision {
	return func(*event.Event) verdict.Decision {
		return verdict.Decision{
			Action: a, Proposed: a, Mode: event.ModeEnforce, Verdict: "v_1", Threats: []verdict.Threat{"OAT-008"},
			Reason: "the reason nobody outside may see", RetryAfterSeconds: 7, Location: "https://shop.example/why",
		}
	}
}

// TestRefusalNeverReachesUpstream: for each refusing action the answer is as
// documented, and the upstream sees not even a connection.
func TestRefusalNeverReachesUpstream(t *testing.T) {
	for _, tc := range []struct {
		action event.Action
		status int
		header map[string]string
	}{
		{event.ActionBlock, 403, map[string]string{"X-Weir-Verdict": "v_1", "Cache-Control": "no-store", "Content-Type": "application/json"}},
		{event.ActionRateLimit, 429, map[string]string{"Retry-After": "7", "X-Weir-Verdict": "v_1", "Cache-Control": "no-store"}},
		{event.ActionRedirect, 302, map[string]string{"Location": "https://shop.example/why", "Cache-Control": "no-store"}},
	} {
		t.Run(tc.action.String(), func(t *testing.T) {
			var touched atomic.Int32
			up := script(t, func(net.Conn, *bufio.Reader) { touched.Add(1) })
			b := &brain{decide: decided(tc.action)}
			p := start(t, "http://"+up, b, nil)
			res, body := do(t, request(t, "POST", p.url("/x"), strings.Repeat("a", 100<<10)))
			if res.StatusCode != tc.status {
				t.Errorf("status %d, want %d", res.StatusCode, tc.status)
			}
			for k, v := range tc.header {
				if res.Header.Get(k) != v {
					t.Errorf("%s: %q, want %q", k, res.Header.Get(k), v)
				}
			}
			var page struct {
				ID     string
				Status int
			}
			if err := json.Unmarshal([]byte(body), &page); err != nil || page.ID != res.Header.Get("X-Weir-Request-Id") || page.Status != tc.status {
				t.Errorf("page %q: %v", body, err)
			}
			if strings.Contains(body+fmt.Sprint(res.Header), "reason") || strings.Contains(body, "OAT") {
				t.Errorf("the answer tells the reason: %q", body)
			}
			ev := b.wait(t, 1)[0]
			if ev.Action != tc.action || ev.Verdict != "v_1" || ev.Mode != event.ModeEnforce || int(ev.Status) != tc.status {
				t.Errorf("event %+v", ev)
			}
			if len(b.decisions) != 1 || b.decisions[0].Request == nil || b.decisions[0].ID != ev.ID || b.decisions[0].Request.Client != "127.0.0.1" {
				t.Errorf("decisions %+v", b.decisions)
			}
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
			if touched.Load() != 0 {
				t.Error("the upstream was contacted")
			}
			if n := p.counter(t, "weir_requests_total", "outcome", tc.action.String()); n != 1 {
				t.Errorf("counted %v", n)
			}
		})
	}
}

func TestBlockPageFollowsAccept(t *testing.T) {
	p := start(t, "http://127.0.0.1:1", &brain{decide: decided(event.ActionBlock)}, nil)
	for _, tc := range []struct{ accept, want string }{
		{"text/html,application/xhtml+xml", "text/html; charset=utf-8"},
		{"application/json", "application/json"},
		{"application/json, text/html", "application/json"},
		{"", "application/json"},
	} {
		req := request(t, "GET", p.url("/"), "")
		req.Header.Set("Accept", tc.accept)
		res, body := do(t, req)
		if res.Header.Get("Content-Type") != tc.want || !strings.Contains(body, res.Header.Get("X-Weir-Request-Id")) {
			t.Errorf("Accept %q: %q %q", tc.accept, res.Header.Get("Content-Type"), body)
		}
	}
	if res, body := do(t, request(t, "HEAD", p.url("/"), "")); res.StatusCode != http.StatusForbidden || body != "" {
		t.Errorf("HEAD: %d %q", res.StatusCode, body)
	}
}

func TestRedirectWithoutUsableLocationBlocks(t *testing.T) {
	for _, loc := range []string{"", "javascript:alert(1)", "/a\r\nSet-Cookie: x", "ftp://x"} {
		b := &brain{decide: func(*event.Event) verdict.Decision {
			return verdict.Decision{Action: event.ActionRedirect, Proposed: event.ActionRedirect, Mode: event.ModeEnforce, Location: loc}
		}}
		p := start(t, "http://127.0.0.1:1", b, nil)
		if res, _ := do(t, request(t, "GET", p.url("/"), "")); res.StatusCode != http.StatusForbidden || res.Header.Get("Location") != "" {
			t.Errorf("%q: %d %v", loc, res.StatusCode, res.Header)
		}
	}
}

func TestObserveTagsTowardsTheApplicationInEnforceModeOnly(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) { say(w, r.Header.Get("X-Weir-Tag")) })
	for _, tc := range []struct {
		mode event.Mode
		want string
	}{{event.ModeEnforce, "observe; verdict=v_1; threat=OAT-008"}, {event.ModeShadow, ""}} {
		b := &brain{decide: func(*event.Event) verdict.Decision {
			d := decided(event.ActionObserve)(nil)
			d.Mode = tc.mode
			return d
		}}
		p := start(t, "http://"+up, b, func(c *ingress.Config) { c.Mode = tc.mode })
		if _, body := do(t, request(t, "GET", p.url("/"), "")); body != tc.want {
			t.Errorf("%v: tag %q, want %q", tc.mode, body, tc.want)
		}
		if b.wait(t, 1); len(b.decisions) != 1 {
			t.Errorf("%d decisions recorded", len(b.decisions))
		}
	}
}

// TestShadowChangesNothing compares status, end-to-end fields and body bytes
// through the ingress, with a Decider that wants to block everything, with the
// answers of the upstream itself.
func TestShadowChangesNothing(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["x-lower"] = []string{"1", "2"}
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2; Path=/")
		switch r.URL.Path {
		case "/chunked":
			for range 3 {
				say(w, strings.Repeat("x", 3000))
				w.(http.Flusher).Flush()
			}
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/unchanged":
			h.Set("Etag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		case "/teapot":
			h["Content-Type"] = nil
			w.WriteHeader(http.StatusTeapot)
			say(w, "<html>no sniffing here")
		case "/gzip":
			h.Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte("\x1f\x8bnot really"))
		case "/location":
			http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
		case "/weird":
			h.Set("Content-Length", "0")
			w.WriteHeader(599)
		case "/head":
			h.Set("Content-Length", "12345")
		case "/echo":
			all, _ := io.ReadAll(r.Body)
			_, _ = w.Write(all)
		default:
			sayf(w, "%s %s", r.Method, r.RequestURI)
		}
	})
	b := &brain{decide: decided(event.ActionBlock)}
	p := start(t, "http://"+up, b, func(c *ingress.Config) { c.Mode = event.ModeShadow })
	n := 0
	for _, tc := range []struct{ method, path, body string }{
		{"GET", "/", ""},
		{"GET", "/chunked", ""},
		{"GET", "/empty", ""},
		{"GET", "/unchanged", ""},
		{"GET", "/teapot", ""},
		{"GET", "/gzip", ""},
		{"GET", "/location", ""},
		{"GET", "/weird", ""},
		{"HEAD", "/head", ""},
		{"HEAD", "/", ""},
		{"POST", "/echo", strings.Repeat("body ", 50000)},
		{"DELETE", "/x?y=z", ""},
		{"OPTIONS", "/", ""},
		{"PATCH", "/echo", "x"},
		{"QUERY", "/echo", "own method"},
	} {
		direct, want := do(t, request(t, tc.method, "http://"+up+tc.path, tc.body))
		through, got := do(t, request(t, tc.method, p.url(tc.path), tc.body))
		if through.StatusCode != direct.StatusCode || got != want {
			t.Errorf("%s %s: %d %.60q, direct %d %.60q", tc.method, tc.path, through.StatusCode, got, direct.StatusCode, want)
		}
		a, d := endToEnd(through), endToEnd(direct)
		if a != d {
			t.Errorf("%s %s: fields\n%s\ndirect\n%s", tc.method, tc.path, a, d)
		}
		n++
	}
	b.wait(t, n)
	if len(b.decisions) != n {
		t.Fatalf("%d of %d would-be actions recorded", len(b.decisions), n)
	}
	if got := p.counter(t, "weir_requests_total", "outcome", "would_block"); int(got) != n {
		t.Errorf("%v of %d requests are counted as would_block", got, n)
	}
	for _, d := range b.decisions {
		if d.Action != event.ActionObserve || d.Proposed != event.ActionBlock || d.Mode != event.ModeShadow || d.Verdict != "v_1" {
			t.Errorf("decision %+v", d)
		}
	}
}

func endToEnd(r *answered) string {
	h := r.Header.Clone()
	for _, n := range []string{"X-Weir-Request-Id", "Date", "Connection", "Transfer-Encoding"} {
		h.Del(n)
	}
	if r.Request.Method != http.MethodHead {
		h.Del("Content-Length") // framing
	}
	var sb strings.Builder
	_ = h.Write(&sb)
	return sb.String()
}

func TestFaultsFailOpenOrClosedAsTheRouteSays(t *testing.T) {
	yes := true
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) { say(w, "served") })
	for _, tc := range []struct {
		name  string
		brain *brain
	}{
		{"decider panics", &brain{decide: func(*event.Event) verdict.Decision { panic("decide") }}},
		{"extractor panics", &brain{begin: func(*flow.Exchange, *event.Event) { panic("begin") }}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, "http://"+up, tc.brain, func(c *ingress.Config) {
				c.Sites[0].Routes = []ingress.Route{{Path: "/api/{x}", FailClosed: &yes}, {Path: "/shadowed/*", FailClosed: &yes, Mode: event.ModeShadow}}
			})
			for path, want := range map[string]int{"/open": 200, "/api/transfer": 403, "/api//%74ransfer/": 403, "/api/a/b": 200, "/shadowed/x": 200} {
				if res, _ := do(t, request(t, "GET", p.url(path), "")); res.StatusCode != want {
					t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
				}
			}
			for _, ev := range tc.brain.wait(t, 5) {
				if ev.Site != "shop" || ev.Status == 0 || ev.ID == "" {
					t.Errorf("event %+v", ev)
				}
			}
			if n := p.counter(t, "weir_ingress_faults_total"); n != 5 {
				t.Errorf("%v faults counted, want 5", n)
			}
		})
	}
	t.Run("end and recorder panic", func(t *testing.T) {
		p := start(t, "http://"+up, &brain{end: func(*flow.Exchange, *event.Event) { panic("end") }}, nil)
		if res, body := do(t, request(t, "GET", p.url("/"), "")); res.StatusCode != http.StatusOK || body != "served" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	})
}

func TestBodiesAreCapturedOnlyWhereNeeded(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		sayf(w, "%d %s", len(b), strings.Repeat("r", 100<<10))
	})
	var seen string
	b := &brain{
		needs: func(target string) flow.Needs {
			return flow.Needs{Body: target != "/plain", ResponseBody: target != "/plain", RejectUnreadable: strings.HasPrefix(target, "/login")}
		},
		begin: func(x *flow.Exchange, ev *event.Event) {
			seen = fmt.Sprintf("%d %v", len(x.Body), x.BodyTruncated)
			if x.BodyTruncated {
				ev.Flags |= event.FlagClaimsUnreadable
			}
		},
	}
	pass, reject := false, true
	p := start(t, "http://"+up, b, func(c *ingress.Config) {
		c.Sites[0].Routes = []ingress.Route{
			{Path: "/login/lenient", Unreadable: &pass},
			{Path: "/strict", Unreadable: &reject},
			{Path: "/strict/shadowed", Unreadable: &reject, Mode: event.ModeShadow},
		}
	})
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	for _, tc := range []struct {
		path     string
		size     int
		edit     func(*http.Request)
		seen     string
		status   int
		response int
	}{
		{"/plain", 1000, nil, "0 false", 200, 0},
		{"/needs", 1000, nil, "1000 false", 200, 64 << 10},
		{"/needs", 1000, chunked, "1000 false", 200, 64 << 10},
		{"/needs", 64 << 10, nil, "65536 false", 200, 64 << 10},
		{"/needs", 64<<10 + 1, nil, "65536 true", 200, 64 << 10},
		{"/needs", 300 << 10, chunked, "65536 true", 200, 64 << 10},
		{"/login", 300 << 10, chunked, "65536 true", 413, 0},
		{"/login", 1000, nil, "1000 false", 200, 64 << 10},
		{"/login/lenient", 300 << 10, chunked, "65536 true", 200, 64 << 10},
		{"/strict", 300 << 10, chunked, "65536 true", 413, 0},
		{"/strict", 1000, nil, "1000 false", 200, 64 << 10},
		{"/strict/shadowed", 300 << 10, chunked, "65536 true", 200, 64 << 10},
	} {
		req := request(t, "POST", p.url(tc.path), strings.Repeat("b", tc.size))
		if tc.edit != nil {
			tc.edit(req)
		}
		n := b.count()
		res, body := do(t, req)
		b.wait(t, n+1)
		if res.StatusCode != tc.status || seen != tc.seen {
			t.Errorf("%s %d: status %d, saw %s; want %d, %s", tc.path, tc.size, res.StatusCode, seen, tc.status, tc.seen)
		}
		if tc.status == 200 && !strings.HasPrefix(body, strconv.Itoa(tc.size)+" ") {
			t.Errorf("%s %d: upstream got %.20s bytes", tc.path, tc.size, body)
		}
		if x := b.lastExchange(t); len(x.ResponseBody) != tc.response {
			t.Errorf("%s %d: kept %d bytes of the response, want %d", tc.path, tc.size, len(x.ResponseBody), tc.response)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			say(w, n)
		}
	})
	p := start(t, "http://"+up, nil, func(c *ingress.Config) {
		c.BodyLimit = 100 << 10
		c.Sites[0].Routes = []ingress.Route{{Method: "PUT", Path: "/big", BodyLimit: 1 << 20}, {Path: "/any", BodyLimit: -1}}
	})
	for _, tc := range []struct {
		method, path string
		size, want   int
		chunked      bool
	}{
		{"POST", "/x", 100 << 10, 200, false},
		{"POST", "/x", 100<<10 + 1, 413, false},
		{"POST", "/x", 200 << 10, 413, true},
		{"PUT", "/big", 1 << 20, 200, true},
		{"PUT", "/big", 1<<20 + 1, 413, false},
		{"POST", "/big", 200 << 10, 413, false},
		{"POST", "/any", 20 << 20, 200, true},
	} {
		req := httptest.NewRequest(tc.method, p.url(tc.path), strings.NewReader(strings.Repeat("b", tc.size)))
		req.RequestURI = ""
		if tc.chunked {
			req.ContentLength = -1
		}
		res, err := noKeepAlive.Do(req)
		if err != nil {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != tc.want || tc.want == 200 && string(body) != strconv.Itoa(tc.size) {
			t.Errorf("%+v: %d %s", tc, res.StatusCode, body)
		}
	}
}
