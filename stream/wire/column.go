package wire

import (
	"encoding/binary"
	"hash/maphash"
)

// kind is the Arrow type of a column.
type kind uint8

const (
	kindUnknown kind = iota // a type this version has no use for; it is skipped
	kindTime                // timestamp[ns, UTC]
	kindUint8               // and so on, little endian
	kindUint16
	kindUint32
	kindUint64
	kindInt32
	kindInt64
	kindFixed16   // fixed_size_binary[16]
	kindUTF8      // utf8, 32-bit offsets
	kindDict      // dictionary<uint16, utf8>
	kindMap       // map<utf8, utf8>
	kindListUint  // list<uint64>
	kindListUTF8  // list<utf8>
	kindDictOther // a dictionary of another shape
)

var kindNames = [...]string{
	"unknown", "timestamp[ns, UTC]", "uint8", "uint16", "uint32", "uint64", "int32", "int64",
	"fixed_size_binary[16]", "utf8", "dictionary<uint16, utf8>", "map<utf8, utf8>", "list<uint64>", "list<utf8>",
	"dictionary",
}

func (k kind) String() string { return kindNames[k] }

// widths are the bytes of one value in a kind's fixed buffer; 0 for kinds that
// have offsets instead.
var widths = [...]int{
	kindTime: 8, kindUint8: 1, kindUint16: 2, kindUint32: 4, kindUint64: 8, kindInt32: 4, kindInt64: 8,
	kindFixed16: 16, kindDict: 2, kindDictOther: 0,
}

// spec names and types one column.
type spec struct {
	name string
	kind kind
}

// Column numbers of the log's schema, in its order. Those from colSecret on
// live on the log only and never reach a table.
const (
	colTime = iota
	colID
	colSource
	colNode
	colSite
	colWorkload
	colClientIP
	colClientPort
	colClientASN
	colCountry
	colTLSVersion
	colSNI
	colJA4
	colProtocol
	colMethod
	colHost
	colPath
	colRoute
	colQueryKeys
	colStatus
	colRequestBytes
	colResponseBytes
	colDuration
	colUserAgent
	colAcceptLanguage
	colRefererHost
	colContentType
	colHeaderOrder
	colKeys    // ten columns, one for each event.Kind
	colClaimed = iota + 9
	colNewSession
	colNewDevice
	colRole
	colOutcome
	colStep
	colCost
	colOpens
	colCloses
	colObjects
	colObjectKeys
	colPayload
	colAction
	colMode
	colVerdict
	colFlags
	colKeyID
	colSecret
	colEphemeralNames
	colEphemeralKeys
	colEphemeralMask
	numColumns
	numTableColumns = colSecret
)

// columns is the log's schema. A new column is appended before colSecret or at
// the end and raises Minor; a changed one raises Major.
var columns = [numColumns]spec{
	{"time", kindTime},
	{"id", kindUTF8},
	{"source", kindDict},
	{"node", kindDict},
	{"site", kindDict},
	{"workload", kindDict},
	{"client_ip", kindFixed16},
	{"client_port", kindUint16},
	{"client_asn", kindUint32},
	{"country", kindDict},
	{"tls_version", kindDict},
	{"sni", kindDict},
	{"ja4", kindDict},
	{"protocol", kindDict},
	{"method", kindDict},
	{"host", kindDict},
	{"path", kindUTF8},
	{"route", kindDict},
	{"query_keys", kindDict},
	{"status", kindUint16},
	{"request_bytes", kindUint64},
	{"response_bytes", kindUint64},
	{"duration_us", kindUint64},
	{"user_agent", kindDict},
	{"accept_language", kindDict},
	{"referer_host", kindDict},
	{"content_type", kindDict},
	{"header_order", kindUint64},
	{"session", kindUint64},
	{"device", kindUint64},
	{"account", kindUint64},
	{"client", kindUint64},
	{"client_net", kindUint64},
	{"asn_key", kindUint64},
	{"fingerprint", kindUint64},
	{"client_fingerprint", kindUint64},
	{"target_account", kindUint64},
	{"request_template", kindUint64},
	{"claimed", kindUint64},
	{"new_session", kindUint64},
	{"new_device", kindUint64},
	{"role", kindDict},
	{"outcome", kindDict},
	{"step", kindUint8},
	{"cost", kindInt64},
	{"opens", kindInt64},
	{"closes", kindInt64},
	{"objects", kindMap},
	{"object_keys", kindListUint},
	{"payload", kindUint16},
	{"action", kindDict},
	{"mode", kindDict},
	{"verdict", kindUTF8},
	{"flags", kindUint32},
	{"key_id", kindDict},
	{"secret", kindUint64},
	{"ephemeral_names", kindListUTF8},
	{"ephemeral_keys", kindListUint},
	{"ephemeral_mask", kindUint16},
}

// Column numbers that the stitched schema has after the table columns.
const (
	colActor = numTableColumns + iota
	colLearnedRoute
	colPartition
	colOffset
	colRow
	numStitchedColumns
)

