package flow_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

const exampleLine = `{"id":"r-000001","time":"2026-03-02T09:15:00.123456Z","client":"203.0.113.7:51234",` +
	`"tls":{"version":"1.3","sni":"shop.example","ja4":"t13d1516h2_8daaf6152771_b186095e22b6"},` +
	`"method":"POST","host":"shop.example","target":"/api/login?next=%2F","headers":[["User-Agent","Mozilla/5.0 ..."],["Cookie","sid=abc; did=xyz"]],` +
	`"body":"{\"user\":\"alice\",\"password\":\"x\"}","status":401,"response_headers":[["Content-Type","application/json"]],"response_body":"{\"ok\":false}",` +
	`"request_bytes":431,"response_bytes":212,"duration_us":8123}`

func TestParseExchange(t *testing.T) {
	var x flow.Exchange
	if err := flow.ParseExchange([]byte(exampleLine), &x); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want any }{
		{x.ID, "r-000001"},
		{x.Time, time.Date(2026, 3, 2, 9, 15, 0, 123456000, time.UTC)},
		{x.Client.String(), "203.0.113.7:51234"},
		{x.TLS, flow.TLS{Version: "1.3", SNI: "shop.example", JA4: "t13d1516h2_8daaf6152771_b186095e22b6"}},
		{x.Method + " " + x.Host + x.Target, "POST shop.example/api/login?next=%2F"},
		{len(x.Headers), 2},
		{x.Headers[1], flow.Field{Name: "Cookie", Value: "sid=abc; did=xyz"}},
		{string(x.Body), `{"user":"alice","password":"x"}`},
		{x.Status, 401},
		{string(x.ResponseBody), `{"ok":false}`},
		{x.RequestBytes + x.ResponseBytes, int64(643)},
		{x.Duration, 8123 * time.Microsecond},
		{x.HeadersKnown, true},
		{x.Source, event.SourceReplay},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}

func minimal(extra string) string {
	return `{"id":"1","time":"2026-03-02T09:15:00Z","client":"203.0.113.7","method":"GET","target":"/","status":200` + extra + `}`
}

func TestParseExchangeAccepts(t *testing.T) {
	for line, check := range map[string]func(x *flow.Exchange) bool{
		minimal(""): func(x *flow.Exchange) bool { return x.Client.Port() == 0 && !x.HeadersKnown },
		strings.Replace(minimal(""), `203.0.113.7`, `[2001:db8::1]:443`, 1): func(x *flow.Exchange) bool { return x.Client.String() == "[2001:db8::1]:443" },
		strings.Replace(minimal(""), `203.0.113.7`, `2001:db8::1`, 1):       func(x *flow.Exchange) bool { return x.Client.Addr().Is6() },
		minimal(`,"body_base64":"AAH/"`):                                    func(x *flow.Exchange) bool { return string(x.Body) == "\x00\x01\xff" },
		minimal(`,"body_truncated":true,"protocol":"HTTP/2"`):               func(x *flow.Exchange) bool { return x.BodyTruncated && x.Protocol == "HTTP/2" },
		minimal(`,"headers":[["X","\u00e9\ud83d\ude00"]]`):                  func(x *flow.Exchange) bool { return x.Headers[0].Value == "\u00e9\U0001F600" },
		" " + minimal(` , "headers" : [ ] `) + " \r":                        func(x *flow.Exchange) bool { return x.HeadersKnown && len(x.Headers) == 0 },
	} {
		var x flow.Exchange
		if err := flow.ParseExchange([]byte(line), &x); err != nil || !check(&x) {
			t.Errorf("%s: %v %+v", line, err, x)
		}
	}
}

func TestParseExchangeRejects(t *testing.T) {
	for line, want := range map[string]string{
		``:                       "unexpected end",
		`[]`:                     "unexpected '['",
		`{}`:                     `"id" is required`,
		minimal(`,"Status":1`):   `"Status" is not known: did you mean "status"?`,
		minimal(`,"label":[1,}`): "want a value",
		minimal(`,"label":` + strings.Repeat("[", 400)):                        "nested too deeply",
		minimal(`,"status":200`):                                               `"status" stands twice`,
		minimal(`,"duration_us":-1`):                                           "no whole number between",
		minimal(`,"duration_us":1.5`):                                          "no whole number between",
		minimal(`,"body":1`):                                                   "want a string",
		minimal(`,"body":"a","body_base64":"YQ=="`):                            "both as text and as base64",
		minimal(`,"body_base64":"*"`):                                          "illegal base64",
		minimal(`,"headers":[["a"]]`):                                          `"headers": field 0`,
		minimal(`,"headers":{"a":"b"}`):                                        "want '['",
		minimal(`,"tls":{"JA4":"x"}`):                                          `did you mean "ja4"?`,
		minimal("") + "x":                                                      "after the value",
		strings.Replace(minimal(""), "203.0.113.7", "nobody", 1):               "is no address",
		strings.Replace(minimal(""), "2026-03-02T09:15:00Z", "now", 1):         "no RFC 3339 time",
		strings.Replace(minimal(""), `"id":"1"`, `"id":""`, 1):                 `"id": 0 bytes`,
		minimal(`,"body":"` + strings.Repeat("a", flow.MaxExchangeLine) + `"`): "at most",
	} {
		var x flow.Exchange
		err := flow.ParseExchange([]byte(line), &x)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", line, err, want)
		}
	}
}

