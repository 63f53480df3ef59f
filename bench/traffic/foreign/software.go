package foreign

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weirproject/weir/bench/traffic"
)

var languages = []string{
	"en-GB,en;q=0.9", "en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.7", "fr-FR,fr;q=0.9", "nl-NL,nl;q=0.9,en;q=0.8",
	"es-ES,es;q=0.9", "pl-PL,pl;q=0.9,en-US;q=0.7", "en-GB,en-US;q=0.9,en;q=0.8", "it-IT,it;q=0.9",
}

func anyLanguage(r *traffic.Rand) string {
	from := make([]weighted[string], len(languages))
	for i, l := range languages {
		from[i] = weighted[string]{float64(10 - i), l}
	}
	return pick(r, from)
}

// family is whose headers a software sends.
type family int

const (
	tool family = iota
	chromium
	gecko
	webkit
	okhttp
	cfnetwork
)

// browser says that the family loads what a page refers to.
func (f family) browser() bool { return f == chromium || f == gecko || f == webkit }

// software is one build of a browser, an app or a tool.
type software struct {
	family    family
	agent     string
	ja4       string
	hints     string // sec-ch-ua
	mobile    string // sec-ch-ua-mobile
	platform  string // sec-ch-ua-platform
	version   string // of an app
	http1     bool
	odd, oddV string // a header that a copy has at an odd place
}

const (
	chromiumHello  = "t13d1517h2_8daaf6152771_b6f405a00624"
	geckoHello     = "t13d1716h2_5b57614c22b0_3d5424432f57"
	webkitHello    = "t13d2015h2_a09f3c656075_7f0f34a4126d"
	okhttpHello    = "t13d1312h2_f57a46bbacb6_e5728521abd4"
	cfnetworkHello = "t13d2013h2_2802a3db6c62_7af1ed941c26"
)

func chrome(os string, v int, brand string) *software {
	at := map[string][2]string{
		"win": {"Windows NT 10.0; Win64; x64", `"Windows"`}, "mac": {"Macintosh; Intel Mac OS X 10_15_7", `"macOS"`},
		"and": {"Linux; Android 10; K", `"Android"`}, "lin": {"X11; Linux x86_64", `"Linux"`},
	}[os]
	mobile, mark := "?0", ""
	if os == "and" {
		mobile, mark = "?1", "Mobile "
	}
	agent := fmt.Sprintf("Mozilla/5.0 (%s) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 %sSafari/537.36", at[0], v, mark)
	switch brand {
	case "Microsoft Edge":
		agent += fmt.Sprintf(" Edg/%d.0.0.0", v)
	case "Samsung Internet":
		agent = fmt.Sprintf("Mozilla/5.0 (Linux; Android 14; SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/%d.0 Chrome/121.0.0.0 Mobile Safari/537.36", v)
	}
	hints := fmt.Sprintf(`"%s";v="%d", "Not.A/Brand";v="8", "Chromium";v="%d"`, brand, v, v)
	return &software{family: chromium, agent: agent, ja4: chromiumHello, hints: hints, mobile: mobile, platform: at[1]}
}

func firefox(os string, v int) *software {
	at := map[string]string{"win": "Windows NT 10.0; Win64; x64", "lin": "X11; Ubuntu; Linux x86_64", "and": "Android 14; Mobile"}[os]
	return &software{family: gecko, agent: fmt.Sprintf("Mozilla/5.0 (%s; rv:%d.0) Gecko/20100101 Firefox/%d.0", at, v, v), ja4: geckoHello}
}

func safari(os, v string) *software {
	agent := "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/" + v + " Safari/605.1.15"
	if os == "ios" {
		agent = "Mozilla/5.0 (iPhone; CPU iPhone OS " + strings.ReplaceAll(v, ".", "_") + " like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/" + v + " Mobile/15E148 Safari/604.1"
	}
	return &software{family: webkit, agent: agent, ja4: webkitHello}
}

func app(f family, v, name string) *software {
	if f == okhttp {
		return &software{family: f, agent: name + "/" + v + " (Android 14) okhttp/4.12.0", ja4: okhttpHello, version: v}
	}
	return &software{family: f, agent: name + "/" + v + " CFNetwork/1494.0.7 Darwin/23.4.0", ja4: cfnetworkHello, version: v}
}

const google = "Google Chrome"

