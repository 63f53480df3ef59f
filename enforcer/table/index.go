package table

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// MaxPerKey bounds the groups indexed under one identifier value, and so the
// work one request can cause. Beyond it the weakest, soonest-expiring of them
// is dropped and counted.
const MaxPerKey = 256

// slot is one place of the open-addressing index. v is 0 (nothing under this
// key any more), a single posting (bit 62 set: record number and group), or the
// location of a posting list (bit 63 set).
type slot struct{ k, v atomic.Uint64 }

const singleBit = 1 << 62

// index maps identifier keys to postings: linear probing over 16-byte slots
// with a register-blocked Bloom filter in front (one 64-bit word, four bits per
// key), so that a miss costs one cache line. Readers take no lock; the writer
// replaces the whole index when it is two thirds full.
type index struct {
	shift uint
	slots []slot
	bloom []atomic.Uint64
	bsh   uint
	used  int // keys present, with or without postings
	empty int // keys whose postings are gone
	// kinds has a bit for every identifier kind that was ever indexed here; a
	// request's other identifiers need no probe.
	kinds atomic.Uint32
}

func newIndex(size int) *index {
	b := uint(bits.Len(uint(size - 1)))
	w := max(b, 3) - 2 // a word per four slots: at least 24 bits per key at full load
	return &index{shift: 64 - b, slots: make([]slot, 1<<b), bloom: make([]atomic.Uint64, 1<<w), bsh: 64 - w}
}

func (x *index) bytes() int64 { return int64(len(x.slots))*16 + int64(len(x.bloom))*8 }

func bloomMask(k uint64) uint64 {
	return 1<<(k&63) | 1<<(k>>6&63) | 1<<(k>>12&63) | 1<<(k>>18&63)
}

// get returns the key's value, 0 when it has none.
func (x *index) get(k uint64) uint64 {
	m := bloomMask(k)
	if x.bloom[k>>x.bsh].Load()&m != m {
		return 0
	}
	if s := x.find(k); s != nil {
		return s.v.Load()
	}
	return 0
}

// find returns the key's slot, or nil. Keys are indexed by their high bits.
func (x *index) find(k uint64) *slot {
	mask := uint64(len(x.slots) - 1)
	for i := k >> x.shift; ; i = (i + 1) & mask {
		s := &x.slots[i]
		switch s.k.Load() {
		case k:
			return s
		case 0:
			return nil
		}
	}
}

// set stores a key's value; the writer only, with room guaranteed.
func (x *index) set(k, v uint64) {
	mask := uint64(len(x.slots) - 1)
	for i := k >> x.shift; ; i = (i + 1) & mask {
		s := &x.slots[i]
		switch s.k.Load() {
		case k:
			if s.v.Swap(v) == 0 {
				x.empty--
			}
			return
		case 0:
			s.v.Store(v) // the value first: who sees the key sees it too
			s.k.Store(k)
			x.bloom[k>>x.bsh].Or(bloomMask(k))
			x.used++
			return
		}
	}
}

// room replaces the index when it is two thirds full or a quarter empty keys.
func (t *Table) room() *index {
	x := t.index.Load()
	if x.used+1 <= len(x.slots)*2/3 && x.empty <= max(len(x.slots)/4, 64) {
		return x
	}
	size := len(x.slots)
	for size*3/8 < x.used-x.empty+1 { // at most 3/8 full afterwards
		size *= 2
	}
	y := newIndex(size)
	y.kinds.Store(x.kinds.Load())
	for i := range x.slots {
		if v := x.slots[i].v.Load(); v != 0 {
			y.set(x.slots[i].k.Load(), v)
		}
	}
	t.index.Store(y)
	return y
}

// ref packs a record number and a group number into a posting.
func ref(n uint32, g int) uint64 { return singleBit | uint64(n)<<8 | uint64(g) }

func unref(p uint64) (n uint32, g int) { return uint32(p >> 8), int(p & 0xff) }

// postings returns the number of postings under a key.
func (t *Table) postings(k uint64) int {
	v := t.index.Load().get(k)
	switch {
	case v == 0:
		return 0
	case v&locBit == 0:
		return 1
	default:
		return len(t.arena.bytes(v))/8 - 1
	}
}

