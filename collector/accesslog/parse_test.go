package accesslog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

func header(x *flow.Exchange, name string) string {
	for _, h := range x.Headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// brief shows what a test compares.
func brief(x *flow.Exchange) string {
	return fmt.Sprintf("%s %s %q %s %q %s %d %d/%d %v ua=%q ref=%q lang=%q tls=%s/%s", x.Time.Format(time.RFC3339Nano), x.Client,
		x.Method, x.Host, x.Target, x.Protocol, x.Status, x.RequestBytes, x.ResponseBytes, x.Duration,
		header(x, "User-Agent"), header(x, "Referer"), header(x, "Accept-Language"), x.TLS.Version, x.TLS.SNI)
}

func TestLinesBecomeExchanges(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		line   string
		want   string
	}{
		{
			"combined", FormatCombined,
			`83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a.png?x=1 HTTP/1.1" 200 203023 "http://e.com/" "Mozilla/5.0 (X)"`,
			`2015-05-17T10:05:03Z 83.149.9.216:0 "GET"  "/a.png?x=1" HTTP/1.1 200 0/203023 0s ua="Mozilla/5.0 (X)" ref="http://e.com/" lang="" tls=/`,
		},
		{
			"offset west of Greenwich, no size, HTTP/2, absent fields", FormatCombined,
			`2001:db8::1 - bob [29/Jul/2023:10:26:06 -0730] "POST / HTTP/2.0" 304 - "-" "-"`,
			`2023-07-29T17:56:06Z [2001:db8::1]:0 "POST"  "/" HTTP/2 304 0/0 0s ua="" ref="" lang="" tls=/`,
		},
		{
			"virtual host, fields after the user agent", FormatCombined,
			`www.example.net:80 ::ffff:192.0.2.1 - - [08/Jun/2020:08:04:43 +0000] "GET / HTTP/1.1" 301 0 "-" "curl/7" 0.003 "-"`,
			`2020-06-08T08:04:43Z 192.0.2.1:0 "GET" www.example.net:80 "/" HTTP/1.1 301 0/0 0s ua="curl/7" ref="" lang="" tls=/`,
		},
		{
			"escaped quotes and bytes", FormatCombined,
			`192.0.2.1 - - [08/Jun/2020:08:04:43 +0000] "GET /\"q\\\x41\xff HTTP/1.0" 404 1 "-" "a\"b\x22c\q"`,
			`2020-06-08T08:04:43Z 192.0.2.1:0 "GET"  "/\"q\\A\xff" HTTP/1.0 404 0/1 0s ua="a\"b\"c\\q" ref="" lang="" tls=/`,
		},
		{
			"TLS bytes on a plain port", FormatCombined, `192.0.2.1 - - [08/Jun/2020:08:04:43 +0000] "\x16\x03\x01" 400 226 "-" "-"`,
			`2020-06-08T08:04:43Z 192.0.2.1:0 ""  "\x16\x03\x01"  400 0/226 0s ua="" ref="" lang="" tls=/`,
		},
		{
			"request without protocol, user with a bracket", FormatCombined,
			`192.0.2.1 - a[b [08/Jun/2020:08:04:43 +0000] "GET /old" 200 5`,
			`2020-06-08T08:04:43Z 192.0.2.1:0 "GET"  "/old"  200 0/5 0s ua="" ref="" lang="" tls=/`,
		},
		{
			"common reads no more than its fields", FormatCommon,
			`192.0.2.1 - - [08/Jun/2020:08:04:43 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"`,
			`2020-06-08T08:04:43Z 192.0.2.1:0 "GET"  "/" HTTP/1.1 200 0/5 0s ua="" ref="" lang="" tls=/`,
		},
		{
			"nginx JSON", FormatJSON,
			`{"time_iso8601":"2026-03-02T10:15:00+01:00","msec":"1772442900.123","remote_addr":"203.0.113.7","remote_port":"51234","request":"POST /api/login?next=%2F HTTP/2.0","status":"401","body_bytes_sent":"212","bytes_sent":"400","request_length":"431","request_time":"0.008","http_user_agent":"Moz\u00edlla \"5\"","http_referer":"","http_host":"shop.example","ssl_protocol":"TLSv1.3","ssl_server_name":"shop.example","server_name":"_","unknown":{"a":[1,{"status":999}]}}`,
			`2026-03-02T09:15:00Z 203.0.113.7:51234 "POST" shop.example "/api/login?next=%2F" HTTP/2 401 431/400 8ms ua="Mozílla \"5\"" ref="" lang="" tls=1.3/shop.example`,
		},
		{
			"nginx JSON with separate fields", FormatJSON,
			`{"time_local":"02/Mar/2026:09:15:00 +0000","remote_addr":"2001:db8::7","request_method":"GET","uri":"/a","args":"b=c","server_protocol":"HTTP/1.1","status":200,"server_name":"shop.example","request_time":0.0005}`,
			`2026-03-02T09:15:00Z [2001:db8::7]:0 "GET" shop.example "/a?b=c" HTTP/1.1 200 0/0 500µs ua="" ref="" lang="" tls=/`,
		},
		{
			"Caddy", FormatJSON,
			`{"level":"info","ts":1711741827.9626286,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.0.0.1","remote_port":"54462","client_ip":"192.0.2.9","proto":"HTTP/2.0","method":"GET","host":"localhost:9080","uri":"/x?y","headers":{"User-Agent":["curl/7.88.1"],"Accept-Language":["de","en"],"Referer":["http://r/"]},"tls":{"resumed":false,"version":772,"server_name":"s.example"}},"bytes_read":7,"user_id":"","duration":0.000033987,"size":9,"status":401,"resp_headers":{"Content-Type":["text/html"]}}`,
			`2024-03-29T19:50:27.9626286Z 192.0.2.9:54462 "GET" localhost:9080 "/x?y" HTTP/2 401 7/9 34µs ua="curl/7.88.1" ref="http://r/" lang="de" tls=1.3/s.example`,
		},
		{
			"Envoy", FormatJSON,
			`{"start_time":"2025-12-31T16:40:00.100Z","duration":26,"method":"GET","x-envoy-origin-path":"/page-01","path":"/rewritten","protocol":"HTTP/1.1","response_code":404,"bytes_received":1,"bytes_sent":2,"user-agent":"Mozilla/5.0","downstream_remote_address":"10.0.0.13:40000",":authority":"crawl.internal","response_code_details":null}`,
			`2025-12-31T16:40:00.1Z 10.0.0.13:40000 "GET" crawl.internal "/page-01" HTTP/1.1 404 1/2 26ms ua="Mozilla/5.0" ref="" lang="" tls=/`,
		},
		{
			"exchange", FormatExchange,
			`{"id":"r-1","time":"2026-03-02T09:15:00.123456Z","client":"203.0.113.7:51234","method":"GET","target":"/","status":200,"headers":[["User-Agent","x"]]}`,
			`2026-03-02T09:15:00.123456Z 203.0.113.7:51234 "GET"  "/" HTTP/1.1 200 0/0 0s ua="x" ref="" lang="" tls=/`,
		},
	} {
		for _, format := range []Format{c.format, FormatAuto} {
			if c.format == FormatCommon && format == FormatAuto {
				continue
			}
			var x flow.Exchange
			p := NewParser(format)
			if err := p.Parse([]byte(c.line+"\r"), []byte("log:1"), &x); err != nil {
				t.Errorf("%s as %v: %v", c.name, format, err)
				continue
			}
			if c.format == FormatExchange {
				x.Protocol = "HTTP/1.1" // flow's own matter
			} else if x.ID != "log:1" || x.HeadersKnown || x.Source != event.SourceAccessLog {
				t.Errorf("%s: id %q, headers known %v, source %v", c.name, x.ID, x.HeadersKnown, x.Source)
			}
			if d := cmp.Diff(c.want, brief(&x)); d != "" {
				t.Errorf("%s as %v: %s", c.name, format, d)
			}
			if p.Format() != c.format {
				t.Errorf("%s: recognised as %v", c.name, p.Format())
			}
		}
	}
}