var desktop = []weighted[*software]{
	{18, chrome("win", 147, google)},
	{9, chrome("win", 146, google)},
	{2, chrome("win", 142, google)},
	{7, chrome("mac", 147, google)},
	{3, chrome("mac", 146, google)},
	{7, chrome("win", 147, "Microsoft Edge")},
	{3, chrome("win", 146, "Microsoft Edge")},
	{4, firefox("win", 150)},
	{2, firefox("lin", 149)},
	{1, firefox("win", 128)},
	{6, safari("mac", "18.4")},
	{3, safari("mac", "17.6")},
	{1, chrome("lin", 147, google)},
	{1, chrome("win", 147, "Opera")},
	{.7, chrome("win", 109, google)},
	{.5, chrome("mac", 147, "Brave")},
	{.3, chrome("win", 138, "Vivaldi")},
	{.2, chrome("lin", 131, google)},
}

var phones = []weighted[*software]{
	{14, safari("ios", "18.4")},
	{8, safari("ios", "18.3")},
	{4, safari("ios", "17.6")},
	{1, safari("ios", "16.7")},
	{12, chrome("and", 147, google)},
	{6, chrome("and", 146, google)},
	{1, chrome("and", 133, google)},
	{4, chrome("and", 27, "Samsung Internet")},
	{1, firefox("and", 150)},
	{.5, chrome("and", 147, "Opera")},
}

// phone says that the software is one of phones: those roam.
func phone(s *software) bool {
	for i := range phones {
		if phones[i].value == s {
			return true
		}
	}
	return false
}

func library(agent, ja4 string, h2 bool) *software {
	return &software{agent: agent, ja4: ja4, http1: !h2}
}

var tools = map[string]*software{
	"requests": library("python-requests/2.32.3", "t13d1811h1_85036bcba153_d41ae481755e", false),
	"curl":     library("curl/8.7.1", "t13d3112h2_e8f1e7e78f70_375ca2c5e164", true),
	"go":       library("Go-http-client/1.1", "t13d1311h1_c7886603b240_a4e15b0d9b12", false),
	"node":     library("axios/1.7.2", "t13d1714h1_5b57614c22b0_6d9a2b8b3e11", false),
	"aio":      library("Python/3.12 aiohttp/3.9.5", "t13d1811h1_85036bcba153_b26ce05bbdd6", false),
	"java":     library("Java/17.0.2", "t13d491100_bd868743f55c_fa269c3d986d", false),
	"sqlmap":   library("sqlmap/1.8.4#stable (https://sqlmap.org)", "t13d1811h1_85036bcba153_c1c2c3c4c5c6", false),
	"ffuf":     library("Fuzz Faster U Fool v2.1.0", "t13d1311h1_c7886603b240_f2f2f2f2f2f2", false),
}

// copied is a browser's headers as a tool sends them: another TLS hello, and
// odd, unless "", at a place of its own.
func copied(s *software, ja4, odd string) *software {
	c := &software{family: s.family, agent: s.agent, ja4: ja4, hints: s.hints, mobile: s.mobile, platform: s.platform, odd: odd, oddV: "*/*"}
	if odd == "pragma" {
		c.oddV = "no-cache"
	}
	return c
}

// kind is what a request is to the page that makes it.
type kind int

const (
	nav kind = iota
	form
	xhr
	asset
)

var accepts = [...]string{
	nav:   "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
	form:  "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
	xhr:   "application/json, text/plain, */*",
	asset: "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
}

// fill is what a request's headers are made of; what is "" is left out.
type fill struct {
	kind                                         kind
	method, host, language, referer, contentType string
	length, cookie, bearer, install              string
}

// orders are the headers of each family and kind in their order; what a request
// does not have is left out.
var orders = map[family][4][]string{
	chromium: {
		nav:   strings.Fields("content-length sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform upgrade-insecure-requests user-agent accept sec-fetch-site sec-fetch-mode sec-fetch-user sec-fetch-dest referer accept-encoding accept-language cookie priority"),
		form:  strings.Fields("content-length cache-control sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform origin content-type upgrade-insecure-requests user-agent accept sec-fetch-site sec-fetch-mode sec-fetch-user sec-fetch-dest referer accept-encoding accept-language cookie priority"),
		xhr:   strings.Fields("content-length sec-ch-ua-platform authorization user-agent accept sec-ch-ua content-type sec-ch-ua-mobile origin-unless-get sec-fetch-site sec-fetch-mode sec-fetch-dest referer accept-encoding accept-language cookie priority"),
		asset: strings.Fields("content-length sec-ch-ua-platform user-agent sec-ch-ua sec-ch-ua-mobile accept sec-fetch-site sec-fetch-mode sec-fetch-dest referer accept-encoding accept-language cookie priority"),
	},
	gecko:     all4("user-agent accept accept-language accept-encoding-zstd referer content-type authorization-xhr content-length origin-unless-get cookie upgrade-insecure-requests-page sec-fetch-dest sec-fetch-mode sec-fetch-site te"),
	webkit:    all4("content-type accept authorization-xhr sec-fetch-site cookie sec-fetch-dest accept-language sec-fetch-mode origin-unless-get user-agent referer content-length accept-encoding-br"),
	okhttp:    all4("authorization x-app-version x-install-id content-type content-length accept-encoding-gzip cookie user-agent"),
	cfnetwork: all4("accept-any authorization x-app-version x-install-id accept-language-short content-type content-length cookie user-agent accept-encoding-br"),
	tool:      all4("Host User-Agent Accept-Encoding Accept Connection Cookie Authorization X-Install-Id Content-Length Content-Type"),
}

