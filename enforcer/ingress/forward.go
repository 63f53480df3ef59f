package ingress

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// headerRequestID, headerVerdict and headerTag are ours; what arrives under
// "X-Weir-" from outside is dropped.
const (
	headerRequestID = "X-Weir-Request-Id"
	headerVerdict   = "X-Weir-Verdict"
	headerTag       = "X-Weir-Tag"
)

// outgoing is the request as the upstream gets it, without framing.
type outgoing struct {
	method, target string
	fields         []flow.Field // Host first
	upgrade        string       // the protocol asked for by Upgrade, or ""
	expect         bool         // the client waits for 100 (Continue)
	trailers       bool         // the client takes trailers
}

// build fills o from what the client sent: hop-by-hop fields (RFC 9110 section
// 7.6.1) and forged ones go, forwarding fields are added, all others pass in
// order and spelling.
func (o *outgoing) build(x *exchange) {
	*o = outgoing{method: x.raw.Method, target: x.raw.Target, fields: o.fields[:0]}
	o.add("Host", x.raw.Host)
	nominated := nominatedBy(x.raw.Headers)
	var forwardedFor []string
	for _, f := range x.raw.Headers {
		switch o.sort(x, f) {
		case fieldForwardedFor:
			forwardedFor = append(forwardedFor, f.Value)
			continue
		case fieldDrop:
			continue
		case fieldPass:
		}
		if len(nominated) > 0 && slices.ContainsFunc(nominated, func(n string) bool { return strings.EqualFold(n, f.Name) }) {
			continue
		}
		o.fields = append(o.fields, f)
	}
	peer, client := x.conn.address, x.conn.address
	if x.raw.Client.Addr() != x.conn.peer.Addr() {
		client = x.raw.Client.Addr().String()
	}
	if len(forwardedFor) > 0 {
		peer = strings.Join(forwardedFor, ", ") + ", " + peer
	}
	o.add("X-Forwarded-For", peer)
	o.addUnlessTrusted(x, "X-Real-Ip", "X-Real-IP", client)
	o.addUnlessTrusted(x, "X-Forwarded-Proto", "X-Forwarded-Proto", schemeOf(x.conn.secure))
	o.addUnlessTrusted(x, "X-Forwarded-Host", "X-Forwarded-Host", x.raw.Host)
	o.add(headerRequestID, x.raw.ID)
	if o.trailers {
		o.add("TE", "trailers")
	}
}

func (o *outgoing) add(name, value string) {
	o.fields = append(o.fields, flow.Field{Name: name, Value: value})
}

// addUnlessTrusted adds a field unless a trusted proxy's own passed already.
func (o *outgoing) addUnlessTrusted(x *exchange, fold, name, value string) {
	if x.conn.trusted {
		for _, f := range o.fields[1:] {
			if strings.EqualFold(f.Name, fold) {
				return
			}
		}
	}
	o.add(name, value)
}

type fieldKind uint8

const (
	fieldPass fieldKind = iota
	fieldDrop
	fieldForwardedFor
)

// sort says what becomes of a field and notes what it means for us. The switch
// on the length keeps the common case to one comparison or none.
func (o *outgoing) sort(x *exchange, f flow.Field) fieldKind {
	is := func(name string) bool { return strings.EqualFold(f.Name, name) }
	switch len(f.Name) {
	case 2:
		if is("TE") {
			o.trailers = o.trailers || hasToken(f.Value, "trailers")
			return fieldDrop
		}
	case 4:
		if is("Host") {
			return fieldDrop
		}
	case 6:
		if is("Expect") {
			o.expect = true
			return fieldDrop
		}
	case 7:
		if is("Upgrade") {
			// An upgrade to h2c would carry requests past every check; one beside a
			// body has two readings.
			if x.h1 != nil && !x.h1.head.http10 && x.body.length == 0 && !hasToken(f.Value, "h2c") && connectionHas(x.raw.Headers, "upgrade") {
				o.upgrade = f.Value
			}
			return fieldDrop
		}
		if is("Trailer") {
			return fieldDrop // written anew with the trailers
		}
	case 10:
		if is("Connection") || is("Keep-Alive") {
			return fieldDrop
		}
	case 14:
		if is("Content-Length") || is("HTTP2-Settings") {
			return fieldDrop
		}
	case 16:
		if is("Proxy-Connection") {
			return fieldDrop
		}
	case 17:
		if is("Transfer-Encoding") {
			return fieldDrop
		}
	}
	if len(f.Name) > 6 && (f.Name[0]|0x20) == 'x' {
		return sortExtension(f.Name, x.conn.trusted)
	}
	return fieldPass
}