func TestTimesOfJSONLogs(t *testing.T) {
	want := time.Date(2026, 3, 2, 9, 15, 0, 123_000_000, time.UTC)
	for _, text := range []string{
		"1772442900.123", "1772442900123", "1772442900123.9", "1772442900123000", "1772442900123000000",
		"2026-03-02T10:15:00.123+01:00", "2026/03/02 09:15:00.123",
	} {
		if got, err := jsonTime(text, &clock{}); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "0", "soon", "99999999999999999999", "2026/13/02 09:15:00", "1.x"} {
		if got, err := jsonTime(text, &clock{}); !errors.Is(err, ErrValue) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func TestUnusableLinesSayWhy(t *testing.T) {
	clf := func(before, time, after string) string { return before + " [" + time + "] " + after }
	const good = "08/Jun/2020:08:04:43 +0000"
	for _, c := range []struct {
		format Format
		line   string
		is     error
		want   string
	}{
		{FormatCombined, "hello world", ErrSyntax, "no time such as"},
		{FormatCombined, clf("", good, `"GET /" 200 1`), ErrSyntax, "no client"},
		{FormatCombined, clf("host.example - -", good, `"GET /" 200 1`), ErrValue, "look-ups"},
		{FormatCombined, clf("192.0.2.1 - -", "08/Juno2020:08:04:43 +0000", `"GET /" 200 1`), ErrSyntax, "no time such as"},
		{FormatCombined, clf("192.0.2.1 - -", "08/Jxn/2020:08:04:43 +0000", `"GET /" 200 1`), ErrValue, "time"},
		{FormatCombined, clf("192.0.2.1 - -", "32/Jun/2020:08:04:43 +0000", `"GET /" 200 1`), ErrValue, "time"},
		{FormatCombined, clf("192.0.2.1 - -", "08/Jun/2020:08:04:43 *0000", `"GET /" 200 1`), ErrValue, "time"},
		{FormatCombined, clf("192.0.2.1 - -", good, `GET / 200 1`), ErrSyntax, "no quoted request"},
		{FormatCombined, clf("192.0.2.1 - -", good, `"GET / 200 1`), ErrSyntax, "no quoted request"},
		{FormatCombined, clf("192.0.2.1 - -", good, `"GET /" 2000 1`), ErrValue, "status"},
		{FormatCombined, clf("192.0.2.1 - -", good, `"GET /" 200 1x`), ErrValue, "size"},
		{FormatCombined, strings.Repeat("x", MaxLine+1), ErrLong, "too long"},
		{FormatCombined, "  ", ErrEmpty, ""},
		{FormatJSON, `{"time":"2026-01-01T00:00:00Z"`, ErrSyntax, "byte 30"},
		{FormatJSON, `{"time":"2026-01-01T00:00:00Z"} x`, ErrSyntax, "text after"},
		{FormatJSON, `{"a":tru}`, ErrSyntax, "no value"},
		{FormatJSON, `{"a":"\q"}`, ErrSyntax, "escape"},
		{FormatJSON, `{"a":"\u12"}`, ErrSyntax, "hex digits"},
		{FormatJSON, `{"a":"x`, ErrSyntax, "no end"},
		{FormatJSON, strings.Repeat(`{"a":`, 20), ErrSyntax, "nested deeper"},
		{FormatJSON, `{"a":` + strings.Repeat(`[`, 20), ErrSyntax, "nested deeper"},
		{FormatJSON, `{"remote_addr":"localhost"}`, ErrValue, "client"},
		{FormatJSON, `{"remote_addr":"192.0.2.1","ts":"soon"}`, ErrValue, "time"},
		{FormatJSON, `{"remote_addr":"192.0.2.1","ts":1,"status":200}`, ErrValue, "request"},
		{FormatJSON, `{"remote_addr":"192.0.2.1","ts":1,"request":"GET / HTTP/1.1"}`, ErrValue, "status"},
		{FormatExchange, `{"id":"x"}`, ErrSyntax, `"time" is required`},
		{FormatAuto, "hello", ErrSyntax, "no time such as"},
		{FormatAuto, `{"id":"x"}`, ErrSyntax, "required"},
	} {
		var x flow.Exchange
		err := NewParser(c.format).Parse([]byte(c.line), nil, &x)
		if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%.60s: %v, want %v %q", c.line, err, c.is, c.want)
		}
	}
	if _, err := ParseFormat("xml"); err == nil || !strings.Contains(err.Error(), "combined") {
		t.Errorf("%v", err)
	}
}

// TestRealLogs reads extracts of logs from the field; the counts are of lines
// parsed, of lines rejected, and of requests that are no HTTP.
func TestRealLogs(t *testing.T) {
	for _, c := range []struct {
		file                         string
		parsed, rejected, notRequest int
	}{
		{"apache_combined_2015.log", 300, 0, 0},
		{"crowdsec_nginx.log", 8, 1, 0}, // the ninth is a line of the error log
		{"crowdsec_nginx_malformed.log", 12, 0, 12},
		{"crowdsec_nginx_probing.log", 51, 0, 0},
		{"crowdsec_apache_malformed.log", 11, 0, 11},
		{"crowdsec_caddy.log", 6, 0, 0},
		{"crowdsec_envoy.log", 20, 0, 0},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", c.file))
		if err != nil {
			t.Fatal(err)
		}
		p := NewParser(FormatAuto)
		parsed, rejected, notRequest := 0, 0, 0
		for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
			var x flow.Exchange
			err := p.Parse(s.Bytes(), []byte("x:1"), &x)
			switch {
			case err != nil:
				rejected++
				continue
			case x.Method == "":
				notRequest++
			}
			parsed++
			if !x.Client.IsValid() || x.Time.Year() < 2015 || x.Status < 200 {
				t.Errorf("%s: %s", c.file, brief(&x))
			}
		}
		if parsed != c.parsed || rejected != c.rejected || notRequest != c.notRequest {
			t.Errorf("%s: parsed %d, rejected %d, not HTTP %d; want %d, %d, %d", c.file, parsed, rejected, notRequest,
				c.parsed, c.rejected, c.notRequest)
		}
	}
}