// stitchedColumns is the schema of a ClickHouse insert into events.
var stitchedColumns = func() []spec {
	return append(append([]spec(nil), columns[:numTableColumns]...),
		spec{"actor", kindUint64}, spec{"learned_route", kindDict}, spec{"partition", kindInt32},
		spec{"offset", kindInt64}, spec{"row", kindInt32})
}()

// column collects the values of one column; which fields serve depends on kind.
type column struct {
	kind  kind
	fixed []byte // fixed-width values, or dictionary indices
	texts        // utf8
	dict  *dictionary
	// key holds a list's items or a map's keys, val a map's values; texts.offs
	// then holds the list offsets into them.
	key, val texts
	items    []byte // list<uint64> items
}

// texts is an Arrow utf8 array under construction: n+1 offsets and bytes.
type texts struct {
	offs, data []byte
}

func (t *texts) reset() {
	t.offs = append(t.offs[:0], 0, 0, 0, 0)
	t.data = t.data[:0]
}

func (t *texts) add(s string) {
	t.data = append(t.data, s...)
	t.mark()
}

// mark ends an element at the present end of the data.
func (t *texts) mark() {
	v := uint32(len(t.data))
	t.offs = append(t.offs, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

func (t *texts) rows() int { return len(t.offs)/4 - 1 }

func newColumns(specs []spec) []column {
	cols := make([]column, len(specs))
	for i := range cols {
		cols[i].kind = specs[i].kind
		if specs[i].kind == kindDict {
			cols[i].dict = &dictionary{seed: maphash.MakeSeed()}
		}
		cols[i].reset()
	}
	return cols
}

func (c *column) reset() {
	c.fixed, c.items = c.fixed[:0], c.items[:0]
	c.texts.reset()
	c.key.reset()
	c.val.reset()
	if c.dict != nil {
		c.dict.reset()
	}
}

// Little endian, spelled out: "x = append(x, ...)" only stores the new length,
// where the result of binary.AppendUint64 is stored whole, with a write barrier,
// 60 times per event.
func (c *column) u64(v uint64) {
	c.fixed = append(c.fixed, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
}

func (c *column) u32(v uint32) {
	c.fixed = append(c.fixed, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}
func (c *column) u16(v uint16) { c.fixed = append(c.fixed, byte(v), byte(v>>8)) }
func (c *column) lc(s string)  { c.u16(c.dict.index(s)) }

// end closes one row of a list or map that now has n items.
func (c *column) end(n int) {
	c.offs = append(c.offs, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
}

// dictionary numbers distinct strings in order of first appearance.
type dictionary struct {
	texts
	n    int
	seed maphash.Seed
	// slots is an open-addressing table; its size is a power of two.
	slots []dictSlot
	// last is the entry found last; most columns repeat it row after row.
	last, lastFrom, lastTo int
}

type dictSlot struct {
	hash  uint32
	entry uint32 // index + 1; 0 is free
}

// maxDictionary bounds the entries of one dictionary: indices are uint16.
const maxDictionary = 1 << 16

func (d *dictionary) reset() {
	d.texts.reset()
	clear(d.slots)
	d.n, d.last, d.lastFrom, d.lastTo = 0, 0, 0, 0
}

func (d *dictionary) span(i int) (from, to int) {
	return int(binary.LittleEndian.Uint32(d.offs[4*i:])), int(binary.LittleEndian.Uint32(d.offs[4*i+4:]))
}

// index returns the number of s. The caller sees to it that no more than
// maxDictionary distinct strings arrive.
func (d *dictionary) index(s string) uint16 {
	if d.lastTo-d.lastFrom == len(s) && d.n > 0 && string(d.data[d.lastFrom:d.lastTo]) == s {
		return uint16(d.last)
	}
	return d.find(s)
}

func (d *dictionary) find(s string) uint16 {
	if 2*d.n >= len(d.slots) {
		d.grow()
	}
	hash := uint32(maphash.String(d.seed, s))
	mask := uint32(len(d.slots) - 1)
	at := hash & mask
	for ; d.slots[at].entry != 0; at = (at + 1) & mask {
		if d.slots[at].hash != hash {
			continue
		}
		i := int(d.slots[at].entry) - 1
		if from, to := d.span(i); string(d.data[from:to]) == s {
			d.last, d.lastFrom, d.lastTo = i, from, to
			return uint16(i)
		}
	}
	d.slots[at] = dictSlot{hash, uint32(d.n) + 1}
	d.last, d.lastFrom = d.n, len(d.data)
	d.add(s)
	d.lastTo = len(d.data)
	d.n++
	return uint16(d.last)
}

func (d *dictionary) grow() {
	old := d.slots
	d.slots = make([]dictSlot, max(16, 2*len(old)))
	mask := uint32(len(d.slots) - 1)
	for _, s := range old {
		if s.entry == 0 {
			continue
		}
		at := s.hash & mask
		for d.slots[at].entry != 0 {
			at = (at + 1) & mask
		}
		d.slots[at] = s
	}
}
