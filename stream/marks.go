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

// marks remembers per producer incarnation the number of the next event it owes
// to this partition, so that a repeated record is dropped and a missing one is
// noticed (notes on kill -9 of a broker: its idempotence window is lost).
type marks struct {
	byProducer map[string]mark
}

type mark struct {
	next   uint64 // number of the next event
	offset int64  // where the producer was last seen, for eviction
}

// errOverlap says that a record repeats some of a producer's numbers and not
// others. Producers send a record again whole or not at all, so its numbers are
// not to be believed.
var errOverlap = errors.New("event numbers overlap those of an earlier record")

// take accounts a record of count events, the first numbered first, found at
// offset: repeated when it was taken before, missing the events before it that
// never came.
func (m *marks) take(producer string, first uint64, count int, offset int64) (repeated bool, missing uint64, err error) {
	if m.byProducer == nil {
		m.byProducer = make(map[string]mark)
	}
	end := first + uint64(count) //nolint:gosec // the decoder bounds count
	old, known := m.byProducer[producer]
	switch {
	case !known:
		// Numbers start at 1 with a producer's incarnation, but its first records
		// may have expired or been forgotten: that is no loss we can tell.
		if len(m.byProducer) >= maxProducers {
			m.evict()
		}
		producer = strings.Clone(producer)
	case end <= old.next:
		m.byProducer[producer] = mark{next: old.next, offset: offset}
		return true, 0, nil
	case first < old.next:
		return false, 0, errOverlap
	default:
		missing = first - old.next
	}
	m.byProducer[producer] = mark{next: end, offset: offset}
	return false, missing, nil
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
	}
}

func (m *marks) readFrom(r *stateReader) {
	n := r.count(maxProducers)
	m.byProducer = make(map[string]mark, n)
	for range n {
		p := r.text()
		m.byProducer[p] = mark{next: r.uint(), offset: r.int()}
	}
}