func TestExchangeDoesNotAliasTheLine(t *testing.T) {
	line := []byte(`192.0.2.1 - - [08/Jun/2020:08:04:43 +0000] "GET /path HTTP/1.1" 200 5 "-" "agent"`)
	var x flow.Exchange
	if err := NewParser(FormatCombined).Parse(line, []byte("id"), &x); err != nil {
		t.Fatal(err)
	}
	for i := range line {
		line[i] = '#'
	}
	if x.Target != "/path" || header(&x, "User-Agent") != "agent" || x.ID != "id" || x.Client != netip.MustParseAddrPort("192.0.2.1:0") {
		t.Errorf("%+v", x)
	}
}

func TestParsingAllocatesOncePerLine(t *testing.T) {
	p := NewParser(FormatCombined)
	line := []byte(`192.0.2.1 - - [08/Jun/2020:08:04:43 +0000] "GET /path HTTP/1.1" 200 5 "http://r/" "agent"`)
	x := flow.Exchange{Headers: make([]flow.Field, 0, 4)}
	n := testing.AllocsPerRun(100, func() {
		if err := p.Parse(line, []byte("id"), &x); err != nil {
			t.Fatal(err)
		}
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{
		"apache_combined_2015.log", "crowdsec_nginx.log", "crowdsec_nginx_malformed.log", "crowdsec_caddy.log", "crowdsec_envoy.log",
	} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if i < 10 {
				f.Add(line)
			}
		}
	}
	f.Add([]byte(`{"id":"r-1","time":"2026-03-02T09:15:00Z","client":"203.0.113.7","method":"GET","target":"/","status":200}`))
	parsers := []*Parser{}
	for _, format := range []Format{FormatCombined, FormatCommon, FormatJSON, FormatExchange} {
		parsers = append(parsers, NewParser(format))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, p := range append(parsers, NewParser(FormatAuto)) {
			var x flow.Exchange
			err := p.Parse(line, []byte("id"), &x)
			if err != nil {
				if reasonOf(err) == "" {
					t.Fatal("no reason")
				}
				_ = mask(p.Format(), line)
				continue
			}
			if !x.Client.Addr().IsValid() || x.Status < 0 || x.Status > 999 || x.ResponseBytes < 0 || x.Duration < 0 {
				t.Fatalf("%+v", x)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		file   string
		format Format
	}{{"apache_combined_2015.log", FormatCombined}, {"crowdsec_caddy.log", FormatJSON}, {"crowdsec_envoy.log", FormatJSON}} {
		text, err := os.ReadFile(filepath.Join("testdata", c.file))
		if err != nil {
			b.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		b.Run(c.file, func(b *testing.B) {
			p := NewParser(c.format)
			var x flow.Exchange
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := p.Parse(lines[i%len(lines)], []byte("access.log:12345"), &x); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
