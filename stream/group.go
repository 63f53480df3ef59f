package stream

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/weirproject/weir/stream/wire"
)

var quiet = slog.New(slog.DiscardHandler)

// Group is one member of the consumer group that processes a topic. It owns the
// partitions that the group gives it, one owner each, and hands them over
// through the snapshots and the log.
type Group struct {
	cfg     GroupConfig
	metrics *groupMetrics
	reading *turns
	client  *kgo.Client
	// opened is closed once client is set: the client's callbacks may run before
	// its constructor has returned.
	opened chan struct{}
	// committing admits one offset commit at a time.
	committing chan struct{}

	mu     sync.Mutex
	owners map[int32]*owner
	// ended forbids further owners: nobody would stop them.
	ended bool
	// notes are the committed offsets and metadata that the group answered last.
	notes map[int32]committed
}

// NewGroup checks the configuration and starts nothing.
func NewGroup(cfg GroupConfig, reg prometheus.Registerer) (*Group, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newGroupMetrics(reg)
	if err != nil {
		return nil, err
	}
	return &Group{
		cfg: cfg.withDefaults(), metrics: m, reading: newTurns(), owners: make(map[int32]*owner),
		notes: make(map[int32]committed), opened: make(chan struct{}), committing: make(chan struct{}, 1),
	}, nil
}

// Run processes until ctx ends or the member is fenced off by another process
// of the same name. At the end it hands its partitions over within StopTimeout.
func (g *Group) Run(ctx context.Context) error {
	cl, err := g.cfg.Connection.client(g.options()...)
	if err != nil {
		return err
	}
	g.client = cl
	close(g.opened)
	var wg sync.WaitGroup
	watch, stopWatch := context.WithCancel(context.Background())
	wg.Go(func() { g.watchLag(watch) })
	err = g.poll(ctx)
	// Still a member: what is in memory is stored and committed before leaving.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.StopTimeout)
	defer cancel()
	g.stopOwners(stop, g.end(), err == nil)
	if g.cfg.Leave {
		g.leave(stop)
	}
	cl.CloseAllowingRebalance()
	stopWatch()
	wg.Wait()
	g.measureLag()
	return err
}

func (g *Group) options() []kgo.Opt {
	pool := &buffers{}
	opts := []kgo.Opt{
		kgo.WithDecompressor(newFrames(pool)), kgo.WithPools(pool),
		kgo.ConsumerGroup(g.cfg.Group), kgo.ConsumeTopics(g.cfg.Topic), kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.SessionTimeout(g.cfg.SessionTimeout),
		kgo.HeartbeatInterval(min(g.cfg.SessionTimeout/4, 3*time.Second)),
		// A member that dies while the group is rebalancing holds the others up for
		// this long (the embedded log may even take a dead one for the leader), so
		// it is as short as handing over allows.
		kgo.RebalanceTimeout(g.cfg.StopTimeout + 2*time.Second),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// The broker answers as soon as there is a byte; the wait only spares idle
		// requests. What one fetch brings of a partition grows fourfold when it is
		// decompressed, and waits in memory for the engine.
		kgo.FetchMaxWait(time.Second), kgo.FetchMinBytes(1), kgo.FetchMaxBytes(16 << 20), kgo.FetchMaxPartitionBytes(256 << 10),
		kgo.OnOffsetsFetched(g.offsetsFetched), kgo.AdjustFetchOffsetsFn(g.assign),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.StopTimeout)
			defer cancel()
			g.stopOwners(stop, lost[g.cfg.Topic], true)
		}),
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) {
			g.stopOwners(ctx, lost[g.cfg.Topic], false)
		}),
		kgo.ProducerLinger(0), kgo.RecordPartitioner(bySite()),
		// Most batches are one verdict or a few: lz4 clears a table of 128 KiB for each.
		kgo.ProducerBatchCompression(kgo.SnappyCompression()),
		// A log that is starting may not know its topics yet; verdicts wait for it.
		kgo.UnknownTopicRetries(-1),
	}
	if g.cfg.Member != "" {
		opts = append(opts, kgo.InstanceID(g.cfg.Member))
	}
	return opts
}

// bySite places records by their key, the site, as every producer does.
func bySite() kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		return func(r *kgo.Record, n int) int { return int(wire.Partition(string(r.Key), n)) }
	})
}

