package flow

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
)

// MaxExchangeLine bounds one line of an exchange file, in bytes.
const MaxExchangeLine = 1 << 20

// exchangeFields are the keys of a recorded exchange (CONTRACTS.md section 6),
// in the order of the constants; the first six are required.
var exchangeFields = []string{
	"id", "time", "client", "method", "target", "status", "tls", "host", "protocol", "headers", "body", "body_base64",
	"body_truncated", "response_headers", "response_body", "response_body_base64", "request_bytes", "response_bytes",
	"duration_us",
}

const (
	fieldID = iota
	fieldTime
	fieldClient
	fieldMethod
	fieldTarget
	fieldStatus
	fieldTLS
	fieldHost
	fieldProtocol
	fieldHeaders
	fieldBody
	fieldBodyBase64
	fieldBodyTruncated
	fieldResponseHeaders
	fieldResponseBody
	fieldResponseBodyBase64
	fieldRequestBytes
	fieldResponseBytes
	fieldDuration
	numFields
	requiredFields = fieldStatus + 1
)

// usualKeys are the keys as writers put them, in their order (CONTRACTS.md
// section 6): a key that stands where it is expected needs no search.
var usualKeys = func() (keys []usualKey) {
	for _, i := range []int{
		fieldID, fieldTime, fieldClient, fieldTLS, fieldProtocol, fieldMethod, fieldHost, fieldTarget, fieldHeaders,
		fieldBody, fieldStatus, fieldResponseHeaders, fieldResponseBody, fieldRequestBytes, fieldResponseBytes, fieldDuration,
	} {
		keys = append(keys, usualKey{i, `"` + exchangeFields[i] + `":`})
	}
	return keys
}()

type usualKey struct {
	field int
	text  string // with its quotes and the colon
}

// ParseExchange reads one line of an exchange file into x, overwriting it but
// reusing its slices. Everything in x is a copy, its strings cut from one: the
// line may be reused. A repeated key, a value of the wrong kind or out of range is
// an error that names the key; x is then not usable. A key that is not known, such
// as a label or one of a later version, is passed over and named in x.Unknown; null
// is as if the key were absent. Source is SourceReplay.
func ParseExchange(line []byte, x *Exchange) error {
	return ParseExchangeText(line, string(line), x)
}

// ParseExchangeText is ParseExchange for a caller that has the line as text
// already: strings in x are cut from text.
func ParseExchangeText(line []byte, text string, x *Exchange) error {
	if len(line) > MaxExchangeLine {
		return fmt.Errorf("line of %d bytes, at most %d", len(line), MaxExchangeLine)
	}
	*x = Exchange{
		Source: event.SourceReplay, Headers: x.Headers[:0], ResponseHeaders: x.ResponseHeaders[:0],
		Body: x.Body[:0], ResponseBody: x.ResponseBody[:0],
	}
	l := lexer{b: line, all: text}
	if err := l.expect('{'); err != nil {
		return err
	}
	var seen uint32
	for i := 0; l.peek() != '}'; i++ {
		if i > 0 {
			if err := l.expect(','); err != nil {
				return err
			}
		}
		if err := parseMember(&l, x, &seen); err != nil {
			return err
		}
	}
	l.i++
	if err := l.end(); err != nil {
		return err
	}
	for i, name := range exchangeFields[:requiredFields] {
		if seen&(1<<i) == 0 {
			return fmt.Errorf("key %q is required", name)
		}
	}
	const request, response = 1<<fieldBody | 1<<fieldBodyBase64, 1<<fieldResponseBody | 1<<fieldResponseBodyBase64
	if seen&request == request || seen&response == response {
		return errors.New("a body stands both as text and as base64")
	}
	x.HeadersKnown = seen&(1<<fieldHeaders) != 0
	return nil
}

