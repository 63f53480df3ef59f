package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// followed is what a tail has seen.
type followed struct {
	mu      sync.Mutex
	offsets map[int32][]int64
	gaps    []Gap
	caught  chan struct{}
}

func (f *followed) count() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.offsets {
		n += len(o)
	}
	return n
}

func (f *followed) handle(_ context.Context, recs []Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range recs {
		f.offsets[r.Partition] = append(f.offsets[r.Partition], r.Offset)
	}
	return nil
}

func follow(t *testing.T, c Connection, change func(*TailConfig)) (*Tail, *followed, func()) {
	t.Helper()
	f := &followed{offsets: make(map[int32][]int64), caught: make(chan struct{})}
	cfg := TailConfig{
		Connection: c, Topic: TopicEvents, Log: testLog(t), OnCaughtUp: func() { close(f.caught) },
		OnGap: func(g Gap) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.gaps = append(f.gaps, g)
		},
	}
	if change != nil {
		change(&cfg)
	}
	tail, err := NewTail(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, func(ctx context.Context) error { return tail.Run(ctx, f.handle) })
	return tail, f, stop
}

func TestTailResumesWhereItEnded(t *testing.T) {
	c, _ := cluster(t, 2)
	put(t, c, "p", 1, 10, events("shop", 0, 100)...)
	tail, f, stop := follow(t, c, nil)
	<-f.caught
	put(t, c, "p", 101, 10, events("shop", 100, 150)...)
	waitFor(t, "15 records", func() bool { return f.count() == 15 })
	if age := time.Since(tail.Contact()); age > time.Minute {
		t.Errorf("last contact %v ago", age)
	}
	stop()
	at := tail.Offsets()
	put(t, c, "p", 151, 10, events("shop", 150, 200)...)
	_, f2, _ := follow(t, c, func(cfg *TailConfig) { cfg.From = at })
	<-f2.caught
	p := wire.Partition("shop", 2)
	if got := f2.offsets[p]; !slices.Equal(got, []int64{15, 16, 17, 18, 19}) || f2.count() != 5 || len(f2.gaps) != 0 {
		t.Errorf("resumed at %v: saw %v, gaps %v", at, f2.offsets, f2.gaps)
	}
	idle, f3, _ := follow(t, c, func(cfg *TailConfig) { cfg.FromEnd = true })
	<-f3.caught
	if idle.Contact().IsZero() {
		t.Error("a tail that has nothing to read is in no contact")
	}
	put(t, c, "p", 201, 10, events("shop", 200, 210)...)
	waitFor(t, "the new record", func() bool { return f3.count() == 1 })
	if got := f3.offsets[p]; !slices.Equal(got, []int64{20}) {
		t.Errorf("from the end: saw %v", got)
	}
}

func TestTailReportsWhatIsGone(t *testing.T) {
	c, _ := cluster(t, 1)
	put(t, c, "p", 1, 10, events("shop", 0, 100)...)
	cl, err := c.client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	drop := func(before int64) {
		var os kadm.Offsets
		os.AddOffset(TopicEvents, 0, before, -1)
		if _, err := kadm.NewClient(cl).DeleteRecords(t.Context(), os); err != nil {
			t.Fatal(err)
		}
	}
	drop(4)
	for _, c2 := range []struct {
		name string
		from int64
		want []Gap
		n    int
	}{
		{"retention was faster", 2, []Gap{{0, 2, 4, false}}, 6},
		{"level", 10, nil, 0},
		{"the log lost its end", 50, []Gap{{0, 50, 4, true}}, 6},
	} {
		_, f, stop := follow(t, c, func(cfg *TailConfig) { cfg.From = map[int32]int64{0: c2.from} })
		<-f.caught
		stop()
		if !slices.Equal(f.gaps, c2.want) || f.count() != c2.n {
			t.Errorf("%s: gaps %v, %d records", c2.name, f.gaps, f.count())
		}
	}
}

