package sketch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unsafe"
)

// Snapshots are flat: pointer-free structs without padding, written as they lie
// in memory (little endian), in pages of which the all-zero ones are left out.

// pageBytes is the unit in which state is kept for a Cut and left out when zero.
const pageBytes = 4096

// ErrChecksum says that a snapshot's bytes are not those that were written.
var ErrChecksum = errors.New("snapshot checksum does not match: use the previous snapshot")

// crcTable is CRC-32C (RFC 3720), which processors compute as fast as they copy.
var crcTable = crc32.MakeTable(crc32.Castagnoli)

// Writer writes flat state with a running checksum. The first error sticks.
type Writer struct {
	w   io.Writer
	crc uint32
	err error
	buf [8]byte
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	w.crc = crc32.Update(w.crc, crcTable, b)
	_, w.err = w.w.Write(b)
}

// Close writes the checksum and returns the first error; it leaves the
// underlying writer open.
func (w *Writer) Close() error {
	if w.err == nil {
		_, w.err = w.w.Write(binary.LittleEndian.AppendUint32(nil, w.crc))
	}
	return w.err
}

// Bytes writes a byte string with its length.
func (w *Writer) Bytes(b []byte) {
	w.uint(uint64(len(b)))
	w.write(b)
}

func (w *Writer) uint(v uint64) { w.write(binary.LittleEndian.AppendUint64(w.buf[:0], v)) }

// Put writes a few flat values.
func Put[T any](w *Writer, s []T) { w.Bytes(flat(s)) }

// Reader reads what Writer wrote. Lengths are checked against the receiver's
// own sizes before anything is read.
type Reader struct {
	r   io.Reader
	crc uint32
	buf [8]byte
}

// NewReader returns a Reader on r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

func (r *Reader) read(b []byte) error {
	if _, err := io.ReadFull(r.r, b); err != nil {
		return fmt.Errorf("snapshot ends early: %w", err)
	}
	r.crc = crc32.Update(r.crc, crcTable, b)
	return nil
}

// Close reads and checks the checksum.
func (r *Reader) Close() error {
	sum := r.crc
	var b [4]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return fmt.Errorf("snapshot ends early: %w", err)
	}
	if binary.LittleEndian.Uint32(b[:]) != sum {
		return ErrChecksum
	}
	return nil
}

// Bytes reads a byte string of at most limit bytes.
func (r *Reader) Bytes(limit int) ([]byte, error) {
	n, err := r.uint()
	if err != nil {
		return nil, err
	}
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

func (r *Reader) uint() (uint64, error) {
	if err := r.read(r.buf[:8]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(r.buf[:8]), nil
}

// Take fills a slice with the values of exactly the number that Put or Value wrote.
func Take[T any](r *Reader, s []T) error {
	b := flat(s)
	n, err := r.uint()
	if err != nil {
		return err
	}
	if n != uint64(len(b)) {
		return fmt.Errorf("snapshot part of %d bytes does not fit one of %d", n, len(b))
	}
	return r.read(b)
}

func block(b []byte, at int) []byte { return b[at:min(len(b), at+pageBytes)] }

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
