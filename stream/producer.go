package stream

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/wire"
)

// ProducerConfig configures a Producer.
type ProducerConfig struct {
	Connection Connection
	Topic      string // default weir.events
	// Node names this machine; it leads the producer's incarnation.
	Node string
	// Linger is how long an event may wait for others; default 5 ms, at most
	// 10 ms. After a quiet spell of that length an event is sent at once.
	Linger time.Duration
	// BufferBytes bounds what waits for the log, in flight included; default
	// 64 MiB. Past it new events are shed and counted; the oldest are kept.
	BufferBytes int64
	// CloseTimeout bounds the last sending at the end of Run; default 5 s.
	CloseTimeout time.Duration
	Log          *slog.Logger
}

const (
	maxLinger = 10 * time.Millisecond
	// maxInFlight bounds the records on the way per partition, so that under
	// back-pressure events gather into full records.
	maxInFlight = 8
	// silence is after how long without an acknowledgement shedding is put down
	// to an absent log rather than a slow one.
	silence = 5 * time.Second
)

func (c ProducerConfig) withDefaults() ProducerConfig {
	if c.Topic == "" {
		c.Topic = TopicEvents
	}
	if c.Linger == 0 {
		c.Linger = 5 * time.Millisecond
	}
	if c.BufferBytes == 0 {
		c.BufferBytes = 64 << 20
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 5 * time.Second
	}
	return c
}

// Validate reports all faults.
func (c ProducerConfig) Validate() error {
	c = c.withDefaults()
	errs := []error{c.Connection.Validate()}
	if c.Linger < 0 || c.Linger > maxLinger {
		errs = append(errs, fmt.Errorf("collect.linger: %v: want at most %v", c.Linger, maxLinger))
	}
	if c.BufferBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("collect.bufferBytes: %d: want at least 1 MiB", c.BufferBytes))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("stream: a logger is needed"))
	}
	return errors.Join(errs...)
}

// Producer gathers events into records, one per partition and few
// milliseconds, and sends them. Each record says which producer made it and how
// its events are numbered, so that the other end drops repeats and sees gaps.
type Producer struct {
	cfg         ProducerConfig
	incarnation string
	ledger      *ledger
	client      *kgo.Client
	used        atomic.Int64 // bytes waiting and in flight
	lastAck     atomic.Int64 // UnixNano
	wake        chan struct{}
	encoders    sync.Pool

	lanes  atomic.Pointer[[]*lane] // nil until the log has said how many
	opened chan struct{}           // closed when lanes is set

	mu     sync.Mutex
	early  []*event.Event // until lanes is set
	closed bool

	idleMu sync.Mutex
	idle   chan struct{} // closed and replaced when nothing is in flight
}

// NewProducer checks the configuration and starts nothing; events emitted
// before Run wait within the buffer.
func NewProducer(cfg ProducerConfig, reg prometheus.Registerer) (*Producer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	incarnation, err := newIncarnation(cfg.Node)
	if err != nil {
		return nil, err
	}
	p := &Producer{
		cfg: cfg.withDefaults(), ledger: newLedger(), wake: make(chan struct{}, 1), idle: make(chan struct{}),
		opened: make(chan struct{}), incarnation: incarnation,
	}
	p.encoders.New = func() any { return wire.NewEncoder(wire.EncoderConfig{}) }
	if reg != nil {
		if err := reg.Register(p.ledger); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return p, nil
}

// newIncarnation names a producer that never was before.
func newIncarnation(node string) (string, error) {
	var salt [8]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return "", fmt.Errorf("producer incarnation: %w", err)
	}
	return fmt.Sprintf("%.64s/%x/%s", node, time.Now().Unix(), hex.EncodeToString(salt[:])), nil
}

// Ledger returns the account over all sources.
func (p *Producer) Ledger() Ledger { return p.ledger.total() }

