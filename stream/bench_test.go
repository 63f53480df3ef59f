package stream

import (
	"context"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// nullEngine costs nothing, so that what remains is the line's own.
type nullEngine struct{ countEngine }

func (*nullEngine) Observe(*event.Event, verdict.Position) Result { return Result{Actor: 1} }

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchRecord(b *testing.B, n int) Record {
	b.Helper()
	enc := wire.NewEncoder(wire.EncoderConfig{})
	for i := range n {
		if err := enc.Append(testEvent("shop", i)); err != nil {
			b.Fatal(err)
		}
	}
	rec, _ := enc.Flush("p", 1)
	k := kgo.Record{Topic: TopicEvents, Value: rec.Value, Headers: wire.Headers[kgo.RecordHeader](rec.Info)}
	return recordOf(&k)
}

// BenchmarkFold is the processor without log and engine: decode, numbers, source
// preference, columns for the store. One operation is one event.
func BenchmarkFold(b *testing.B) {
	for _, size := range []int{10, 100, 2000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			rec := benchRecord(b, size)
			f := newFold(TopicEvents, 0, &nullEngine{})
			b.ReportAllocs()
			began := cpuTime()
			defer func() { b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/float64(b.N), "cpu-ns/event") }()
			for i := 0; i < b.N; i += size {
				clear(f.marks.byProducer)
				if out := f.apply(&rec, func(*verdict.Verdict) {}, nil); out.events != size {
					b.Fatal(out.bad)
				}
			}
		})
	}
}

// BenchmarkEmit is the cost to the caller of the producer, who is a request's
// goroutine. The log is absent, so nothing but Emit runs; the buffer is emptied
// by hand.
func BenchmarkEmit(b *testing.B) {
	p, err := NewProducer(ProducerConfig{Connection: Connection{Brokers: []string{"127.0.0.1:1"}}, Log: quiet}, nil)
	if err != nil {
		b.Fatal(err)
	}
	p.open(4)
	ev := testEvent("shop", 1)
	n := 0
	b.ReportAllocs()
	began := cpuTime()
	defer func() { b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/float64(n), "cpu-ns/event") }()
	for b.Loop() {
		p.Emit(ev)
		if n++; n%2000 == 0 {
			for _, l := range *p.lanes.Load() {
				for _, full := range l.rest() {
					full.encoder.Flush("p", full.first)
					p.encoders.Put(full.encoder)
					p.book(full, "")
				}
			}
		}
	}
}

// BenchmarkLine runs events from Emit over the log through decode and a null
// engine to a null store, all in this process, the log included, and reports CPU
// time per event.
func BenchmarkLine(b *testing.B) {
	c, _ := cluster(b, 1)
	p, err := NewProducer(ProducerConfig{Connection: c, Log: quiet}, nil)
	if err != nil {
		b.Fatal(err)
	}
	rows := make(chan int, 1024)
	store := storeFunc(func(_ context.Context, _ string, batch *Batch) error {
		rows <- batch.Rows
		return nil
	})
	g, err := NewGroup(GroupConfig{
		Connection: c, Member: "m", NewEngine: func(int32) Engine { return &nullEngine{} }, Store: store,
		Snapshots: NewDirectory(b.TempDir()), Log: quiet, SnapshotInterval: time.Hour,
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer running(b, p.Run)()
	defer running(b, g.Run)()
	evs := events("shop", 0, 1000)
	began := cpuTime()
	b.ResetTimer()
	for i := range b.N {
		for p.used.Load() > 16<<20 {
			pause(b.Context(), time.Millisecond)
		}
		p.Emit(evs[i%len(evs)])
	}
	for got := 0; got < b.N; {
		got += <-rows
	}
	b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/float64(b.N), "cpu-ns/event")
}
