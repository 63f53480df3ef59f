package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

func TestRepeatsGapsAndDamageAreCounted(t *testing.T) {
	c, _ := cluster(t, 1)
	store, reg := newMemStore(), prometheus.NewRegistry()
	put(t, c, "p", 1, 10, events("shop", 0, 100)...)
	put(t, c, "p", 51, 10, events("shop", 50, 100)...) // sent again
	put(t, c, "p", 131, 10, events("shop", 130, 200)...)
	put(t, c, "p", 195, 10, events("shop", 300, 310)...) // overlaps 195..200
	cl, err := c.client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	info := wire.Info{Kind: wire.KindEvents, Schema: wire.Schema, Major: wire.Major, Minor: wire.Minor, Count: 7, Producer: "q", First: 1}
	for _, r := range []*kgo.Record{
		{Topic: TopicEvents, Value: []byte("no arrow"), Headers: wire.Headers[kgo.RecordHeader](info)},
		{Topic: TopicEvents, Value: []byte("no headers")},
	} {
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	put(t, c, "p", 201, 10, events("shop", 200, 220)...)
	g, stop := startGroup(t, groupConfig(t, c, store, t.TempDir()), reg)
	waitFor(t, "190 rows", func() bool { return store.count() >= 190 })
	if s := g.Status()[0]; s.Lost != 30+10+7+1 {
		t.Errorf("status says %d lost, want 48", s.Lost)
	}
	stop()
	checkRows(t, store.rows, 190)
	lost := series(t, reg, "weir_stream_lost_total")
	if lost["missing,"+TopicEvents] != 30 || lost["undecodable,"+TopicEvents] != 18 {
		t.Errorf("lost %v, want 30 missing, 18 undecodable", lost)
	}
	if got := series(t, reg, "weir_stream_repeated_total")[TopicEvents]; got != 50 {
		t.Errorf("%v repeated, want 50", got)
	}
}

func TestControlRecordsReachTheEngineInOrder(t *testing.T) {
	c, _ := cluster(t, 2)
	p, err := NewPublisher(PublisherConfig{Connection: c, Topic: TopicEvents, Log: quiet}, nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, p.Run)
	pos, err := p.Control(t.Context(), &verdict.Control{Kind: "revoke", Site: "shop", Time: 1, By: "ann", Reason: "test", ID: "v_1"})
	if err != nil || pos.Partition != wire.Partition("shop", 2) {
		t.Fatalf("control record at %+v: %v", pos, err)
	}
	store := newMemStore()
	put(t, c, "p", 1, 10, events("shop", 0, 30)...)
	g, stop := startGroup(t, groupConfig(t, c, store, t.TempDir()), nil)
	waitFor(t, "the verdict of the control record", func() bool { return len(verdicts(t, c)) == 1 })
	waitFor(t, "30 rows", func() bool { return store.count() == 30 })
	waitFor(t, "level", func() bool {
		return !slices.ContainsFunc(g.Status(), func(s PartitionStatus) bool { return s.Stored < s.LogEnd })
	})
	stop()
}

// TestSnapshotWaitsForItsVerdicts holds back the acknowledgement of verdicts: a
// state that has given a verdict must not be saved while nobody has it.
func TestSnapshotWaitsForItsVerdicts(t *testing.T) {
	c, k := cluster(t, 1)
	var hold atomic.Bool
	hold.Store(true)
	k.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		if hold.Load() && req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Partition == 0 && isVerdict(k.TopicInfo(TopicVerdicts).TopicID, req) {
			return nil, errors.New("held back"), true
		}
		return nil, nil, false
	})
	put(t, c, "p", 1, 10, events("shop", 0, 500)...)
	store, dir := newMemStore(), t.TempDir()
	cfg := groupConfig(t, c, store, dir)
	cfg.StopTimeout = 200 * time.Millisecond
	_, stop := startGroup(t, cfg, nil)
	waitFor(t, "500 rows", func() bool { return store.count() >= 500 })
	put(t, c, "p", 501, 10, events("shop", 500, 600)...)
	waitFor(t, "600 rows", func() bool { return store.count() >= 600 })
	stop()
	if ids, _ := NewDirectory(dir).List(t.Context(), TopicEvents, 0); len(ids) != 0 {
		t.Errorf("snapshots %v stand although no verdict is on the log", ids)
	}
	hold.Store(false)
	_, stop = startGroup(t, cfg, nil)
	waitFor(t, "all verdicts", func() bool { return len(verdicts(t, c)) == 17 })
	waitFor(t, "a snapshot", func() bool {
		ids, _ := NewDirectory(dir).List(t.Context(), TopicEvents, 0)
		return len(ids) > 0
	})
	stop()
	checkRows(t, store.rows, 600)
}

