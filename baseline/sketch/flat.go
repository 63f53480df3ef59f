package sketch

import (
	"fmt"
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
