package traffic

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"testing"
)

// TestLiveDrivesARequestFromItsOwnAddress: through a proxy that refuses one path,
// as an ingress would, and gives the others to the simulated application.
func TestLiveDrivesARequestFromItsOwnAddress(t *testing.T) {
	l, err := NewLive("http://127.0.0.1:1", 0)
	if err != nil {
		t.Fatal(err)
	}
	origin := httptest.NewServer(l)
	defer origin.Close()
	upstream, err := url.Parse(origin.URL)
	if err != nil {
		t.Fatal(err)
	}
	peers := map[string]bool{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstream)
		peer := netip.MustParseAddrPort(r.In.RemoteAddr).Addr().String()
		r.Out.Header.Set("X-Real-IP", peer)
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peers[netip.MustParseAddrPort(r.RemoteAddr).Addr().String()] = true
		if r.URL.Path == "/refused" {
			w.Header().Set("X-Weir-Request-Id", "r1")
			w.WriteHeader(http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	if l.Target, err = url.Parse(front.URL); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		status int
		origin bool
		id     string
	}
	got := map[string]answer{}
	l.OnAnswer = func(label *Label, id string, status int, origin bool) {
		got[label.Who] = answer{status, origin, id}
	}
	send := func(who, client, method, target string, status int) {
		t.Helper()
		x := Exchange{
			Time: 1, Client: netip.MustParseAddr(client), Method: method, Host: "shop.example", Target: target, Status: status,
			Headers: []Header{{"User-Agent", "test"}}, RespBytes: 10,
		}
		if err := l.Send(&x, &Label{Who: who}); err != nil {
			t.Fatal(err)
		}
		if err := l.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	send("person", "198.51.100.7", "GET", "/item/1?q=%27", 200)
	send("buyer", "2001:db8::7", "POST", "/pay", 402)
	send("bot", "203.0.113.9", "GET", "/refused", 200)
	for who, want := range map[string]answer{"person": {200, true, ""}, "buyer": {402, true, ""}, "bot": {403, false, "r1"}} {
		if got[who] != want {
			t.Errorf("%s: %+v, want %+v", who, got[who], want)
		}
	}
	for _, a := range []string{"198.51.100.7", "2001:db8::7", "203.0.113.9"} {
		if from := Loopback(netip.MustParseAddr(a)).String(); !peers[from] {
			t.Errorf("nobody came from %s, which stands for %s: %v", from, a, peers)
		}
	}
	if len(l.waiting) != 0 {
		t.Errorf("%d answers still wait", len(l.waiting))
	}
}

func TestLiveStaysOnThisMachine(t *testing.T) {
	for _, target := range []string{"http://192.0.2.1:80", "http://example.com", "https://127.0.0.1:443", "127.0.0.1:80", "http://[::1]:80"} {
		if _, err := NewLive(target, 1); err == nil {
			t.Errorf("%s was taken as a live target", target)
		}
	}
}
