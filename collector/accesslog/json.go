package accesslog

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/weirproject/weir/stream/flow"
)

// maxJSONDepth bounds nesting; Caddy's lines have three levels.
const maxJSONDepth = 8

// jsonParser reads one JSON object per line. Field names are those of nginx's
// variables (the usual way to write its log_format), of Caddy's and of Envoy's
// access logs. Unknown members are skipped.
type jsonParser struct {
	s   string
	i   int
	x   *flow.Exchange
	rec jsonRecord
}

// jsonRecord holds the members whose meaning depends on others.
type jsonRecord struct {
	time, client, port           string
	requestLine, uri, args       string
	serverName                   string
	seconds, millis, duration    string // duration is in seconds, in Envoy's lines in milliseconds
	seenStatus, envoy            bool
	userAgent, referer, language string
}

// parse reads s into x.
func (p *jsonParser) parse(s string, x *flow.Exchange, c *clock) error {
	p.s, p.i, p.x, p.rec = s, 0, x, jsonRecord{}
	defer func() { p.s, p.x, p.rec = "", nil, jsonRecord{} }()
	if err := p.object("", 1); err != nil {
		return err
	}
	p.space()
	if p.i != len(p.s) {
		return syntax("byte %d: text after the object", p.i)
	}
	return p.finish(c)
}

func (p *jsonParser) space() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\t' || p.s[p.i] == '\r' || p.s[p.i] == '\n') {
		p.i++
	}
}

func (p *jsonParser) take(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// object reads an object; prefix is the dotted path to it.
func (p *jsonParser) object(prefix string, depth int) error {
	if depth > maxJSONDepth {
		return syntax("byte %d: nested deeper than %d", p.i, maxJSONDepth)
	}
	if !p.take('{') {
		return syntax("byte %d: want an object", p.i)
	}
	for first := true; !p.take('}'); first = false {
		if !first && !p.take(',') {
			return syntax("byte %d: want , or }", p.i)
		}
		p.space()
		name, err := p.text()
		if err != nil {
			return err
		}
		if !p.take(':') {
			return syntax("byte %d: want :", p.i)
		}
		if err := p.value(prefix, name, depth); err != nil {
			return err
		}
	}
	return nil
}

// value reads a member's value. Of arrays the first element counts, as in
// Caddy's "User-Agent": ["..."].
func (p *jsonParser) value(prefix, name string, depth int) error {
	p.space()
	if p.i >= len(p.s) {
		return syntax("the object has no end")
	}
	switch c := p.s[p.i]; c {
	case '{':
		return p.object(child(prefix, name), depth+1)
	case '[':
		return p.array(prefix, name, depth)
	case '"':
		s, err := p.text()
		if err != nil {
			return err
		}
		p.member(prefix, name, s)
	default:
		start := p.i
		for p.i < len(p.s) && strings.IndexByte(",}] \t\r\n", p.s[p.i]) < 0 {
			p.i++
		}
		literal := p.s[start:p.i]
		if !isLiteral(literal) {
			return syntax("byte %d: %.20q is no value", start, literal)
		}
		if literal != "null" {
			p.member(prefix, name, literal)
		}
	}
	return nil
}

// child names the objects that matter; members of any other are skipped.
func child(prefix, name string) string {
	switch {
	case prefix == "" && (name == "request" || name == "resp_headers"):
		return name
	case prefix == "request" && name == "headers":
		return "request.headers"
	case prefix == "request" && name == "tls":
		return "request.tls"
	}
	return "?"
}

func isLiteral(s string) bool {
	if s == "true" || s == "false" || s == "null" {
		return true
	}
	if s == "" || len(s) > 40 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c-'0' >= 10 && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}

func (p *jsonParser) array(prefix, name string, depth int) error {
	if depth >= maxJSONDepth {
		return syntax("byte %d: nested deeper than %d", p.i, maxJSONDepth)
	}
	p.i++ // the bracket
	for first := true; !p.take(']'); first = false {
		if !first && !p.take(',') {
			return syntax("byte %d: want , or ]", p.i)
		}
		if !first {
			prefix = "?"
		}
		if err := p.value(prefix, name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// text reads a string; without escapes it is cut from the line.
func (p *jsonParser) text() (string, error) {
	if p.i >= len(p.s) || p.s[p.i] != '"' {
		return "", syntax("byte %d: want a string", p.i)
	}
	p.i++
	start := p.i
	for ; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '"':
			s := p.s[start:p.i]
			p.i++
			return s, nil
		case '\\':
			return p.escaped(start)
		}
	}
	return "", syntax("a string has no end")
}

func (p *jsonParser) escaped(start int) (string, error) {
	b := append(make([]byte, 0, 64), p.s[start:p.i]...)
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch {
		case c == '"':
			return string(b), nil
		case c != '\\':
			b = append(b, c)
			continue
		case p.i >= len(p.s):
			return "", syntax("a string has no end")
		}
		c = p.s[p.i]
		p.i++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'n', 't', 'r', 'b', 'f':
			b = append(b, "\n\t\r\b\f"[strings.IndexByte("ntrbf", c)])
		case 'u':
			r, ok := p.unit()
			if !ok {
				return "", syntax("byte %d: \\u needs four hex digits", p.i)
			}
			if utf16.IsSurrogate(r) && strings.HasPrefix(p.s[p.i:], `\u`) {
				p.i += 2
				low, ok := p.unit()
				if !ok {
					return "", syntax("byte %d: \\u needs four hex digits", p.i)
				}
				r = utf16.DecodeRune(r, low)
			}
			b = utf8.AppendRune(b, r)
		default:
			return "", syntax("byte %d: escape \\%c", p.i, c)
		}
	}
	return "", syntax("a string has no end")
}

