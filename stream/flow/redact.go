package flow

import "strings"

// Redaction of what stays readable: path segments, parameter names and plain
// object values. A segment that is bound to a hashed object, or that has the
// shape of a token, an e-mail address or a card number, is stored as {name}.

// secretWords are path segments after which a segment is a one-time token more
// often than not, whatever its shape.
var secretWords = map[string]bool{
	"reset": true, "password-reset": true, "reset-password": true, "token": true, "verify": true, "confirm": true,
	"activate": true, "invite": true, "invitation": true, "unsubscribe": true, "magic": true, "magic-link": true,
	"recover": true, "recovery": true, "otp": true, "apikey": true, "api-key": true, "session": true, "sessions": true,
}

// redactPath returns the path as it may be stored. When nothing is sensitive it
// is the path itself.
func redactPath(path string, p *plan) string {
	var out []byte
	done := 0 // bytes of path already in out
	index, previous := 0, ""
	for start := 0; start < len(path); {
		end := start
		for end < len(path) && path[end] != '/' {
			end++
		}
		raw := path[start:end]
		switch plainSegment(raw) {
		case "", ".":
		case "..":
			index = max(index-1, 0)
		default:
			if name := segmentName(raw, previous, index, p); name != "" {
				out = append(append(out, path[done:start]...), '{')
				out = append(append(out, name...), '}')
				done = end
			} else if cut := strings.IndexByte(raw, ';'); cut >= 0 && strings.IndexByte(raw[cut:], '=') > 0 {
				out = append(append(out, path[done:start+cut]...), ";{parameters}"...)
				done = end
			}
			index++
			previous = raw
		}
		start = end + 1
	}
	if done == 0 {
		return path
	}
	return string(append(out, path[done:]...))
}

// plainSegment decodes a short segment, which may be a spelling of "." or "..".
func plainSegment(raw string) string {
	if len(raw) <= 6 && strings.IndexByte(raw, '%') >= 0 {
		return percentDecode(raw, false)
	}
	return raw
}

// segmentName returns the name to store a segment under, or "".
func segmentName(raw, previous string, index int, p *plan) string {
	if at := p.param(index); at != "" {
		for _, name := range p.redact {
			if name == at {
				return name
			}
		}
	}
	if len(raw) < 6 {
		return ""
	}
	s := raw
	for range 2 {
		if strings.IndexByte(s, '%') < 0 {
			break
		}
		s = percentDecode(s, false)
	}
	if name := sensitive(s); name != "" {
		return name
	}
	if len(s) >= 8 && secretWords[asciiLower(previous)] && !isWord(s) {
		return "token"
	}
	return ""
}

// sensitive names the sensitive shape of a value: "email", "card", "token", or
// "" for none.
func sensitive(s string) string {
	if len(s) < 6 {
		return ""
	}
	if at := strings.IndexByte(s, '@'); at > 0 && strings.IndexByte(s[at:], '.') > 0 {
		return "email"
	}
	if hasCard(s) {
		return "card"
	}
	if isTokenShaped(s) {
		return "token"
	}
	return ""
}

// hasCard finds a card number: 13 to 19 digits, perhaps grouped by blanks or
// dashes, that have an issuer's prefix and pass the Luhn check (ISO/IEC 7812).
func hasCard(s string) bool {
	if len(s) < 13 {
		return false
	}
	var digits [20]byte
	n := 0
	for i := 0; i <= len(s); i++ {
		var c byte
		if i < len(s) {
			c = s[i]
		}
		switch {
		case c >= '0' && c <= '9':
			if n < len(digits) {
				digits[n] = c - '0'
			}
			n++
		case (c == ' ' || c == '-') && n > 0 && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9':
		default:
			if isCard(digits[:], n) {
				return true
			}
			n = 0
		}
	}
	return false
}

