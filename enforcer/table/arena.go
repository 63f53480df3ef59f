package table

import (
	"encoding/binary"
	"sync/atomic"
)

// chunkBytes is the size of one arena chunk. A record is at most
// maxRecordBytes, so little is wasted at a chunk's end.
const chunkBytes = 1 << 20

// entryHeader precedes each arena entry: its owner's record number, or
// postingOwner, and its length in bytes, both 32 bit.
const (
	entryHeader  = 8
	postingOwner = ^uint32(0)
)

// A location names an entry: bit 63 is set, then 43 bits of chunk id, then 20
// bits of offset of the payload. 0 is nowhere.
const (
	locBit     = 1 << 63
	offsetBits = 20
)

// chunk is immutable where it has been published: the writer only appends.
type chunk struct {
	id   uint64
	used int
	live int // bytes of entries that are still referred to
	b    []byte
}

// arena holds entries that never change once published. The writer alone adds
// entries and drops whole chunks; readers hold a chunk as long as they like,
// because the garbage collector frees it only after them.
//
// A reader that loads a location and then finds another chunk in its directory
// slot, or none, has been overtaken by a compaction and loads the location
// again. Chunk ids are never reused, so it cannot mistake one for another.
type arena struct {
	dir    []atomic.Pointer[chunk]
	max    int // chunks
	n      int // chunks in use
	nextID uint64
	cur    *chunk
	garb   int64 // dead bytes in all chunks
}

func (a *arena) init(maxBytes int64) {
	a.max = int(maxBytes / chunkBytes)
	size := 4
	for size < 2*a.max {
		size *= 2
	}
	a.dir = make([]atomic.Pointer[chunk], size)
}

func (a *arena) slot(id uint64) *atomic.Pointer[chunk] { return &a.dir[id&uint64(len(a.dir)-1)] }

// read returns the payload at a location, or false when the chunk is gone.
func (a *arena) read(loc uint64) ([]byte, bool) {
	id := (loc &^ locBit) >> offsetBits
	c := a.slot(id).Load()
	if c == nil || c.id != id {
		return nil, false
	}
	off := loc & (1<<offsetBits - 1)
	n := binary.LittleEndian.Uint32(c.b[off-4:])
	return c.b[off : off+uint64(n) : off+uint64(n)], true
}

// bytes is read for the writer, whose locations are always good.
func (a *arena) bytes(loc uint64) []byte {
	b, _ := a.read(loc)
	return b
}

// reserve makes sure that the next add of n bytes fits, compacting if need be.
func (a *arena) reserve(t *Table, n int) bool {
	need := n + entryHeader
	if a.cur != nil && a.cur.used+need <= chunkBytes {
		return true
	}
	// One chunk stays free for compaction to copy into.
	for a.n+1 >= a.max || a.garb > int64(a.n)*chunkBytes/2 && a.n > 4 {
		if !a.compact(t) {
			break
		}
		if a.cur != nil && a.cur.used+need <= chunkBytes {
			return true
		}
	}
	if a.n+1 >= a.max {
		return false
	}
	a.open()
	return true
}

// open starts a new chunk.
func (a *arena) open() {
	for a.slot(a.nextID).Load() != nil {
		a.nextID++
	}
	a.cur = &chunk{id: a.nextID, b: make([]byte, chunkBytes)}
	a.slot(a.nextID).Store(a.cur)
	a.nextID++
	a.n++
}

// add copies an entry in; reserve has been called, or this is a compaction or a
// posting, which may open the spare chunk.
func (a *arena) add(owner uint32, payload []byte) uint64 {
	need := entryHeader + len(payload)
	if a.cur == nil || a.cur.used+need > chunkBytes {
		a.open()
	}
	c := a.cur
	binary.LittleEndian.PutUint32(c.b[c.used:], owner)
	binary.LittleEndian.PutUint32(c.b[c.used+4:], uint32(len(payload)))
	off := c.used + entryHeader
	copy(c.b[off:], payload)
	c.used += need
	c.live += need
	return locBit | c.id<<offsetBits | uint64(off)
}

// dead notes that nothing refers to the entry any more.
func (a *arena) dead(loc uint64) {
	if loc == 0 {
		return
	}
	c := a.slot((loc &^ locBit) >> offsetBits).Load()
	n := entryHeader + int(binary.LittleEndian.Uint32(c.b[loc&(1<<offsetBits-1)-4:]))
	c.live -= n
	a.garb += int64(n)
}

// compact empties the chunk with the least live bytes. False means that none
// would give anything back.
func (a *arena) compact(t *Table) bool {
	var victim *chunk
	for i := range a.dir {
		if c := a.dir[i].Load(); c != nil && c != a.cur && (victim == nil || c.live < victim.live) {
			victim = c
		}
	}
	if victim == nil || victim.live > victim.used-chunkBytes/16 {
		return false
	}
	garbage := int64(victim.used - victim.live)
	for p := 0; p < victim.used; {
		owner := binary.LittleEndian.Uint32(victim.b[p:])
		n := int(binary.LittleEndian.Uint32(victim.b[p+4:]))
		off := p + entryHeader
		t.move(owner, locBit|victim.id<<offsetBits|uint64(off), victim.b[off:off+n])
		p = off + n
	}
	a.slot(victim.id).Store(nil)
	a.n--
	a.garb -= garbage
	return true
}

func (a *arena) size() int64 { return int64(a.n) * chunkBytes }

// move gives a live entry a new place during compaction.
func (t *Table) move(owner uint32, at uint64, payload []byte) {
	if owner != postingOwner {
		if t.loc[owner].Load() == at {
			t.loc[owner].Store(t.arena.add(owner, payload))
		}
		return
	}
	key := binary.LittleEndian.Uint64(payload)
	if s := t.index.Load().find(key); s != nil && s.v.Load() == at {
		s.v.Store(t.arena.add(postingOwner, payload))
	}
}
