package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"unsafe"
)

// Limits bound what a Decoder accepts.
type Limits struct {
	// Bytes of a record value; default 8 MiB.
	Bytes int
	// Rows of a record; default 16,384, most 65,536.
	Rows int
	// DictionaryEntries of one column; default and most 65,536.
	DictionaryEntries int
	// Layouts is how many foreign schemas are remembered; default 8.
	Layouts int
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&l.Bytes, 8<<20)
	set(&l.Rows, 16384)
	set(&l.DictionaryEntries, maxDictionary)
	set(&l.Layouts, 8)
	l.DictionaryEntries = min(l.DictionaryEntries, maxDictionary)
	l.Rows = min(l.Rows, maxDictionary) // each row may bring a learned route to the Stitcher
	return l
}

// Decoder opens records. It reuses the memory of one Batch and is not safe for
// concurrent use.
type Decoder struct {
	limits  Limits
	layouts map[string]*layout
	batch   Batch
	// read keeps the reading through of values from being left out.
	read byte
}

// NewDecoder returns a decoder; zero limits take their defaults.
func NewDecoder(limits Limits) *Decoder {
	return &Decoder{limits: limits.withDefaults(), layouts: map[string]*layout{}}
}

// Decode checks a record's value and returns its events as a batch, which is
// valid until the next call and aliases value: the caller must not change the
// value while the batch or strings of its events are in use. Errors wrap
// ErrCorrupt or ErrVersion. info comes from ParseInfo; its schema and count must
// agree with the value.
func (d *Decoder) Decode(info Info, value []byte) (*Batch, error) {
	b, err := d.DecodeValue(value)
	switch {
	case err != nil:
		return nil, err
	case info.Kind != KindEvents:
		return nil, corrupt("a %v record holds no events", info.Kind)
	case info.Schema != b.layout.fingerprint:
		return nil, corrupt("header schema %v, value has %v", info.Schema, b.layout.fingerprint)
	case info.Count != b.rows:
		return nil, corrupt("header count %d, value has %d rows", info.Count, b.rows)
	}
	return b, nil
}

// DecodeValue is Decode for a value without headers.
func (d *Decoder) DecodeValue(value []byte) (*Batch, error) {
	if len(value) > d.limits.Bytes {
		return nil, corrupt("%d bytes, limit %d", len(value), d.limits.Bytes)
	}
	// Sixty columns are sixty places to wait for memory at; read through in order
	// first, the value comes as fast as memory gives.
	for at := 0; at < len(value); at += 64 {
		d.read += value[at]
	}
	l, rest, err := d.schema(value)
	if err != nil {
		return nil, err
	}
	b := &d.batch
	b.open(l)
	for n := 0; ; n++ {
		m, ok, err := cutMessage(rest)
		switch {
		case err != nil:
			return nil, err
		case !ok && b.rows < 0:
			return nil, corrupt("no record batch before the end")
		case !ok:
			return b, nil
		case n > 2*maxFields:
			return nil, corrupt("more than %d messages", 2*maxFields)
		case b.rows >= 0:
			return nil, corrupt("a message follows the record batch")
		case m.header == headerDictionary:
			err = d.dictionary(b, &m)
		case m.header == headerRecord:
			err = d.record(b, &m)
		default:
			err = corrupt("message type %d", m.header)
		}
		if err != nil {
			return nil, err
		}
		rest = rest[m.size:]
	}
}

// schema cuts the schema message off a value and returns its layout. Our own is
// known by its bytes.
func (d *Decoder) schema(value []byte) (*layout, []byte, error) {
	if bytes.HasPrefix(value, logSchema) {
		return ownLayout, value[len(logSchema):], nil
	}
	if len(value) < 8 {
		return nil, nil, corrupt("%d bytes", len(value))
	}
	size := 8 + int(binary.LittleEndian.Uint32(value[4:]))
	if size > maxSchemaBytes || size > len(value) {
		return nil, nil, corrupt("schema of %d bytes in a record of %d, limit %d", size, len(value), maxSchemaBytes)
	}
	if l := d.layouts[string(value[:size])]; l != nil {
		return l, value[size:], nil
	}
	l, err := parseSchema(value[:size])
	if err != nil {
		return nil, nil, err
	}
	if len(d.layouts) >= d.limits.Layouts {
		clear(d.layouts)
	}
	d.layouts[string(value[:size])] = l
	return l, value[size:], nil
}

// parts are the nodes and buffers of a record batch message.
type parts struct {
	m              *message
	nodes, buffers int // first positions
	rows           int
}

// cutParts checks a record batch's shape: its vectors have the wanted counts and
// no compression.
func cutParts(m *message, table, nodes, buffers, limit int) (p parts, err error) {
	f := &m.flat
	rows := f.num(table, 0, 8)
	var n, k int
	p.nodes, n = f.vector(table, 1, 16)
	p.buffers, k = f.vector(table, 2, 16)
	switch {
	case f.bad:
		return p, corrupt("record batch metadata is damaged")
	case n != nodes || k != buffers:
		return p, corrupt("record batch has %d nodes and %d buffers, schema wants %d and %d", n, k, nodes, buffers)
	case rows < 0 || rows > int64(limit):
		return p, corrupt("%d rows, limit %d", rows, limit)
	case f.slot(table, 3) != 0:
		return p, corrupt("compressed record batch: compress the Kafka batch instead")
	}
	p.m, p.rows = m, int(rows)
	return p, nil
}

