package wire

import (
	"io"
	"strconv"
	"testing"

	"github.com/weirproject/weir/stream/event"
)

func perEvent(b *testing.B, n int) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{16, 64, 1024, 2048} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			evs := makeEvents(n, 1)
			e := NewEncoder(EncoderConfig{})
			size := 0
			b.ReportAllocs()
			for b.Loop() {
				for i := range evs {
					if err := e.Append(&evs[i]); err != nil {
						b.Fatal(err)
					}
				}
				rec, _ := e.Flush("p", 1)
				size = len(rec.Value)
			}
			perEvent(b, n)
			b.ReportMetric(float64(size)/float64(n), "B/event")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{16, 64, 1024, 2048} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			rec := encode(b, EncoderConfig{}, makeEvents(n, 1))[0]
			d := NewDecoder(Limits{})
			var ev event.Event
			b.ReportAllocs()
			for b.Loop() {
				batch, err := d.DecodeValue(rec.Value)
				if err != nil {
					b.Fatal(err)
				}
				for i := range batch.Len() {
					batch.Event(i, &ev)
				}
			}
			perEvent(b, n)
		})
	}
}

func BenchmarkStitch(b *testing.B) {
	for _, n := range []int{16, 64, 1024, 2048} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			rec := encode(b, EncoderConfig{}, makeEvents(n, 1))[0]
			d := NewDecoder(Limits{})
			s := NewStitcher(io.Discard)
			b.ReportAllocs()
			for b.Loop() {
				batch, err := d.DecodeValue(rec.Value)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Add(batch, 1, 2, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
			perEvent(b, n)
		})
	}
}
