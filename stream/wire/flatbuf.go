package wire

import "encoding/binary"

// Arrow's message metadata are FlatBuffers (Message.fbs and Schema.fbs of the
// Arrow format, metadata version V5). The few tables that a stream needs are
// read and laid out here by hand.

// Union tags of Message.header and the metadata version this package writes.
const (
	headerSchema     = 1
	headerDictionary = 2
	headerRecord     = 3
	metadataV5       = 4
)

// flat reads a FlatBuffer without trusting it: a read outside sets bad and
// yields zero, and positions only ever grow from what was read, so that every
// walk ends.
type flat struct {
	b   []byte
	bad bool
}

func (f *flat) ok(pos, n int) bool {
	if pos < 0 || n < 0 || pos > len(f.b)-n {
		f.bad = true
		return false
	}
	return true
}

func (f *flat) u8(pos int) byte {
	if !f.ok(pos, 1) {
		return 0
	}
	return f.b[pos]
}

func (f *flat) u16(pos int) int {
	if !f.ok(pos, 2) {
		return 0
	}
	return int(binary.LittleEndian.Uint16(f.b[pos:]))
}

func (f *flat) u32(pos int) int {
	if !f.ok(pos, 4) {
		return 0
	}
	return int(binary.LittleEndian.Uint32(f.b[pos:]))
}

func (f *flat) i64(pos int) int64 {
	if !f.ok(pos, 8) {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(f.b[pos:]))
}

// at follows the offset stored at pos; 0 stays 0 (absent).
func (f *flat) at(pos int) int {
	if pos == 0 {
		return 0
	}
	return pos + f.u32(pos)
}

// slot returns the position of a table's field, or 0 when it is absent.
func (f *flat) slot(table, n int) int {
	if !f.ok(table, 4) {
		return 0
	}
	vtable := table - int(int32(binary.LittleEndian.Uint32(f.b[table:])))
	if 6+2*n > f.u16(vtable) {
		return 0
	}
	if o := f.u16(vtable + 4 + 2*n); o != 0 {
		return table + o
	}
	return 0
}

// vector returns the first element's position and the count of the vector in a
// table's field, checked to lie inside the buffer.
func (f *flat) vector(table, n, size int) (first, count int) {
	pos := f.at(f.slot(table, n))
	if pos == 0 {
		return 0, 0
	}
	count = f.u32(pos)
	if !f.ok(pos+4, 0) || count > (len(f.b)-pos-4)/size {
		f.bad = true
		return 0, 0
	}
	return pos + 4, count
}

func (f *flat) text(table, n int) string {
	first, count := f.vector(table, n, 1)
	if f.bad {
		return ""
	}
	return string(f.b[first : first+count])
}

// num reads a scalar field of size bytes, 0, its default, when absent.
func (f *flat) num(table, n, size int) int64 {
	pos := f.slot(table, n)
	switch {
	case pos == 0:
		return 0
	case size == 1:
		return int64(f.u8(pos))
	case size == 2:
		return int64(int16(f.u16(pos)))
	case size == 4:
		return int64(int32(f.u32(pos)))
	default:
		return f.i64(pos)
	}
}

// message is one framed IPC message.
type message struct {
	flat
	header byte
	table  int // position of the header's table
	body   []byte
	size   int // whole length, frame and body
}

// cutMessage reads the message at the start of b. ok is false at the end of the
// stream.
func cutMessage(b []byte) (m message, ok bool, err error) {
	if len(b) == 0 {
		return m, false, nil
	}
	if len(b) < 8 || binary.LittleEndian.Uint32(b) != 0xffffffff {
		return m, false, corrupt("message frame is missing")
	}
	length := int(binary.LittleEndian.Uint32(b[4:]))
	if length == 0 {
		if len(b) != 8 {
			return m, false, corrupt("%d bytes follow the end of the stream", len(b)-8)
		}
		return m, false, nil
	}
	if length > len(b)-8 {
		return m, false, corrupt("message metadata of %d bytes, %d are left", length, len(b)-8)
	}
	m.b = b[8 : 8+length]
	root := m.u32(0)
	m.header, m.table = byte(m.num(root, 1, 1)), m.at(m.slot(root, 2))
	body := m.num(root, 3, 8)
	if version := m.num(root, 0, 2); !m.bad && version != metadataV5 {
		return m, false, corrupt("metadata version %d, want %d", version, metadataV5)
	}
	if m.bad || m.table == 0 || body < 0 || body > int64(len(b)-8-length) {
		return m, false, corrupt("message metadata is damaged")
	}
	m.body = b[8+length : 8+length+int(body)]
	m.size = 8 + length + int(body)
	return m, true, nil
}