// node returns the length of node i; nulls are refused, our columns have none.
func (p *parts) node(i int) (int, error) {
	n, nulls := p.m.i64(p.nodes+16*i), p.m.i64(p.nodes+16*i+8)
	if n < 0 || n > int64(len(p.m.body)) || nulls != 0 {
		return 0, corrupt("field node of %d values and %d nulls", n, nulls)
	}
	return int(n), nil
}

// buffer returns body buffer i.
func (p *parts) buffer(i int) ([]byte, error) {
	from, n := p.m.i64(p.buffers+16*i), p.m.i64(p.buffers+16*i+8)
	if size := int64(len(p.m.body)); from < 0 || n < 0 || from > size || n > size-from {
		return nil, corrupt("buffer at %d of %d bytes in a body of %d", from, n, size)
	}
	return p.m.body[from : from+n], nil
}

// fixed returns the buffer of n values of width bytes.
func (p *parts) fixed(i, n, width int) ([]byte, error) {
	b, err := p.buffer(i)
	if err == nil && len(b)/width < n {
		err = corrupt("%d bytes for %d values of %d", len(b), n, width)
	}
	if err != nil {
		return nil, err
	}
	return b[:n*width], nil
}

// offsets returns n+1 offsets that rise from 0 or more to at most limit. An
// empty array may have none (Arrow format, variable-size layout).
func (p *parts) offsets(i, n, limit int) ([]byte, error) {
	b, err := p.buffer(i)
	if err != nil {
		return nil, err
	}
	if n == 0 && len(b) < 4 {
		return zero8[:4], nil
	}
	if len(b)/4 < n+1 {
		return nil, corrupt("%d bytes for %d offsets", len(b), n+1)
	}
	b = b[:4*(n+1)]
	// A body is smaller than 2 GiB: the highest bit of bad is set by an offset that
	// is not, by one beyond limit, and by one below the one before.
	last, bad, rest := uint32(0), uint32(0), b
	if alike(b, 4) {
		rest = b[:4]
	}
	for at := 0; at+4 <= len(rest); at += 4 {
		o := binary.LittleEndian.Uint32(rest[at : at+4 : at+4])
		bad |= o | (uint32(limit) - o) | (o - last)
		last = o
	}
	if bad>>31 != 0 {
		return nil, corrupt("%d offsets fall, or go beyond %d", n+1, limit)
	}
	return b, nil
}

func (p *parts) texts(i, n int) (t view, err error) {
	if t.data, err = p.buffer(i + 1); err == nil {
		t.offs, err = p.offsets(i, n, len(t.data))
	}
	return t, err
}

// dictionary takes one dictionary batch; ids of unknown columns are skipped.
func (d *Decoder) dictionary(b *Batch, m *message) error {
	id, delta := m.num(m.table, 0, 8), m.num(m.table, 2, 1)
	c, ours := b.layout.dictionaries[id]
	if !ours {
		return nil
	}
	if delta != 0 {
		return corrupt("delta dictionary of column %s", columns[c].name)
	}
	p, err := cutParts(m, m.at(m.slot(m.table, 1)), 1, 3, d.limits.DictionaryEntries)
	if err != nil {
		return fmt.Errorf("dictionary of column %s: %w", columns[c].name, err)
	}
	n, err := p.node(0)
	if err == nil && n != p.rows {
		err = corrupt("%d values in %d rows", n, p.rows)
	}
	var t view
	if err == nil {
		t, err = p.texts(1, n)
	}
	if err != nil {
		return fmt.Errorf("dictionary of column %s: %w", columns[c].name, err)
	}
	strs := b.cols[c].strs[:0]
	for i := range n {
		strs = append(strs, t.str(i))
	}
	b.cols[c].strs = strs
	return nil
}

// record takes the record batch.
func (d *Decoder) record(b *Batch, m *message) error {
	l := b.layout
	p, err := cutParts(m, m.table, l.nodes, l.buffers, d.limits.Rows)
	if err != nil {
		return err
	}
	for c := range columns {
		if l.at[c] < 0 {
			b.cols[c].absent(columns[c].kind, p.rows)
			continue
		}
		if err := b.cols[c].take(&p, &l.fields[l.at[c]]); err != nil {
			return fmt.Errorf("column %s: %w", columns[c].name, err)
		}
		if !b.cols[c].alike(columns[c].kind) {
			b.varies |= 1 << c
		}
	}
	b.rows = p.rows
	return b.prepare()
}

// source is one column of an opened batch, checked so that every row can be
// read.
type source struct {
	view            // utf8, or the offsets of a list or map
	fixed    []byte // fixed-width values, dictionary indices or list items
	strs     []string
	key, val view
}

// view is an Arrow utf8 array.
type view struct{ offs, data []byte }

