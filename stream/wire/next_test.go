package wire

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/stream/event"
)

// sameByNext checks that Next gives what Event gives, whatever ev held before.
func sameByNext(tb testing.TB, b *Batch) {
	tb.Helper()
	want, got := event.Event{}, *makeEvents(12, 99)[11].Clone()
	for i := range b.Len() {
		b.Event(i, &want)
		b.Next(i, &got)
		x, y := want, got
		x.Objects, y.Objects = nil, nil
		if !slices.Equal(want.Objects, got.Objects) || !reflect.DeepEqual(x, y) {
			tb.Fatalf("event %d: %s", i, cmp.Diff(want, got, sameEvents...))
		}
	}
}

func TestNextGivesWhatEventGives(t *testing.T) {
	all := makeEvents(300, 5)
	one := make([]event.Event, 300)
	for i := range one {
		one[i] = all[22] // all columns are alike
		one[i].Time += int64(i)
	}
	runs := append(append([]event.Event(nil), one[:100]...), all...)
	for name, evs := range map[string][]event.Event{
		"mixed": all, "alike": one, "runs": runs, "bare": make([]event.Event, 9), "single": all[:1], "plain": all[1:5],
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range encode(t, EncoderConfig{}, evs) {
				b, err := NewDecoder(Limits{}).DecodeValue(r.Value)
				if err != nil {
					t.Fatal(err)
				}
				sameByNext(t, b)
			}
		})
	}
}

// An index is refused when it is the dictionary's length or more, at any place of
// the column.
func TestIndicesAreHeldToTheirDictionary(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 255, 1<<15 - 1, 1 << 15, 1<<15 + 1, maxDictionary - 1} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			for rows := range 11 {
				for at := range rows {
					s := source{strs: make([]string, n), fixed: make([]byte, 2*rows)}
					for _, v := range []int{0, n - 1, n, n + 1, 1 << 15, 1<<16 - 1} {
						if v < 0 || v >= 1<<16 {
							continue
						}
						binary.LittleEndian.PutUint16(s.fixed[2*at:], uint16(v))
						if err := s.checkIndices(); (err != nil) != (v >= n || n == 0) {
							t.Fatalf("index %d at %d of %d rows: %v", v, at, rows, err)
						}
					}
				}
			}
		})
	}
}
