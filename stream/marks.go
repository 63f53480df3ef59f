package stream

import (
	"errors"
	"slices"
	"strings"
)

// maxProducers bounds the producers remembered per partition. A producer is one
// start of one process, so a few thousand cover months; the one unseen for
// longest is forgotten first, and only a record of it that is repeated later
// than that would be taken twice.
const maxProducers = 4096

// maxHoles bounds the missing ranges remembered per producer; the oldest is
// given up first.
const maxHoles = 8

// marks remembers per producer incarnation the number of the next event it owes
// to this partition, so that a repeated record is dropped and a missing one is
// noticed. A broker that is killed forgets its own memory of producers: then a
// record may stand on the log twice, or behind its successor.
type marks struct {
	byProducer map[string]mark
}

type mark struct {
	next   uint64   // number of the next event
	offset int64    // where the producer was last seen, for eviction
	holes  []span64 // missing below next, in order
}

// span64 are the numbers [from, to).
type span64 struct{ from, to uint64 }

// errOverlap says that a record repeats some of a producer's numbers and not
// others. Producers send a record again whole or not at all, so its numbers are
// not to be believed.
var errOverlap = errors.New("event numbers overlap those of an earlier record")

// taken is what a record's numbers say.
type taken struct {
	// repeated: the record was taken before. late: it was missing until now.
	repeated, late bool
	// missing events stand before the record's first and have not come (yet).
	missing uint64
}

// take accounts a record of count events, the first numbered first, found at
// offset.
func (m *marks) take(producer string, first uint64, count int, offset int64) (t taken, err error) {
	if m.byProducer == nil {
		m.byProducer = make(map[string]mark)
	}
	end := first + uint64(count)
	k, known := m.byProducer[producer]
	k.offset = offset
	switch {
	case !known:
		// Numbers start at 1 with a producer's incarnation, but its first records
		// may have expired or been forgotten: that is no loss we can tell.
		if len(m.byProducer) >= maxProducers {
			m.evict()
		}
		producer, k.next = strings.Clone(producer), end
	case first >= k.next:
		if t.missing = first - k.next; t.missing > 0 {
			k.holes = append(slices.Clone(k.holes), span64{k.next, first})
			k.holes = k.holes[max(0, len(k.holes)-maxHoles):]
		}
		k.next = end
	case k.fill(first, end):
		t.late = true
	case end <= k.next && !k.touches(first, end):
		t.repeated = true
	default:
		return taken{}, errOverlap
	}
	m.byProducer[producer] = k
	return t, nil
}

// fill takes [first, end) out of the hole that holds all of it.
func (k *mark) fill(first, end uint64) bool {
	for i, h := range k.holes {
		if first < h.from || end > h.to {
			continue
		}
		rest := slices.Clone(k.holes[:i])
		for _, part := range []span64{{h.from, first}, {end, h.to}} {
			if part.from < part.to {
				rest = append(rest, part)
			}
		}
		k.holes = append(rest, k.holes[i+1:]...)
		k.holes = k.holes[max(0, len(k.holes)-maxHoles):]
		return true
	}
	return false
}

func (k *mark) touches(first, end uint64) bool {
	return slices.ContainsFunc(k.holes, func(h span64) bool { return first < h.to && h.from < end })
}

// evict forgets the producer unseen for longest; offsets are unique per
// partition record, so the choice is the same on every replay.
func (m *marks) evict() {
	var oldest string
	at := int64(-1)
	for p, k := range m.byProducer {
		if at < 0 || k.offset < at {
			oldest, at = p, k.offset
		}
	}
	delete(m.byProducer, oldest)
}

func (m *marks) appendTo(w *stateWriter) {
	keys := make([]string, 0, len(m.byProducer))
	for p := range m.byProducer {
		keys = append(keys, p)
	}
	slices.Sort(keys)
	w.uint(uint64(len(keys)))
	for _, p := range keys {
		k := m.byProducer[p]
		w.text(p)
		w.uint(k.next)
		w.int(k.offset)
		w.uint(uint64(len(k.holes)))
		for _, h := range k.holes {
			w.uint(h.from)
			w.uint(h.to)
		}
	}
}

func (m *marks) readFrom(r *stateReader) {
	n := r.count(maxProducers)
	m.byProducer = make(map[string]mark, n)
	for range n {
		p := r.text()
		k := mark{next: r.uint(), offset: r.int()}
		for range r.count(maxHoles) {
			k.holes = append(k.holes, span64{r.uint(), r.uint()})
		}
		m.byProducer[p] = k
	}
}