// isCard checks n digits for an issuer's prefix, the length that belongs to it,
// and the Luhn sum. Without prefix and length, one in ten long item numbers
// would pass.
func isCard(d []byte, n int) bool {
	if n < 13 || n > 19 {
		return false
	}
	two := int(d[0])*10 + int(d[1])
	four := two*100 + int(d[2])*10 + int(d[3])
	switch {
	case d[0] == 4 && (n == 13 || n == 16 || n == 19):
	case n == 16 && (two >= 51 && two <= 55 || four >= 2221 && four <= 2720):
	case n == 15 && (two == 34 || two == 37):
	case n >= 16 && (four == 6011 || two == 65 || two == 62 || two == 64 || two == 35):
	case n == 14 && (two == 36 || two == 30 || two == 38):
	default:
		return false
	}
	sum := 0
	for i := range n {
		v := int(d[n-1-i])
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// tokenPrefixes open the tokens of well-known issuers.
var tokenPrefixes = []string{"eyJ", "sk_live_", "sk_test_", "ghp_", "gho_", "glpat-", "xoxb-", "xoxp-", "AKIA", "ya29."}

// isTokenShaped recognises session and access tokens: known prefixes, 32 and
// more hex digits, and 20 and more characters that mix cases and digits. UUIDs
// and words joined by dashes are ordinary item names and stay.
func isTokenShaped(s string) bool {
	if len(s) < 16 {
		return false
	}
	for _, p := range tokenPrefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	if len(s) < 20 {
		return false
	}
	var upper, lowers, digits, others, hexes, changes int
	last := 0
	for i := 0; i < len(s); i++ {
		kind := 0
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
			kind = 1
		case c >= 'a' && c <= 'z':
			lowers++
			kind = 2
		case c >= 'A' && c <= 'Z':
			upper++
			kind = 3
		case c == '-' || c == '_' || c == '=' || c == '~' || c == '+':
			others++
		case c == '.' && strings.Count(s, ".") == 2: // header.payload.signature
			others++
		default:
			return false
		}
		if unhex(s[i]) >= 0 {
			hexes++
		}
		if kind != 0 && last != 0 && kind != last {
			changes++
		}
		last = kind
	}
	switch {
	case hexes == len(s):
		return len(s) >= 32 && digits > 0 && lowers+upper > 0
	case others > 3:
		return len(s) >= 32 && upper > 0 && lowers > 0 && digits > 0 && changes >= len(s)/4
	case upper > 0 && lowers > 0 && digits > 0:
		return changes >= len(s)/4
	default:
		return digits > 0 && lowers+upper > 0 && len(s) >= 24 && changes >= len(s)/3
	}
}

// isWord reports whether s consists of letters and dashes only.
func isWord(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && isAlnum(c) || c == '-' || c == '_' {
			continue
		}
		return false
	}
	return true
}

// Bounds of the readable strings of an event, in bytes.
const (
	maxPathBytes      = 2048
	maxUserAgentBytes = 512
	maxNameBytes      = 255
	maxQueryNames     = 64
	maxQueryKeysBytes = 1024
	maxPlainBytes     = 256
)

// queryKeys returns the names of the query's parameters joined by "&", without
// values, and feeds the shape.
func queryKeys(query string, s *shape) string {
	if query == "" {
		return ""
	}
	out := make([]byte, 0, min(len(query), 256))
	n := 0
	eachPair(query, func(name, _ string) bool {
		s.addString(name)
		if n++; n > maxQueryNames || len(out)+len(name) > maxQueryKeysBytes {
			return true
		}
		if n > 1 {
			out = append(out, '&')
		}
		if len(name) > 64 {
			name = "{long}"
		} else if shaped := sensitive(name); shaped != "" {
			name = "{" + shaped + "}"
		}
		name, _ = clean(name, 64)
		out = append(out, name...)
		return true
	})
	return string(out)
}

// refererHost returns the host of a Referer, without port, or "" when it is not
// one.
func refererHost(referer string) string {
	_, rest, ok := strings.Cut(referer, "://")
	if !ok {
		return ""
	}
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	return hostName(rest)
}

// hostName brings a host into stored form: lower case, no port, no trailing
// dot; "" when it holds bytes that no host has.
func hostName(host string) string {
	if len(host) > maxNameBytes {
		return ""
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && (host[0] == '[' && host[i-1] == ']' || strings.IndexByte(host, ':') == i) {
		host = host[:i] // a bare IPv6 address has several colons and no port
	}
	host = strings.TrimSuffix(host, ".")
	for i := 0; i < len(host); i++ {
		if c := host[i]; !isAlnum(c) && strings.IndexByte(".-_:[]", c) < 0 {
			return ""
		}
	}
	return asciiLower(host)
}
