package sketch

// Shelf is a Table whose values are large and stand apart from the keys: a
// look-up that finds nothing touches one cache line.
type Shelf[V any] struct {
	index *Table[struct{}]
	// vals has one place for each row of the index.
	vals Flat[V]
}

// NewShelf returns a shelf of n values, rounded up to whole sets.
func NewShelf[V any](n int) *Shelf[V] {
	index := NewTable[struct{}](n)
	return &Shelf[V]{index: index, vals: NewFlat[V](index.Len())}
}

// Find returns the value of key, or nil. It does not count as use.
func (s *Shelf[V]) Find(key uint64) *V {
	if at := s.index.FindAt(key); at >= 0 {
		return s.vals.At(at)
	}
	return nil
}

// Use is Find, counting as use.
func (s *Shelf[V]) Use(key uint64, now uint32) *V {
	at := s.index.FindAt(key)
	if at < 0 {
		return nil
	}
	s.index.rows.At(at).Seen = now
	return s.vals.At(at)
}

// Get returns the value of key, taking the least recently used of its set when it
// is not there; a fresh one holds what its place held before. It stays valid until
// another key of the same set is added.
func (s *Shelf[V]) Get(key uint64, now uint32) (v *V, fresh bool) {
	at, fresh := s.index.GetAt(key, now)
	return s.vals.At(at), fresh
}

// Delete frees the place of key; its value stays until the place is taken.
func (s *Shelf[V]) Delete(key uint64) { s.index.Delete(key) }

// Used is the number of places taken.
func (s *Shelf[V]) Used() uint64 { return s.index.Used() }

// Evicted counts the values that were replaced while in use.
func (s *Shelf[V]) Evicted() uint64 { return s.index.Evicted() }

// Bytes is the memory of keys and values.
func (s *Shelf[V]) Bytes() int { return s.index.Bytes() + s.vals.Bytes() }

// Cut adds the shelf to a cut.
func (s *Shelf[V]) Cut(c *Cut) {
	s.index.Cut(c)
	Freeze(c, &s.vals)
}

// SetState reads what Cut has written of a shelf of the same size.
func (s *Shelf[V]) SetState(r *Reader) error {
	if err := s.index.SetState(r); err != nil {
		return err
	}
	return s.vals.Take(r)
}
