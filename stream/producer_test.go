package stream

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

func producer(t *testing.T, c Connection, reg prometheus.Registerer, change func(*ProducerConfig)) *Producer {
	t.Helper()
	cfg := ProducerConfig{Connection: c, Node: "n1", Log: testLog(t)}
	if change != nil {
		change(&cfg)
	}
	p, err := NewProducer(cfg, reg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// onLog reads every event of the topic and checks that each producer's numbers
// follow each other per partition.
func onLog(t *testing.T, c Connection) (ids []string, partitionOf map[string]int32, records int) {
	t.Helper()
	caught := make(chan struct{})
	tail, err := NewTail(TailConfig{Connection: c, Topic: TopicEvents, Log: quiet, OnCaughtUp: func() { close(caught) }})
	if err != nil {
		t.Fatal(err)
	}
	next := make(map[string]uint64)
	partitionOf = make(map[string]int32)
	d := wire.NewDecoder(wire.Limits{})
	stop := running(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(_ context.Context, recs []Record) error {
			for _, r := range recs {
				records++
				info, err := wire.ParseInfo(r.Headers)
				if err != nil {
					return err
				}
				b, err := d.Decode(info, r.Value)
				if err != nil {
					return err
				}
				key := fmt.Sprintf("%s %d", info.Producer, r.Partition)
				if want := max(next[key], 1); info.First != want {
					t.Errorf("record at %d/%d begins with number %d, want %d", r.Partition, r.Offset, info.First, want)
				}
				next[key] = info.First + uint64(info.Count)
				for _, ev := range b.Events(nil) {
					ids = append(ids, string([]byte(ev.ID)))
					partitionOf[string([]byte(ev.Site))] = r.Partition
				}
			}
			return nil
		})
	})
	select {
	case <-caught:
	case <-time.After(20 * time.Second):
		t.Fatal("the tail of events never caught up")
	}
	stop()
	return ids, partitionOf, records
}

func balanced(t *testing.T, l Ledger) {
	t.Helper()
	var lost uint64
	for _, n := range l.Lost {
		lost += n
	}
	if l.Produced != l.Delivered+lost+l.InFlight || l.InFlight > l.Produced {
		t.Errorf("ledger does not add up: %+v", l)
	}
}

func TestProducerDeliversAllByPartition(t *testing.T) {
	c, _ := cluster(t, 4)
	reg := prometheus.NewRegistry()
	p := producer(t, c, reg, nil)
	for i := range 50 { // before Run: they wait for the log to say its partitions
		p.Emit(testEvent("early", i))
	}
	stop := running(t, p.Run)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				p.Emit(testEvent(fmt.Sprintf("site%d", g), i))
			}
		})
	}
	wg.Wait()
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := p.Ledger(); l.Produced != 8050 || l.Delivered != 8050 {
		t.Errorf("ledger %+v, want 8050 delivered", l)
	}
	stop()
	ids, partitionOf, records := onLog(t, c)
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 8050 || len(ids) != 8050 {
		t.Errorf("%d events, %d distinct on the log, want 8050", len(ids), n)
	}
	for site, got := range partitionOf {
		if want := wire.Partition(site, 4); got != want {
			t.Errorf("site %s is in partition %d, want %d", site, got, want)
		}
	}
	if records > 4000 {
		t.Errorf("%d records for 8050 events: nothing was gathered", records)
	}
	if got := series(t, reg, "weir_events_delivered_total")["replay"]; got != 8050 {
		t.Errorf("weir_events_delivered_total{source=replay} = %v", got)
	}
	p.Emit(testEvent("late", 1))
	if l := p.Ledger(); l.Lost[LostClosed] != 1 {
		t.Errorf("an event after the end is booked as %v", l.Lost)
	}
}

func TestProducerShedsWhileTheLogIsAbsent(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := producer(t, Connection{Brokers: []string{addr}}, nil, func(c *ProducerConfig) { c.BufferBytes = 1 << 20 })
	stop := running(t, p.Run)
	const total = 20_000
	for i := range total {
		p.Emit(testEvent("shop", i))
	}
	ledger := p.Ledger()
	balanced(t, ledger)
	if ledger.Lost[LostUnavailable] == 0 || ledger.InFlight == 0 || ledger.InFlight > 1<<20/eventFixedBytes {
		t.Fatalf("ledger %+v: want a bounded number waiting and the rest shed as %s", ledger, LostUnavailable)
	}
	// The log comes: what was kept arrives, the oldest first.
	listen := func(network, _ string) (net.Listener, error) {
		return new(net.ListenConfig).Listen(context.Background(), network, addr)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, TopicEvents), kfake.ListenFn(listen))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := p.Ledger()
	if after.Delivered != ledger.InFlight || after.InFlight != 0 {
		t.Errorf("ledger %+v after the log came, want %d delivered", after, ledger.InFlight)
	}
	stop()
	ids, _, _ := onLog(t, Connection{Brokers: []string{addr}})
	if len(ids) == 0 || ids[0] != "shop-000000" || uint64(len(ids)) != after.Delivered {
		t.Errorf("%d events on the log, want the oldest %d", len(ids), after.Delivered)
	}
}

