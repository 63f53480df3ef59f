package foreign

import (
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"time"

	"github.com/weirproject/weir/bench/traffic"
)

// agent is one visit of one device at one address.
type agent struct {
	w     *world
	r     *traffic.Rand
	dev   *device
	ip    netip.Addr
	port  uint16
	p     *person
	class string
	from  string // the page before
	label traffic.Label
}

// services are automata that their owner or the site wants.
var services = map[string]bool{"monitor": true, "partner": true, "feed": true, "searchbot": true}

func (w *world) agent(r *traffic.Rand, d *device, ip netip.Addr, class, who string) *agent {
	w.visits++
	a := &agent{w: w, r: r, dev: d, ip: ip, port: uint16(between(r, 1025, 65000)), class: class}
	a.label = traffic.Label{Class: traffic.Person, Who: who, Kind: class, Session: w.visits}
	switch {
	case class == "bot":
		a.label.Class, a.label.Kind = traffic.Bot, ""
	case services[class]:
		a.label.Class = traffic.Service
	}
	return a
}

// arrive is a person's next visit: on which device, from where.
func (w *world) arrive(p *person, t float64) *agent {
	r := w.r
	d := p.devices[0]
	if !r.Chance(.8) {
		d = choice(r, p.devices)
	}
	var ip netip.Addr
	at := math.Mod(t, day) / hour
	switch {
	case p.class == "office" && 8 <= at && at < 18:
		ip, d = p.office.addr, p.devices[0]
	case p.class == "kiosk" && r.Chance(.5):
		k := choice(r, w.kiosks)
		ip, d = k.addr, k.dev
		if k.wipe {
			d.session, d.cookie, d.owner = "", "", ""
		}
	case (p.class == "mobile" || p.class == "app") && r.Chance(.75) || phone(d.soft) && r.Chance(.35):
		ip = choice(r, p.carrier)
	case p.class == "vpn":
		ip = w.net.vpn[r.IntN(len(w.net.vpn))]
	case p.class == "traveller" && t > 4*day:
		if p.abroad == nil {
			p.trip, p.abroad = w.net.home4(r), w.device(pick(r, phones))
		}
		ip, d = p.trip, p.abroad
	}
	if !ip.IsValid() {
		ip = p.home.address(r, t, d)
	}
	if p.class == "private" {
		d.forget()
		d.cached = map[string]bool{}
	}
	if r.Chance(.02) {
		d.session, d.owner, d.token = "", "", ""
	}
	a := w.agent(r, d, ip, p.class, p.who)
	a.p = p
	if r.Chance(.35) {
		a.from = choice(r, []string{"https://www.google.com/", "https://www.bing.com/", "https://t.co/x", "https://www.facebook.com/"})
	}
	return a
}

// visit plays one visit of a person's.
func (w *world) visit(p *person, t float64) {
	a := w.arrive(p, t)
	if w.release > 0 && t > w.release && a.dev.soft.version != "" && w.r.Chance(.8) {
		a.dev.soft = app(a.dev.soft.family, "8.0.0", string(w.c.Kind))
	}
	a.stay(t)
}

// stay is what people do on the site.
func (a *agent) stay(t float64) {
	switch a.w.c.Kind {
	case Tickets:
		a.buy(t)
	case Forum:
		a.browse(t)
	case Wallet:
		a.bank(t)
	}
}

// call is one request with its answer; what is left out has a default by kind.
type call struct {
	kind
	json, form string // the body
	status     int    // 200
	answer     string // JSON
	headers    []traffic.Header
	size       int
	seconds    float64
	attempt    bool
	bare       bool // without cookies
	produces   string
}

var (
	produces = [...]string{nav: "text/html; charset=utf-8", form: "text/html; charset=utf-8", xhr: "application/json", asset: "image/webp"}
	sizes    = [...][2]float64{nav: {10, .5}, form: {9.5, .5}, xhr: {6.5, .6}, asset: {9.8, 1}}
)

