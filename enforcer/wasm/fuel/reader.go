package fuel

import "errors"

var errShort = errors.New("the module ends too early")

// reader steps through a module. After an error it yields zeros, so that loops
// end when they look at err.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) end() bool { return r.err != nil || r.at >= len(r.b) }

func (r *reader) u8() byte {
	if r.at >= len(r.b) {
		r.err = errShort
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		c := r.u8()
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.err = errors.New("a number of more than 32 bits")
	return 0
}

// leb skips a LEB128 number of any kind, at most ten bytes.
func (r *reader) leb() {
	for range 10 {
		if r.u8() < 0x80 {
			return
		}
	}
	r.err = errors.New("a number of more than 64 bits")
}

func (r *reader) skip(n uint32) { r.take(n) }

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)-r.at) {
		r.err, r.at = errShort, len(r.b)
		return nil
	}
	r.at += int(n)
	return r.b[r.at-int(n) : r.at]
}

func (r *reader) name() string { return string(r.take(r.u32())) }

func (r *reader) section() (byte, []byte) {
	id := r.u8()
	return id, r.take(r.u32())
}

func appendUnsigned(out []byte, v uint32) []byte {
	for v >= 0x80 {
		out = append(out, byte(v)|0x80)
		v >>= 7
	}
	return append(out, byte(v))
}

func appendSigned(out []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(out, c)
		}
		out = append(out, c|0x80)
	}
}