// Emit takes one event. It copies what it needs, never blocks on the log, and
// is safe for concurrent use. An event that cannot be kept is counted as lost.
func (p *Producer) Emit(ev *event.Event) {
	source := sourceIndex(ev.Source)
	p.ledger.produced[source].Add(1)
	size := eventBytes(ev)
	if p.used.Add(size) > p.cfg.BufferBytes {
		p.used.Add(-size)
		p.ledger.lose(source, p.shedCause(), 1)
		return
	}
	if lanes := p.lanes.Load(); lanes != nil {
		p.place(*lanes, ev, size)
		return
	}
	p.mu.Lock()
	if lanes := p.lanes.Load(); lanes != nil { // set since
		p.mu.Unlock()
		p.place(*lanes, ev, size)
		return
	}
	defer p.mu.Unlock()
	if p.closed {
		p.settle(source, 1, size, LostClosed)
		return
	}
	p.early = append(p.early, ev.Clone())
}

func (p *Producer) place(lanes []*lane, ev *event.Event, size int64) {
	l := lanes[wire.Partition(ev.Site, len(lanes))]
	wake, cause := l.add(p, ev, size)
	if cause != "" {
		p.settle(sourceIndex(ev.Source), 1, size, cause)
		return
	}
	if wake {
		p.poke()
	}
}

func (p *Producer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Producer) shedCause() string {
	if p.lanes.Load() == nil || time.Now().UnixNano()-p.lastAck.Load() > int64(silence) {
		return LostUnavailable
	}
	return LostSlow
}

// settle books n events of size bytes as delivered (no cause) or lost.
func (p *Producer) settle(source int, n uint64, size int64, cause string) {
	p.used.Add(-size)
	if cause == "" {
		p.ledger.delivered[source].Add(n)
	} else {
		p.ledger.lose(source, cause, n)
	}
}

// eventBytes bounds what an event costs while it waits: its columns and strings.
func eventBytes(ev *event.Event) int64 {
	n := eventFixedBytes + len(ev.ID) + len(ev.Node) + len(ev.Site) + len(ev.Workload) + len(ev.SNI) + len(ev.JA4) +
		len(ev.Method) + len(ev.Host) + len(ev.Path) + len(ev.Route) + len(ev.QueryKeys) + len(ev.UserAgent) +
		len(ev.AcceptLanguage) + len(ev.RefererHost) + len(ev.ContentType) + len(ev.Verdict)
	for i := range ev.Objects {
		n += len(ev.Objects[i].Name) + len(ev.Objects[i].Value) + 32
	}
	return int64(n)
}

const eventFixedBytes = 400

// Run sends until ctx ends, then sends what is left within CloseTimeout, books
// the rest as lost and returns.
func (p *Producer) Run(ctx context.Context) error {
	cl, err := p.cfg.Connection.client(
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(1<<20), kgo.UnknownTopicRetries(-1),
		// One request at a time: a broker that was killed has forgotten its producers
		// and would take a later request before the one that is sent again.
		kgo.MaxProduceRequestsInflightPerBroker(1),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	p.client = cl
	p.lastAck.Store(time.Now().UnixNano())
	if n, err := partitions(ctx, cl, p.cfg.Topic, p.cfg.Log); err == nil {
		p.open(n)
		p.loop(ctx)
	}
	p.finish(context.WithoutCancel(ctx))
	return nil
}

// partitions asks the log how many partitions topic has, until it answers.
func partitions(ctx context.Context, cl *kgo.Client, topic string, log *slog.Logger) (int, error) {
	retry := backoff{first: 50 * time.Millisecond, most: 2 * time.Second}
	adm := kadm.NewClient(cl)
	for warned := false; ; {
		topics, err := adm.ListTopics(ctx, topic)
		if t, ok := topics[topic]; err == nil && ok && t.Err == nil && len(t.Partitions) > 0 {
			return len(t.Partitions), nil
		}
		if !warned {
			warned = true
			log.Warn("the log does not serve the topic yet", "topic", topic, "err", errors.Join(err, topics.Error()))
		}
		if !retry.wait(ctx) {
			return 0, ctx.Err()
		}
	}
}

// open makes the lanes and sends the early events through them.
func (p *Producer) open(n int) {
	lanes := make([]*lane, n)
	for i := range lanes {
		lanes[i] = &lane{partition: int32(i), next: 1}
	}
	p.mu.Lock()
	early := p.early
	p.early = nil
	for _, ev := range early {
		p.place(lanes, ev, eventBytes(ev))
	}
	p.lanes.Store(&lanes)
	close(p.opened)
	p.mu.Unlock()
	p.poke()
}

func (p *Producer) loop(ctx context.Context) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for ctx.Err() == nil {
		due := p.send(time.Now(), false)
		t.Reset(due)
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-t.C:
		}
	}
}