func isVerdict(id [16]byte, req kmsg.Request) bool {
	topic := req.(*kmsg.ProduceRequest).Topics[0]
	return topic.Topic == TopicVerdicts || topic.TopicID == id
}

func TestLogThatLostItsEndIsDetected(t *testing.T) {
	c, k := cluster(t, 1)
	store, dir, reg := newMemStore(), t.TempDir(), prometheus.NewRegistry()
	put(t, c, "p", 1, 10, events("shop", 0, 500)...)
	_, stop := startGroup(t, groupConfig(t, c, store, dir), nil)
	waitFor(t, "500 rows", func() bool { return store.count() >= 500 })
	stop()
	checkRows(t, slices.Clone(store.rows), 500)
	// A log of which the last 20 of 50 records are gone, as after a power loss:
	// another cluster with the same group offsets and 30 of the records.
	c2, k2 := cluster(t, 1)
	_ = k
	_ = k2
	put(t, c2, "p", 1, 10, events("shop", 0, 300)...)
	copyCommit(t, c, c2)
	put2 := func() { put(t, c2, "p2", 1, 10, events("shop", 1000, 1400)...) }
	_, stop = startGroup(t, groupConfig(t, c2, store, dir), reg)
	waitFor(t, "takeover", func() bool { return series(t, reg, "weir_stream_partitions_owned")[TopicEvents] == 1 })
	put2()
	waitFor(t, "900 rows", func() bool { return store.count() >= 900 })
	stop()
	alarms := series(t, reg, "weir_stream_alarms_total")
	if alarms["rewound,"+TopicEvents] == 0 {
		t.Errorf("alarms %v: a log that lost its end went unnoticed", alarms)
	}
	ids := make(map[string]int)
	for _, r := range store.rows {
		ids[r.ID]++
	}
	for i := 1000; i < 1400; i++ {
		if ids[testEvent("shop", i).ID] != 1 {
			t.Fatalf("event %d at a reused offset is stored %d times", i, ids[testEvent("shop", i).ID])
		}
	}
}

// copyCommit gives the group on the second log the offset and metadata of the
// first, with the second's topic id, as if it had always been that log.
func copyCommit(t *testing.T, from, to Connection) {
	t.Helper()
	a, err := from.client()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := to.client()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	offsets, err := kadm.NewClient(a).FetchOffsets(t.Context(), "weir")
	if err != nil {
		t.Fatal(err)
	}
	o, _ := offsets.Lookup(TopicEvents, 0)
	note, err := parseNote(o.Metadata)
	if err != nil || o.At != 50 {
		t.Fatalf("committed %d %q: %v", o.At, o.Metadata, err)
	}
	g := &Group{client: b, cfg: GroupConfig{Topic: TopicEvents}}
	id, err := g.topicID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	note.lineage = id + ".0"
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: TopicEvents, Partition: 0, At: o.At, LeaderEpoch: -1, Metadata: note.String()})
	if err := kadm.NewClient(b).CommitAllOffsets(t.Context(), "weir", os); err != nil {
		t.Fatal(err)
	}
}

func TestTopicMadeAnewKeepsWhatWasLearned(t *testing.T) {
	c, _ := cluster(t, 1)
	store, dir, reg := newMemStore(), t.TempDir(), prometheus.NewRegistry()
	put(t, c, "p", 1, 10, events("shop", 0, 340)...)
	_, stop := startGroup(t, groupConfig(t, c, store, dir), nil)
	waitFor(t, "340 rows", func() bool { return store.count() >= 340 })
	stop()
	c2, _ := cluster(t, 1)                            // another log, the same snapshots
	put(t, c2, "p", 1, 10, events("shop", 0, 340)...) // repeats: their numbers are known
	put(t, c2, "p2", 1, 10, events("shop", 340, 360)...)
	for range 2 {
		_, stop = startGroup(t, groupConfig(t, c2, store, dir), reg)
		waitFor(t, "360 rows", func() bool { return store.count() >= 360 })
		stop()
	}
	if alarms := series(t, reg, "weir_stream_alarms_total"); alarms["recreated,"+TopicEvents] != 1 {
		t.Errorf("alarms %v, want one for a recreated topic", alarms)
	}
	if len(store.rows) != 360 {
		t.Fatalf("%d rows, want 360", len(store.rows))
	}
	for _, r := range store.rows[340:] {
		if r.Actor != 21 && r.Actor != 22 {
			t.Errorf("event %s has count %d: what was learned is lost", r.ID, r.Actor)
		}
	}
}