// poll hands what is fetched to the owners.
func (g *Group) poll(ctx context.Context) error {
	retry := backoff{first: 50 * time.Millisecond, most: 2 * time.Second}
	for {
		fs := g.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is how Run is ended
		}
		var fatal error
		got := false
		fs.EachError(func(topic string, partition int32, err error) {
			switch {
			case errors.Is(err, kerr.FencedInstanceID):
				fatal = fmt.Errorf("member %q was taken over by another process of that name: are two processors configured alike? %w", g.cfg.Member, err)
			case errors.Is(err, kgo.ErrClientClosed):
				fatal = err
			default:
				g.cfg.Log.Warn("fetch failed and is tried again", "topic", topic, "partition", partition, "err", err)
				if o := g.owner(partition); o != nil {
					o.fetchErr.Store(&fetchError{time.Now(), err.Error()})
				}
			}
		})
		if fatal != nil {
			return fatal
		}
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) > 0 {
				got = true
				g.deliver(p)
			}
		})
		if got {
			retry.next = 0
		} else if !retry.wait(ctx) {
			return nil
		}
	}
}

// owner returns the owner of a partition, nil for one that is not ours.
func (g *Group) owner(partition int32) *owner {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.owners[partition]
}

func (g *Group) deliver(p kgo.FetchTopicPartition) {
	o := g.owner(p.Partition)
	if o == nil {
		return // revoked since; the next owner fetches it again
	}
	o.fetchErr.Store(nil)
	recs := make([]Record, len(p.Records))
	for i, r := range p.Records {
		recs[i] = recordOf(r)
	}
	o.inbox.put(recs, p.HighWatermark)
}

// offsetsFetched keeps the metadata beside the committed offsets, which the
// client itself drops.
func (g *Group) offsetsFetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	note := func(partition int32, offset int64, metadata *string) {
		c := committed{offset: offset}
		if offset >= 0 && metadata != nil && *metadata != "" {
			var err error
			if c.note, err = parseNote(*metadata); err != nil {
				g.metrics.alarms.WithLabelValues(g.cfg.Topic, "bad_note").Inc()
				g.cfg.Log.Error("commit metadata is not ours: was the offset set by hand?", "topic", g.cfg.Topic, "partition", partition, "err", err)
			}
			c.noted = err == nil
		}
		g.notes[partition] = c
	}
	for _, group := range resp.Groups {
		for _, t := range group.Topics {
			for _, p := range t.Partitions {
				note(p.Partition, p.Offset, p.Metadata)
			}
		}
	}
	return nil
}

