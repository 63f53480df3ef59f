package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// PublisherConfig configures a Publisher.
type PublisherConfig struct {
	Connection Connection
	// Topic of all records; required.
	Topic string
	// Buffer bounds the records that wait; default 8,192. Past it new ones are
	// shed and counted.
	Buffer int
	// CloseTimeout bounds the last sending at the end of Run; default 5 s.
	CloseTimeout time.Duration
	Log          *slog.Logger
}

// Validate reports all faults.
func (c PublisherConfig) Validate() error {
	errs := []error{c.Connection.Validate()}
	if c.Topic == "" {
		errs = append(errs, errors.New("stream: a publisher needs a topic"))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("stream: a logger is needed"))
	}
	if c.Buffer < 0 {
		errs = append(errs, fmt.Errorf("stream: publisher buffer %d is negative", c.Buffer))
	}
	return errors.Join(errs...)
}

// Publisher sends single records keyed by site: decisions, verdicts and
// operators' control records. Publish never blocks.
type Publisher struct {
	cfg    PublisherConfig
	queue  chan *kgo.Record
	opened chan struct{} // closed when client is set
	client *kgo.Client

	closing  sync.RWMutex // held for reading while something enters the queue
	closed   bool
	produced atomic.Uint64
	done     atomic.Uint64
	lost     [len(lossCauses)]atomic.Uint64
	lastAck  atomic.Int64

	producedDesc, deliveredDesc, lostDesc *prometheus.Desc
}

// NewPublisher checks the configuration and starts nothing; records published
// before Run wait within the buffer.
func NewPublisher(cfg PublisherConfig, reg prometheus.Registerer) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = 8192
	}
	if cfg.CloseTimeout == 0 {
		cfg.CloseTimeout = 5 * time.Second
	}
	topic := prometheus.Labels{"topic": cfg.Topic}
	p := &Publisher{
		cfg: cfg, queue: make(chan *kgo.Record, cfg.Buffer), opened: make(chan struct{}),
		producedDesc:  prometheus.NewDesc("weir_stream_published_total", "Records handed to the publisher.", nil, topic),
		deliveredDesc: prometheus.NewDesc("weir_stream_published_delivered_total", "Records that the log has acknowledged.", nil, topic),
		lostDesc:      prometheus.NewDesc("weir_stream_published_lost_total", "Records that did not reach the log, by cause.", []string{"cause"}, topic),
	}
	if reg != nil {
		if err := reg.Register(p); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return p, nil
}

// Decision publishes what an enforcer did.
func (p *Publisher) Decision(d *verdict.Decision) {
	b, err := wire.AppendDecision(nil, d)
	p.publish(d.Site, b, err)
}

// Verdict publishes a verdict; the processor publishes its own.
func (p *Publisher) Verdict(v *verdict.Verdict) {
	b, err := wire.AppendVerdict(nil, v)
	p.publish(v.Site, b, err)
}

// Publish takes one record for site; value belongs to the publisher from then
// on. It reports whether the record was taken; one that was not is counted.
func (p *Publisher) Publish(site string, value []byte) bool { return p.publish(site, value, nil) }

func (p *Publisher) publish(site string, value []byte, err error) bool {
	p.produced.Add(1)
	if err != nil {
		p.lose(LostTooLarge)
		p.cfg.Log.Error("record cannot be encoded", "topic", p.cfg.Topic, "err", err)
		return false
	}
	r := &kgo.Record{Topic: p.cfg.Topic, Key: []byte(site), Value: value}
	p.closing.RLock()
	defer p.closing.RUnlock()
	if p.closed {
		p.lose(LostClosed)
		return false
	}
	select {
	case p.queue <- r:
		return true
	default:
	}
	if time.Now().UnixNano()-p.lastAck.Load() > int64(silence) {
		p.lose(LostUnavailable)
	} else {
		p.lose(LostSlow)
	}
	return false
}

func (p *Publisher) lose(cause string) {
	for i, c := range lossCauses {
		if c == cause {
			p.lost[i].Add(1)
		}
	}
}

