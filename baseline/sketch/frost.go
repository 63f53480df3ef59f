package sketch

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
)

// A page of a frozen slice is in one of these states: as it was at the cut and not
// read yet; being copied by its owner; copied by its owner, who may change it, to
// saved; or read by the cut's reader, so that the owner may change it as well.
const (
	pageFrozen uint32 = iota
	pageKept
	pageSaved
	pageDone
)

// page is the unit that is saved.
type page [pageBytes]byte

// frost guards one slice for one cut. The owner never waits for the cut's reader,
// which the kernel may have put to sleep in the middle of a page: the reader copies
// first, and what it has copied counts if nobody has claimed the page meanwhile.
type frost struct {
	bytes []byte
	state []atomic.Uint32
	saved []*page
	spare *spares
	// over: the cut is written or given up.
	over *atomic.Bool
}

// keep is the owner's half: after it, page p may change.
func (f *frost) keep(p int) {
	if s := f.state[p].Load(); s != pageFrozen || !f.state[p].CompareAndSwap(pageFrozen, pageKept) {
		return // saved by this same owner before, or read
	}
	c := f.spare.get()
	c[0] = 0 // before anything reads it: see spares
	copy(c[:], block(f.bytes, p*pageBytes))
	f.saved[p] = c
	f.state[p].Store(pageSaved)
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
		case pageKept:
			runtime.Gosched() // the owner copies it, for a microsecond
			continue
		}
		glance(b, block(f.bytes, p*pageBytes))
		if f.state[p].CompareAndSwap(pageFrozen, pageDone) {
			return // the owner had not claimed it up to here, so it had not changed it
		}
	}
}

// glance copies what the owner may be changing: then the copy is thrown away. The
// race detector cannot know that, and it looks into copy.
//
//go:norace
func glance(dst, src []byte) {
	dst = dst[:len(src)]
	for len(src) >= 8 && len(dst) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src))
		dst, src = dst[8:], src[8:]
	}
	for i := range src { //nolint:staticcheck // not copy: see above
		dst[i] = src[i]
	}
}

// spares are the buffers of saved pages. The reader makes them and takes them back,
// so that the owner seldom has to ask the allocator; neither waits for the other.
//
// Fresh memory is written before it is read, be it by a check for nil: what is read
// first the kernel maps to its page of zeros, and to map it anew at the first write
// it waits until the other processors have forgotten that, milliseconds where one of
// them is a virtual one that does not run.
type spares struct {
	ring       [1024]*page
	head, tail atomic.Uint32
}

// reserve is how many spare pages the reader has ready for its owner.
const reserve = 512

// get is the owner's.
func (s *spares) get() *page {
	at := s.head.Load()
	if at == s.tail.Load() {
		return new(page)
	}
	i := at % uint32(len(s.ring))
	p := s.ring[i]
	s.ring[i] = nil
	s.head.Store(at + 1)
	return p
}

// put is the reader's; what there is no place for is the collector's.
func (s *spares) put(p *page) {
	at := s.tail.Load()
	if at-s.head.Load() < uint32(len(s.ring)) {
		s.ring[at%uint32(len(s.ring))] = p
		s.tail.Store(at + 1)
	}
}

// fill makes the reserve, for the reader.
func (s *spares) fill() {
	n := s.tail.Load() - s.head.Load()
	if n >= reserve/2 {
		return
	}
	more := make([]page, reserve-n)
	for i := range more {
		more[i][0] = 0
		s.put(&more[i])
	}
}
