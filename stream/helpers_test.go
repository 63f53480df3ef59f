package stream

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

func TestMain(m *testing.M) {
	if worker(os.Getenv("WEIR_KILL_ROLE")) {
		return
	}
	goleak.VerifyTestMain(m)
}

// cluster starts an in-process log with the topics and returns its address.
func cluster(tb testing.TB, partitions int32) (Connection, *kfake.Cluster) {
	tb.Helper()
	c, err := kfake.NewCluster(
		kfake.NumBrokers(1), kfake.SeedTopics(partitions, TopicEvents, TopicVerdicts, TopicDecisions),
		kfake.GroupMinSessionTimeout(time.Millisecond),
	)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return Connection{Brokers: c.ListenAddrs()}, c
}

func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	if os.Getenv(envLog) == "" {
		return quiet
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// waitLimit is long because a shared machine can be slow; nothing waits for it
// unless it fails.
const waitLimit = 3 * time.Minute

// waitFor polls cond until it holds or the deadline passes.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitLimit)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
		pause(context.Background(), 2*time.Millisecond)
	}
}

// running runs fn until the test or stop ends it, and fails on its error.
func running(tb testing.TB, fn func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run: %v", err)
		}
	})
	tb.Cleanup(stop)
	return stop
}

// countEngine counts events per path and gives a verdict at every 20th. Its
// results depend on the whole history, so one missing, doubled or swapped event
// shows.
type countEngine struct {
	Counts map[string]uint32
	Sum    uint64
}

const verdictEvery = 20

func newCountEngine(int32) Engine { return &countEngine{Counts: make(map[string]uint32)} }

func (e *countEngine) Observe(ev *event.Event, pos verdict.Position) Result {
	n := e.Counts[ev.Path] + 1
	e.Counts[strings.Clone(ev.Path)] = n // a map takes the newer of two equal keys
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte(ev.ID), e.Sum))
	e.Sum = h.Sum64()
	res := Result{Actor: event.Hash(n), Route: ev.Path}
	if n%verdictEvery == 0 {
		res.Verdicts = []verdict.Verdict{countVerdict(ev.Site, ev.Path, n, pos)}
	}
	return res
}

func countVerdict(site, path string, n uint32, pos verdict.Position) verdict.Verdict {
	h := fnv.New128a()
	_, _ = fmt.Fprintf(h, "%s %s %d", site, path, n)
	return verdict.Verdict{
		ID: fmt.Sprintf("v_%x", h.Sum(nil)), Revision: 1, Site: site, Time: 1, Expires: 2, Scope: verdict.ScopeActor,
		Action: event.ActionBlock, Mode: event.ModeEnforce, Threats: []verdict.Threat{"OAT-008"}, Bound: "model",
		Binds: []verdict.Group{{All: []verdict.Bind{{Kind: "session", Value: event.Hash(n)}}}},
		Evidence: verdict.Evidence{
			Summary: path, Features: []verdict.Feature{}, Events: []string{},
			Range: verdict.Range{Topic: TopicEvents, Partition: pos.Partition, From: pos.Offset, To: pos.Offset},
		},
		Baseline: "b_0", Engine: "test",
	}
}

func (e *countEngine) Control(c *verdict.Control, pos verdict.Position) []verdict.Verdict {
	return []verdict.Verdict{countVerdict(c.Site, "control:"+c.ID, 1, pos)}
}

// InForce is for engines that hold what they gave.
func (e *countEngine) InForce() []verdict.Verdict { return nil }

func (e *countEngine) Cut() (Cut, error) {
	b, err := json.Marshal(e)
	return bytesCut(b), err
}

// bytesCut is a state that was copied whole.
type bytesCut []byte

func (b bytesCut) Write(w io.Writer) error {
	_, err := w.Write(b)
	return err
}

func (bytesCut) Release() {}

// snapshot writes the state of a fold that stands still.
func (f *fold) snapshot(w io.Writer, stored int64) error {
	c, err := f.cut(stored)
	if err != nil {
		return err
	}
	return c.write(context.Background(), w)
}

func (e *countEngine) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(e) }

// row is what a test store keeps of one event.
type row struct {
	ID        string
	Partition int32
	Offset    int64
	Row       int32
	Actor     uint64
	Route     string
	Shadowed  bool
}

func rowsOf(b *Batch) ([]row, error) {
	d := wire.NewDecoder(wire.Limits{})
	var out []row
	for i := range b.Records {
		s := &b.Records[i]
		info, err := wire.ParseInfo(s.Record.Headers)
		if err != nil {
			return nil, err
		}
		events, err := d.Decode(info, s.Record.Value)
		if err != nil {
			return nil, err
		}
		for k, ev := range events.Events(nil) {
			out = append(out, row{
				ID: string([]byte(ev.ID)), Partition: b.Partition, Offset: s.Record.Offset, Row: int32(k),
				Actor: uint64(s.Actors[k]), Route: s.Routes[k], Shadowed: slices.Contains(s.Shadowed, int32(k)),
			})
		}
	}
	if len(out) != b.Rows {
		return nil, fmt.Errorf("batch says %d rows, has %d", b.Rows, len(out))
	}
	return out, nil
}

