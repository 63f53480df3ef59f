package table

import (
	"math"

	"github.com/weirproject/weir/stream/event"
)

// expiry is one entry of an expiry heap. It is stale when its record has been
// revised or removed since; stale entries are skipped when they surface.
type expiry struct {
	at  int64
	n   uint32
	rev uint32
}

// expiryHeap is a binary heap of the records of one eviction class, soonest
// first.
type expiryHeap struct{ e []expiry }

func (h *expiryHeap) push(x expiry) {
	h.e = append(h.e, x)
	i := len(h.e) - 1
	for i > 0 {
		p := (i - 1) / 2
		if h.e[p].at <= h.e[i].at {
			break
		}
		h.e[p], h.e[i] = h.e[i], h.e[p]
		i = p
	}
}

func (h *expiryHeap) pop() {
	last := len(h.e) - 1
	h.e[0] = h.e[last]
	h.e = h.e[:last]
	h.down(0)
}

func (h *expiryHeap) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h.e) {
			return
		}
		if c+1 < len(h.e) && h.e[c+1].at < h.e[c].at {
			c++
		}
		if h.e[i].at <= h.e[c].at {
			return
		}
		h.e[i], h.e[c] = h.e[c], h.e[i]
		i = c
	}
}

// first returns the soonest-expiring record of a class, dropping stale entries.
func (t *Table) first(class int) (expiry, bool) {
	h := &t.expiring[class]
	for len(h.e) > 0 {
		x := h.e[0]
		if t.current(x, class) {
			return x, true
		}
		h.pop()
	}
	return expiry{}, false
}

func (t *Table) current(x expiry, class int) bool {
	m := &t.meta[x.n]
	return m.used && m.rev == x.rev && m.expires == x.at && int(m.class) == class
}

// trimHeaps drops the stale entries of a class's heap once they outnumber the
// records, so that renewals do not grow it.
func (t *Table) trimHeaps(class uint8) {
	h := &t.expiring[class]
	if len(h.e) < 2*len(t.ids)+1024 {
		return
	}
	kept := h.e[:0]
	for _, x := range h.e {
		if t.current(x, int(class)) {
			kept = append(kept, x)
		}
	}
	h.e = kept
	for i := len(h.e)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// Sweep removes what has been expired for longer than Config.SweepGrace at now,
// and returns how many verdicts and tombstones went.
func (t *Table) Sweep(now int64) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sweep(now, math.MaxInt)
}

func (t *Table) sweep(now int64, most int) int {
	limit, n := now-int64(t.cfg.SweepGrace), 0
	for class := range t.expiring {
		for n < most {
			x, ok := t.first(class)
			if !ok || x.at > limit {
				break
			}
			t.remove(x.n)
			n++
		}
	}
	t.counts.Swept += uint64(n)
	return n
}

// weaker orders verdicts for eviction: the weaker action goes first, among
// equals the one that expires sooner. Tombstones are the weakest.
func weaker(a, b meta) bool {
	if a.class != b.class {
		return a.class < b.class
	}
	return a.expires < b.expires
}

// makeRoom sees to it that one more record may come, if it is stronger than
// what has to go.
func (t *Table) makeRoom(m meta) bool {
	return len(t.ids) < t.cfg.MaxVerdicts || t.evict(m, math.MaxUint32)
}

// evictForBytes evicts until the arena has room for a record of n bytes.
func (t *Table) evictForBytes(m meta, n uint32, known bool, need int) bool {
	if !known {
		n = math.MaxUint32
	}
	for t.evict(m, n) {
		if t.arena.reserve(t, need) {
			return true
		}
	}
	return false
}

// evict removes the weakest record if it is weaker than m and not record keep.
func (t *Table) evict(m meta, keep uint32) bool {
	for class := range int(event.ActionBlock) + 1 {
		x, ok := t.first(class)
		if !ok {
			continue
		}
		if x.n == keep || !weaker(t.meta[x.n], m) {
			return false
		}
		t.remove(x.n)
		t.counts.Evicted++
		return true
	}
	return false
}

// remove takes a record out: its postings first, so that no reader is sent to a
// number that may be reused meanwhile.
func (t *Table) remove(n uint32) {
	blob := t.arena.bytes(t.loc[n].Load())
	t.dropPostings(n, blob, nil)
	t.arena.dead(t.loc[n].Swap(0))
	t.count(blob, -1)
	delete(t.ids, t.meta[n].key)
	t.meta[n] = meta{}
	t.free = append(t.free, n)
}

// takeNumber returns a free record number; makeRoom has been called.
func (t *Table) takeNumber() uint32 {
	if last := len(t.free) - 1; last >= 0 {
		n := t.free[last]
		t.free = t.free[:last]
		return n
	}
	t.meta = append(t.meta, meta{})
	return uint32(len(t.meta) - 1)
}
