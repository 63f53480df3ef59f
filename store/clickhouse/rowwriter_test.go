package clickhouse

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/weirproject/weir/stream/verdict"
)

func TestRowWriterWritesWhatJSONReads(t *testing.T) {
	texts := []string{"", "plain", `a "quoted" \ path`, "line\nbreak\ttab\x00\x1f", "caf\u00e9 \u2028 </script>", "\xff\xfebroken"}
	read := append(append([]string{}, texts[:5]...), "\uFFFDbroken")
	for i, s := range texts {
		var w rowWriter
		w.open()
		w.text("s", s)
		w.int("i", -5)
		w.uint("u", 1<<63)
		w.bool("b", true)
		w.value("m", verdict.Milli(-1234567))
		rowList(&w, "none", []string(nil), rowText)
		rowList(&w, "list", []string{s, "x"}, rowText)
		rowList(&w, "rows", []int64{1, 2}, func(w *rowWriter, n int64) {
			w.open()
			w.int("n", n)
			w.close()
		})
		w.close()
		var got map[string]any
		if err := json.Unmarshal(w.b, &got); err != nil {
			t.Fatalf("%q: %v in %s", s, err, w.b)
		}
		want := map[string]any{
			"s": read[i], "i": -5.0, "u": 9223372036854775808.0, "b": true, "m": -1234.567, "none": []any{},
			"list": []any{read[i], "x"}, "rows": []any{map[string]any{"n": 1.0}, map[string]any{"n": 2.0}},
		}
		if w.err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v, want %v", s, got, w.err, want)
		}
	}
}
