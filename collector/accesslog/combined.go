package accesslog

import (
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// parseCombined reads Apache's common and combined formats:
//
//	[VHOST[:PORT]] CLIENT IDENT USER [TIME] "REQUEST" STATUS BYTES ["REFERER" "USER AGENT"] ...
//
// Fields after the user agent are ignored; servers are often told to append
// some. full reads referer and user agent where there are any.
func parseCombined(s string, x *flow.Exchange, full bool, c *clock) error {
	open := timeStart(s)
	if open < 0 {
		return syntax("no time such as [17/May/2015:10:05:03 +0000]")
	}
	if err := setClient(s[:open], x); err != nil {
		return err
	}
	var err error
	if x.Time, err = c.clf(s[open+1 : open+27]); err != nil {
		return err
	}
	rest := s[open+28:]
	request, rest, ok := quoted(rest)
	if !ok {
		return syntax("no quoted request after the time")
	}
	setRequestLine(request, x)
	status, rest := word(rest)
	size, rest := word(rest)
	n, ok := number(status)
	if !ok || n > 999 {
		return badValue("status", status)
	}
	x.Status = int(n)
	if x.ResponseBytes, ok = number(size); !ok {
		return badValue("size", size)
	}
	if !full {
		return nil
	}
	referer, rest, ok := quoted(rest)
	if !ok {
		return nil
	}
	agent, _, _ := quoted(rest)
	addHeader(x, "User-Agent", agent)
	addHeader(x, "Referer", referer)
	return nil
}

// timeStart finds the bracket of "[17/May/2015:10:05:03 +0000]"; a user name may
// hold brackets too.
func timeStart(s string) int {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '[')
		if i < 0 {
			return -1
		}
		i += from
		if i+28 <= len(s) && s[i+27] == ']' && s[i+3] == '/' && s[i+7] == '/' && s[i+12] == ':' {
			return i
		}
		from = i + 1
	}
}

// setClient reads what stands before the time: the client is the first word, or
// the second after a virtual host.
func setClient(s string, x *flow.Exchange) error {
	first, rest := word(s)
	if client, ok := address(first); ok {
		x.Client = client
		return nil
	}
	second, _ := word(rest)
	client, ok := address(second)
	if !ok {
		if first == "" {
			return syntax("no client before the time")
		}
		return badValue("client address (are host name look-ups on?)", first)
	}
	x.Client, x.Host = client, first
	return nil
}

// word cuts the next word off s; quoted text is no word.
func word(s string) (w, rest string) {
	s = strings.TrimLeft(s, " ")
	if len(s) > 0 && s[0] == '"' {
		return "", s
	}
	if i := strings.IndexByte(s, ' '); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// quoted cuts the next quoted field off s and undoes its escapes.
func quoted(s string) (field, rest string, ok bool) {
	s = strings.TrimLeft(s, " ")
	if len(s) == 0 || s[0] != '"' {
		return "", s, false
	}
	s = s[1:]
	escaped := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			if escaped {
				return unescape(s[:i]), s[i+1:], true
			}
			return s[:i], s[i+1:], true
		}
	}
	return "", s, false
}

// unescape undoes Apache's and nginx's escapes: \xHH, \", \\, \n, \t and so on.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'x':
			if i+2 < len(s) {
				hi, ok1 := hexDigit(s[i+1])
				lo, ok2 := hexDigit(s[i+2])
				if ok1 && ok2 {
					b = append(b, hi<<4|lo)
					i += 2
					continue
				}
			}
			b = append(b, '\\', 'x')
		case 'n':
			b = append(b, '\n')
		case 't':
			b = append(b, '\t')
		case 'r':
			b = append(b, '\r')
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'v':
			b = append(b, '\v')
		case '"', '\\', '/':
			b = append(b, c)
		default:
			b = append(b, '\\', c)
		}
	}
	return string(b)
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c-'0' < 10:
		return c - '0', true
	case c-'a' < 6:
		return c - 'a' + 10, true
	case c-'A' < 6:
		return c - 'A' + 10, true
	}
	return 0, false
}