func TestRetentionBeforeStorageIsCounted(t *testing.T) {
	c, _ := cluster(t, 1)
	store, dir, reg := newMemStore(), t.TempDir(), prometheus.NewRegistry()
	put(t, c, "p", 1, 10, events("shop", 0, 200)...)
	_, stop := startGroup(t, groupConfig(t, c, store, dir), nil)
	waitFor(t, "200 rows", func() bool { return store.count() >= 200 })
	stop()
	put(t, c, "p", 201, 10, events("shop", 200, 500)...)
	cl, err := c.client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var os kadm.Offsets
	os.AddOffset(TopicEvents, 0, 30, -1) // records 20..29 are gone
	if _, err := kadm.NewClient(cl).DeleteRecords(t.Context(), os); err != nil {
		t.Fatal(err)
	}
	_, stop = startGroup(t, groupConfig(t, c, store, dir), reg)
	waitFor(t, "400 rows", func() bool { return store.count() >= 400 })
	stop()
	lost := series(t, reg, "weir_stream_lost_total")
	if lost["missing,"+TopicEvents] != 100 || lost["expired,"+TopicEvents] < 10 {
		t.Errorf("lost %v, want 100 events missing, 10 records expired", lost)
	}
}

func TestStoreThatRefusesForGoodLosesWithACount(t *testing.T) {
	c, _ := cluster(t, 1)
	reg := prometheus.NewRegistry()
	var refused atomic.Int64
	store := storeFunc(func(_ context.Context, _ string, b *Batch) error {
		refused.Add(int64(b.Rows))
		return fmt.Errorf("insert: %w", Permanent(errors.New("no such column")))
	})
	put(t, c, "p", 1, 10, events("shop", 0, 100)...)
	g, stop := startGroup(t, groupConfig(t, c, store, t.TempDir()), reg)
	waitFor(t, "level", func() bool { s := g.Status(); return len(s) == 1 && s[0].Stored == s[0].LogEnd })
	stop()
	if got := series(t, reg, "weir_stream_lost_total")["rejected,"+TopicEvents]; got != 100 || refused.Load() != 100 {
		t.Errorf("%v rejected, %d seen by the store, want 100", got, refused.Load())
	}
}

type storeFunc func(context.Context, string, *Batch) error

func (f storeFunc) Insert(ctx context.Context, token string, b *Batch) error { return f(ctx, token, b) }

