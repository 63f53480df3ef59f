package flow

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// lexer reads JSON (RFC 8259) from a bounded slice without building a tree.
type lexer struct {
	b []byte
	// all, if set, is b as text, from which strings are cut: one allocation
	// where there would be one per string.
	all   string
	i     int
	depth int
	// next is the first of usualKeys that was not passed yet.
	next int
}

func (l *lexer) fail(format string, args ...any) error {
	return fmt.Errorf("at byte %d: "+format, append([]any{l.i}, args...)...)
}

func (l *lexer) space() {
	for l.i < len(l.b) {
		switch l.b[l.i] {
		case ' ', '\t', '\n', '\r':
			l.i++
		default:
			return
		}
	}
}

// peek returns the next byte that is no white space; 0 at the end.
func (l *lexer) peek() byte {
	if l.i < len(l.b) && l.b[l.i] > ' ' {
		return l.b[l.i]
	}
	l.space()
	if l.i < len(l.b) {
		return l.b[l.i]
	}
	return 0
}

func (l *lexer) expect(c byte) error {
	if l.i < len(l.b) && l.b[l.i] == c {
		l.i++
		return nil
	}
	return l.expectSpaced(c)
}

func (l *lexer) expectSpaced(c byte) error {
	if l.peek() != c {
		return l.unexpected(strconv.QuoteRune(rune(c)))
	}
	l.i++
	return nil
}

func (l *lexer) unexpected(want string) error {
	if l.i >= len(l.b) {
		return l.fail("unexpected end, want %s", want)
	}
	return l.fail("unexpected %q, want %s", l.b[l.i], want)
}

// end checks that nothing but white space follows.
func (l *lexer) end() error {
	if l.peek(); l.i < len(l.b) {
		return l.fail("unexpected %q after the value", l.b[l.i])
	}
	return nil
}

// str reads a string and returns its raw inside and whether it needs unquoting.
func (l *lexer) str() (raw []byte, escaped bool, err error) {
	if l.peek() != '"' {
		return nil, false, l.unexpected("a string")
	}
	l.i++
	start := l.i
	for l.i < len(l.b) {
		if l.i += plain(l.b[l.i:]); l.i >= len(l.b) {
			break
		}
		switch c := l.b[l.i]; {
		case c == '"':
			raw = l.b[start:l.i]
			l.i++
			return raw, escaped, nil
		case c == '\\':
			if escaped = true; l.i+1 >= len(l.b) {
				return nil, false, l.fail("unexpected end in a string")
			}
			if err := l.escape(); err != nil {
				return nil, false, err
			}
		case c < 0x20:
			return nil, false, l.fail("control character %q in a string", c)
		default:
			escaped = true // not ASCII: may need replacing of invalid UTF-8
			l.i++
		}
	}
	return nil, false, l.fail("unexpected end in a string")
}

// plain is the number of bytes before the first that a string cannot simply
// hold: a quote, a backslash, a control character, or a byte that is not ASCII.
// It looks at eight bytes at a time (Mycroft's test for a zero byte, 1987): of
// the bytes that it marks the lowest is right.
func plain(b []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		// Bytes with the top bit set are marked as such, so that the test needs no
		// care of them.
		marks := (w | (w - ones*' ') | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones)) & tops
		if marks != 0 {
			return i + bits.TrailingZeros64(marks)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// escape checks and steps over one escape sequence.
func (l *lexer) escape() error {
	switch l.b[l.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		l.i += 2
		return nil
	case 'u':
		if l.i+6 <= len(l.b) {
			if _, ok := hex4(l.b[l.i+2 : l.i+6]); ok {
				l.i += 6
				return nil
			}
		}
	}
	return l.fail("bad escape in a string")
}

func hex4(b []byte) (r rune, ok bool) {
	for _, c := range b[:4] {
		d := unhex(c)
		if d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

// unquote resolves the escapes of a raw string that str has checked and
// replaces invalid UTF-8 and lone surrogates with U+FFFD.
func unquote(raw []byte) string {
	out := appendUnquoted(make([]byte, 0, len(raw)), raw)
	return unsafe.String(unsafe.SliceData(out), len(out)) //nolint:gosec // nobody else has the bytes
}

func appendUnquoted(out, raw []byte) []byte {
	for i := 0; i < len(raw); {
		if n := plain(raw[i:]); n > 0 {
			out = append(out, raw[i:i+n]...)
			i += n
			continue
		}
		c := raw[i]
		switch {
		case c == '\\' && raw[i+1] == 'u':
			r, _ := hex4(raw[i+2:])
			if i += 6; utf16.IsSurrogate(r) {
				low := rune(utf8.RuneError)
				if i+6 <= len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
					low, _ = hex4(raw[i+2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
		case c == '\\':
			out = append(out, unescape(raw[i+1]))
			i += 2
		default:
			r, n := utf8.DecodeRune(raw[i:])
			out = utf8.AppendRune(out, r)
			i += n
		}
	}
	return out
}

func unescape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return c
	}
}

// text reads a string as Go text.
func (l *lexer) text() (string, error) {
	if start := l.i + 1; start < len(l.b) && l.b[l.i] == '"' && l.all != "" {
		if end := start + plain(l.b[start:]); end < len(l.b) && l.b[end] == '"' {
			l.i = end + 1
			return l.all[start:end], nil
		}
	}
	raw, escaped, err := l.str()
	switch {
	case err != nil:
		return "", err
	case escaped:
		return unquote(raw), nil
	default:
		return l.cut(raw), nil
	}
}

// cut returns what str has just read, between the quotes, as text.
func (l *lexer) cut(raw []byte) string {
	if l.all != "" {
		return l.all[l.i-1-len(raw) : l.i-1]
	}
	return string(raw)
}

// number reads a number and returns its text.
func (l *lexer) number() ([]byte, error) {
	l.space()
	start := l.i
	digits := func() bool {
		from := l.i
		for l.i < len(l.b) && l.b[l.i] >= '0' && l.b[l.i] <= '9' {
			l.i++
		}
		return l.i > from
	}
	at := func(set string) bool {
		if l.i < len(l.b) && strings.IndexByte(set, l.b[l.i]) >= 0 {
			l.i++
			return true
		}
		return false
	}
	at("-")
	if !at("0") && !digits() {
		return nil, l.unexpected("a value")
	}
	if at(".") && !digits() {
		return nil, l.unexpected("a digit")
	}
	if at("eE") {
		if at("+-"); !digits() {
			return nil, l.unexpected("a digit")
		}
	}
	return l.b[start:l.i], nil
}

func (l *lexer) literal(word string) error {
	if len(l.b)-l.i < len(word) || string(l.b[l.i:l.i+len(word)]) != word {
		return l.unexpected("a value")
	}
	l.i += len(word)
	return nil
}

// foreign refuses a key that is a known one but for its case: a reader that goes
// by the case and one that does not would see different exchanges.
func (l *lexer) foreign(name string, known []string) error {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return l.fail("key %q is not known: did you mean %q?", name, k)
		}
	}
	return nil
}

// skip passes over one value.
func (l *lexer) skip() error {
	var none pointers
	return none.value(l, nil)
}
