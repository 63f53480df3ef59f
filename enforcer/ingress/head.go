package ingress

import (
	"strconv"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// cause is why a message was rejected: the label of weir_ingress_rejects_total.
type cause string

// The causes that a request head can give. Each is a way in which two parsers
// may read the same bytes differently (RFC 9112 section 11.2), or a bound.
const (
	causeNone            cause = ""
	causeRequestLine     cause = "bad_request_line"
	causeVersion         cause = "bad_version"
	causeMethod          cause = "bad_method"
	causeConnect         cause = "connect"
	causeTarget          cause = "bad_target"
	causeBareLF          cause = "bare_lf"
	causeBareCR          cause = "bare_cr"
	causeObsFold         cause = "obs_fold"
	causeSpaceColon      cause = "space_before_colon"
	causeFieldName       cause = "bad_field_name"
	causeFieldValue      cause = "bad_field_value"
	causeNoHost          cause = "missing_host"
	causeHostTwice       cause = "duplicate_host"
	causeHost            cause = "bad_host"
	causeHostMismatch    cause = "host_mismatch"
	causeLengthTwice     cause = "duplicate_content_length"
	causeLength          cause = "bad_content_length"
	causeLengthAndCoding cause = "length_and_transfer_encoding"
	causeCoding          cause = "unsupported_transfer_encoding"
	causeExpect          cause = "bad_expectation"
	causeHeadTooLarge    cause = "head_too_large"
	causeTooManyFields   cause = "too_many_fields"
	causeHeadTimeout     cause = "head_timeout"
	causeTLSOnPlain      cause = "tls_on_plain_port"
	causeChunk           cause = "bad_chunk"
	causeTrailer         cause = "bad_trailer"
	causeBodyTimeout     cause = "body_timeout"
)

// status returns the answer to a head that was rejected for c.
func (c cause) status() int {
	switch c {
	case causeHeadTooLarge, causeTooManyFields:
		return 431
	case causeCoding:
		return 501
	case causeVersion:
		return 505
	case causeConnect:
		return 405
	case causeExpect:
		return 417
	case causeHeadTimeout:
		return 408
	case causeNoSite:
		return 421
	default:
		return 400
	}
}

// head is a request head of HTTP/1 as it came: order and spelling kept.
type head struct {
	method, target, proto string
	// host is the Host field's value, or the authority of an absolute target.
	host   string
	fields []flow.Field
	size   int // bytes on the wire
	// length is the Content-Length, -1 when absent; chunked excludes it.
	length  int64
	chunked bool
	http10  bool
	// keepAlive: another request may follow on the connection.
	keepAlive bool
	expect    bool // the client waits for 100 (Continue)
	// absolute: the target was in absolute form; path is its origin form.
	absolute bool
	path     string
}

// parse reads text, a head up to and including its empty line whose lines all
// end in CRLF, and returns why it must be rejected. Fields alias text.
func (h *head) parse(text string, maxFields int) cause {
	*h = head{fields: h.fields[:0], size: len(text), length: -1}
	line, rest, _ := strings.Cut(text, "\r\n")
	if c := h.parseRequestLine(line); c != causeNone {
		return c
	}
	hosts, codings, lengths := 0, 0, 0
	closes, keeps := false, false
	for {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if line == "" {
			break
		}
		if len(h.fields) == maxFields {
			return causeTooManyFields
		}
		f, c := parseField(line)
		if c != causeNone {
			return c
		}
		h.fields = append(h.fields, f)
		switch len(f.Name) {
		case 4:
			if strings.EqualFold(f.Name, "Host") {
				hosts++
				h.host = f.Value
			}
		case 6:
			if strings.EqualFold(f.Name, "Expect") {
				if !foldASCII(f.Value, "100-continue") {
					return causeExpect
				}
				h.expect = true
			}
		case 7:
			if strings.EqualFold(f.Name, "Trailer") && !announceable(f.Value) {
				return causeTrailer
			}
		case 10:
			if strings.EqualFold(f.Name, "Connection") {
				closes = closes || hasToken(f.Value, "close")
				keeps = keeps || hasToken(f.Value, "keep-alive")
			}
		case 14:
			if strings.EqualFold(f.Name, "Content-Length") {
				lengths++
				if h.length = parseLength(f.Value); h.length < 0 {
					return causeLength
				}
			}
		case 17:
			if strings.EqualFold(f.Name, "Transfer-Encoding") {
				codings++
				h.chunked = foldASCII(f.Value, "chunked")
			}
		}
	}
	h.keepAlive = !closes && (keeps || !h.http10) // RFC 9112 section 9.3
	return h.check(hosts, codings, lengths)
}

// announceable reports whether a Trailer field names none of the fields that frame
// messages.
func announceable(list string) bool {
	return !hasToken(list, "transfer-encoding") && !hasToken(list, "content-length") && !hasToken(list, "trailer")
}

func (h *head) check(hosts, codings, lengths int) cause {
	switch {
	case lengths > 1:
		return causeLengthTwice
	case codings > 0 && (lengths > 0 || h.http10):
		// HTTP/1.0 knows no transfer coding: a recipient that ignores it reads
		// another body (RFC 9112 section 6.1).
		return causeLengthAndCoding
	case codings > 1 || codings == 1 && !h.chunked:
		return causeCoding
	case hosts > 1:
		return causeHostTwice
	case hosts == 0 && !h.http10:
		return causeNoHost
	}
	return h.checkTarget(hosts)
}

// checkTarget holds the request target against its forms (RFC 9112 section 3.2)
// and an absolute one against Host.
func (h *head) checkTarget(hosts int) cause {
	if hosts == 1 && !validHost(h.host) {
		return causeHost
	}
	h.path = h.target
	if h.target[0] == '/' {
		return causeNone
	}
	if h.target == "*" {
		if h.method != "OPTIONS" {
			return causeTarget
		}
		return causeNone
	}
	scheme, after, ok := strings.Cut(h.target, "://")
	if !ok || !foldASCII(scheme, "http") && !foldASCII(scheme, "https") {
		return causeTarget
	}
	authority, origin := after, "/"
	if i := strings.IndexAny(after, "/?"); i >= 0 {
		authority, origin = after[:i], after[i:]
		if origin[0] == '?' {
			origin = "/" + origin
		}
	}
	if authority == "" || !validHost(authority) {
		return causeTarget
	}
	// RFC 9112 section 3.2.2 lets the target's authority win; an application that
	// looks at Host would then serve another site than the one decided on.
	if hosts == 1 && !strings.EqualFold(authority, h.host) {
		return causeHostMismatch
	}
	h.absolute, h.path, h.host = true, origin, authority
	return causeNone
}

func (h *head) parseRequestLine(line string) cause {
	i, j := strings.IndexByte(line, ' '), strings.LastIndexByte(line, ' ')
	if i <= 0 || i == j {
		return causeRequestLine
	}
	h.method, h.target, h.proto = line[:i], line[i+1:j], line[j+1:]
	switch {
	case !isToken(h.method):
		return causeMethod
	case h.proto != "HTTP/1.1" && h.proto != "HTTP/1.0":
		if strings.HasPrefix(h.proto, "HTTP/") {
			return causeVersion
		}
		return causeRequestLine
	case h.method == "CONNECT":
		return causeConnect
	case !validTarget(h.target):
		return causeTarget
	}
	h.http10 = h.proto == "HTTP/1.0"
	return causeNone
}

// validTarget allows visible bytes only: a space or control character in a
// target splits the request line that is sent on.
func validTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// parseField reads one field line without its CRLF.
func parseField(line string) (flow.Field, cause) {
	if line[0] == ' ' || line[0] == '\t' {
		return flow.Field{}, causeObsFold
	}
	i := strings.IndexByte(line, ':')
	if i > 0 && (line[i-1] == ' ' || line[i-1] == '\t') {
		return flow.Field{}, causeSpaceColon
	}
	if i <= 0 || !isToken(line[:i]) {
		return flow.Field{}, causeFieldName
	}
	v := trimOWS(line[i+1:])
	if !validValue(v) {
		if strings.IndexByte(v, '\r') >= 0 {
			return flow.Field{}, causeBareCR
		}
		return flow.Field{}, causeFieldValue
	}
	return flow.Field{Name: line[:i], Value: v}, causeNone
}

func trimOWS(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// foldASCII compares a value with a lower-case ASCII word. strings.EqualFold would
// take the Kelvin sign for a k, which no other parser does.
func foldASCII(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// parseLength reads a Content-Length: digits only, no sign, no list; -1 if bad.
func parseLength(s string) int64 {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// tokenByte and valueByte are the alphabets of RFC 9110 sections 5.6.2 and 5.5.
var tokenByte, valueByte [256]bool

//nolint:gochecknoinits // fills two constant tables, which Go cannot declare
func init() {
	for c := range 256 {
		valueByte[c] = c >= 0x20 && c != 0x7f || c == '\t'
		tokenByte[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
			c < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
}

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

func validValue(s string) bool {
	for i := range len(s) {
		if !valueByte[s[i]] {
			return false
		}
	}
	return true
}

// validHost allows a registered name, an IPv4 or a bracketed IPv6 address with
// an optional port; no user information, no path, no list.
func validHost(s string) bool {
	if s == "" {
		return true // RFC 9112 section 3.2: empty when the target has no authority
	}
	if s[0] == '[' {
		i := strings.IndexByte(s, ']')
		if i < 0 || strings.Trim(s[1:i], "0123456789abcdefABCDEF:.") != "" {
			return false
		}
		port := s[i+1:]
		return port == "" || port[0] == ':' && digits(port[1:])
	}
	name, port, _ := strings.Cut(s, ":")
	if !digits(port) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !tokenByte[c] && strings.IndexByte("()=;", c) < 0 || c == '#' || c == '|' || c == '^' || c == '`' {
			return false
		}
	}
	return name != ""
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) <= 5
}