// assign makes an owner for each partition that the group gave us and says
// where to fetch from: the state's offset, not the committed one.
func (g *Group) assign(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	parts := offsets[g.cfg.Topic]
	if len(parts) == 0 {
		return offsets, nil
	}
	select {
	case <-g.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	id, err := g.topicID(ctx)
	if err != nil {
		return nil, err
	}
	logs, err := logBounds(ctx, g.client, g.cfg.Topic)
	if err != nil {
		return nil, err
	}
	keeps := g.retention(ctx)
	var wg errgroup.Group
	var mu sync.Mutex
	for _, p := range slices.Collect(maps.Keys(parts)) {
		wg.Go(func() error {
			log, ok := logs[p]
			if !ok {
				return fmt.Errorf("partition %d: %w", p, errNoTopic)
			}
			log.id = id
			from, err := g.takeOver(ctx, p, log, keeps)
			if err != nil {
				return fmt.Errorf("take over partition %d: %w", p, err)
			}
			mu.Lock()
			defer mu.Unlock()
			parts[p] = kgo.NewOffset().At(from)
			return nil
		})
	}
	if err := wg.Wait(); err != nil {
		g.cfg.Log.Error("partitions cannot be taken over; it is tried again", "topic", g.cfg.Topic, "err", err)
		return nil, err
	}
	return offsets, nil
}

// retention is how far back the verdict topic reaches; a broker that does not
// tell is taken to forget soon.
func (g *Group) retention(ctx context.Context) retention {
	if g.cfg.NewEngine == nil {
		return retention{}
	}
	r, err := topicRetention(ctx, g.client, g.cfg.VerdictTopic)
	if err != nil {
		g.cfg.Log.Warn("verdicts in force will be repeated often: the broker does not tell how much the topic keeps", "err", err)
		return cautious
	}
	return r
}

// takeOver makes the owner of one partition, starts it and returns the offset
// to fetch from.
func (g *Group) takeOver(ctx context.Context, p int32, log logState, keeps retention) (int64, error) {
	g.mu.Lock()
	c, ok := g.notes[p]
	old := g.owners[p]
	g.mu.Unlock()
	if !ok {
		c = committed{offset: -1}
	}
	if old != nil { // a session that failed after assigning
		g.stopOwners(ctx, []int32{p}, false)
	}
	o := g.newOwner(p)
	o.keeps = keeps
	from, err := o.prepare(ctx, log, c)
	if err != nil {
		return 0, err
	}
	g.cfg.Log.Info("partition taken over", "topic", g.cfg.Topic, "partition", p, "engine", o.fold.next, "store", o.plan.store,
		"announced", o.plan.firstTo, "end", log.end)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended { // the group stopped while this was being prepared
		return 0, errEnded
	}
	g.owners[p] = o
	g.metrics.owned.WithLabelValues(g.cfg.Topic).Set(float64(len(g.owners)))
	o.start() // under the lock: who finds it may stop it
	return from, nil
}

var errEnded = errors.New("the group has stopped")

func (g *Group) newOwner(p int32) *owner {
	o := &owner{
		cfg: &g.cfg, metrics: g.metrics, log: g.cfg.Log, client: g.client, partition: p, reading: g.reading,
		vault: &vault{
			store: g.cfg.Snapshots, topic: g.cfg.Topic, partition: p, newEngine: g.cfg.NewEngine, metrics: g.metrics,
			log: g.cfg.Log,
		},
	}
	o.commitTo = func(ctx context.Context, offset int64, metadata string) error {
		return g.commit(ctx, p, offset, metadata)
	}
	return o
}

// topicID returns the first half of the topic's id in hex; it is part of
// deduplication tokens.
func (g *Group) topicID(ctx context.Context) (string, error) {
	topics, err := kadm.NewClient(g.client).ListTopics(ctx, g.cfg.Topic)
	if err != nil {
		return "", fmt.Errorf("topic %s: %w", g.cfg.Topic, err)
	}
	t, ok := topics[g.cfg.Topic]
	if !ok || t.Err != nil {
		return "", fmt.Errorf("topic %s: %w", g.cfg.Topic, errors.Join(t.Err, errNoTopic))
	}
	return hex.EncodeToString(t.ID[:8]), nil
}

var errNoTopic = errors.New("the broker does not know it")

// commit is fenced by the group: a member of an older generation is refused.
func (g *Group) commit(ctx context.Context, partition int32, offset int64, metadata string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// The client orders commits by a lock that knows no context, so the partitions
	// queue here.
	select {
	case g.committing <- struct{}{}:
		defer func() { <-g.committing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx = kgo.PreCommitFnContext(ctx, func(r *kmsg.OffsetCommitRequest) error {
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				r.Topics[i].Partitions[j].Metadata = &metadata
			}
		}
		return nil
	})
	var failed error
	done := false
	offsets := map[string]map[int32]kgo.EpochOffset{g.cfg.Topic: {partition: {Epoch: -1, Offset: offset}}}
	g.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				done = true
				failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	})
	if failed == nil && !done {
		return errors.New("the broker answered no partition")
	}
	return failed
}

// stopOwners stops the owners of partitions side by side and forgets them.
func (g *Group) stopOwners(ctx context.Context, partitions []int32, graceful bool) {
	var wg sync.WaitGroup
	for _, p := range partitions {
		g.mu.Lock()
		o := g.owners[p]
		delete(g.owners, p)
		g.metrics.owned.WithLabelValues(g.cfg.Topic).Set(float64(len(g.owners)))
		g.mu.Unlock()
		if o == nil {
			continue
		}
		wg.Go(func() {
			o.stop(ctx, graceful)
			g.cfg.Log.Info("partition given up", "topic", g.cfg.Topic, "partition", p, "graceful", graceful,
				"engine", o.engine.load(), "stored", o.stored.load())
		})
	}
	wg.Wait()
}

// end lets no partition be taken over any more and returns those that are owned.
func (g *Group) end() []int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	return slices.Collect(maps.Keys(g.owners))
}

// leave ends a static membership at once instead of after SessionTimeout.
func (g *Group) leave(ctx context.Context) {
	if g.cfg.Member == "" {
		return // the client leaves by itself
	}
	if _, err := kadm.NewClient(g.client).LeaveGroup(ctx, kadm.LeaveGroup(g.cfg.Group).InstanceIDs(g.cfg.Member)); err != nil {
		g.cfg.Log.Warn("leaving the group failed; its partitions move after the session timeout", "group", g.cfg.Group, "err", err)
	}
}