// batch is an Arrow record batch under construction: field nodes (lengths) and
// body buffers in schema order.
type batch struct {
	nodes   []int
	buffers [][]byte
}

func (b *batch) reset() { b.nodes, b.buffers = b.nodes[:0], b.buffers[:0] }

// node starts a field without nulls: its validity buffer is empty.
func (b *batch) node(rows int, buffers ...[]byte) {
	b.nodes = append(b.nodes, rows)
	b.buffers = append(append(b.buffers, nil), buffers...)
}

// column adds a column of n rows.
func (b *batch) column(c *column, n int) {
	//exhaustive:ignore
	switch c.kind {
	case kindUTF8:
		b.node(n, c.offs, c.data)
	case kindMap:
		b.node(n, c.offs)
		b.node(c.key.rows()) // the entries struct
		b.node(c.key.rows(), c.key.offs, c.key.data)
		b.node(c.val.rows(), c.val.offs, c.val.data)
	case kindListUTF8:
		b.node(n, c.offs)
		b.node(c.key.rows(), c.key.offs, c.key.data)
	case kindListUint:
		b.node(n, c.offs)
		b.node(len(c.items)/8, c.items)
	default:
		b.node(n, c.fixed)
	}
}

func pad8(n int) int { return (n + 7) &^ 7 }

// size returns the length of the message that appendTo writes.
func (b *batch) size(header byte) int {
	n := metadataSize(header, len(b.nodes), len(b.buffers)) + 8
	for _, buf := range b.buffers {
		n += pad8(len(buf))
	}
	return n
}

// Layout of the metadata, all positions from its start: the message's root
// offset, vtable and table, then for a dictionary its vtable and table, then the
// record batch's vtable and table, then the two vectors.
const (
	messageTable    = 16
	messageEnd      = 40
	dictionaryTable = messageEnd + 8
	dictionaryEnd   = dictionaryTable + 16
)

func metadataSize(header byte, nodes, buffers int) int {
	at := messageEnd
	if header == headerDictionary {
		at = dictionaryEnd
	}
	return at + 40 + 8 + 16*nodes + 8 + 16*buffers
}

// appendTo writes the framed message: metadata, then the padded body.
func (b *batch) appendTo(dst []byte, header byte, dictionary, rows int) []byte {
	le := binary.LittleEndian
	size := metadataSize(header, len(b.nodes), len(b.buffers))
	dst = le.AppendUint32(le.AppendUint32(dst, 0xffffffff), uint32(size))
	start := len(dst)
	dst = append(dst, make([]byte, size)...)
	m := dst[start:]
	p16 := func(at int, v ...int) {
		for i, x := range v {
			le.PutUint16(m[at+2*i:], uint16(x))
		}
	}
	p32 := func(at, v int) { le.PutUint32(m[at:], uint32(v)) }
	p64 := func(at, v int) { le.PutUint64(m[at:], uint64(v)) }

	record := messageEnd + 16 // vtable of 10 bytes before it, padded
	p32(0, messageTable)
	p16(4, 12, 20, 16, 18, 4, 8) // vtable: its size, the table's, field positions
	p32(messageTable, messageTable-4)
	p16(messageTable+16, metadataV5)
	m[messageTable+18] = header
	if header == headerDictionary {
		record = dictionaryEnd + 16
		p32(messageTable+4, dictionaryTable-messageTable-4)
		p16(messageEnd, 8, 16, 8, 4)
		p32(dictionaryTable, dictionaryTable-messageEnd)
		p32(dictionaryTable+4, record-dictionaryTable-4)
		p64(dictionaryTable+8, dictionary)
	} else {
		p32(messageTable+4, record-messageTable-4)
	}
	p16(record-16, 10, 20, 8, 4, 16)
	p32(record, 16)
	p64(record+8, rows)
	nodes := record + 24 // 4 bytes of padding, the count, then the elements
	buffers := nodes + 8 + 16*len(b.nodes)
	p32(record+4, nodes+4-record-4)
	p32(record+16, buffers+4-record-16)
	p32(nodes+4, len(b.nodes))
	for i, n := range b.nodes {
		p64(nodes+8+16*i, n)
	}
	p32(buffers+4, len(b.buffers))
	body := 0
	for i, buf := range b.buffers {
		p64(buffers+8+16*i, body)
		p64(buffers+16+16*i, len(buf))
		body += pad8(len(buf))
	}
	p64(messageTable+8, body)
	for _, buf := range b.buffers {
		dst = append(dst, buf...)
		dst = append(dst, zero8[:pad8(len(buf))-len(buf)]...)
	}
	return dst
}

var zero8 [8]byte

// endOfStream closes an IPC stream.
var endOfStream = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}
