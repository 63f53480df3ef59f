package linetest_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// ofFraming are header fields that belong to the hop or to weir itself.
var ofFraming = []string{"Date", "X-Weir-Request-Id", "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Trailer"}

// question is one request of the traffic.
type question struct {
	method, target, body string
	header               http.Header
}

// traffic is what people and tools send, in some variety.
func traffic() []question {
	browser := func(n int) http.Header {
		return http.Header{
			"User-Agent":      {fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/%d.0.0.0 Safari/537.36", 120+n%9)},
			"Accept":          {"text/html,application/xhtml+xml,*/*;q=0.8"},
			"Accept-Language": {"en-GB,en;q=0.9"}, "Accept-Encoding": {"gzip, deflate"},
		}
	}
	signedIn := browser(3)
	signedIn.Set("Cookie", "sid="+sum("alice")+".alice; did=d1")
	cached := browser(1)
	cached.Set("If-None-Match", `"v1"`)
	out := []question{
		{method: "GET", target: "/"},
		{method: "HEAD", target: "/item/1"},
		{method: "OPTIONS", target: "/item/1"},
		{method: "GET", target: "/zip"},
		{method: "GET", target: "/stream"},
		{method: "GET", target: "/empty"},
		{method: "GET", target: "/cached", header: cached},
		{method: "GET", target: "/moved"},
		{method: "GET", target: "/broken"},
		{method: "GET", target: "/missing/page?q=a%20b&q=c"},
		{method: "GET", target: "/.git/config"},
		{method: "GET", target: "/account", header: signedIn},
		{method: "POST", target: "/api/login", body: `{"user":"alice","password":"right-alice"}`, header: browser(3)},
		{method: "POST", target: "/api/login", body: `{"user":`},
		{method: "POST", target: "/api/login", body: `{"user":"<script>alert(1)</script>","password":"' OR 1=1 --"}`},
		{method: "POST", target: "/api/orders/17/pay", body: `{"card":{"number":"4539578763621486","csc":"123"},"amount":"9.00"}`, header: signedIn},
		{method: "POST", target: "/echo", body: strings.Repeat("large ", 40_000), header: http.Header{"Content-Type": {"text/plain"}}},
		{method: "PUT", target: "/item/1", body: "{}"},
		{method: "DELETE", target: "/item/1"},
	}
	for i := range 40 {
		out = append(out, question{method: "GET", target: fmt.Sprintf("/item/%d", i), header: browser(i)})
	}
	for i := range 40 {
		out = append(out, question{method: "POST", target: "/api/login", body: guess(i)})
	}
	return out
}

// TestShadow: responses are the application's own, also those to requests that
// weir would have refused, and each of those is on record.
func TestShadow(t *testing.T) {
	t.Parallel()
	a, w := protected(t, "sh", "shadow")
	direct := newClient(t, strings.TrimPrefix(a.url, "http://"), "127.67.0.9")
	compare := func(t *testing.T, from string) (ids []string) {
		t.Helper()
		through := newClient(t, w.listen, from)
		n := 0
		for _, q := range traffic() {
			want, err := direct.do(t.Context(), q.method, q.target, q.body, q.header)
			if err != nil {
				t.Fatal(err)
			}
			got, err := through.do(t.Context(), q.method, q.target, q.body, q.header)
			if err != nil {
				t.Fatalf("%s %s: %v", q.method, q.target, err)
			}
			ids = append(ids, got.id())
			n++
			if diff := differs(want, got); diff != "" {
				t.Errorf("%s %s: %s", q.method, q.target, diff)
			}
			if got.id() == "" {
				t.Errorf("%s %s: no request id", q.method, q.target)
			}
		}
		t.Logf("%d responses compared", n)
		return ids
	}
	compare(t, "127.67.0.1")
	// The tool goes on at a pace at which verdicts come in between.
	tool, tick := newClient(t, w.listen, "127.67.0.1"), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for i := range 100 {
		<-tick.C
		if r := tool.post(t, "/api/login", guess(100+i)); r.status != http.StatusUnauthorized {
			t.Errorf("guess %d: status %d, want the application's 401", i, r.status)
		}
	}

	// A client under a block: every request would have been refused.
	w.ok(t, "verdicts", "add", "--client", "127.67.0.2", "--action", "block", "--for", "1h", "--reason", "shadow test")
	probe := newClient(t, w.listen, "127.67.0.2")
	until(t, 20*time.Second, "the verdict is in force", func() bool {
		id := probe.get(t, "/item/1").id()
		var found bool
		until(t, 30*time.Second, "the request is stored", func() bool {
			found = w.number(t, "SELECT count() AS n FROM decisions WHERE id = '"+id+"'") > 0
			return found || w.number(t, "SELECT count() AS n FROM requests WHERE id = '"+id+"'") > 0
		})
		return found
	})
	ids := compare(t, "127.67.0.2")
	w.settled(t)
	rows := w.sql(t, "SELECT id FROM decisions WHERE proposed = 'block' AND action IN ('allow', 'observe') AND mode = 'shadow' AND verdict != '' AND reason != '' AND rule != '' AND client_ip = '127.67.0.2'")
	have := map[string]bool{}
	for _, r := range rows {
		have[r["id"].(string)] = true
	}
	for i, id := range ids {
		if !have[id] {
			t.Errorf("would-be action on request %d (%s) is not in decisions", i, id)
		}
	}
	// The stuffing of the first client was seen by the engine itself.
	if n := w.number(t, "SELECT count() AS n FROM decisions WHERE client_ip = '127.67.0.1' AND proposed NOT IN ('', 'allow', 'observe')"); n == 0 {
		t.Error("the engine would not have acted on 140 guesses")
	}
	if n := w.number(t, "SELECT count() AS n FROM decisions WHERE action IN ('block', 'rate_limit', 'redirect')"); n > 0 {
		t.Errorf("%d requests were acted on in shadow mode", n)
	}
	if n := w.number(t, "SELECT count() AS n FROM shadow"); n == 0 {
		t.Error("the view shadow is empty")
	}
	w.stop(t)
}

// differs says how two answers differ apart from what a proxy may change.
func differs(want, got *reply) string {
	if want.status != got.status {
		return fmt.Sprintf("status %d, direct %d", got.status, want.status)
	}
	if string(want.body) != string(got.body) {
		return fmt.Sprintf("body of %d bytes, direct %d", len(got.body), len(want.body))
	}
	p, q := maps.Clone(want.header), maps.Clone(got.header)
	for _, name := range ofFraming {
		p.Del(name)
		q.Del(name)
	}
	if !maps.EqualFunc(p, q, slices.Equal) {
		return fmt.Sprintf("header %v, direct %v", q, p)
	}
	if !maps.EqualFunc(want.trailer, got.trailer, slices.Equal) {
		return fmt.Sprintf("trailer %v, direct %v", got.trailer, want.trailer)
	}
	return ""
}