func (p *jsonParser) unit() (r rune, ok bool) {
	if p.i+4 > len(p.s) {
		return 0, false
	}
	for range 4 {
		d, ok := hexDigit(p.s[p.i])
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(d)
		p.i++
	}
	return r, true
}

// member takes a scalar. Caddy nests what it knows of the request.
func (p *jsonParser) member(prefix, name, v string) {
	switch prefix {
	case "":
		p.top(name, v)
	case "request":
		p.caddy(name, v)
	case "request.headers":
		switch name {
		case "User-Agent":
			p.rec.userAgent = v
		case "Referer":
			p.rec.referer = v
		case "Accept-Language":
			p.rec.language = v
		}
	case "request.tls":
		switch name {
		case "server_name":
			p.x.TLS.SNI = v
		case "version":
			p.x.TLS.Version = tlsVersion(v)
		}
	case "resp_headers":
		if name == "Content-Type" {
			p.x.ResponseHeaders = append(p.x.ResponseHeaders, flow.Field{Name: name, Value: v})
		}
	}
}

func (p *jsonParser) caddy(name, v string) {
	switch name {
	case "client_ip":
		p.rec.client = v
	case "remote_ip":
		set(&p.rec.client, v)
	case "remote_port":
		p.rec.port = v
	case "proto":
		setProtocol(v, p.x)
	case "method":
		p.x.Method = v
	case "host":
		p.x.Host = v
	case "uri":
		p.x.Target = v
	}
}

func set(dst *string, v string) {
	if *dst == "" && v != "-" {
		*dst = v
	}
}

// top takes a member of the outer object.
func (p *jsonParser) top(name, v string) {
	x, r := p.x, &p.rec
	switch name {
	case "time", "time_iso8601", "time_local", "@timestamp", "timestamp", "start_time", "ts", "msec":
		set(&r.time, v)
	case "remote_addr", "client_ip", "client", "remote_ip", "downstream_remote_address", "remote_address",
		"downstream_direct_remote_address":
		set(&r.client, v)
	case "remote_port":
		set(&r.port, v)
	case "request":
		r.requestLine = v
	case "request_method", "method", ":method":
		set(&x.Method, v)
	case "request_uri", "x-envoy-origin-path", "path", ":path", "target":
		set(&x.Target, v)
	case "uri":
		set(&r.uri, v)
	case "args", "query_string":
		set(&r.args, v)
	case "server_protocol", "protocol", "proto":
		setProtocol(v, x)
	case "http_host", "host", ":authority", "authority":
		set(&x.Host, v)
	case "server_name":
		set(&r.serverName, v) // the configured name serves only where no host is logged
	case "http_user_agent", "user_agent", "user-agent":
		set(&r.userAgent, v)
	case "http_referer", "http_referrer", "referer", "referrer":
		set(&r.referer, v)
	case "http_accept_language", "accept_language", "accept-language":
		set(&r.language, v)
	case "ssl_protocol", "downstream_tls_version":
		x.TLS.Version = tlsVersion(v)
	case "ssl_server_name", "requested_server_name":
		set(&x.TLS.SNI, v)
	default:
		p.numbers(name, v)
	}
}

