package wire

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/weirproject/weir/stream/event"
)

// Stitcher writes many records as the ArrowStream body of one ClickHouse insert
// into events: the table columns (never the log-only ones) with what the engine
// found for each event and where the event stands on the log. Column buffers
// are copied as they are; dictionary entries are joined, indices renumbered, no
// row is re-encoded. Records of any minor version may be mixed.
//
// Small records are merged into batches of up to BatchRows rows, since both
// sides pay per batch and dictionary. Memory stays at one batch however many
// rows the insert has; each full batch is written out at once.
type Stitcher struct {
	w       io.Writer
	cols    []column
	batch   batch
	out     []byte
	remap   []uint16
	n       int
	last    int // rows of the last Add
	total   int
	started bool
	err     error
}

// Bounds of a written batch.
const (
	batchRows  = 16384
	batchBytes = 8 << 20
)

// NewStitcher returns a stitcher that writes to w.
func NewStitcher(w io.Writer) *Stitcher {
	return &Stitcher{w: w, cols: newColumns(stitchedColumns)}
}

// Reset starts another insert on w and keeps the memory.
func (s *Stitcher) Reset(w io.Writer) {
	s.clear()
	s.w, s.total, s.started, s.err = w, 0, false, nil
}

func (s *Stitcher) clear() {
	for i := range s.cols {
		s.cols[i].reset()
	}
	s.n = 0
}

// Rows is the number of events added since the start or Reset.
func (s *Stitcher) Rows() int { return s.total }

// Add adds all events of b, which stands at (partition, offset) of weir.events.
// actors and routes are the engine's results per event, both of length b.Len or
// nil for none; nothing is kept of them. An error of the writer is final.
func (s *Stitcher) Add(b *Batch, partition int32, offset int64, actors []event.Hash, routes []string) error {
	n := b.Len()
	if s.err != nil {
		return s.err
	}
	if actors != nil && len(actors) != n || routes != nil && len(routes) != n {
		return fmt.Errorf("stitch %d/%d: %d events, %d actors, %d routes", partition, offset, n, len(actors), len(routes))
	}
	if s.n > 0 && !s.fits(b) {
		if err := s.flush(); err != nil {
			return err
		}
	}
	for c := range numTableColumns {
		s.cols[c].appendSource(&b.cols[c], n, &s.remap)
	}
	for i := range n {
		var actor event.Hash
		if actors != nil {
			actor = actors[i]
		}
		s.cols[colActor].u64(uint64(actor))
		route := ""
		if routes != nil {
			route = routes[i]
		}
		s.cols[colLearnedRoute].lc(route)
		s.cols[colPartition].u32(uint32(partition))
		s.cols[colOffset].u64(uint64(offset))
		s.cols[colRow].u32(uint32(i))
	}
	s.n += n
	s.last = n
	s.total += n
	return nil
}

// Mark sets flags on event i of the batch that was added last, for what only
// the processor knows (event.FlagShadowed).
func (s *Stitcher) Mark(i int, flags event.Flags) {
	if s.err != nil || i < 0 || i >= s.last {
		return
	}
	cell := s.cols[colFlags].fixed[4*(s.n-s.last+i):]
	binary.LittleEndian.PutUint32(cell, binary.LittleEndian.Uint32(cell)|uint32(flags))
}

// fits reports whether b's rows and dictionary entries fit into the batch under
// construction.
func (s *Stitcher) fits(b *Batch) bool {
	if s.n+b.Len() > batchRows {
		return false
	}
	bytes := 0
	for c := range numTableColumns {
		col := &s.cols[c]
		bytes += len(col.fixed) + len(col.data) + len(col.key.data) + len(col.val.data)
		if col.dict != nil && col.dict.n+len(b.cols[c].strs) > maxDictionary {
			return false
		}
	}
	return bytes < batchBytes && s.cols[colLearnedRoute].dict.n+b.Len() <= maxDictionary
}

func (s *Stitcher) flush() error {
	s.out = s.out[:0]
	if !s.started {
		s.out = append(s.out, insertSchema...)
		s.started = true
	}
	if s.n > 0 {
		s.out = appendStream(s.out, &s.batch, s.cols, s.n)
	}
	s.clear()
	_, s.err = s.w.Write(s.out)
	return s.err
}

// Close writes what is left and the end of the stream. It does not close the
// writer.
func (s *Stitcher) Close() error {
	if s.err != nil {
		return s.err
	}
	if err := s.flush(); err != nil {
		return err
	}
	_, s.err = s.w.Write(endOfStream)
	return s.err
}

// appendSource adds n rows of a decoded column. remap is scratch space.
func (c *column) appendSource(src *source, n int, remap *[]uint16) {
	//exhaustive:ignore
	switch c.kind {
	case kindUTF8:
		c.appendView(&src.view, n)
	case kindMap:
		items := c.appendSpans(&src.view, n)
		c.key.appendPart(&src.key, items)
		c.val.appendPart(&src.val, items)
	case kindListUint:
		items := c.appendSpans(&src.view, n)
		c.items = append(c.items, src.fixed[8*items.from:8*items.to]...)
	case kindDict:
		c.appendIndices(src, n, remap)
	default:
		c.fixed = append(c.fixed, src.fixed[:widths[c.kind]*n]...)
	}
}

// appendIndices joins the dictionaries, then renumbers the indices.
func (c *column) appendIndices(src *source, n int, remap *[]uint16) {
	m := *remap
	if cap(m) < len(src.strs) {
		m = make([]uint16, len(src.strs))
	}
	m = m[:len(src.strs)]
	*remap = m
	for i, s := range src.strs {
		m[i] = c.dict.index(s)
	}
	at := len(c.fixed)
	c.fixed = append(c.fixed, src.fixed[:2*n]...)
	for out := c.fixed[at:]; len(out) >= 2; out = out[2:] {
		binary.LittleEndian.PutUint16(out, m[binary.LittleEndian.Uint16(out)])
	}
}

// items is a range of child items.
type items struct{ from, to int }

// appendSpans adds n rows of list offsets, shifted to follow the items that are
// there, and returns the range of items that the caller must add.
func (c *column) appendSpans(v *view, n int) items {
	from, _ := spanOf(v, 0, n)
	_, to := spanOf(v, n-1, n)
	have := int(binary.LittleEndian.Uint32(c.offs[len(c.offs)-4:]))
	c.offs = appendShifted(c.offs, v.offs[4:4*(n+1)], have-from)
	return items{from, to}
}

func spanOf(v *view, i, n int) (int, int) {
	if n == 0 {
		return 0, 0
	}
	return v.span(i)
}

func appendShifted(dst, offs []byte, shift int) []byte {
	for ; len(offs) >= 4; offs = offs[4:] {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(int(binary.LittleEndian.Uint32(offs))+shift))
	}
	return dst
}

func (t *texts) appendView(v *view, n int) { t.appendPart(v, items{0, n}) }

// appendPart adds the rows from r.from to r.to.
func (t *texts) appendPart(v *view, r items) {
	if r.from == r.to {
		return
	}
	from, _ := v.span(r.from)
	_, to := v.span(r.to - 1)
	shift := len(t.data) - from
	t.data = append(t.data, v.data[from:to]...)
	t.offs = appendShifted(t.offs, v.offs[4*(r.from+1):4*(r.to+1)], shift)
}