// sortExtension treats the X- fields that applications believe. "_" counts as
// "-": application servers fold both into one variable name.
func sortExtension(name string, trusted bool) fieldKind {
	switch name[2] | 0x20 {
	case 'w':
		if foldPrefix(name, "x-weir-") {
			return fieldDrop
		}
	case 'f':
		if foldEqual(name, "x-forwarded-for") {
			if strings.IndexByte(name, '_') < 0 {
				return fieldForwardedFor
			}
			return fieldDrop
		}
		if foldEqual(name, "x-forwarded-proto") || foldEqual(name, "x-forwarded-host") {
			return keepIf(trusted && strings.IndexByte(name, '_') < 0)
		}
	case 'r':
		if foldEqual(name, "x-real-ip") {
			return keepIf(trusted && strings.IndexByte(name, '_') < 0)
		}
	}
	return fieldPass
}

func keepIf(ok bool) fieldKind {
	if ok {
		return fieldPass
	}
	return fieldDrop
}

// foldEqual compares a field name with a lower-case one; "_" counts as "-".
func foldEqual(name, lower string) bool { return len(name) == len(lower) && foldPrefix(name, lower) }

func foldPrefix(name, lower string) bool {
	if len(name) < len(lower) {
		return false
	}
	for i := range len(lower) {
		c := name[i]
		if c == '_' {
			c = '-'
		} else if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func connectionHas(fields []flow.Field, token string) bool {
	for _, f := range fields {
		if len(f.Name) == 10 && strings.EqualFold(f.Name, "Connection") && hasToken(f.Value, token) {
			return true
		}
	}
	return false
}

// knownHop reports names that go in any case, or that a client must not have
// removed by nominating them.
func knownHop(name string) bool {
	switch strings.ToLower(name) {
	case "close", "keep-alive", "upgrade", "te", "host", "content-length", "transfer-encoding", "cookie", "authorization":
		return true
	}
	return false
}

func schemeOf(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// appendHead writes the request's head for HTTP/1.1 with the framing of body.
func (o *outgoing) appendHead(b []byte, body *requestBody) []byte {
	b = append(b, o.method...)
	b = append(b, ' ')
	b = append(b, o.target...)
	b = append(b, " HTTP/1.1\r\n"...)
	for _, f := range o.fields {
		b = appendField(b, f)
	}
	if o.upgrade != "" {
		b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
		b = append(append(b, o.upgrade...), "\r\n"...)
	}
	switch {
	case body.length > 0 || body.length == 0 && body.declared:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, body.length, 10), "\r\n"...)
	case body.length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		if names := body.trailerNames(); names != "" {
			b = append(append(append(b, "Trailer: "...), names...), "\r\n"...)
		}
	}
	if o.expect && body.length != 0 {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	return append(b, "\r\n"...)
}

func appendField(b []byte, f flow.Field) []byte {
	b = append(b, f.Name...)
	b = append(b, ": "...)
	b = append(b, f.Value...)
	return append(b, "\r\n"...)
}

// sortedFields turns net/http's map into fields, sorted by name: HTTP/2 servers
// of the standard library do not tell the order in which they came.
func sortedFields(dst []flow.Field, h http.Header) []flow.Field {
	names := make([]string, 0, len(h))
	for n := range h {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if n == "Host" {
			continue
		}
		for _, v := range h[n] {
			dst = append(dst, flow.Field{Name: n, Value: v})
		}
	}
	return dst
}
