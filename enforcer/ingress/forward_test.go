package ingress_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weirproject/weir/stream/event"
)

func TestForwardsRequestAndAnswer(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-App", "yes")
		w.WriteHeader(http.StatusCreated)
		sayf(w, "%s %s %s %s", r.Method, r.Host, r.RequestURI, b)
	})
	p := start(t, "http://"+up, nil, nil)
	req := request(t, "POST", p.url("/a%2Fb?x=1"), "hello")
	req.Host = "shop.example"
	res, body := do(t, req)
	if res.StatusCode != http.StatusCreated || body != "POST shop.example /a%2Fb?x=1 hello" || res.Header.Get("X-App") != "yes" {
		t.Fatalf("got %d %q %v", res.StatusCode, body, res.Header)
	}
	if len(res.Header.Get("X-Weir-Request-Id")) != 26 {
		t.Errorf("request id %q", res.Header.Get("X-Weir-Request-Id"))
	}
	ev := p.brain.wait(t, 1)[0]
	if ev.Status != 201 || ev.Action != event.ActionAllow || ev.Site != "shop" || ev.Source != event.SourceEnforcer ||
		ev.ID != res.Header.Get("X-Weir-Request-Id") || ev.Protocol != "HTTP/1.1" || ev.Client.String() != "127.0.0.1" {
		t.Errorf("event %+v", ev)
	}
}

func TestPassesFieldsInOrderAndSpelling(t *testing.T) {
	r := newRawRecorder(t)
	p := start(t, "http://"+r.addr, nil, nil)
	got := ask(t, p.addr, "GET /x HTTP/1.1\r\nhost: shop.example\r\nuser-AGENT: z\r\nX-B: 1\r\nconnection: close, x-gone\r\n"+
		"Keep-Alive: 3\r\nX-Gone: 1\r\nProxy-Connection: x\r\nTE: trailers, deflate\r\nX-Weir-Request-Id: forged\r\nX_Weir_Tag: forged\r\n"+
		"X-Forwarded-For: 192.0.2.9\r\nX_Forwarded_For: 192.0.2.8\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 192.0.2.7\r\nA-last: \t v \r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
		t.Fatalf("answer %q", got)
	}
	id := p.brain.wait(t, 1)[0].ID
	want := "GET /x HTTP/1.1\r\nHost: shop.example\r\nuser-AGENT: z\r\nX-B: 1\r\nA-last: v\r\n" +
		"X-Forwarded-For: 192.0.2.9, 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n" +
		"X-Forwarded-Host: shop.example\r\nX-Weir-Request-Id: " + id + "\r\nTE: trailers\r\n\r\n"
	if r.bytes() != want {
		t.Errorf("upstream got\n%q\nwant\n%q", r.bytes(), want)
	}
	x := p.brain.lastExchange(t)
	if !x.HeadersKnown || len(x.Headers) != 15 || x.Headers[1].Name != "user-AGENT" || x.Headers[14].Name != "A-last" {
		t.Errorf("recorded head %+v", x.Headers)
	}
}