// span returns the bounds of row i.
func (v *view) span(i int) (from, to int) {
	o := v.offs[4*i : 4*i+8 : 4*i+8]
	return int(binary.LittleEndian.Uint32(o)), int(binary.LittleEndian.Uint32(o[4:]))
}

// str returns row i, aliasing the record's value.
func (v *view) str(i int) string {
	from, to := v.span(i)
	if from == to {
		return ""
	}
	s := v.data[from:to]
	return unsafe.String(unsafe.SliceData(s), len(s)) //nolint:gosec // bounds were checked; the value outlives the batch by contract
}

// alike says that all rows hold the same: a value of a fixed width, or nothing.
func (s *source) alike(k kind) bool {
	if w := widths[k]; w != 0 {
		return alike(s.fixed, w)
	}
	return alike(s.offs, 4)
}

// alike says that all values of width bytes are the same.
func alike(b []byte, width int) bool {
	return len(b) <= width || bytes.Equal(b[width:], b[:len(b)-width])
}

var errRows = errors.New("column lengths differ")

// take reads a column of the record batch and checks it wholly.
func (s *source) take(p *parts, f *field) error {
	n, err := p.node(f.node)
	if err == nil && n != p.rows {
		err = errors.Join(ErrCorrupt, errRows)
	}
	if err != nil {
		return err
	}
	at := f.buffer + 1 // the first is the validity bitmap
	//exhaustive:ignore
	switch f.kind {
	case kindUTF8:
		s.view, err = p.texts(at, n)
	case kindMap, kindListUTF8, kindListUint:
		err = s.takeNested(p, f, n)
	case kindDict:
		if s.fixed, err = p.fixed(at, n, 2); err == nil {
			err = s.checkIndices()
		}
	default:
		s.fixed, err = p.fixed(at, n, widths[f.kind])
	}
	return err
}

func (s *source) checkIndices() error {
	// Four at a time: what is added lifts an index beyond the last to a lane's highest
	// bit, which those above 1<<15 have by themselves.
	const lanes, high = 1<<48 | 1<<32 | 1<<16 | 1, 1<<63 | 1<<47 | 1<<31 | 1<<15
	if n := len(s.strs); n <= 1<<15 {
		b, lift, bad, at := s.fixed, uint64(1<<15-n)*lanes, uint64(0), 0
		for ; at+8 <= len(b); at += 8 {
			v := binary.LittleEndian.Uint64(b[at : at+8 : at+8])
			bad |= v | (v + lift)
		}
		for ; at+2 <= len(b); at += 2 {
			v := uint64(binary.LittleEndian.Uint16(b[at:]))
			bad |= v | (v + lift)
		}
		if bad&high == 0 {
			return nil
		}
	}
	top := -1
	for at := 0; at+1 < len(s.fixed); at += 2 {
		top = max(top, int(binary.LittleEndian.Uint16(s.fixed[at:])))
	}
	if top >= len(s.strs) {
		return corrupt("dictionary index %d of %d entries", top, len(s.strs))
	}
	return nil
}

// takeNested reads lists and maps. Buffers: validity, offsets, then the
// children's.
func (s *source) takeNested(p *parts, f *field, n int) error {
	items, err := p.node(f.node + 1)
	if err != nil {
		return err
	}
	if s.offs, err = p.offsets(f.buffer+1, n, items); err != nil {
		return err
	}
	//exhaustive:ignore
	switch f.kind {
	case kindListUint:
		s.fixed, err = p.fixed(f.buffer+3, items, 8)
	case kindListUTF8:
		s.key, err = p.texts(f.buffer+3, items)
	default: // map: entries struct, keys, values
		var keys, vals int
		if keys, err = p.node(f.node + 2); err == nil {
			vals, err = p.node(f.node + 3)
		}
		if err == nil && (keys != items || vals != items) {
			err = corrupt("map of %d entries has %d keys and %d values", items, keys, vals)
		}
		if err == nil {
			s.key, err = p.texts(f.buffer+4, items)
		}
		if err == nil {
			s.val, err = p.texts(f.buffer+7, items)
		}
	}
	return err
}

// zeros backs the columns that a record lacks; it only ever grows, in one step.
var zeros struct {
	sync.Mutex
	b []byte
}

func zeroBytes(n int) []byte {
	zeros.Lock()
	defer zeros.Unlock()
	if len(zeros.b) < n {
		zeros.b = make([]byte, n)
	}
	return zeros.b[:n]
}

// absent makes a column of n zero values.
func (s *source) absent(k kind, n int) {
	s.view, s.key, s.val, s.fixed = view{}, view{}, view{}, nil
	//exhaustive:ignore
	switch k {
	case kindUTF8, kindMap, kindListUTF8, kindListUint:
		s.offs = zeroBytes(4 * (n + 1))
		s.key.offs, s.val.offs = zero8[:4], zero8[:4]
	case kindDict:
		s.strs = append(s.strs[:0], "")
		s.fixed = zeroBytes(2 * n)
	default:
		s.fixed = zeroBytes(widths[k] * n)
	}
}