func TestTailEndsWithItsHandlersError(t *testing.T) {
	c, _ := cluster(t, 1)
	put(t, c, "p", 1, 10, events("shop", 0, 30)...)
	tail, err := NewTail(TailConfig{Connection: c, Topic: TopicEvents, Log: quiet, From: map[int32]int64{0: 1}})
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("full")
	if err := tail.Run(t.Context(), func(context.Context, []Record) error { return full }); !errors.Is(err, full) {
		t.Errorf("run ended with %v", err)
	}
	if at := tail.Offsets(); !maps.Equal(at, map[int32]int64{0: 1}) {
		t.Errorf("records that were not handled are passed: %v", at)
	}
}

func TestBatchWritesTheTablesColumns(t *testing.T) {
	c, _ := cluster(t, 1)
	evs := events("shop", 0, 6)
	for i, ev := range evs {
		ev.Source = event.SourceEnforcer
		if i%2 == 1 { // the kernel's copy of the request before
			ev.Source, ev.ID = event.SourceEBPF, evs[i-1].ID
		}
		ev.Secret = 99
	}
	put(t, c, "p", 1, 3, evs...)
	var got []event.Event
	var body bytes.Buffer
	store := storeFunc(func(_ context.Context, _ string, b *Batch) error {
		n, err := b.WriteArrow(&body)
		if n != b.Rows {
			return fmt.Errorf("%d rows written, batch has %d", n, b.Rows)
		}
		return err
	})
	g, stop := startGroup(t, groupConfig(t, c, store, t.TempDir()), nil)
	waitFor(t, "level", func() bool { s := g.Status(); return len(s) == 1 && s[0].Stored == 2 })
	stop()
	batch, err := wire.NewDecoder(wire.Limits{}).DecodeValue(body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got = batch.Events(nil)
	if len(got) != 6 {
		t.Fatalf("%d rows, want 6", len(got))
	}
	for i := range got {
		if shadowed := got[i].Flags&event.FlagShadowed != 0; shadowed != (i%2 == 1) || got[i].ID != evs[i].ID || got[i].Secret != 0 {
			t.Errorf("row %d: shadowed %v, id %s, secret %v", i, shadowed, got[i].ID, got[i].Secret)
		}
	}
}

// TestEventToVerdictLatency measures the line without collectors: from Emit to
// the verdict at a tail.
func TestEventToVerdictLatency(t *testing.T) {
	c, _ := cluster(t, 1)
	reg := prometheus.NewRegistry()
	p := producer(t, c, nil, nil)
	running(t, p.Run)
	arrived := make(chan time.Time, 1024)
	tail, err := NewTail(TailConfig{Connection: c, Topic: TopicVerdicts, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	running(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(_ context.Context, recs []Record) error {
			for range recs {
				arrived <- time.Now()
			}
			return nil
		})
	})
	cfg := groupConfig(t, c, newMemStore(), t.TempDir())
	cfg.NewEngine = func(int32) Engine { return &everyEngine{} }
	cfg.SnapshotInterval = time.Hour
	_, stop := startGroup(t, cfg, reg)
	waitFor(t, "ownership", func() bool { return series(t, reg, "weir_stream_partitions_owned")[TopicEvents] == 1 })
	var took []time.Duration
	for i := range 60 {
		at := time.Now()
		p.Emit(testEvent("shop", i))
		took = append(took, (<-arrived).Sub(at))
	}
	stop()
	slices.Sort(took)
	t.Logf("emit to verdict at the tail: p50 %v, p95 %v, max %v", took[30], took[57], took[59])
	if took[0] > 500*time.Millisecond {
		t.Errorf("the fastest of 60 took %v", took[0])
	}
}

// everyEngine gives a verdict for every event.
type everyEngine struct{ countEngine }

func (*everyEngine) Observe(ev *event.Event, pos verdict.Position) Result {
	return Result{Verdicts: []verdict.Verdict{countVerdict(ev.Site, ev.ID, 1, pos)}}
}
