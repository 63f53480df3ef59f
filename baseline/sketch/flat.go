package sketch

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Flat is a slice of pointer-free values without padding of which a Cut can be
// taken while its owner goes on changing it. The owner reaches a value it may
// change through At only.
type Flat[T any] struct {
	rows  []T
	frost *frost
}

// NewFlat returns n zero values.
func NewFlat[T any](n int) Flat[T] {
	return Flat[T]{rows: spread[T](n)}
}

// At returns the value at i, to be read or changed until the next Cut.
func (f *Flat[T]) At(i int) *T {
	if f.frost != nil {
		f.keep(i, 1)
	}
	return &f.rows[i]
}

// Look returns n values from i, to be read.
func (f *Flat[T]) Look(i, n int) []T { return f.rows[i : i+n : i+n] }

// Len is the number of values.
func (f *Flat[T]) Len() int { return len(f.rows) }

// Bytes is their memory.
func (f *Flat[T]) Bytes() int { return len(f.rows) * int(unsafe.Sizeof(*new(T))) }

// keep saves the pages of n values from i for a cut that has not read them yet.
func (f *Flat[T]) keep(i, n int) {
	if f.frost.over.Load() {
		f.frost = nil
		return
	}
	size := int(unsafe.Sizeof(*new(T)))
	for p := i * size / pageBytes; p <= ((i+n)*size-1)/pageBytes; p++ {
		f.frost.keep(p)
	}
}

// Take fills the values with what a Cut has written of as many.
func (f *Flat[T]) Take(r *Reader) error {
	b := flat(f.rows)
	n, err := r.uint()
	if err != nil {
		return err
	}
	if n != uint64(len(b)) {
		return fmt.Errorf("snapshot part of %d bytes does not fit one of %d: keep the sizes of the configuration that wrote the snapshot", n, len(b))
	}
	return r.pages(b)
}

// A page of a frozen slice is in one of these states: as it was at the cut and
// not read yet; being copied by the cut's reader; copied, so that the owner may
// change it; or changed, a copy of it standing in saved.
const (
	pageFrozen uint32 = iota
	pageBusy
	pageDone
	pageSaved
)

// frost guards one slice for one cut. The owner and the cut's reader meet in the
// state of a page only, which orders all that they do with its bytes.
type frost struct {
	bytes []byte
	state []atomic.Uint32
	saved []*[pageBytes]byte
	spare *spares
	// over: the cut is written or given up.
	over *atomic.Bool
}

// spares are the buffers of saved pages, used again as the reader passes.
type spares struct {
	mu   sync.Mutex
	list []*[pageBytes]byte
}

func (s *spares) get() *[pageBytes]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.list); n > 0 {
		p := s.list[n-1]
		s.list = s.list[:n-1]
		return p
	}
	return new([pageBytes]byte)
}

func (s *spares) put(p *[pageBytes]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, p)
}

// keep is the owner's half: after it, page p may change.
func (f *frost) keep(p int) {
	for {
		switch f.state[p].Load() {
		case pageDone, pageSaved:
			return
		case pageBusy:
			// The reader copies one page, for a microsecond.
			runtime.Gosched()
			continue
		}
		if f.state[p].CompareAndSwap(pageFrozen, pageBusy) {
			c := f.spare.get()
			copy(c[:], block(f.bytes, p*pageBytes))
			f.saved[p] = c
			f.state[p].Store(pageSaved)
			return
		}
	}
}

// read is the other half: it copies page p as it was at the cut to b.
func (f *frost) read(p int, b []byte) {
	for {
		switch f.state[p].Load() {
		case pageSaved:
			copy(b, f.saved[p][:])
			f.spare.put(f.saved[p])
			f.saved[p] = nil
			return
		case pageBusy:
			runtime.Gosched()
			continue
		}
		if f.state[p].CompareAndSwap(pageFrozen, pageBusy) {
			copy(b, block(f.bytes, p*pageBytes))
			f.state[p].Store(pageDone)
			return
		}
	}
}
