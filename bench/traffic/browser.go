package traffic

import (
	"fmt"
	"strconv"
	"strings"
)

// Browser is a software image: what one build of a browser, app or tool puts on
// the wire. Many clients share one.
type Browser struct {
	Family     string
	UserAgent  string
	JA4        string
	Language   string
	Protocol   string
	Mobile     bool
	App        bool // a native app: JSON calls only, no pages, no sub-resources
	nav, xhr   []string
	hints      string
	LoadsAsset bool
}

type family struct {
	name, ua, ja4, protocol string
	mobile, app             bool
	weight                  float64
	nav, xhr                string
	hints                   string
	versions                []int
}

// Header orders as the browsers of 2025 send them; values in angle brackets are
// filled per request.
const (
	chromeNav  = "sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform upgrade-insecure-requests user-agent accept sec-fetch-site sec-fetch-mode sec-fetch-user sec-fetch-dest referer accept-encoding accept-language cookie priority"
	chromeXHR  = "content-length sec-ch-ua-platform user-agent sec-ch-ua content-type sec-ch-ua-mobile accept origin sec-fetch-site sec-fetch-mode sec-fetch-dest referer accept-encoding accept-language cookie priority"
	firefoxNav = "user-agent accept accept-language accept-encoding referer cookie upgrade-insecure-requests sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user priority te"
	firefoxXHR = "user-agent accept accept-language accept-encoding referer content-type content-length origin cookie sec-fetch-dest sec-fetch-mode sec-fetch-site priority te"
	safariNav  = "accept sec-fetch-site cookie sec-fetch-dest accept-language sec-fetch-mode user-agent referer accept-encoding priority"
	safariXHR  = "accept sec-fetch-site content-type cookie sec-fetch-dest content-length origin accept-language sec-fetch-mode user-agent referer accept-encoding priority"
	appXHR     = "User-Agent X-Device-Id X-App-Version Accept Accept-Language Content-Type Content-Length Host Connection Accept-Encoding Cookie"
)