func TestTopicWithoutEngineIsOnlyStored(t *testing.T) {
	c, _ := cluster(t, 2)
	p, err := NewPublisher(PublisherConfig{Connection: c, Topic: TopicDecisions, Log: quiet}, nil)
	if err != nil {
		t.Fatal(err)
	}
	running(t, p.Run)
	var got atomic.Int64
	away := atomic.Bool{}
	store := storeFunc(func(_ context.Context, _ string, b *Batch) error {
		if away.Load() {
			return errors.New("away")
		}
		got.Add(int64(len(b.Records)))
		return nil
	})
	cfg := GroupConfig{
		Connection: c, Topic: TopicDecisions, Group: "decisions", Member: "m", Store: store, Log: testLog(t),
		FlushInterval: 10 * time.Millisecond, BacklogBytes: 4096, StopTimeout: time.Second,
	}
	send := func(n int) {
		for range n {
			p.Decision(&verdict.Decision{ID: "x", Site: "shop", Time: 1, Action: event.ActionBlock, Proposed: event.ActionBlock, Mode: event.ModeEnforce})
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	send(50)
	g, stop := startGroup(t, cfg, nil)
	some := func(is func(PartitionStatus) bool) func() bool {
		return func() bool { return slices.ContainsFunc(g.Status(), is) }
	}
	waitFor(t, "50 records", func() bool { return got.Load() == 50 })
	away.Store(true)
	send(500)
	waitFor(t, "a failing insert", some(func(s PartitionStatus) bool { return s.StoreError != "" }))
	send(500)
	waitFor(t, "a backlog past its bound", some(func(s PartitionStatus) bool { return s.Deferred }))
	away.Store(false)
	waitFor(t, "1050 records", func() bool { return got.Load() == 1050 })
	stop()
	send(10)
	_, stop = startGroup(t, cfg, nil)
	waitFor(t, "1060 records", func() bool { return got.Load() == 1060 })
	stop()
}

func TestMembersShareAndTakeOver(t *testing.T) {
	c, _ := cluster(t, 4)
	store, dir := newMemStore(), t.TempDir()
	sites := []string{"a", "b", "c", "d", "e", "f"}
	round := 0
	send := func() {
		for _, s := range sites {
			put(t, c, s, round*100+1, 10, events(s, round*100, round*100+100)...)
		}
		round++
	}
	member := func(name string) (*Group, func()) {
		cfg := groupConfig(t, c, store, dir)
		cfg.Member, cfg.Leave, cfg.SessionTimeout = name, true, 2*time.Second
		return startGroup(t, cfg, nil)
	}
	send()
	g1, stop1 := member("m1")
	waitFor(t, "600 rows", func() bool { return store.count() >= 600 })
	g2, stop2 := member("m2")
	waitFor(t, "an even share", func() bool { return len(g1.Status()) == 2 && len(g2.Status()) == 2 })
	send()
	waitFor(t, "1200 rows", func() bool { return store.count() >= 1200 })
	stop1() // leaves: its partitions move at once
	send()
	waitFor(t, "the other takes over", func() bool { return len(g2.Status()) == 4 })
	waitFor(t, "1800 rows", func() bool { return store.count() >= 1800 })
	stop2()
	checkRows(t, store.rows, 1800)
	for id, n := range verdicts(t, c) {
		if n != 1 {
			t.Errorf("verdict %s was published %d times over orderly hand-overs", id, n)
		}
	}
}

func TestTwoProcessesOfOneNameAreFenced(t *testing.T) {
	c, _ := cluster(t, 1)
	store, dir := newMemStore(), t.TempDir()
	cfg := groupConfig(t, c, store, dir)
	cfg.SessionTimeout = time.Second
	first, err := NewGroup(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Run(t.Context()) }()
	waitFor(t, "ownership", func() bool { return len(first.Status()) == 1 })
	_, stop := startGroup(t, cfg, nil)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a fenced member ended without an error")
		}
	case <-time.After(15 * time.Second):
		t.Fatal("a fenced member goes on")
	}
	put(t, c, "p", 1, 10, events("shop", 0, 100)...)
	waitFor(t, "100 rows", func() bool { return store.count() >= 100 })
	stop()
}

func TestReplayRepeatsTheEngine(t *testing.T) {
	c, _ := cluster(t, 1)
	store, dir := newMemStore(), t.TempDir()
	put(t, c, "p", 1, 10, events("shop", 0, 400)...)
	_, stop := startGroup(t, groupConfig(t, c, store, dir), nil)
	waitFor(t, "400 rows", func() bool { return store.count() >= 400 })
	stop()
	cfg := ReplayConfig{Connection: c, Snapshots: NewDirectory(dir), NewEngine: newCountEngine, From: 20, To: 30}
	n := 0
	err := Replay(t.Context(), cfg, func(ev *event.Event, pos verdict.Position, res Result) {
		n++
		for _, r := range store.rows {
			if r.ID == ev.ID && (r.Actor != uint64(res.Actor) || r.Offset != pos.Offset || r.Row != pos.Row) {
				t.Errorf("event %s replays as %+v at %+v, stored %+v", ev.ID, res, pos, r)
			}
		}
	})
	if err != nil || n != 100 {
		t.Errorf("%d events replayed, want 100: %v", n, err)
	}
	engine, next, err := RestoreEngine(t.Context(), cfg.Snapshots, TopicEvents, 0, 40, newCountEngine)
	if err != nil || engine == nil || next == 0 || next > 40 {
		t.Errorf("restored %v at %d: %v", engine, next, err)
	}
	cfg.To = 41
	if err := Replay(t.Context(), cfg, nil); !errors.Is(err, ErrPastEnd) {
		t.Errorf("past the end: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, TopicEvents)); err != nil {
		t.Fatal(err)
	}
	cl, err := c.client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var os kadm.Offsets
	os.AddOffset(TopicEvents, 0, 10, -1)
	if _, err := kadm.NewClient(cl).DeleteRecords(t.Context(), os); err != nil {
		t.Fatal(err)
	}
	cfg.To = 30
	if err := Replay(t.Context(), cfg, nil); !errors.Is(err, ErrExpired) {
		t.Errorf("past retention: %v", err)
	}
}