// memStore is a store in memory that can be away.
type memStore struct {
	mu      sync.Mutex
	tokens  map[string]int
	rows    []row
	away    error
	inserts int
	ranges  []string
}

func newMemStore() *memStore { return &memStore{tokens: make(map[string]int)} }

func (s *memStore) Insert(_ context.Context, token string, b *Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return s.away
	}
	rows, err := rowsOf(b)
	if err != nil {
		return err
	}
	s.inserts++
	if s.tokens[token]++; s.tokens[token] > 1 {
		return nil
	}
	s.ranges = append(s.ranges, token)
	s.rows = append(s.rows, rows...)
	return nil
}

func (s *memStore) setAway(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
}

func (s *memStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rows)
}

// checkRows compares the stored rows with what an uninterrupted engine would
// have said of each event, in log order.
func checkRows(t *testing.T, rows []row, want int) {
	t.Helper()
	if len(rows) != want {
		t.Errorf("%d rows stored, want %d", len(rows), want)
	}
	slices.SortFunc(rows, func(a, b row) int {
		switch {
		case a.Partition != b.Partition:
			return int(a.Partition - b.Partition)
		case a.Offset != b.Offset:
			return int(a.Offset - b.Offset)
		}
		return int(a.Row - b.Row)
	})
	ids := make(map[string]bool)
	counts := make(map[string]uint64)
	wrong := 0
	for _, r := range rows {
		if ids[r.ID] {
			t.Errorf("event %s is stored twice", r.ID)
		}
		ids[r.ID] = true
		key := fmt.Sprintf("%d %s", r.Partition, r.Route)
		if counts[key]++; counts[key] != r.Actor {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d rows carry another result than an uninterrupted engine's", wrong, len(rows))
	}
}

// testEvent is event i of a site; its id, path and time follow from i.
func testEvent(site string, i int) *event.Event {
	return &event.Event{
		ID: fmt.Sprintf("%s-%06d", site, i), Time: 1_700_000_000_000_000_000 + int64(i)*1e6, Source: event.SourceReplay, Node: "n1",
		Site: site, Method: "GET", Host: site + ".example", Path: fmt.Sprintf("/p/%d", i%17), Status: 200, UserAgent: "test",
	}
}

// put writes records of events straight to the log, size events per record.
func put(t *testing.T, c Connection, producer string, first, size int, events ...*event.Event) {
	t.Helper()
	cl, err := c.client(kgo.RecordPartitioner(bySite()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for chunk := range slices.Chunk(events, size) {
		enc := wire.NewEncoder(wire.EncoderConfig{})
		for _, ev := range chunk {
			if err := enc.Append(ev); err != nil {
				t.Fatal(err)
			}
		}
		rec, _ := enc.Flush(producer, uint64(first))
		first += len(chunk)
		r := &kgo.Record{
			Topic: TopicEvents, Key: []byte(chunk[0].Site), Value: rec.Value, Headers: wire.Headers[kgo.RecordHeader](rec.Info),
		}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func events(site string, from, to int) []*event.Event {
	var out []*event.Event
	for i := from; i < to; i++ {
		out = append(out, testEvent(site, i))
	}
	return out
}

// verdicts returns all that stands on the verdict topic, by id, with how often.
func verdicts(t *testing.T, c Connection) map[string]int {
	t.Helper()
	out := make(map[string]int)
	caught := make(chan struct{})
	tail, err := NewTail(TailConfig{Connection: c, Topic: TopicVerdicts, Log: quiet, OnCaughtUp: func() { close(caught) }})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(_ context.Context, recs []Record) error {
			for _, r := range recs {
				v, err := wire.ParseVerdict(r.Value)
				if err != nil {
					return err
				}
				out[v.ID]++
			}
			return nil
		})
	})
	select {
	case <-caught:
	case <-time.After(20 * time.Second):
		t.Fatal("the tail of verdicts never caught up")
	}
	stop()
	return out
}

func groupConfig(t *testing.T, c Connection, store Store, dir string) GroupConfig {
	t.Helper()
	return GroupConfig{
		Connection: c, Member: "m0", NewEngine: newCountEngine, Store: store, Snapshots: NewDirectory(dir), Log: testLog(t),
		FlushInterval: 20 * time.Millisecond, SnapshotInterval: 30 * time.Millisecond, SessionTimeout: 6 * time.Second,
		StopTimeout: 5 * time.Second,
	}
}

func startGroup(t *testing.T, cfg GroupConfig, reg prometheus.Registerer) (*Group, func()) {
	t.Helper()
	g, err := NewGroup(cfg, reg)
	if err != nil {
		t.Fatal(err)
	}
	return g, running(t, g.Run)
}

// series returns the values of a metric, keyed by its labels' values joined.
func series(t *testing.T, reg prometheus.Gatherer, name string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var key []string
			for _, l := range m.GetLabel() {
				key = append(key, l.GetValue())
			}
			out[strings.Join(key, ",")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}
