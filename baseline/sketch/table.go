package sketch

import "math/bits"

// ways is the associativity: a full set replaces its least recently seen row.
const ways = 4

// Row is one slot of a Table. V must hold no pointer: rows are written to
// snapshots as they lie in memory, and the collector need not scan them.
type Row[V any] struct {
	// Val comes first: an empty one at the end would take room.
	Val V
	Key uint64
	// Seen is when the row was last used, First when it came in, in seconds.
	Seen, First uint32
}

// Table is a fixed-size, 4-way set-associative map from non-zero 64-bit keys.
type Table[V any] struct {
	rows Flat[Row[V]]
	sets uint64
	// used counts rows taken, evicted rows that replaced a live one.
	used, evicted uint64
}

// NewTable returns a table of n rows, rounded up to whole sets.
func NewTable[V any](n int) *Table[V] {
	sets := max(1, (n+ways-1)/ways)
	return &Table[V]{rows: NewFlat[Row[V]](sets * ways), sets: uint64(sets)}
}

// set picks the first row of the set by the high bits of the key's product, scaled
// to the number of sets (Lemire 2016): keys that share low bits must not share
// sets.
func (t *Table[V]) set(key uint64) int {
	hi, _ := bits.Mul64(key*0x9e3779b97f4a7c15, t.sets)
	return int(hi) * ways
}

// FindAt returns the position of key's row, or -1. It does not touch Seen.
func (t *Table[V]) FindAt(key uint64) int {
	at := t.set(key)
	s := t.rows.Look(at, ways)
	for i := range s {
		if s[i].Key == key {
			return at + i
		}
	}
	return -1
}

// Find returns the row of key, or nil. It does not touch Seen.
func (t *Table[V]) Find(key uint64) *Row[V] {
	if at := t.FindAt(key); at >= 0 {
		return t.rows.At(at)
	}
	return nil
}

// Get returns the row of key, taking the least recently seen of its set when
// it is not there; the second result says that the row is new (and zero). The
// row stays valid until another key of the same set is added.
func (t *Table[V]) Get(key uint64, now uint32) (*Row[V], bool) {
	at, fresh := t.GetAt(key, now)
	return &t.rows.rows[at], fresh
}

// GetAt is Get, giving the row's position.
func (t *Table[V]) GetAt(key uint64, now uint32) (at int, fresh bool) {
	at = t.set(key)
	if t.rows.frost != nil {
		t.rows.keep(at, ways)
	}
	s := t.rows.Look(at, ways)
	for i := range s {
		if s[i].Key == key {
			s[i].Seen = now
			return at + i, false
		}
	}
	oldest := 0
	for i := range s {
		if s[oldest].Key != 0 && (s[i].Key == 0 || s[i].Seen < s[oldest].Seen) {
			oldest = i
		}
	}
	r := &s[oldest]
	if r.Key != 0 {
		t.evicted++
	} else {
		t.used++
	}
	*r = Row[V]{Key: key, Seen: now, First: now}
	return at + oldest, true
}

// Delete frees the row of key.
func (t *Table[V]) Delete(key uint64) {
	if r := t.Find(key); r != nil {
		*r = Row[V]{}
		t.used--
	}
}

// Len is the number of rows.
func (t *Table[V]) Len() int { return t.rows.Len() }

// Used is the number of rows taken.
func (t *Table[V]) Used() uint64 { return t.used }

// Evicted counts the live rows that were replaced so far.
func (t *Table[V]) Evicted() uint64 { return t.evicted }

// Bytes is the memory of the rows.
func (t *Table[V]) Bytes() int { return t.rows.Bytes() }

// Cut adds the table to a cut.
func (t *Table[V]) Cut(c *Cut) {
	Value(c, t.used, t.evicted)
	Freeze(c, &t.rows)
}

// SetState reads what Cut has written of a table of the same size.
func (t *Table[V]) SetState(r *Reader) error {
	var head [2]uint64
	if err := Take(r, head[:]); err != nil {
		return err
	}
	t.used, t.evicted = head[0], head[1]
	return t.rows.Take(r)
}
