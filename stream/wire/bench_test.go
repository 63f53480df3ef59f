package wire

import (
	"io"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
)

// perEvent reports CPU time, which means something on a busy machine too.
func perEvent(b *testing.B, n int, since time.Duration) {
	b.Helper()
	b.ReportMetric(float64(cpuTime(b)-since)/float64(b.N)/float64(n), "cpu-ns/event")
}

// cpuTime is the user and system time of the process, garbage collection
// included.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{16, 64, 1024, 2048} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			evs := makeEvents(n, 1)
			e := NewEncoder(EncoderConfig{})
			size := 0
			b.ReportAllocs()
			cpu := cpuTime(b)
			for b.Loop() {
				for i := range evs {
					if err := e.Append(&evs[i]); err != nil {
						b.Fatal(err)
					}
				}
				rec, _ := e.Flush("p", 1)
				size = len(rec.Value)
			}
			perEvent(b, n, cpu)
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
			cpu := cpuTime(b)
			for b.Loop() {
				batch, err := d.DecodeValue(rec.Value)
				if err != nil {
					b.Fatal(err)
				}
				for i := range batch.Len() {
					batch.Event(i, &ev)
				}
			}
			perEvent(b, n, cpu)
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
			cpu := cpuTime(b)
			for b.Loop() {
				batch, err := d.DecodeValue(rec.Value)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Add(batch, 1, 2, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
			perEvent(b, n, cpu)
		})
	}
}