// TestParseExchangePassesOver holds that what others write beside the contract's
// keys, and null for what is absent, keeps no exchange from being used.
func TestParseExchangePassesOver(t *testing.T) {
	var plain flow.Exchange
	if err := flow.ParseExchange([]byte(minimal("")), &plain); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		minimal(`,"label":"bot"`): "label",
		minimal(`,"truth":{"actor":"a1","list":[1,-2.5e3,[true,false,null],{}],"s":"\u00e9\"}"},"also":1`): "truth",
		minimal(`,"tls":{"ja3":"x","alpn":["h2"]}`):                                                        "",
		minimal(`,"tls":null,"body":null,"headers":null,"duration_us":null,"response_body_base64":null`):   "",
	} {
		var x flow.Exchange
		if err := flow.ParseExchange([]byte(line), &x); err != nil || x.Unknown != want {
			t.Errorf("%s: %v, unknown %q, want %q", line, err, x.Unknown, want)
		}
		if x.Unknown = ""; x.ID != plain.ID || x.Status != plain.Status || x.HeadersKnown || len(x.Body) > 0 || x.TLS != plain.TLS {
			t.Errorf("%s: %+v", line, x)
		}
	}
}

// plainExchange is a recorded exchange as encoding/json reads it.
type plainExchange struct {
	ID, Method, Target, Host, Protocol, Body string
	Status                                   int
	Headers                                  [][]string
	TLS                                      flow.TLS
	BodyTruncated                            bool       `json:"body_truncated"`
	ResponseHeaders                          [][]string `json:"response_headers"`
	ResponseBody                             string     `json:"response_body"`
	RequestBytes                             int64      `json:"request_bytes"`
	ResponseBytes                            int64      `json:"response_bytes"`
	DurationUS                               int64      `json:"duration_us"`
}

func pairs(fields []flow.Field) (out [][]string) {
	for _, f := range fields {
		out = append(out, []string{f.Name, f.Value})
	}
	return out
}

// FuzzParseExchange holds every accepted line against encoding/json, and what
// the line was cut into must not change with the line's buffer.
func FuzzParseExchange(f *testing.F) {
	f.Add([]byte(exampleLine))
	f.Add([]byte(minimal(`,"headers":[["Cookie","sid=a"]],"body_base64":"AAH/"`)))
	f.Add([]byte(minimal(`,"headers":[["X","\u00e9\ud83d\ude00\ud83d"],["Y","12345678\\90\"é"]],"request_bytes":-0,"duration_us":00`)))
	f.Add([]byte(minimal(",\"headers\":[[\"Y\",\"0123456\xff\xc3\"]] , \"request_bytes\" : 10 ")))
	f.Add([]byte(minimal(`,"truth":{"a":[1,{"b":null}]},"body":null,"tls":{"ja3":"x","sni":"s"}`)))
	f.Fuzz(func(t *testing.T, line []byte) {
		var x flow.Exchange
		buf := bytes.Clone(line)
		if flow.ParseExchange(buf, &x) != nil {
			return
		}
		clear(buf)
		want := plainExchange{Body: string(x.Body), ResponseBody: string(x.ResponseBody)} // unless it stands as text
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q is accepted, by encoding/json not: %v", line, err)
		}
		got := plainExchange{
			ID: x.ID, Method: x.Method, Target: x.Target, Host: x.Host, Protocol: x.Protocol, Body: string(x.Body), Status: x.Status,
			Headers: pairs(x.Headers), TLS: x.TLS, BodyTruncated: x.BodyTruncated, ResponseHeaders: pairs(x.ResponseHeaders),
			ResponseBody: string(x.ResponseBody), RequestBytes: x.RequestBytes, ResponseBytes: x.ResponseBytes,
			DurationUS: x.Duration.Microseconds(),
		}
		want.Headers, want.ResponseHeaders = append([][]string(nil), want.Headers...), append([][]string(nil), want.ResponseHeaders...)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %#v\nwant %#v", line, got, want)
		}
		var ev event.Event
		e := newExtractor(t)
		e.Begin(&x, &ev)
		e.End(&x, &ev)
		if len(ev.Path) > 4096 || len(ev.Objects) > event.MaxObjects {
			t.Errorf("unbounded event: %+v", ev)
		}
	})
}

func BenchmarkParseExchange(b *testing.B) {
	var x flow.Exchange
	b.ReportAllocs()
	b.SetBytes(int64(len(exampleLine)))
	for b.Loop() {
		if err := flow.ParseExchange([]byte(exampleLine), &x); err != nil {
			b.Fatal(err)
		}
	}
}