// send sends what is due, or everything, and returns when more will be due.
func (p *Producer) send(now time.Time, all bool) time.Duration {
	next := time.Hour
	for _, l := range *p.lanes.Load() {
		batches, wait := l.due(now, p.cfg.Linger, all)
		for _, b := range batches {
			p.produce(l, b)
		}
		if wait > 0 {
			next = min(next, wait)
		}
	}
	return next
}

func (p *Producer) produce(l *lane, b *batch) {
	rec, ok := b.encoder.Flush(p.incarnation, b.first)
	p.encoders.Put(b.encoder)
	if !ok {
		return
	}
	r := &kgo.Record{
		Topic: p.cfg.Topic, Partition: l.partition, Value: rec.Value, Headers: wire.Headers[kgo.RecordHeader](rec.Info),
	}
	p.client.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
		cause := ""
		switch {
		case err == nil:
			p.lastAck.Store(time.Now().UnixNano())
		case errors.Is(err, kgo.ErrAborting) || errors.Is(err, kgo.ErrClientClosed):
			cause = LostClosed
		default:
			cause = LostRefused
			p.cfg.Log.Error("the log refused events", "topic", p.cfg.Topic, "partition", l.partition, "events", b.events(), "err", err)
		}
		p.book(b, cause)
		if l.landed() {
			p.poke()
		}
		p.checkIdle()
	})
}

func (p *Producer) book(b *batch, cause string) {
	for s, n := range b.sources {
		if n > 0 {
			p.settle(s, uint64(n), 0, cause)
		}
	}
	p.used.Add(-b.bytes)
}

func (p *Producer) checkIdle() {
	if p.used.Load() > 0 {
		return
	}
	p.idleMu.Lock()
	defer p.idleMu.Unlock()
	close(p.idle)
	p.idle = make(chan struct{})
}

// Flush sends without waiting for more and returns when nothing is in flight,
// or with ctx's error. It needs a running Run.
func (p *Producer) Flush(ctx context.Context) error {
	for {
		p.idleMu.Lock()
		idle := p.idle
		p.idleMu.Unlock()
		if p.used.Load() == 0 {
			return nil
		}
		p.poke()
		select {
		case <-ctx.Done():
			return fmt.Errorf("flush of %s: %d events in flight: %w", p.cfg.Topic, p.Ledger().InFlight, ctx.Err())
		case <-idle:
		case <-time.After(10 * maxLinger): // an event that was shed may have been the last
		}
	}
}

// finish refuses new events, sends what is there within CloseTimeout and books
// the rest as lost.
func (p *Producer) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.CloseTimeout)
	defer cancel()
	p.mu.Lock()
	p.closed = true
	for _, ev := range p.early {
		p.settle(sourceIndex(ev.Source), 1, eventBytes(ev), LostClosed)
	}
	p.early = nil
	p.mu.Unlock()
	lanes := p.lanes.Load()
	if lanes == nil {
		return
	}
	for _, l := range *lanes {
		l.close()
	}
	for p.used.Load() > 0 && ctx.Err() == nil {
		p.send(time.Now(), true)
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-time.After(maxLinger):
		}
	}
	// Records whose fate is unknown count as lost: the processor sees whether
	// their numbers arrived.
	abort, cancelAbort := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancelAbort()
	_ = p.client.AbortBufferedRecords(abort) // the promises book each record
	for _, l := range *lanes {
		for _, b := range l.rest() {
			p.book(b, LostClosed)
		}
	}
}
