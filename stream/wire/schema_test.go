package wire

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
)

var update = flag.Bool("update", false, "rewrite the schema messages and golden files")

func arrowType(k kind) arrow.DataType {
	s := arrow.BinaryTypes.String
	//exhaustive:ignore
	switch k {
	case kindTime:
		return &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
	case kindUint8:
		return arrow.PrimitiveTypes.Uint8
	case kindUint16:
		return arrow.PrimitiveTypes.Uint16
	case kindUint32:
		return arrow.PrimitiveTypes.Uint32
	case kindUint64:
		return arrow.PrimitiveTypes.Uint64
	case kindInt32:
		return arrow.PrimitiveTypes.Int32
	case kindInt64:
		return arrow.PrimitiveTypes.Int64
	case kindFixed16:
		return &arrow.FixedSizeBinaryType{ByteWidth: 16}
	case kindUTF8:
		return s
	case kindDict:
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint16, ValueType: s}
	case kindMap:
		m := arrow.MapOf(s, s)
		m.SetItemNullable(false)
		return m
	case kindListUint:
		return arrow.ListOfNonNullable(arrow.PrimitiveTypes.Uint64)
	case kindListUTF8:
		return arrow.ListOfNonNullable(s)
	}
	panic(fmt.Sprint("no arrow type for ", k))
}

func arrowSchema(specs []spec, minor int) *arrow.Schema {
	fields := make([]arrow.Field, len(specs))
	for i, s := range specs {
		fields[i] = arrow.Field{Name: s.name, Type: arrowType(s.kind)}
	}
	md := arrow.NewMetadata([]string{"weir.version"}, []string{fmt.Sprintf("%d.%d", Major, minor)})
	return arrow.NewSchema(fields, &md)
}

// schemaMessage returns the message that arrow-go writes for a schema.
func schemaMessage(tb testing.TB, s *arrow.Schema) []byte {
	tb.Helper()
	var buf bytes.Buffer
	if err := ipc.NewWriter(&buf, ipc.WithSchema(s)).Close(); err != nil {
		tb.Fatal(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), endOfStream)
}

func TestSchemaMessagesAreWhatArrowWritesForTheColumnTables(t *testing.T) {
	for _, c := range []struct {
		file  string
		have  []byte
		specs []spec
	}{
		{"schema_log.arrow", logSchema, columns[:]},
		{"schema_insert.arrow", insertSchema, stitchedColumns},
	} {
		want := schemaMessage(t, arrowSchema(c.specs, Minor))
		if *update {
			if err := os.WriteFile(c.file, want, 0o600); err != nil {
				t.Fatal(err)
			}
		} else if !bytes.Equal(want, c.have) {
			t.Errorf("%s differs from the column table: run go test -run SchemaMessages -update", c.file)
		}
	}
}

func TestEveryColumnOfTheSchemaIsFoundByItsName(t *testing.T) {
	l, err := parseSchema(logSchema)
	if err != nil {
		t.Fatal(err)
	}
	for c, i := range l.at {
		if i != c || l.fields[i].spec != columns[c] {
			t.Errorf("column %d %v is at %d", c, columns[c], i)
		}
	}
	if l.major != Major || l.minor != Minor {
		t.Errorf("version %d.%d", l.major, l.minor)
	}
}