// do emits one exchange at t.
func (a *agent) do(t float64, method, target string, c call) {
	w, d, r := a.w, a.dev, a.r
	f := fill{kind: c.kind, method: method, host: w.host, language: d.language}
	body := c.json
	switch {
	case c.json != "":
		f.contentType = "application/json"
	case c.form != "":
		body, f.contentType = c.form, "application/x-www-form-urlencoded"
	}
	f.length = length(body)
	if w.session == "" {
		f.bearer, f.install = d.token, d.install
	} else if !c.bare {
		f.cookie = w.cookies(d)
	}
	if d.soft.family.browser() {
		f.referer = a.from
	}
	if c.status == 0 {
		c.status = 200
	}
	if c.size == 0 {
		c.size = int(logn(r, sizes[c.kind][0], sizes[c.kind][1]))
	}
	if c.seconds == 0 {
		c.seconds = logn(r, -3.4, .5)
	}
	x := traffic.Exchange{
		Time: w.c.Start + int64(math.Round(t*1e6))*1000, Client: a.ip, Port: a.port, JA4: d.soft.ja4, Protocol: "HTTP/2", Method: method, Host: w.host,
		Target: target, Headers: d.soft.headers(&f), Body: body, Status: c.status, RespBody: c.answer, RequestBytes: 300 + len(body), RespBytes: c.size,
		Duration: time.Duration(c.seconds*1e6*w.slow) * time.Microsecond,
	}
	if d.soft.http1 {
		x.Protocol = "HTTP/1.1"
	}
	x.RespHeaders = append(a.issue(&c), c.headers...)
	l := a.label
	l.Attempt = c.attempt
	w.emitted++
	w.rows = append(w.rows, &row{t, w.emitted, x, l})
	if method == "GET" && (c.kind == nav || c.kind == form) {
		a.from = "https://" + w.host + target
	}
}

// cookies are those that the device has.
func (w *world) cookies(d *device) string {
	out := when(w.site.device != "" && d.cookie != "", w.site.device+"="+d.cookie)
	if d.session != "" {
		out += when(out != "", "; ") + w.session + "=" + d.session
	}
	return out
}

// issue is the answer's headers: cookies for who has none, and whom the
// application knows.
func (a *agent) issue(c *call) []traffic.Header {
	w, d := a.w, a.dev
	kind := c.produces
	if kind == "" {
		kind = produces[c.kind]
	}
	out := []traffic.Header{{Name: "Content-Type", Value: kind}}
	if w.session != "" && !c.bare && c.status < 400 {
		if d.cookie == "" && w.site.device != "" {
			d.cookie = hex(a.r, 20)
			out = append(out, traffic.Header{Name: "Set-Cookie", Value: w.site.device + "=" + d.cookie + "; Path=/; Max-Age=31536000; Secure"})
		}
		if d.session == "" {
			d.session = hex(a.r, 26)
			out = append(out, traffic.Header{Name: "Set-Cookie", Value: w.session + "=" + d.session + "; Path=/; HttpOnly; Secure"})
		}
	}
	if w.vouch != "" && d.session+d.token != "" && d.owner != "" {
		out = append(out, traffic.Header{Name: w.vouch, Value: d.owner})
	}
	return out
}

// page loads a page with what a browser loads beside it.
func (a *agent) page(t float64, target string, images int, c call) {
	a.do(t, "GET", target, c)
	if !a.dev.soft.family.browser() {
		return
	}
	if a.class != "a11y" {
		a.assets(t, between(a.r, 1, 8))
	}
	for i := range images {
		if a.r.Chance(.6) {
			a.do(t+.1+.05*float64(i), "GET", fmt.Sprintf("/img/%08x/%d.webp", hashed(target), i), call{kind: asset})
		}
	}
}

// assets loads up to n scripts and styles that are not in the cache.
func (a *agent) assets(t float64, n int) {
	for i := range n {
		target := choice(a.r, a.w.static)
		if !a.dev.cached[target] {
			a.dev.cached[target] = true
			a.do(t+.05+.04*float64(i)+a.r.Float64()*.1, "GET", target, call{kind: asset})
		}
	}
}

// view is a page in a browser and a call in an app.
func (a *agent) view(t float64, target string, images int) { a.viewed(t, target, images, 0) }

func (a *agent) viewed(t float64, target string, images, status int) {
	if a.dev.soft.version != "" {
		a.do(t, "GET", target, call{kind: xhr, status: status})
		return
	}
	a.page(t, target, images, call{status: status})
}

// think draws a pause with that median, in seconds, and deviation.
func (a *agent) think(median, sigma float64) float64 {
	pace := map[string]float64{"pwman": .7, "a11y": 1.3, "tabs": .5}[a.class]
	if pace == 0 {
		pace = 1
	}
	return max(.6, logn(a.r, math.Log(median*pace), sigma))
}

// pause is think with the usual deviation.
func (a *agent) pause(median float64) float64 { return a.think(median, .9) }

// hashed is a number that follows from s.
func hashed(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return h.Sum32()
}
