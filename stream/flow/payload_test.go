package flow_test

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// rows reads a committed extract: tab separated, its first line says what it is
// and under which licence.
func rows(t *testing.T, file string) [][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/payload/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "# ") {
			out = append(out, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no row", file)
	}
	return out
}

func payloadOf(e *flow.Extractor, x *flow.Exchange) event.Payload {
	var ev event.Event
	x.Host = "plain.example"
	e.Begin(x, &ev)
	return ev.Payload
}

func TestPayloadClassesOnOtherPeoplesInput(t *testing.T) {
	e := newExtractor(t)
	injections := event.PayloadTraversal | event.PayloadSQL | event.PayloadXSS | event.PayloadCommand | event.PayloadTemplate
	count, found := map[string]int{}, map[string]int{}
	note := func(kind string, hit bool) {
		if count[kind]++; hit {
			found[kind]++
		}
	}
	for _, r := range rows(t, "httpparams.tsv") {
		note(r[0], payloadOf(e, request("GET", "/s?q="+url.QueryEscape(r[1])))&injections != 0)
	}
	for _, r := range rows(t, "crs.tsv") {
		note("crs "+r[0][:3], payloadOf(e, request("GET", r[1]))&injections != 0)
	}
	for _, r := range rows(t, "hub.tsv") {
		x := request("GET", r[1])
		x.Headers[1].Value = r[2]
		note("hub "+r[0], payloadOf(e, x) != 0)
	}
	for _, r := range rows(t, "accesslog.tsv") {
		x := request("GET", r[0], "Referer", r[2])
		x.Headers[1].Value = r[1]
		note("accesslog", payloadOf(e, x)&injections != 0)
	}
	// The least and the greatest share that may be found, per thousand. Values
	// of people must stay clean; CRS tests contain evasions that only a full
	// parser finds.
	for kind, bounds := range map[string][2]int{
		"norm": {0, 3}, "accesslog": {0, 4}, "sqli": {985, 1000}, "xss": {950, 1000}, "cmdi": {850, 1000},
		"path-traversal": {950, 1000}, "crs 930": {500, 1000}, "crs 932": {250, 1000}, "crs 933": {300, 1000},
		"crs 934": {300, 1000}, "crs 941": {600, 1000}, "crs 942": {400, 1000},
		"hub http-cve-probing": {1000, 1000}, "hub nginx-http-sensitive-files": {1000, 1000},
		"hub nginx-http-sqli-probing": {1000, 1000}, "hub nginx-http-xss-probing": {1000, 1000},
		"hub nginx-bad-user-agent": {1000, 1000}, "hub bunkerweb-http-path-traversal": {1000, 1000},
	} {
		if count[kind] == 0 {
			t.Errorf("%s: no case", kind)
			continue
		}
		share := found[kind] * 1000 / count[kind]
		t.Logf("%-35s %3d of %3d found (%d per thousand)", kind, found[kind], count[kind], share)
		if share < bounds[0] || share > bounds[1] {
			t.Errorf("%s: %d per thousand found, want %d to %d", kind, share, bounds[0], bounds[1])
		}
	}
}

func TestPayloadClasses(t *testing.T) {
	e := newExtractor(t)
	for target, want := range map[string]event.Payload{
		"/":                              0,
		"/item/17?color=red&size=10%22":  0,
		"/search?q=rock+and+roll+or+1":   0,
		"/search?q=o%27reilly+and+sons":  0,
		"/search?q=100%25+wool":          0,
		"/list?sort=price&order=desc":    0,
		"/.well-known/security.txt":      0,
		"/blog/tags/shell":               0,
		"/a/%2e%2e/%2e%2e/etc/passwd":    event.PayloadTraversal,
		"/a?f=%252e%252e%252fetc/passwd": event.PayloadTraversal,
		"/s?q=1'+or+'1'='1":              event.PayloadSQL,
		"/s?q=1)+or+(2=3":                event.PayloadSQL,
		"/s?q=1/**/union/**/select/**/2": event.PayloadSQL,
		"/s?q=1/*!50000union*/+select+2": event.PayloadSQL,
		"/s?q=%3Cscript%3E":              event.PayloadXSS,
		"/s?q=;cat+x":                    event.PayloadCommand,
		"/s?q=%7B%7B7*7%7D%7D":           event.PayloadTemplate,
		"/.env":                          event.PayloadProbePath,
		"/x/%2Eenv":                      event.PayloadProbePath,
		"/a%00b":                         event.PayloadMalformed,
		"/a%zz":                          event.PayloadMalformed,
		"/%c0%afx":                       event.PayloadMalformed,
		"/s?q=line%0D%0Abreak":           0,
	} {
		if got := payloadOf(e, request("GET", target)); got != want {
			t.Errorf("%s: %v, want %v", target, got, want)
		}
	}
	for method, want := range map[string]event.Payload{
		"\x16\x03\x01\x02": event.PayloadMalformed, "GTE": event.PayloadMalformed, "PROPFIND": 0,
	} {
		if got := payloadOf(e, request(method, "/")); got != want {
			t.Errorf("%q: %v, want %v", method, got, want)
		}
	}
	for agent, want := range map[string]event.Payload{
		"sqlmap/1.8.2#stable (https://sqlmap.org)":                   event.PayloadTool,
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://google.de)": 0,
		"${jndi:ldap://x.example/a}":                                 event.PayloadTemplate,
		"() { :;}; /bin/bash -c id":                                  event.PayloadCommand,
	} {
		for range 2 { // the second answer comes from the cache
			x := request("GET", "/")
			x.Headers[1].Value = agent
			if got := payloadOf(e, x); got != want {
				t.Errorf("%q: %v, want %v", agent, got, want)
			}
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/", "/a/../b;x=y?c=%27+or+1=1--", "http://h/p?q#f", "*", "/%", "//%2e%2E/%252f", "/reset/0123456789", "?=&&=", "/s?q=/*!1", "/4111-1111-1111-1111"} {
		f.Add("GET", s)
	}
	e := newExtractor(f)
	f.Fuzz(func(t *testing.T, method, target string) {
		var ev event.Event
		e.Begin(request(method, target), &ev)
		if len(ev.Path) > 3*2048 || len(ev.QueryKeys) > 4096 || strings.ContainsAny(ev.Path+ev.QueryKeys, "\x00\r\n") {
			t.Errorf("%q %q", ev.Path, ev.QueryKeys)
		}
	})
}