func parseMember(l *lexer, x *Exchange, seen *uint32) error {
	i, err := l.key(x)
	if err != nil {
		return err
	}
	if i < 0 {
		return l.skip()
	}
	name := exchangeFields[i]
	if *seen&(1<<i) != 0 {
		return l.fail("key %q stands twice", name)
	}
	if i >= requiredFields && l.peek() == 'n' {
		return l.literal("null")
	}
	*seen |= 1 << i
	if err := parseExchangeField(l, x, i); err != nil {
		return fmt.Errorf("key %q: %w", name, err)
	}
	return nil
}

// key reads a key with its colon and returns the field's number, -1 for one that is
// not known.
func (l *lexer) key(x *Exchange) (int, error) {
	for n := l.next; n < len(usualKeys); n++ {
		u := &usualKeys[n]
		if end := l.i + len(u.text); end <= len(l.b) && string(l.b[l.i:end]) == u.text {
			l.i, l.next = end, n+1
			return u.field, nil
		}
	}
	raw, escaped, err := l.str()
	if err != nil {
		return 0, err
	}
	if escaped {
		raw = []byte(unquote(raw))
	}
	i := slices.Index(exchangeFields, string(raw))
	if i < 0 {
		if err := l.foreign(string(raw), exchangeFields); err != nil {
			return 0, err
		}
		if x.Unknown == "" {
			x.Unknown, _ = clean(string(raw), 64)
		}
	}
	return i, l.expect(':')
}

func parseExchangeField(l *lexer, x *Exchange, key int) (err error) {
	switch key {
	case fieldID:
		x.ID, err = l.bounded(1, 128)
	case fieldTime:
		x.Time, err = l.timestamp()
	case fieldClient:
		x.Client, err = l.client()
	case fieldMethod:
		x.Method, err = l.bounded(1, 64)
	case fieldTarget:
		x.Target, err = l.bounded(1, MaxExchangeLine)
	case fieldHost:
		x.Host, err = l.bounded(0, 1024)
	case fieldProtocol:
		x.Protocol, err = l.bounded(0, 16)
	case fieldStatus:
		var n int64
		n, err = l.integer(999)
		x.Status = int(n)
	case fieldTLS:
		err = l.tls(&x.TLS)
	case fieldHeaders:
		x.Headers, err = l.fields(x.Headers)
	case fieldResponseHeaders:
		x.ResponseHeaders, err = l.fields(x.ResponseHeaders)
	case fieldBody, fieldBodyBase64:
		x.Body, err = l.bytes(x.Body, key == fieldBodyBase64)
	case fieldResponseBody, fieldResponseBodyBase64:
		x.ResponseBody, err = l.bytes(x.ResponseBody, key == fieldResponseBodyBase64)
	case fieldBodyTruncated:
		x.BodyTruncated, err = l.boolean()
	case fieldRequestBytes:
		x.RequestBytes, err = l.integer(1 << 50)
	case fieldResponseBytes:
		x.ResponseBytes, err = l.integer(1 << 50)
	case fieldDuration:
		var n int64
		n, err = l.integer(int64(7 * 24 * time.Hour / time.Microsecond))
		x.Duration = time.Duration(n) * time.Microsecond
	}
	return err
}

// bounded reads a string of low to high bytes.
func (l *lexer) bounded(low, high int) (string, error) {
	s, err := l.text()
	if err == nil && (len(s) < low || len(s) > high) {
		err = fmt.Errorf("%d bytes, want %d to %d", len(s), low, high)
	}
	return s, err
}

// integer reads a whole number of 0 to high.
func (l *lexer) integer(high int64) (int64, error) {
	if n, ok := l.digits(high); ok {
		return n, nil
	}
	raw, err := l.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 || n > high {
		return 0, fmt.Errorf("%.32s is no whole number between 0 and %d", raw, high)
	}
	return n, nil
}

// digits reads a whole number of 0 to high that a comma or brace follows; of
// anything else it reads nothing.
func (l *lexer) digits(high int64) (n int64, ok bool) {
	i := l.i
	for ; i < len(l.b) && i < l.i+16 && l.b[i] >= '0' && l.b[i] <= '9'; i++ {
		n = n*10 + int64(l.b[i]-'0')
	}
	if i == l.i || i == len(l.b) || l.b[i] != ',' && l.b[i] != '}' || l.b[l.i] == '0' && i > l.i+1 || n > high {
		return 0, false
	}
	l.i = i
	return n, true
}

