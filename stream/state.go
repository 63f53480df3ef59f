package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errState = errors.New("snapshot state is malformed")

// stateWriter appends varints and length-prefixed texts.
type stateWriter struct{ buf []byte }

func (w *stateWriter) uint(v uint64) { w.buf = binary.AppendUvarint(w.buf, v) }
func (w *stateWriter) int(v int64)   { w.buf = binary.AppendVarint(w.buf, v) }
func (w *stateWriter) text(s string) {
	w.uint(uint64(len(s)))
	w.buf = append(w.buf, s...)
}

// stateReader reads what stateWriter wrote. After the first fault every read
// yields zero; the caller checks err once at the end.
type stateReader struct {
	buf []byte
	err error
}

func (r *stateReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errState, what)
	}
	r.buf = nil
}

func (r *stateReader) uint() uint64 {
	v, n := binary.Uvarint(r.buf)
	if n <= 0 {
		r.fail("number cut short")
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

func (r *stateReader) int() int64 {
	v, n := binary.Varint(r.buf)
	if n <= 0 {
		r.fail("number cut short")
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// count reads a length that may not exceed limit nor the bytes that follow, so
// that a false length allocates nothing.
func (r *stateReader) count(limit int) int {
	v := r.uint()
	if v > uint64(limit) || v > uint64(len(r.buf)) {
		r.fail(fmt.Sprintf("length %d over its bound", v))
		return 0
	}
	return int(v)
}

func (r *stateReader) text() string {
	n := r.count(1 << 16)
	s := string(r.buf[:n])
	r.buf = r.buf[n:]
	return s
}
