package clickhouse

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// rowWriter writes rows as JSONEachRow, field by field: a map of fields and
// encoding/json take several times as long.
type rowWriter struct {
	b   []byte
	err error
}

func (w *rowWriter) open()  { w.next(); w.b = append(w.b, '{') }
func (w *rowWriter) close() { w.b = append(w.b, '}') }

// next separates what follows from an item before it.
func (w *rowWriter) next() {
	if n := len(w.b); n > 0 && strings.IndexByte("{[:\n", w.b[n-1]) < 0 {
		w.b = append(w.b, ',')
	}
}

func (w *rowWriter) name(name string) {
	w.string(name)
	w.b = append(w.b, ':')
}

func (w *rowWriter) text(name, s string) {
	w.name(name)
	w.string(s)
}

func (w *rowWriter) int(name string, n int64) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, n, 10)
}

func (w *rowWriter) uint(name string, n uint64) {
	w.name(name)
	w.b = strconv.AppendUint(w.b, n, 10)
}

func (w *rowWriter) bool(name string, v bool) {
	w.name(name)
	w.b = strconv.AppendBool(w.b, v)
}

func (w *rowWriter) value(name string, v json.Marshaler) {
	w.name(name)
	b, err := v.MarshalJSON()
	if err != nil && w.err == nil {
		w.err = err
	}
	w.b = append(w.b, b...)
}

// string writes a string with the escapes that JSON asks for (RFC 8259 section
// 7); what is not UTF-8 becomes U+FFFD.
func (w *rowWriter) string(s string) {
	const hex = "0123456789abcdef"
	w.next()
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	w.b = append(w.b, '"')
	done := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			w.b = append(append(w.b, s[done:i]...), '\\', c)
		case c < 0x20:
			w.b = append(append(w.b, s[done:i]...), '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			continue
		}
		done = i + 1
	}
	w.b = append(append(w.b, s[done:]...), '"')
}

// rowList writes a list; an absent one is empty, since null is not an array.
func rowList[T any](w *rowWriter, name string, list []T, each func(*rowWriter, T)) {
	w.name(name)
	w.b = append(w.b, '[')
	for _, item := range list {
		each(w, item)
	}
	w.b = append(w.b, ']')
}

func rowText[T ~string](w *rowWriter, s T) { w.string(string(s)) }
