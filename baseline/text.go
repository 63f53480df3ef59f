package baseline

import (
	"strconv"
	"strings"

	"github.com/weirproject/weir/stream/verdict"
)

// text builds one string after the other in one buffer: a revision of a verdict
// holds twenty, and there are thousands of revisions in an attack.
type text struct{ b []byte }

func (t *text) start() *text {
	t.b = t.b[:0]
	return t
}

func (t *text) add(s string) *text {
	t.b = append(t.b, s...)
	return t
}

func (t *text) number(n int64) *text {
	t.b = strconv.AppendInt(t.b, n, 10)
	return t
}

func (t *text) milli(m verdict.Milli) *text {
	t.b = m.Append(t.b)
	return t
}

// hash adds 16 hexadecimal digits.
func (t *text) hash(h uint64) *text {
	const digits = "0123456789abcdef"
	for i := 60; i >= 0; i -= 4 {
		t.b = append(t.b, digits[h>>i&15])
	}
	return t
}

// spaced adds the name of a feature as words.
func (t *text) spaced(name string) *text {
	for word := range strings.SplitSeq(name, "_") {
		t.add(word).add(" ")
	}
	t.b = t.b[:len(t.b)-1]
	return t
}

func (t *text) String() string { return string(t.b) }