func (l *lexer) boolean() (bool, error) {
	if l.peek() == 't' {
		return true, l.literal("true")
	}
	return false, l.literal("false")
}

// timestamp reads RFC 3339 with up to nine digits, years 1970 to 2200.
func (l *lexer) timestamp() (time.Time, error) {
	raw, _, err := l.str()
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, l.cut(raw))
	if err != nil {
		return t, fmt.Errorf("%.40q is no RFC 3339 time such as 2026-03-02T09:15:00.123456Z", raw)
	}
	if t.Year() < 1970 || t.Year() > 2200 {
		return t, fmt.Errorf("%.40q is not between 1970 and 2200", raw)
	}
	return t.UTC(), nil
}

// client reads "203.0.113.7:51234", "[2001:db8::1]:443" or an address alone.
func (l *lexer) client() (netip.AddrPort, error) {
	raw, _, err := l.str()
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(raw) > 64 {
		return netip.AddrPort{}, fmt.Errorf("%d bytes are no address", len(raw))
	}
	s := l.cut(raw)
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a, nil
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address such as 203.0.113.7:51234 or [2001:db8::1]:443", s)
	}
	return netip.AddrPortFrom(a, 0), nil
}

func (l *lexer) tls(t *TLS) error {
	if err := l.expect('{'); err != nil {
		return err
	}
	names := []string{"version", "sni", "ja4"}
	seen := 0
	for i := 0; l.peek() != '}'; i++ {
		if i > 0 {
			if err := l.expect(','); err != nil {
				return err
			}
		}
		name, err := l.bounded(0, 64)
		if err != nil {
			return err
		}
		n := slices.Index(names, name)
		switch {
		case n < 0:
			if err := errors.Join(l.foreign(name, names), l.expect(':')); err != nil {
				return err
			}
			if err := l.skip(); err != nil {
				return err
			}
			continue
		case seen&(1<<n) != 0:
			return l.fail("key %q stands twice", name)
		}
		seen |= 1 << n
		if err := l.expect(':'); err != nil {
			return err
		}
		if l.peek() == 'n' {
			if err := l.literal("null"); err != nil {
				return err
			}
			continue
		}
		v, err := l.bounded(0, maxNameBytes)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		*[]*string{&t.Version, &t.SNI, &t.JA4}[n] = v
	}
	l.i++
	return nil
}

// fields reads [["Name","value"],...].
func (l *lexer) fields(into []Field) ([]Field, error) {
	if err := l.expect('['); err != nil {
		return into, err
	}
	for i := 0; l.peek() != ']'; i++ {
		if i > 0 {
			if err := l.expect(','); err != nil {
				return into, err
			}
		}
		if i == maxHeaders {
			return into, fmt.Errorf("more than %d header fields", maxHeaders)
		}
		f, err := l.field()
		if err != nil {
			return into, fmt.Errorf("field %d: %w", i, err)
		}
		into = append(into, f)
	}
	l.i++
	return into, nil
}

func (l *lexer) field() (f Field, err error) {
	if err = l.expect('['); err != nil {
		return f, err
	}
	if f.Name, err = l.bounded(1, 1024); err != nil {
		return f, err
	}
	if err = l.expect(','); err != nil {
		return f, err
	}
	if f.Value, err = l.text(); err != nil {
		return f, err
	}
	return f, l.expect(']')
}

func (l *lexer) bytes(into []byte, coded bool) ([]byte, error) {
	raw, escaped, err := l.str()
	switch {
	case err != nil:
		return into, err
	case coded:
		if escaped {
			raw = []byte(unquote(raw))
		}
		return base64.StdEncoding.AppendDecode(into, raw)
	case escaped:
		return appendUnquoted(into, raw), nil
	default:
		return append(into, raw...), nil
	}
}