var families = []family{
	{name: "chrome-win", ua: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", ja4: "t13d1516h2_8daaf6152771_%06x2246", protocol: "HTTP/2", weight: 26, nav: chromeNav, xhr: chromeXHR, hints: "\"Windows\"", versions: []int{141, 140, 139, 138, 135, 131, 126, 120}},
	{name: "chrome-android", ua: "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Mobile Safari/537.36", ja4: "t13d1516h2_8daaf6152771_%06x1c2f", protocol: "HTTP/2", mobile: true, weight: 24, nav: chromeNav, xhr: chromeXHR, hints: "\"Android\"", versions: []int{141, 140, 139, 137, 133, 128}},
	{name: "safari-ios", ua: "Mozilla/5.0 (iPhone; CPU iPhone OS %d_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1", ja4: "t13d2014h2_a09f3c656075_%06x5c3e", protocol: "HTTP/2", mobile: true, weight: 22, nav: safariNav, xhr: safariXHR, versions: []int{18, 17, 26, 16, 15}},
	{name: "chrome-mac", ua: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", ja4: "t13d1516h2_8daaf6152771_%06x9a41", protocol: "HTTP/2", weight: 8, nav: chromeNav, xhr: chromeXHR, hints: "\"macOS\"", versions: []int{141, 140, 139, 136}},
	{name: "edge", ua: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36 Edg/140.0.0.0", ja4: "t13d1516h2_8daaf6152771_%06x7b12", protocol: "HTTP/2", weight: 7, nav: chromeNav, xhr: chromeXHR, hints: "\"Windows\"", versions: []int{140, 139, 138, 134}},
	{name: "firefox", ua: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:%d.0) Gecko/20100101 Firefox/143.0", ja4: "t13d1717h2_5b57614c22b0_%06xe3b2", protocol: "HTTP/2", weight: 5, nav: firefoxNav, xhr: firefoxXHR, versions: []int{143, 142, 140, 128, 115}},
	{name: "safari-mac", ua: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/%d.1 Safari/605.1.15", ja4: "t13d2014h2_a09f3c656075_%06x77aa", protocol: "HTTP/2", weight: 4, nav: safariNav, xhr: safariXHR, versions: []int{18, 17, 26}},
	{name: "samsung", ua: "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/%d.0 Chrome/125.0.0.0 Mobile Safari/537.36", ja4: "t13d1516h2_8daaf6152771_%06x30dd", protocol: "HTTP/2", mobile: true, weight: 4, nav: chromeNav, xhr: chromeXHR, hints: "\"Android\"", versions: []int{28, 27, 25}},
	{name: "app", ua: "ShopApp/%d.2 (Android 14; okhttp/4.12)", ja4: "t13d1312h2_f57a46bbacb6_%06x14aa", protocol: "HTTP/2", mobile: true, app: true, weight: 6, xhr: appXHR, versions: []int{7, 6, 5}},
}

var languages = []string{"en-GB,en;q=0.9", "en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.8", "fr-FR,fr;q=0.9,en;q=0.8", "en-GB,en-US;q=0.9,en;q=0.8", "pl-PL,pl;q=0.9,en-US;q=0.8", "es-ES,es;q=0.9", "it-IT,it;q=0.9,en;q=0.7", "nl-NL,nl;q=0.9,en;q=0.8", "pt-PT,pt;q=0.9"}

var languageZipf = NewZipf(len(languages), 1.3)

// Software is the market of browser images with their popularity.
type Software struct {
	// Newest raises the share of the newest version as days pass.
	images []*Browser
	by     map[string]*Browser
}

// NewSoftware makes an empty market.
func NewSoftware() *Software { return &Software{by: map[string]*Browser{}} }

// Draw draws an image by popularity; mobile and app restrict the choice.
func (s *Software) Draw(r *Rand, mobile, app bool) *Browser {
	total := 0.0
	for _, f := range families {
		if f.mobile == mobile && f.app == app {
			total += f.weight
		}
	}
	x := r.Float64() * total
	for i := range families {
		f := &families[i]
		if f.mobile != mobile || f.app != app {
			continue
		}
		if x -= f.weight; x <= 0 {
			// Versions fall off geometrically.
			v := 0
			for v < len(f.versions)-1 && r.Chance(.42) {
				v++
			}
			return s.image(f, f.versions[v], languages[languageZipf.Draw(r)])
		}
	}
	return s.image(&families[0], families[0].versions[0], languages[0])
}

func (s *Software) image(f *family, version int, lang string) *Browser {
	key := fmt.Sprint(f.name, version, lang)
	if b := s.by[key]; b != nil {
		return b
	}
	b := &Browser{
		Family: f.name, UserAgent: fmt.Sprintf(f.ua, version), Language: lang, Protocol: f.protocol, Mobile: f.mobile, App: f.app,
		JA4: fmt.Sprintf(f.ja4, Mix(uint64(len(f.name)), uint64(version/4))&0xffffff), nav: strings.Fields(f.nav), xhr: strings.Fields(f.xhr), LoadsAsset: !f.app,
	}
	if f.hints != "" {
		b.hints = fmt.Sprintf("\"Chromium\";v=\"%d\", \"Not A;Brand\";v=\"24\"|%s", version, f.hints)
	}
	s.by[key] = b
	s.images = append(s.images, b)
	return b
}

// Tools are plain HTTP clients as their libraries send them.
var Tools = []*Browser{
	{Family: "python-requests", UserAgent: "python-requests/2.32.3", JA4: "t13d1812h1_85036bcba153_375ca2c5e164", Protocol: "HTTP/1.1", nav: strings.Fields("Host User-Agent Accept-Encoding Accept Connection Cookie"), xhr: strings.Fields("Host User-Agent Accept-Encoding Accept Connection Cookie Content-Length Content-Type")},
	{Family: "curl", UserAgent: "curl/8.5.0", JA4: "t13d3112h2_e8f1e7e78f70_6bebaf5329ac", Protocol: "HTTP/2", nav: strings.Fields("user-agent accept cookie"), xhr: strings.Fields("user-agent accept cookie content-type content-length")},
	{Family: "go-http-client", UserAgent: "Go-http-client/2.0", JA4: "t13d1411h2_2a284e3b0c56_f05fdf8c38a9", Protocol: "HTTP/2", nav: strings.Fields("accept-encoding user-agent cookie"), xhr: strings.Fields("content-length content-type accept-encoding user-agent cookie")},
	{Family: "scrapy", UserAgent: "Scrapy/2.11.2 (+https://scrapy.org)", JA4: "t13d4213h1_171ca7ac85d6_ef7df7f74e48", Protocol: "HTTP/1.1", nav: strings.Fields("Host Accept Accept-Language User-Agent Accept-Encoding Cookie"), xhr: strings.Fields("Host Accept Accept-Language User-Agent Accept-Encoding Content-Type Content-Length Cookie")},
	{Family: "aiohttp", UserAgent: "Python/3.11 aiohttp/3.9.5", JA4: "t13d1713h1_ab0a1bf427ad_8e6e362c5eac", Protocol: "HTTP/1.1", nav: strings.Fields("Host Accept Accept-Encoding User-Agent Cookie"), xhr: strings.Fields("Host Accept Accept-Encoding User-Agent Content-Length Content-Type Cookie")},
	{Family: "nuclei", UserAgent: "Mozilla/5.0 (compatible; Nuclei - Open-source project (github.com/projectdiscovery/nuclei))", JA4: "t13d1411h1_2a284e3b0c56_1f22a2ca17c4", Protocol: "HTTP/1.1", nav: strings.Fields("Host User-Agent Connection Accept Accept-Language Accept-Encoding Cookie"), xhr: strings.Fields("Host User-Agent Connection Content-Length Accept Accept-Language Content-Type Accept-Encoding Cookie")},
}

// Tool returns the tool of that family; the first when there is none.
func Tool(name string) *Browser {
	for _, t := range Tools {
		if t.Family == name {
			return t
		}
	}
	return Tools[0]
}

// ServiceClient returns a client of that user agent that sends few headers.
func ServiceClient(userAgent, ja4 string) *Browser {
	return &Browser{Family: "service", UserAgent: userAgent, JA4: ja4, Protocol: "HTTP/1.1", nav: strings.Fields("Host User-Agent Accept Accept-Encoding Connection"), xhr: strings.Fields("Host User-Agent Accept Content-Type Content-Length Connection")}
}

// Copied is a tool that sends a browser's header values: the order is the
// script's own (its sorted or shuffled dictionary), the TLS hello the library's.
func Copied(b *Browser, r *Rand, ja4 string) *Browser {
	c := *b
	c.Family, c.LoadsAsset = "copied", false
	c.nav, c.xhr = append([]string(nil), b.nav...), append([]string(nil), b.xhr...)
	for _, order := range [][]string{c.nav, c.xhr} {
		for range 3 {
			i, j := r.IntN(len(order)), r.IntN(len(order))
			order[i], order[j] = order[j], order[i]
		}
	}
	c.JA4 = ja4
	return &c
}

// request is what fills a header list.
type request struct {
	host, referer, accept, contentType, cookie, device string
	body                                               int
	xhr                                                bool
	origin                                             string
}

func (b *Browser) headers(q *request) []Header {
	order := b.nav
	if q.xhr || len(order) == 0 {
		order = b.xhr
	}
	hs := make([]Header, 0, len(order))
	for _, name := range order {
		if v := b.value(strings.ToLower(name), q); v != "" {
			hs = append(hs, Header{name, v})
		}
	}
	return hs
}

func (b *Browser) value(name string, q *request) string {
	brands, platform, _ := strings.Cut(b.hints, "|")
	switch name {
	case "host":
		return q.host
	case "user-agent":
		return b.UserAgent
	case "accept":
		return q.accept
	case "accept-language":
		return b.Language
	case "accept-encoding":
		return "gzip, deflate, br"
	case "cookie":
		return q.cookie
	case "referer":
		return q.referer
	case "origin":
		return q.origin
	case "content-type":
		return q.contentType
	case "content-length":
		if q.body == 0 {
			return ""
		}
		return strconv.Itoa(q.body)
	case "sec-ch-ua":
		return brands
	case "sec-ch-ua-mobile":
		if b.Mobile {
			return "?1"
		}
		return "?0"
	case "sec-ch-ua-platform":
		return platform
	case "upgrade-insecure-requests":
		return "1"
	case "sec-fetch-site":
		if q.referer == "" {
			return "none"
		}
		return "same-origin"
	case "sec-fetch-mode":
		if q.xhr {
			return "cors"
		}
		return "navigate"
	case "sec-fetch-user":
		if q.xhr {
			return ""
		}
		return "?1"
	case "sec-fetch-dest":
		if q.xhr {
			return "empty"
		}
		return "document"
	case "priority":
		return "u=0, i"
	case "te":
		return "trailers"
	case "connection":
		return "keep-alive"
	case "x-device-id":
		return q.device
	case "x-app-version":
		return "7.2"
	}
	return ""
}