// numbers takes status, sizes and durations.
func (p *jsonParser) numbers(name, v string) {
	x, r := p.x, &p.rec
	switch name {
	case "status", "response_code":
		if n, ok := number(v); ok && n <= 999 {
			x.Status, r.seenStatus = int(n), true
		}
		r.envoy = r.envoy || name == "response_code"
	case "duration":
		r.duration = v
	case "request_time":
		r.seconds = v
	case "duration_ms", "request_time_ms":
		r.millis = v
	case "request_length", "bytes_received", "bytes_read":
		if n, ok := number(v); ok {
			x.RequestBytes = n
		}
	case "bytes_sent", "body_bytes_sent", "size", "response_size":
		// bytes_sent counts the head too and wins over body_bytes_sent.
		if n, ok := number(v); ok && n > x.ResponseBytes {
			x.ResponseBytes = n
		}
	case "sent_http_content_type":
		if v != "" && v != "-" {
			x.ResponseHeaders = append(x.ResponseHeaders, flow.Field{Name: "Content-Type", Value: v})
		}
	}
}

// tlsVersion turns "TLSv1.3", Go's number 772 and "1.3" into "1.3".
func tlsVersion(v string) string {
	switch v {
	case "772", "TLSv1.3", "1.3", "tls1.3":
		return "1.3"
	case "771", "TLSv1.2", "1.2", "tls1.2":
		return "1.2"
	case "770", "TLSv1.1":
		return "1.1"
	case "769", "TLSv1":
		return "1.0"
	}
	return ""
}

// finish joins what was found and checks that the line was an exchange.
func (p *jsonParser) finish(c *clock) error {
	x, r := p.x, &p.rec
	if r.requestLine != "" && (x.Method == "" || x.Target == "") {
		setRequestLine(r.requestLine, x)
	}
	if x.Target == "" && r.uri != "" {
		x.Target = r.uri
		if r.args != "" {
			x.Target += "?" + r.args
		}
	}
	set(&x.Host, r.serverName)
	var ok bool
	if x.Client, ok = address(r.client); !ok {
		return badValue("client address", r.client)
	}
	if n, ok := number(r.port); ok && n > 0 && n <= math.MaxUint16 {
		x.Client = netip.AddrPortFrom(x.Client.Addr(), uint16(n))
	}
	var err error
	if x.Time, err = jsonTime(r.time, c); err != nil {
		return err
	}
	switch {
	case x.Method == "" && x.Target == "":
		return badValue("request", "")
	case !r.seenStatus:
		return badValue("status", "")
	}
	switch {
	case r.seconds != "":
		x.Duration = duration(r.seconds, time.Second)
	case r.millis != "":
		x.Duration = duration(r.millis, time.Millisecond)
	case r.envoy:
		x.Duration = duration(r.duration, time.Millisecond)
	default:
		x.Duration = duration(r.duration, time.Second)
	}
	addHeader(x, "User-Agent", r.userAgent)
	addHeader(x, "Referer", r.referer)
	addHeader(x, "Accept-Language", r.language)
	return nil
}

// duration reads a decimal number of units, rounded to microseconds; what is no
// number, negative or above an hour is 0 or an hour. nginx writes "-" and lists
// such as "0.001, 0.002" for upstreams only, never for request_time.
func duration(s string, unit time.Duration) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f > 0) {
		return 0
	}
	return time.Duration(min(f*float64(unit), float64(time.Hour))).Round(time.Microsecond)
}

// jsonTime reads RFC 3339, CLF time, Caddy's wall clock (in UTC), and seconds since
// 1970 with a fraction or whole milli-, micro- or nanoseconds.
func jsonTime(s string, c *clock) (time.Time, error) {
	if len(s) == 26 && s[2] == '/' {
		return c.clf(s)
	}
	layout := time.RFC3339Nano
	if len(s) > 4 && s[4] == '/' {
		layout = "2006/01/02 15:04:05" // Parse takes a fraction behind it too
	}
	if t, err := time.Parse(layout, s); err == nil {
		return t.UTC(), nil
	}
	whole, frac, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	// 1e11 seconds is the year 5138: each larger thousandfold is a finer unit.
	switch {
	case err != nil || sec <= 0:
		return time.Time{}, badValue("time", s)
	case sec > 1e17:
		return time.Unix(0, sec).UTC(), nil
	case sec > 1e14:
		return time.UnixMicro(sec).UTC(), nil
	case sec > 1e11:
		return time.UnixMilli(sec).UTC(), nil
	}
	nano := int64(0)
	if frac != "" {
		padded := (frac + "000000000")[:9]
		if nano, err = strconv.ParseInt(padded, 10, 64); err != nil || nano < 0 {
			return time.Time{}, badValue("time", s)
		}
	}
	return time.Unix(sec, nano).UTC(), nil
}
