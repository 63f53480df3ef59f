package flow

import (
	"fmt"
	"testing"
)

// TestKnownShapesTellTheSame reads header fields with and without the memory of
// those before, among them sets that share an entry.
func TestKnownShapesTellTheSame(t *testing.T) {
	set := func(names ...string) (fields []Field) {
		for i, n := range names {
			fields = append(fields, Field{Name: n, Value: fmt.Sprintf("v%d", i)})
		}
		return fields
	}
	many := make([]string, 2*maxHeaders)
	for i := range many {
		many[i] = fmt.Sprintf("x-%d", i)
	}
	sets := [][]Field{
		nil,
		set("Host", "User-Agent", "Accept", "Accept-Language", "Cookie", "Referer"),
		set("Host", "User-agent", "Accept", "Accept-language", "Cookie", "Referer"), // spelt otherwise
		set("Host", "User-Agent", "Action", "Accept-Language", "Cookie", "Renewal"), // of the same lengths and first bytes
		set("Host", "Accept", "User-Agent", "Accept-Language", "Cookie", "Referer"),
		set("User-Agent", "User-Agent", "Content-Type", "Content-Encoding", "Sec-Fetch-Site"),
		set("a\nb", "c"), set("a", "b\nc"), set("a", "b", "c"), set("", "a"), set("a", ""),
		set(many...),
	}
	var known shapes
	for round := range 3 {
		for i, fields := range sets {
			var got, want heads
			got.scan(fields, &known)
			want.scan(fields, &shapes{})
			if got != want {
				t.Errorf("round %d, set %d: %+v, want %+v", round, i, got, want)
			}
			values := fields
			if len(values) > 0 { // other values under the same names
				values = append([]Field(nil), fields...)
				values[0].Value, values[len(values)-1].Value = "", "other"
			}
			got.scan(values, &known)
			want.scan(values, &shapes{})
			if got != want {
				t.Errorf("round %d, set %d, other values: %+v, want %+v", round, i, got, want)
			}
		}
	}
}
