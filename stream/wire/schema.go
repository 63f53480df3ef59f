package wire

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Version of the schema that this package writes. Readers refuse another Major
// and read any Minor.
const (
	Major = 1
	Minor = 0
)

// ErrCorrupt marks a record that is not a well-formed batch of events, or is
// outside the limits. Such a record is counted and skipped.
var ErrCorrupt = errors.New("corrupt record")

// ErrVersion marks a record of another major version.
var ErrVersion = errors.New("unsupported schema version")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// The schema messages are what arrow-go writes for the column tables, so that
// their layout is nobody's invention; TestSchemaMessages compares and rewrites
// them (-update).
var (
	//go:embed schema_log.arrow
	logSchema []byte
	//go:embed schema_insert.arrow
	insertSchema []byte
)

// Fingerprint identifies a schema: the first 64 bits of the SHA-256 of its IPC
// message, big endian.
type Fingerprint uint64

func (f Fingerprint) String() string { return fmt.Sprintf("%016x", uint64(f)) }

// ParseFingerprint reads what String wrote.
func ParseFingerprint(s string) (Fingerprint, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 {
		return 0, fmt.Errorf("schema fingerprint %q: want 16 hex digits", s)
	}
	return Fingerprint(v), nil
}

func fingerprint(schema []byte) Fingerprint {
	sum := sha256.Sum256(schema)
	return Fingerprint(binary.BigEndian.Uint64(sum[:]))
}

// Schema is the fingerprint of the schema that Encoder writes.
var Schema = fingerprint(logSchema)

// Bounds on a foreign schema.
const (
	maxSchemaBytes = 64 << 10
	maxFields      = 512 // nested ones included
	maxDepth       = 4
)

// layout is where a schema keeps the columns this version knows.
type layout struct {
	fingerprint    Fingerprint
	schema         []byte // the whole message
	major, minor   int
	nodes, buffers int
	fields         []field
	// at maps our column numbers to fields; -1 where the schema lacks one.
	at [numColumns]int
	// dictionaries maps Arrow's dictionary ids to our column numbers.
	dictionaries map[int64]int
}

type field struct {
	spec
	node, buffer int // first ones of the field in a record batch
	dictionary   int64
}

var ownLayout = func() *layout {
	l, err := parseSchema(logSchema)
	if err != nil {
		panic("stream/wire: embedded schema: " + err.Error())
	}
	return l
}()

// parseSchema reads a schema message, whose bytes it keeps a copy of.
func parseSchema(msg []byte) (*layout, error) {
	m, ok, err := cutMessage(msg)
	if err != nil {
		return nil, err
	}
	if !ok || m.header != headerSchema || m.size != len(msg) || len(m.body) != 0 {
		return nil, corrupt("the first message is no schema")
	}
	l := &layout{
		fingerprint: fingerprint(msg), schema: bytes.Clone(msg), major: Major, minor: Minor,
		dictionaries: map[int64]int{},
	}
	f := &m.flat
	if f.num(m.table, 0, 2) != 0 {
		return nil, corrupt("big-endian schema")
	}
	if err := l.readVersion(f, m.table); err != nil {
		return nil, err
	}
	w := schemaWalk{flat: f, layout: l}
	first, count := f.vector(m.table, 1, 4)
	for i := 0; i < count && w.err == nil && !f.bad; i++ {
		w.field(f.at(first+4*i), 1)
	}
	if w.err == nil && f.bad {
		w.err = corrupt("schema is damaged")
	}
	if w.err != nil {
		return nil, w.err
	}
	return l, l.match()
}

// readVersion takes "weir.version" from the schema's metadata. A schema without
// it counts as this version: another producer may have written the columns.
func (l *layout) readVersion(f *flat, schema int) error {
	first, count := f.vector(schema, 2, 4)
	if count > 64 {
		return corrupt("%d metadata entries", count)
	}
	for i := range count {
		kv := f.at(first + 4*i)
		if f.text(kv, 0) != "weir.version" {
			continue
		}
		var err error
		if l.major, l.minor, err = parseVersion(f.text(kv, 1)); err != nil {
			return corrupt("%v", err)
		}
	}
	if l.major != Major {
		return fmt.Errorf("%w: record has %d.%d, this reader knows %d.x", ErrVersion, l.major, l.minor, Major)
	}
	return nil
}

func parseVersion(s string) (major, minor int, err error) {
	a, b, _ := strings.Cut(s, ".")
	x, err1 := strconv.ParseUint(a, 10, 15)
	y, err2 := strconv.ParseUint(b, 10, 15)
	if err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("schema version %.20q: want MAJOR.MINOR", s)
	}
	return int(x), int(y), nil
}

