package sketch

import (
	"encoding/binary"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

// Cut is state as it was at one moment, written while its owner goes on. The
// owner makes it between two changes; one other goroutine writes it. Parts are
// written in the order in which they were added, and the bytes do not depend on
// what the owner does meanwhile.
type Cut struct {
	parts []func(*Writer)
	spare spares
	over  atomic.Bool
}

// Value adds a few flat values, copied now.
func Value[T any](c *Cut, s ...T) {
	b := append([]byte(nil), flat(s)...)
	c.parts = append(c.parts, func(w *Writer) { w.Bytes(b) })
}

// Bytes adds a byte string that is made when its turn comes, from what nobody
// changes meanwhile.
func (c *Cut) Bytes(f func() ([]byte, error)) {
	c.parts = append(c.parts, func(w *Writer) {
		b, err := f()
		if err != nil && w.err == nil {
			w.err = err
		}
		w.Bytes(b)
	})
}

// Freeze adds a slice: until the cut is written or given up, its owner saves the
// pages that it is about to change. A slice is in one cut at a time.
func Freeze[T any](c *Cut, f *Flat[T]) {
	b := flat(f.rows)
	n := (len(b) + pageBytes - 1) / pageBytes
	g := &frost{bytes: b, state: make([]atomic.Uint32, n), saved: make([]*page, n), spare: &c.spare, over: &c.over}
	for i := 0; i < n; i += pageBytes / 4 {
		g.state[i].Store(pageFrozen) // written before it is read: see spares
	}
	f.frost = g
	c.parts = append(c.parts, func(w *Writer) { w.pages(g) })
}

// Lazy adds a small part of the state whose owner calls Keep before it changes
// it: it is encoded then, or when its turn comes.
func (c *Cut) Lazy(encode func() ([]byte, error)) *Lazy {
	l := &Lazy{encode: encode}
	c.Bytes(l.Keep)
	return l
}

// Lazy is one part of a Cut that is encoded whole.
type Lazy struct {
	once   sync.Once
	encode func() ([]byte, error)
	bytes  []byte
	err    error
}

// Keep encodes the part unless that is done; other callers wait for it.
func (l *Lazy) Keep() ([]byte, error) {
	l.once.Do(func() {
		l.bytes, l.err = l.encode()
		l.encode = nil
	})
	return l.bytes, l.err
}

// Write writes the cut and its checksum and lets go of the state. It may be
// called once.
func (c *Cut) Write(to io.Writer) error {
	defer c.Release()
	w := NewWriter(to)
	for i, part := range c.parts {
		if w.err != nil {
			break
		}
		part(w)
		c.parts[i] = nil
	}
	return w.Close()
}

// Release lets go of the state without writing it. The owner notices by itself.
func (c *Cut) Release() { c.over.Store(true) }

// Over says that the cut is written or given up.
func (c *Cut) Over() bool { return c.over.Load() }

// runPages pages share one bitmap of those that are not all zero, so that a
// snapshot is as large as what is in use.
const runPages = 64

// pages writes a frozen slice: its length, then runs of a bitmap and the pages
// in it, the last one possibly short.
func (w *Writer) pages(f *frost) {
	w.uint(uint64(len(f.bytes)))
	buf := make([]byte, 8+runPages*pageBytes)
	for p := 0; p < len(f.state); {
		f.spare.fill()
		at, bitmap := 8, uint64(0)
		for i := 0; i < runPages && p < len(f.state); i, p = i+1, p+1 {
			b := buf[at : at+len(block(f.bytes, p*pageBytes))]
			f.read(p, b)
			if !isZero(b) {
				bitmap |= 1 << i
				at += len(b)
			}
		}
		binary.LittleEndian.PutUint64(buf, bitmap)
		w.write(buf[:at])
		if w.err != nil {
			return
		}
		runtime.Gosched() // where there is one processor, the owner goes first
	}
}

// pages reads into b what the other pages wrote.
func (r *Reader) pages(b []byte) error {
	for at := 0; at < len(b); at += runPages * pageBytes {
		bitmap, err := r.uint()
		if err != nil {
			return err
		}
		for i := range runPages {
			page := block(b, min(len(b), at+i*pageBytes))
			if bitmap&(1<<i) != 0 {
				if err := r.read(page); err != nil {
					return err
				}
			} else if !isZero(page) {
				// Writing zeros over fresh memory would make all of it resident.
				clear(page)
			}
		}
	}
	return nil
}