func all4(order string) [4][]string {
	o := strings.Fields(order)
	return [4][]string{o, o, o, o}
}

// headers are what the software sends.
func (s *software) headers(f *fill) []traffic.Header {
	order := orders[s.family][f.kind]
	out := make([]traffic.Header, 0, len(order)+1)
	for _, name := range order {
		if v := s.value(name, f); v != "" {
			for _, suffix := range [...]string{"-unless-get", "-zstd", "-xhr", "-page", "-br", "-gzip", "-any", "-short"} {
				name = strings.TrimSuffix(name, suffix)
			}
			out = append(out, traffic.Header{Name: name, Value: v})
		}
	}
	if s.odd != "" {
		at := min(2, len(out))
		out = append(out[:at], append([]traffic.Header{{Name: s.odd, Value: s.oddV}}, out[at:]...)...)
	}
	return out
}

// value is that of a header by its name in orders.
func (s *software) value(name string, f *fill) string {
	page := f.kind == nav || f.kind == form
	switch name {
	case "authorization", "Authorization":
		return bearer(f.bearer)
	case "authorization-xhr":
		return bearer(when(f.kind == xhr, f.bearer))
	case "origin":
		return "https://" + f.host
	case "origin-unless-get":
		return when(f.method != "GET", "https://"+f.host)
	case "upgrade-insecure-requests":
		return "1"
	case "upgrade-insecure-requests-page":
		return when(page, "1")
	case "accept-language":
		return f.language
	case "accept-language-short":
		return f.language[:5]
	}
	if v, ok := s.own(name); ok {
		return v
	}
	if strings.HasPrefix(name, "sec-fetch-") {
		return fetch(name, f)
	}
	switch name {
	case "accept":
		return accepts[f.kind]
	case "referer":
		return f.referer
	case "content-type", "Content-Type":
		return f.contentType
	case "content-length", "Content-Length":
		return f.length
	case "cookie", "Cookie":
		return f.cookie
	case "x-install-id", "X-Install-Id":
		return f.install
	case "priority":
		return when(f.kind == nav, "u=0, i") + when(f.kind != nav, "u=1, i")
	}
	return f.host
}

// own is what does not depend on the request.
func (s *software) own(name string) (string, bool) {
	switch name {
	case "user-agent", "User-Agent":
		return s.agent, true
	case "sec-ch-ua":
		return s.hints, true
	case "sec-ch-ua-mobile":
		return s.mobile, true
	case "sec-ch-ua-platform":
		return s.platform, true
	case "x-app-version":
		return s.version, true
	}
	v, ok := constant[name]
	return v, ok
}

var constant = map[string]string{
	"cache-control": "max-age=0", "accept-encoding": "gzip, deflate, br, zstd", "accept-encoding-zstd": "gzip, deflate, br, zstd",
	"accept-encoding-br": "gzip, deflate, br", "accept-encoding-gzip": "gzip", "Accept-Encoding": "gzip, deflate", "Accept": "*/*",
	"accept-any": "*/*", "Connection": "keep-alive", "te": "trailers",
}

func fetch(name string, f *fill) string {
	switch name {
	case "sec-fetch-site":
		switch {
		case f.referer == "":
			return "none"
		case strings.Contains(f.referer, f.host):
			return "same-origin"
		}
		return "cross-site"
	case "sec-fetch-mode":
		return [...]string{nav: "navigate", form: "navigate", xhr: "cors", asset: "no-cors"}[f.kind]
	case "sec-fetch-user":
		return "?1"
	}
	return [...]string{nav: "document", form: "document", xhr: "empty", asset: "image"}[f.kind]
}

func bearer(token string) string { return when(token != "", "Bearer "+token) }

func when(b bool, s string) string {
	if b {
		return s
	}
	return ""
}

func length(body string) string {
	return when(body != "", strconv.Itoa(len(body)))
}