// addPosting indexes one group under a key, whose kind is the bit.
func (t *Table) addPosting(k uint64, bit uint32, p uint64) {
	// A full arena is no reason to lose a posting: the record itself was let in,
	// and lists of bounded length exceed the limit by little.
	t.arena.reserve(t, 8*(MaxPerKey+2))
	x := t.room()
	x.kinds.Or(bit)
	v := x.get(k)
	switch v {
	case 0:
		x.set(k, p)
		return
	case p:
		return
	}
	list := t.postingList(k, v)
	for i := 8; i < len(list); i += 8 {
		if binary.LittleEndian.Uint64(list[i:]) == p {
			return
		}
	}
	if len(list)/8 > MaxPerKey {
		list = t.dropWeakest(list)
		t.counts.KeyFull++
	}
	list = binary.LittleEndian.AppendUint64(list, p)
	t.storePostings(x, k, v, list)
}

// postingList returns a copy of a key's postings with the key in front.
func (t *Table) postingList(k, v uint64) []byte {
	if v&locBit != 0 {
		return append([]byte(nil), t.arena.bytes(v)...)
	}
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 24), k)
	return binary.LittleEndian.AppendUint64(b, v)
}

// storePostings publishes a list, as a single posting where it has one.
func (t *Table) storePostings(x *index, k, old uint64, list []byte) {
	var v uint64
	switch n := len(list)/8 - 1; {
	case n == 1:
		v = binary.LittleEndian.Uint64(list[8:])
	case n > 1:
		v = t.arena.add(postingOwner, list)
	}
	if v == 0 {
		x.empty++
	}
	if s := x.find(k); s != nil {
		s.v.Store(v)
	}
	if old&locBit != 0 {
		t.arena.dead(old)
	}
}

// dropWeakest removes the posting whose verdict is the weakest and, among
// those, expires first.
func (t *Table) dropWeakest(list []byte) []byte {
	at := 8
	for i := 16; i < len(list); i += 8 {
		n, _ := unref(binary.LittleEndian.Uint64(list[i:]))
		m, _ := unref(binary.LittleEndian.Uint64(list[at:]))
		if weaker(t.meta[n], t.meta[m]) {
			at = i
		}
	}
	return append(list[:at], list[at+8:]...)
}

// dropPostings removes a record's postings that no group of keep needs.
func (t *Table) dropPostings(n uint32, blob []byte, keep []uint64) {
	for g, k := range indexKeys(blob) {
		if g < len(keep) && keep[g] == k {
			continue
		}
		t.removePosting(k, ref(n, g))
	}
}

// chooseIndexBinds picks for each group of a new record the bind under which it
// is found, writes the choice into the record and returns the keys. The most
// selective is the one with the fewest postings now, then the narrower kind. A
// group whose binds did not change keeps its place, so that renewals are cheap
// and readers never lose sight of it.
func (t *Table) chooseIndexBinds(blob, old []byte) []uint64 {
	site := siteSeed(Entry{blob}.site())
	keys := make([]uint64, 0, 8)
	was := groups(old)
	for g := range groups(blob) {
		if before, ok := was.at(g.n); ok && string(before.all()) == string(g.all()) {
			g.setIndexBind(before.indexBind())
			keys = append(keys, g.indexKey(site))
			continue
		}
		best, bestKey, bestCount, bestRank := 0, uniformKey(site), 0, 0
		i := 0
		for b := range g.binds() {
			k := b.key(site)
			n, r := t.postings(k), b.rank()
			if i == 0 || n < bestCount || n == bestCount && r < bestRank {
				best, bestKey, bestCount, bestRank = i, k, n, r
			}
			i++
		}
		g.setIndexBind(best)
		keys = append(keys, bestKey)
	}
	return keys
}

func (t *Table) removePosting(k, p uint64) {
	x := t.index.Load()
	v := x.get(k)
	if v == 0 {
		return
	}
	list := t.postingList(k, v)
	for i := 8; i < len(list); i += 8 {
		if binary.LittleEndian.Uint64(list[i:]) == p {
			t.storePostings(x, k, v, append(list[:i], list[i+8:]...))
			return
		}
	}
}