// Control puts an operator's record on the topic, which must be the events'
// topic, and returns its place once the log has it.
func (p *Publisher) Control(ctx context.Context, c *verdict.Control) (verdict.Position, error) {
	b, err := wire.AppendControl(nil, c)
	if err != nil {
		return verdict.Position{}, err
	}
	select {
	case <-p.opened:
	case <-ctx.Done():
		return verdict.Position{}, fmt.Errorf("control record: %w", ctx.Err())
	}
	p.produced.Add(1)
	r, err := p.client.ProduceSync(ctx, &kgo.Record{
		Topic: p.cfg.Topic, Key: []byte(c.Site), Value: b,
		Headers: wire.Headers[kgo.RecordHeader](wire.Info{Kind: wire.KindControl}),
	}).First()
	p.landed(err)
	if err != nil {
		return verdict.Position{}, fmt.Errorf("control record: %w", err)
	}
	return verdict.Position{Partition: r.Partition, Offset: r.Offset}, nil
}

func (p *Publisher) landed(err error) {
	switch {
	case err == nil:
		p.lastAck.Store(time.Now().UnixNano())
		p.done.Add(1)
	case errors.Is(err, kgo.ErrAborting) || errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, context.Canceled):
		p.lose(LostClosed)
	default:
		p.lose(LostRefused)
		p.cfg.Log.Error("the log refused a record", "topic", p.cfg.Topic, "err", err)
	}
}

// Ledger returns the account in records.
func (p *Publisher) Ledger() Ledger {
	l := Ledger{Delivered: p.done.Load(), Lost: make(map[string]uint64)}
	settled := l.Delivered
	for i, c := range lossCauses {
		if n := p.lost[i].Load(); n > 0 {
			l.Lost[c] = n
			settled += n
		}
	}
	l.Produced = p.produced.Load()
	l.InFlight = l.Produced - settled
	return l
}

// Describe implements prometheus.Collector.
func (p *Publisher) Describe(ch chan<- *prometheus.Desc) {
	ch <- p.producedDesc
	ch <- p.deliveredDesc
	ch <- p.lostDesc
}

// Collect implements prometheus.Collector.
func (p *Publisher) Collect(ch chan<- prometheus.Metric) {
	l := p.Ledger()
	ch <- prometheus.MustNewConstMetric(p.producedDesc, prometheus.CounterValue, float64(l.Produced))
	ch <- prometheus.MustNewConstMetric(p.deliveredDesc, prometheus.CounterValue, float64(l.Delivered))
	for _, c := range lossCauses {
		ch <- prometheus.MustNewConstMetric(p.lostDesc, prometheus.CounterValue, float64(l.Lost[c]), c)
	}
}

// Run sends until ctx ends, then sends what is left within CloseTimeout and
// books the rest as lost.
func (p *Publisher) Run(ctx context.Context) error {
	cl, err := p.cfg.Connection.client(
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerLinger(2*time.Millisecond), kgo.RecordPartitioner(bySite()), kgo.UnknownTopicRetries(-1),
		// Past this Produce blocks, and the queue above fills and sheds.
		kgo.MaxBufferedRecords(p.cfg.Buffer),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	p.client = cl
	p.lastAck.Store(time.Now().UnixNano())
	close(p.opened)
	// Records outlive ctx by CloseTimeout.
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if pause(last, p.cfg.CloseTimeout) {
			cancel()
		}
	})()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case r := <-p.queue:
			cl.Produce(last, r, func(_ *kgo.Record, err error) { p.landed(err) })
		}
	}
	p.closing.Lock()
	p.closed = true
	p.closing.Unlock()
	for len(p.queue) > 0 {
		cl.Produce(last, <-p.queue, func(_ *kgo.Record, err error) { p.landed(err) })
	}
	if err := cl.Flush(last); err != nil {
		p.cfg.Log.Warn("records were left unsent", "topic", p.cfg.Topic, "records", p.Ledger().InFlight, "err", err)
	}
	abort, cancelAbort := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancelAbort()
	_ = cl.AbortBufferedRecords(abort) // each record is booked by its own callback
	return nil
}

// Flush returns when nothing is in flight, or with ctx's error.
func (p *Publisher) Flush(ctx context.Context) error {
	for p.Ledger().InFlight > 0 {
		if !pause(ctx, time.Millisecond) {
			return fmt.Errorf("flush of %s: %d records in flight: %w", p.cfg.Topic, p.Ledger().InFlight, ctx.Err())
		}
	}
	return nil
}
