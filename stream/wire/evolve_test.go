package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/stream/event"
)

// rewrite copies a record with arrow-go under another schema: add columns are
// put in front (so that every number shifts), drop ones left out.
func rewrite(tb testing.TB, value []byte, minor int, add []arrow.Field, drop ...int) []byte {
	tb.Helper()
	r, err := ipc.NewReader(bytes.NewReader(value))
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Release()
	rec, err := r.Read()
	if err != nil {
		tb.Fatal(err)
	}
	fields := append([]arrow.Field(nil), add...)
	var cols []arrow.Array
	for _, f := range add {
		b := array.NewBuilder(memory.DefaultAllocator, f.Type)
		for range int(rec.NumRows()) {
			b.AppendEmptyValue()
		}
		cols = append(cols, b.NewArray())
	}
next:
	for i, f := range rec.Schema().Fields() {
		for _, d := range drop {
			if i == d {
				continue next
			}
		}
		fields, cols = append(fields, f), append(cols, rec.Column(i))
	}
	md := arrow.NewMetadata([]string{"weir.version"}, []string{fmt.Sprintf("%d.%d", Major, minor)})
	schema := arrow.NewSchema(fields, &md)
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := errors.Join(w.Write(array.NewRecord(schema, cols, rec.NumRows())), w.Close()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// nextColumns are what a next minor version might add: one column of each shape.
func nextColumns() []arrow.Field {
	s := arrow.BinaryTypes.String
	var fields []arrow.Field
	for i, t := range []arrow.DataType{
		arrow.PrimitiveTypes.Float64, s, arrow.FixedWidthTypes.Boolean, arrowType(kindDict), arrowType(kindMap),
		arrow.StructOf(arrow.Field{Name: "a", Type: s}, arrow.Field{Name: "b", Type: arrow.PrimitiveTypes.Int8}),
		&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.PrimitiveTypes.Int64},
		arrow.ListOf(arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int16)), arrow.BinaryTypes.LargeString, arrow.Null,
		&arrow.Decimal128Type{Precision: 20, Scale: 2},
	} {
		fields = append(fields, arrow.Field{Name: fmt.Sprint("next_", i), Type: t, Nullable: true})
	}
	return fields
}

func TestReaderOfThisVersionReadsTheNextMinor(t *testing.T) {
	evs := makeEvents(300, 9)
	next := rewrite(t, encode(t, EncoderConfig{}, evs)[0].Value, Minor+1, nextColumns())
	d := NewDecoder(Limits{})
	b, err := d.DecodeValue(next)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(evs, b.Events(nil), sameEvents...); diff != "" {
		t.Fatal(diff)
	}
	if b.Schema() == Schema || b.layout.minor != Minor+1 {
		t.Errorf("schema %v, minor %d", b.Schema(), b.layout.minor)
	}
	if _, err := d.Decode(Info{Schema: Schema, Major: Major, Count: 300}, next); !errors.Is(err, ErrCorrupt) {
		t.Errorf("fingerprint of another schema in the header: %v", err)
	}
	if _, err := d.Decode(Info{Schema: b.Schema(), Major: Major, Minor: Minor + 1, Count: 300}, next); err != nil {
		t.Errorf("second record of the same schema: %v", err)
	}
}

func TestReaderOfTheNextMinorReadsThisVersion(t *testing.T) {
	// A record that lacks columns is to this reader what this version's records
	// are to the next one's. One column of each shape is missing.
	evs := makeEvents(300, 10)
	old := rewrite(t, encode(t, EncoderConfig{}, evs)[0].Value, 0, nil, colVerdict, colUserAgent, colCost, colStep,
		colObjects, colObjectKeys, colEphemeralNames, colEphemeralKeys, colEphemeralMask, colClientIP)
	b, err := NewDecoder(Limits{}).DecodeValue(old)
	if err != nil {
		t.Fatal(err)
	}
	want := makeEvents(300, 10)
	for i := range want {
		e := &want[i]
		e.Verdict, e.UserAgent, e.Cost, e.Step, e.Objects = "", "", 0, 0, nil
		e.Client = event.Event{}.Client
	}
	if diff := cmp.Diff(want, b.Events(nil), sameEvents...); diff != "" {
		t.Error(diff)
	}
}

func TestSchemaThatCannotBeReadIsRefusedWithItsReason(t *testing.T) {
	value := encode(t, EncoderConfig{}, makeEvents(3, 1))[0].Value
	retype := func(col int, typ arrow.DataType) []byte {
		return rewrite(t, value, 0, []arrow.Field{{Name: columns[col].name, Type: typ}}, col)
	}
	major := bytes.Replace(value, []byte("1.0"), []byte("2.0"), 1)
	for _, c := range []struct {
		name  string
		value []byte
		is    error
		want  string
	}{
		{"other major", major, ErrVersion, "record has 2.0"},
		{"retyped column", retype(colStatus, arrow.PrimitiveTypes.Uint64), ErrCorrupt, "column status is uint64, want uint16"},
		{"plain instead of dictionary", retype(colHost, arrow.BinaryTypes.String), ErrCorrupt, "column host is utf8, want dictionary<uint16, utf8>"},
		{"other map", retype(colObjects, arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64)), ErrCorrupt, "column objects"},
		{"column twice", rewrite(t, value, 0, []arrow.Field{{Name: "host", Type: arrowType(kindDict)}}), ErrCorrupt, `column "host" occurs twice`},
		{"type without known layout", rewrite(t, value, 1, []arrow.Field{{Name: "next", Type: arrow.BinaryTypes.StringView}}), ErrCorrupt, "column type 24 is not known"},
		{"deep nesting", rewrite(t, value, 1, []arrow.Field{{Name: "next", Type: nest(6)}}), ErrCorrupt, "levels"},
	} {
		if _, err := NewDecoder(Limits{}).DecodeValue(c.value); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func nest(n int) arrow.DataType {
	if n == 0 {
		return arrow.PrimitiveTypes.Int8
	}
	return arrow.ListOf(nest(n - 1))
}
