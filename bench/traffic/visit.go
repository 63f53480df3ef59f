package traffic

import (
	"net/netip"
	"strconv"
	"time"
)

// Client is one device (or what pretends to be one): software, address, cookies.
type Client struct {
	Browser *Browser
	Addr    netip.Addr
	// Session and Device are the cookies it holds; "" before the first answer.
	Session, Device string
	// NoJar keeps no cookies: each request is a first one.
	NoJar bool
	// Cached: the site's style and script are in its cache.
	Cached bool
	// AppID is a native app's device header.
	AppID string
	port  uint16
}

// Visit plays one client's requests against a site: a cursor in time. Its
// methods emit one exchange each and move Time to the answer's end; Think moves
// it on as a person would, Wait exactly.
type Visit struct {
	Site   *Site
	C      *Client
	R      *Rand
	Time   int64
	Label  Label
	Emit   func(Exchange, Label)
	User   string // logged-in account
	cart   int
	last   string // page for the Referer header
	Script bool   // loads no sub-resources
}

// Think advances time by a log-normal pause of that median in seconds.
func (v *Visit) Think(median, sigma float64) {
	v.Wait(time.Duration(min(v.R.LogNormal(median, sigma), 1800) * float64(time.Second)))
}

// Wait advances time exactly.
func (v *Visit) Wait(d time.Duration) { v.Time += int64(d) }

type call struct {
	method, target string
	body           string
	contentType    string
	xhr            bool
	status         int
	respBody       string
	respHeaders    []Header
	bytes          int
	slow           float64 // median milliseconds; 0 is the default
	attempt        bool
	accept         string
}

// do emits one exchange. The site sets session and device cookies on the first
// answer to a client that has none, apart from sub-resources.
func (v *Visit) do(c call) {
	q := request{host: v.Site.Host, body: len(c.body), contentType: c.contentType, xhr: c.xhr, accept: c.accept}
	if q.accept == "" {
		q.accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
		if c.xhr {
			q.accept = "application/json, text/plain, */*"
		}
	}
	b := v.C.Browser
	if v.last != "" && b.LoadsAsset {
		q.referer = "https://" + v.Site.Host + v.last
	}
	if c.xhr && c.method != "GET" && b.LoadsAsset {
		q.origin = "https://" + v.Site.Host
	}
	if b.App {
		q.device = v.C.AppID
	}
	if v.C.Session != "" && !v.C.NoJar {
		q.cookie = "sid=" + v.C.Session
		if v.C.Device != "" {
			q.cookie += "; did=" + v.C.Device
		}
	} else if v.C.Device != "" && !v.C.NoJar {
		q.cookie = "did=" + v.C.Device
	}
	if v.C.port == 0 {
		v.C.port = uint16(20000 + v.R.IntN(40000))
	}
	slow := c.slow
	if slow == 0 {
		slow = 18
	}
	x := Exchange{
		Time: v.Time / 1000 * 1000, Client: v.C.Addr, Port: v.C.port, JA4: b.JA4, Protocol: b.Protocol, Method: c.method, Host: v.Site.Host,
		Target: c.target, Headers: b.headers(&q), Body: c.body, Status: c.status, RespBody: c.respBody, RespHeaders: c.respHeaders,
		RespBytes: c.bytes + len(c.respBody), Duration: time.Duration(v.R.LogNormal(slow, .4) * float64(time.Millisecond)).Round(time.Microsecond),
	}
	if x.RespBytes == 0 {
		x.RespBytes = 300
	}
	if x.RespBody != "" {
		x.RespHeaders = append(x.RespHeaders, Header{"Content-Type", "application/json"})
	}
	v.cookies(&x)
	for _, h := range x.Headers {
		x.RequestBytes += len(h.Name) + len(h.Value) + 4
	}
	x.RequestBytes += len(x.Target) + len(x.Body) + 20
	l := v.Label
	l.Attempt = c.attempt
	v.Emit(x, l)
	v.Time += int64(x.Duration)
}

func (v *Visit) cookies(x *Exchange) {
	if v.Site.NoCookies || assetTarget(x.Target) || v.C.Browser.App && v.C.Session != "" {
		return
	}
	if v.C.Session == "" || v.C.NoJar {
		sid := strconv.FormatUint(v.R.Uint64(), 36)
		x.RespHeaders = append(x.RespHeaders, Header{"Set-Cookie", "sid=" + sid + "; Path=/; HttpOnly"})
		if !v.C.NoJar {
			v.C.Session = sid
		}
	}
	if v.C.Device == "" && !v.C.Browser.App {
		did := strconv.FormatUint(v.R.Uint64(), 36)
		x.RespHeaders = append(x.RespHeaders, Header{"Set-Cookie", "did=" + did + "; Path=/; Max-Age=31536000"})
		if !v.C.NoJar {
			v.C.Device = did
		}
	}
}

func assetTarget(t string) bool {
	return len(t) > 4 && (t[:5] == "/img/" || len(t) > 8 && t[:8] == "/static/") || t == "/favicon.ico"
}

// Raw emits one request that has no method of its own here.
func (v *Visit) Raw(method, target string, status, bytes int, attempt bool) {
	v.do(call{method: method, target: target, status: status, bytes: bytes, attempt: attempt})
}

// assets loads what a page refers to, as a browser does.
func (v *Visit) assets(extra ...string) {
	if !v.C.Browser.LoadsAsset || v.Script {
		return
	}
	start := v.Time
	list := extra
	if !v.C.Cached {
		v.C.Cached = true
		list = append([]string{"/static/site.css", "/static/app.js", "/img/logo.svg"}, extra...)
	}
	for i, t := range list {
		v.Time = start + int64(time.Duration(20+15*i+v.R.IntN(60))*time.Millisecond)
		status, size := 200, 9000+v.R.IntN(30000)
		if v.R.Chance(.1) {
			status, size = 304, 0
		}
		v.do(call{method: "GET", target: t, status: status, bytes: size, slow: 3, accept: "*/*"})
	}
}

// page emits a GET of an HTML page with its sub-resources.
func (v *Visit) page(target string, status int, slow float64, attempt bool, assets ...string) {
	if v.C.Browser.App {
		v.do(call{method: "GET", target: target, xhr: true, status: status, bytes: 2500 + v.R.IntN(3000), slow: slow, attempt: attempt})
		return
	}
	v.do(call{method: "GET", target: target, status: status, bytes: 9000 + v.R.IntN(24000), slow: slow, attempt: attempt})
	v.last = target
	v.assets(assets...)
}

// json emits a call of the site's API.
func (v *Visit) json(method, target, body string, status int, resp string, slow float64, attempt bool) {
	c := call{method: method, target: target, body: body, xhr: true, status: status, respBody: resp, slow: slow, attempt: attempt}
	if body != "" {
		c.contentType = "application/json"
	}
	if v.User != "" {
		c.respHeaders = []Header{{"X-User", v.User}}
	}
	v.do(c)
}

// Planned is one visit that starts at a known time. Run plays it; it must draw
// only from a source of its own, so that what else happens does not change it.
type Planned struct {
	Start int64
	Run   func(emit func(Exchange, Label))
}
