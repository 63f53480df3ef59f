package table_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/stream/verdict"
)

func BenchmarkLoadMillion(b *testing.B) {
	tab := newTable(b, table.Config{MaxVerdicts: 1 << 21})
	v := give(0)
	for i := range 1_000_000 {
		v.ID = fmt.Sprintf("v_%032x", i)
		v.Binds = []verdict.Group{{All: []verdict.Bind{{Kind: "session", Value: hash(i)}}}}
		_, _ = tab.Apply(v, start)
	}
	var buf bytes.Buffer
	if err := tab.Save(&buf); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		if n, err := newTable(b, table.Config{MaxVerdicts: 1 << 21}).Load(bytes.NewReader(buf.Bytes()), start); n != 1_000_000 || err != nil {
			b.Fatal(n, err)
		}
	}
}
