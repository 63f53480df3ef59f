package sketch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"unsafe"
)

// Snapshots are flat: slices of pointer-free structs without padding, written
// as they lie in memory (little endian), in blocks of blockBytes of which the
// all-zero ones are left out, so that a snapshot is as large as what is in use.

const blockBytes = 4096

// ErrChecksum says that a snapshot's bytes are not those that were written.
var ErrChecksum = errors.New("snapshot checksum does not match: use the previous snapshot")

var crcTable = crc64.MakeTable(crc64.ECMA)

// Writer writes flat state with a running checksum. The first error sticks.
type Writer struct {
	w   io.Writer
	crc uint64
	err error
	buf [16]byte
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	w.crc = crc64.Update(w.crc, crcTable, b)
	_, w.err = w.w.Write(b)
}

// Close writes the checksum and returns the first error; it leaves the
// underlying writer open.
func (w *Writer) Close() error {
	if w.err == nil {
		_, w.err = w.w.Write(binary.LittleEndian.AppendUint64(nil, w.crc))
	}
	return w.err
}

// Bytes writes a byte string with its length.
func (w *Writer) Bytes(b []byte) {
	w.write(binary.LittleEndian.AppendUint64(w.buf[:0], uint64(len(b))))
	w.write(b)
}

// Put writes a slice of flat values.
func Put[T any](w *Writer, s []T) {
	b := flat(s)
	w.write(binary.LittleEndian.AppendUint64(w.buf[:0], uint64(len(b))))
	for at := 0; at < len(b); {
		// One run: a count of zero blocks, then a count of full ones.
		zero := 0
		for at < len(b) && isZero(block(b, at)) {
			zero, at = zero+1, at+blockBytes
		}
		from, full := at, 0
		for at < len(b) && !isZero(block(b, at)) {
			full, at = full+1, at+blockBytes
		}
		h := binary.LittleEndian.AppendUint32(w.buf[:0], uint32(zero))
		w.write(binary.LittleEndian.AppendUint32(h, uint32(full)))
		if full > 0 {
			w.write(b[from:min(len(b), at)])
		}
	}
}

// Reader reads what Writer wrote. Lengths are checked against the receiver's
// own sizes before anything is read.
type Reader struct {
	r   io.Reader
	crc uint64
	buf [16]byte
}

// NewReader returns a Reader on r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

func (r *Reader) read(b []byte) error {
	if _, err := io.ReadFull(r.r, b); err != nil {
		return fmt.Errorf("snapshot ends early: %w", err)
	}
	r.crc = crc64.Update(r.crc, crcTable, b)
	return nil
}

// Close reads and checks the checksum.
func (r *Reader) Close() error {
	sum := r.crc
	var b [8]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return fmt.Errorf("snapshot ends early: %w", err)
	}
	if binary.LittleEndian.Uint64(b[:]) != sum {
		return ErrChecksum
	}
	return nil
}

// Bytes reads a byte string of at most limit bytes.
func (r *Reader) Bytes(limit int) ([]byte, error) {
	if err := r.read(r.buf[:8]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(r.buf[:8])
	if n > uint64(limit) {
		return nil, fmt.Errorf("snapshot string of %d bytes is over its limit of %d", n, limit)
	}
	// Allocate by what arrives, never by what the length claims.
	var b []byte
	for uint64(len(b)) < n {
		at := len(b)
		b = append(b, make([]byte, min(n-uint64(at), 1<<16))...)
		if err := r.read(b[at:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Take fills a slice of flat values of exactly the length that was written.
func Take[T any](r *Reader, s []T) error {
	b := flat(s)
	if err := r.read(r.buf[:8]); err != nil {
		return err
	}
	if n := binary.LittleEndian.Uint64(r.buf[:8]); n != uint64(len(b)) {
		return fmt.Errorf("snapshot part of %d bytes does not fit one of %d", n, len(b))
	}
	for at := 0; at < len(b); {
		if err := r.read(r.buf[:8]); err != nil {
			return err
		}
		zero := uint64(binary.LittleEndian.Uint32(r.buf[:4])) * blockBytes
		full := uint64(binary.LittleEndian.Uint32(r.buf[4:8])) * blockBytes
		left := uint64(len(b) - at)
		if zero+full == 0 || zero+full >= left+blockBytes {
			return errors.New("snapshot run does not fit its part")
		}
		to := min(left, zero)
		// Writing zeros over fresh memory would make all of it resident.
		if part := b[at : at+int(to)]; !isZero(part) {
			clear(part)
		}
		at += int(to)
		to = min(uint64(len(b)-at), full)
		if err := r.read(b[at : at+int(to)]); err != nil {
			return err
		}
		at += int(to)
	}
	return nil
}

func block(b []byte, at int) []byte { return b[at:min(len(b), at+blockBytes)] }

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// flat views pointer-free values as bytes.
func flat[T any](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(s[0]))) //nolint:gosec // flat state is written as it lies; the types hold no pointer and no padding (TestFlat in each package)
}