// TestLedgerUnderOverload keeps the log slower than the emitters and checks
// the equation all along, and at the end against the log itself.
func TestLedgerUnderOverload(t *testing.T) {
	c, k := cluster(t, 2)
	var refuse atomic.Bool
	k.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		k.SleepControl(func() { pause(context.Background(), 5*time.Millisecond) })
		if !refuse.CompareAndSwap(true, false) {
			return nil, nil, false
		}
		return refused(req.(*kmsg.ProduceRequest)), nil, true
	})
	reg := prometheus.NewRegistry()
	p := producer(t, c, reg, func(c *ProducerConfig) { c.BufferBytes, c.CloseTimeout = 1<<20, 10*time.Second })
	stop := running(t, p.Run)
	p.Emit(testEvent("s0", -1))
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	refuse.Store(true)
	enough := func() bool {
		l := p.Ledger()
		return l.Delivered > 2000 && l.Lost[LostSlow] > 0 && l.Lost[LostRefused] > 0
	}
	emitted := atomic.Uint64{}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			burst := 500
			waitFor(t, "overload", func() bool { // in bursts, each larger, until the log is slower
				for i := range burst {
					p.Emit(testEvent(fmt.Sprintf("s%d", g), i))
				}
				huge := testEvent("s1", 0)
				huge.Path = string(make([]byte, wire.MaxEventBytes+1))
				p.Emit(huge)
				emitted.Add(uint64(burst) + 1)
				burst = min(2*burst, 64_000)
				balanced(t, p.Ledger())
				return enough()
			})
		})
	}
	wg.Wait()
	stop()
	l := p.Ledger()
	balanced(t, l)
	if l.Produced != emitted.Load()+1 || l.InFlight != 0 || l.Lost[LostTooLarge] == 0 || !enough() {
		t.Errorf("ledger %+v: want %d produced, some too large, slow and refused", l, emitted.Load()+1)
	}
	ids, _, _ := countLog(t, c)
	if uint64(ids) != l.Delivered {
		t.Errorf("%d events on the log, %d booked as delivered", ids, l.Delivered)
	}
	sum := series(t, reg, "weir_events_delivered_total")["replay"]
	for _, n := range series(t, reg, "weir_events_lost_total") {
		sum += n
	}
	if got := series(t, reg, "weir_events_produced_total")["replay"]; got != sum || got != float64(l.Produced) {
		t.Errorf("exported: produced %v, delivered + lost %v", got, sum)
	}
}

// refused answers a produce request with an error that no retry mends.
func refused(req *kmsg.ProduceRequest) *kmsg.ProduceResponse {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.MessageTooLarge.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// countLog counts the events and gaps on the log.
func countLog(t *testing.T, c Connection) (events int, gaps uint64, records int) {
	t.Helper()
	var m marks
	caught := make(chan struct{})
	tail, err := NewTail(TailConfig{Connection: c, Topic: TopicEvents, Log: quiet, OnCaughtUp: func() { close(caught) }})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(_ context.Context, recs []Record) error {
			for _, r := range recs {
				info, err := wire.ParseInfo(r.Headers)
				if err != nil {
					return err
				}
				numbers, err := m.take(fmt.Sprintf("%s %d", info.Producer, r.Partition), info.First, info.Count, r.Offset)
				if err != nil {
					return err
				}
				events, gaps, records = events+info.Count, gaps+numbers.missing, records+1
			}
			return nil
		})
	})
	<-caught
	stop()
	return events, gaps, records
}

func TestAnEventAfterAQuietSpellIsSentAtOnce(t *testing.T) {
	c, _ := cluster(t, 1)
	p := producer(t, c, nil, func(c *ProducerConfig) { c.Linger = maxLinger })
	running(t, p.Run)
	arrived := make(chan time.Time, 64)
	tail, err := NewTail(TailConfig{Connection: c, Topic: TopicEvents, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	running(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(context.Context, []Record) error {
			arrived <- time.Now()
			return nil
		})
	})
	var took []time.Duration
	for i := range 20 {
		waitFor(t, "delivery", func() bool { return p.Ledger().InFlight == 0 })
		pause(t.Context(), 2*maxLinger) // the spell
		at := time.Now()
		p.Emit(testEvent("shop", i))
		took = append(took, (<-arrived).Sub(at))
	}
	slices.Sort(took)
	t.Logf("emit to tail: p50 %v, max %v", took[len(took)/2], took[len(took)-1])
	if took[0] > 500*time.Millisecond {
		t.Errorf("fastest of 20 took %v", took[0])
	}
}

func TestPublisherKeysBySiteAndAccounts(t *testing.T) {
	c, _ := cluster(t, 4)
	reg := prometheus.NewRegistry()
	p, err := NewPublisher(PublisherConfig{Connection: c, Topic: TopicDecisions, Buffer: 100, Log: quiet}, reg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 { // before Run: the buffer holds 100
		p.Decision(&verdict.Decision{ID: strconv.Itoa(i), Site: "shop", Time: 1, Action: event.ActionBlock, Proposed: event.ActionBlock, Mode: event.ModeEnforce})
	}
	l := p.Ledger()
	balanced(t, l)
	if l.InFlight != 100 || l.Lost[LostUnavailable] != 50 {
		t.Fatalf("ledger %+v, want 100 waiting and 50 shed", l)
	}
	stop := running(t, p.Run)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if p.Publish("shop", []byte("{}")) {
		t.Error("a closed publisher took a record")
	}
	l = p.Ledger()
	if balanced(t, l); l.Delivered != 100 || l.Lost[LostClosed] != 1 {
		t.Errorf("ledger %+v, want 100 delivered and 1 closed", l)
	}
	n := 0
	err = ReadRange(t.Context(), c, TopicDecisions, wire.Partition("shop", 4), 0, 100, func(r *Record) error {
		d, err := wire.ParseDecision(r.Value)
		if n++; err == nil && (d.Site != "shop" || string(r.Key) != "shop") {
			t.Errorf("record %d is %+v with key %q", r.Offset, d, r.Key)
		}
		return err
	})
	if err != nil || n != 100 {
		t.Errorf("%d decisions read back: %v", n, err)
	}
}