// match finds this version's columns among the schema's fields.
func (l *layout) match() error {
	byName := make(map[string]int, len(l.fields))
	for i, f := range l.fields {
		if _, twice := byName[f.name]; twice {
			return corrupt("column %.40q occurs twice", f.name)
		}
		byName[f.name] = i
	}
	for c, want := range columns {
		i, ok := byName[want.name]
		if !ok {
			l.at[c] = -1
			continue
		}
		if got := l.fields[i].kind; got != want.kind {
			return corrupt("column %s is %v, want %v", want.name, got, want.kind)
		}
		l.at[c] = i
		if want.kind == kindDict {
			if _, shared := l.dictionaries[l.fields[i].dictionary]; shared {
				return corrupt("column %s shares its dictionary with another", want.name)
			}
			l.dictionaries[l.fields[i].dictionary] = c
		}
	}
	return nil
}

// Arrow type tags (Schema.fbs, union Type).
const (
	typeNull = 1 + iota
	typeInt
	typeFloat
	typeBinary
	typeUTF8
	typeBool
	typeDecimal
	typeDate
	typeTime
	typeTimestamp
	typeInterval
	typeList
	typeStruct
	typeUnion
	typeFixedSizeBinary
	typeFixedSizeList
	typeMap
	typeDuration
	typeLargeBinary
	typeLargeUTF8
	typeLargeList
	typeRunEndEncoded
)

// schemaWalk counts nodes and buffers over a schema's fields, depth first.
type schemaWalk struct {
	*flat
	layout *layout
	seen   int
	err    error
}

// field reads one field and returns its kind.
func (w *schemaWalk) field(pos, depth int) kind {
	w.seen++
	if w.seen > maxFields || depth > maxDepth {
		w.err = corrupt("schema has more than %d fields or %d levels", maxFields, maxDepth)
	}
	if w.err != nil || w.bad || pos == 0 {
		w.bad = true
		return kindUnknown
	}
	f := field{node: w.layout.nodes, buffer: w.layout.buffers}
	tag, body := int(w.num(pos, 2, 1)), w.at(w.slot(pos, 3))
	w.layout.nodes++
	if encoding := w.at(w.slot(pos, 4)); encoding != 0 {
		w.layout.buffers += 2
		f.kind, f.dictionary = w.dictionary(encoding, tag), w.num(encoding, 0, 8)
	} else {
		f.kind = w.plain(pos, tag, body, depth)
	}
	if depth == 1 {
		f.name = w.text(pos, 0)
		w.layout.fields = append(w.layout.fields, f)
	}
	return f.kind
}

func (w *schemaWalk) dictionary(encoding, tag int) kind {
	index := w.at(w.slot(encoding, 1))
	if tag == typeUTF8 && index != 0 && w.num(index, 0, 4) == 16 && w.num(index, 1, 1) == 0 {
		return kindDict
	}
	return kindDictOther
}

// plain counts the buffers of a field that has no dictionary, and its children.
func (w *schemaWalk) plain(pos, tag, body, depth int) kind {
	buffers := 2
	switch tag {
	case typeNull, typeRunEndEncoded:
		buffers = 0
	case typeBinary, typeUTF8, typeLargeBinary, typeLargeUTF8:
		buffers = 3
	case typeStruct, typeFixedSizeList:
		buffers = 1
	case typeUnion:
		buffers = 1 + int(w.num(body, 0, 2)&1) // dense unions have offsets too
	default:
		if tag < typeNull || tag > typeRunEndEncoded {
			w.err = corrupt("column type %d is not known, so its buffers cannot be skipped", tag)
			return kindUnknown
		}
	}
	w.layout.buffers += buffers
	var child [2]kind
	first, count := w.vector(pos, 5, 4)
	for i := 0; i < count && w.err == nil && !w.bad; i++ {
		k := w.field(w.at(first+4*i), depth+1)
		if i < 2 {
			child[i] = k
		}
	}
	switch {
	case tag == typeStruct && count == 2 && child == [2]kind{kindUTF8, kindUTF8}:
		return kindMap // stands for a map's entries; see below
	case tag == typeMap && count == 1 && child[0] == kindMap:
		return kindMap
	case tag == typeList && count == 1 && child[0] == kindUint64:
		return kindListUint
	case tag == typeList && count == 1 && child[0] == kindUTF8:
		return kindListUTF8
	case tag == typeStruct || tag == typeMap || tag == typeList:
		return kindUnknown
	}
	return w.scalar(tag, body)
}

func (w *schemaWalk) scalar(tag, body int) kind {
	switch {
	case tag == typeUTF8:
		return kindUTF8
	case tag == typeFixedSizeBinary && w.num(body, 0, 4) == 16:
		return kindFixed16
	case tag == typeTimestamp && w.num(body, 0, 2) == 3 && w.text(body, 1) == "UTC":
		return kindTime
	case tag != typeInt:
		return kindUnknown
	}
	switch width, signed := w.num(body, 0, 4), w.num(body, 1, 1) != 0; {
	case width == 8 && !signed:
		return kindUint8
	case width == 16 && !signed:
		return kindUint16
	case width == 32:
		return pick(signed, kindInt32, kindUint32)
	case width == 64:
		return pick(signed, kindInt64, kindUint64)
	}
	return kindUnknown
}

func pick(c bool, a, b kind) kind {
	if c {
		return a
	}
	return b
}
