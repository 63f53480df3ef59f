package stream

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirproject/weir/stream/verdict"
)

// owner is the one owner of one partition, with two cursors. The engine cursor
// (live) takes records as they come and publishes verdicts at once; the store
// cursor (pump, in pump.go) announces ranges, inserts them and may fall behind
// as far as the log reaches back.
type owner struct {
	cfg       *GroupConfig
	metrics   *groupMetrics
	log       *slog.Logger
	client    *kgo.Client
	partition int32
	// commitTo commits this partition's offset with metadata, fenced by the
	// group's generation.
	commitTo func(ctx context.Context, offset int64, metadata string) error
	reading  *turns

	plan     plan
	logStart int64
	// keeps is how far back the verdict topic reaches, repeats what is left of the
	// verdicts in force that are being repeated (live only).
	keeps   retention
	repeats []verdict.Verdict
	vault   *vault
	fold    *fold // live only
	inbox   *inbox
	outbox  *outbox
	backlog *backlog
	engine  *cursor // everything below is in the engine
	stored  *cursor // everything below is in the store
	// acked is the last committed offset, where the next owner's store cursor
	// would start.
	acked atomic.Int64

	rows, verdicts, lost atomic.Uint64
	storeErr, snapErr    atomic.Pointer[string]
	alarmed              atomic.Pointer[string]
	fetchErr             atomic.Pointer[fetchError]
	// engineTime is the log time (UnixNano) of the last record taken, storeTime
	// of the last one stored.
	engineTime, storeTime atomic.Int64

	// snapMu is held while a snapshot is written and settles, saveFailed says that
	// the last one was not. The others belong to live, and to
	// stop after it: when the last one was written and what it covered.
	snapMu      sync.Mutex
	lastSaved   time.Time
	savedNext   int64
	savedEvents uint64
	saveFailed  atomic.Bool

	stopLive context.CancelFunc
	stopAll  context.CancelFunc
	drain    chan struct{}
	wg       sync.WaitGroup
	liveDone chan struct{}
	pumpDone chan struct{}
}

// prepare restores the state and decides where the cursors start. It returns
// the offset to fetch from.
func (o *owner) prepare(ctx context.Context, log logState, c committed) (int64, error) {
	o.plan = makePlan(o.cfg.Topic, o.partition, log, c)
	o.logStart = log.start
	if o.plan.rewound {
		o.alarm("rewound", "the log ends before what was processed; detection goes on from the newest snapshot that fits",
			"committed", c.offset, "end", log.end)
	}
	if o.cfg.NewEngine == nil {
		if o.plan.store < 0 {
			o.plan.store = log.start
		}
		o.fold = newFold(o.cfg.Topic, o.partition, nil)
		o.fold.next = o.plan.store
	} else if err := o.restore(ctx, log, c); err != nil {
		return 0, err
	}
	if lost := log.start - c.offset; o.cfg.Store != nil && c.offset >= 0 && lost > 0 && !o.plan.foreign {
		o.count(causeExpired, uint64(lost))
		o.log.Error("retention took records before they were stored", "topic", o.cfg.Topic, "partition", o.partition, "records", lost)
	}
	o.fold.rowless = o.cfg.Store == nil
	gap := int64(-1)
	if o.cfg.Store != nil && o.fold.next > o.plan.store {
		gap = o.plan.store
	}
	o.inbox = newInbox(o.cfg.InboxBytes, log.end, o.fetch)
	o.outbox = newOutbox(o.fold.next)
	o.backlog = newBacklog(o.cfg.BacklogBytes, o.fold.next, gap)
	o.engine, o.stored = newCursor(o.fold.next), newCursor(o.plan.store)
	o.acked.Store(c.offset)
	o.lastSaved, o.savedNext, o.savedEvents = time.Now(), o.fold.next, o.fold.events
	return max(o.fold.next, log.start), nil
}

// restore finds the state: the newest usable snapshot, else what was learned on
// a topic of the same name before it was made anew, else an empty engine at the
// log's start.
func (o *owner) restore(ctx context.Context, log logState, c committed) error {
	f, stored, err := o.vault.newest(ctx, o.plan.maxSnapshot, sameTopic(o.plan.lineage))
	if err != nil {
		return err
	}
	if o.plan.rewound && !o.plan.foreign {
		err = o.vault.discard(ctx, func(id SnapshotID) bool { return id.Offset > log.end })
	}
	switch {
	case err != nil:
		return err
	case f != nil && !c.noted:
		// The group's memory has expired; the snapshot's is next best.
		o.plan.lineage, o.plan.store = f.lineage, max(stored, c.offset)
	case f != nil:
	default:
		if f, err = o.adopt(ctx, log, c); err != nil {
			return err
		}
	}
	if o.plan.store < 0 {
		o.plan.store = log.start
	}
	f.lineage = o.plan.lineage
	o.plan.emitFrom = max(o.plan.emitFrom, f.next)
	o.fold = f
	return nil
}

// adopt takes the learned state of another incarnation of the topic, or starts
// with nothing.
func (o *owner) adopt(ctx context.Context, log logState, c committed) (*fold, error) {
	f, _, err := o.vault.newest(ctx, math.MaxInt64, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	if f == nil {
		if log.start > 0 || c.offset > 0 {
			o.alarm("state_lost", "no usable snapshot: the engine starts anew from what the log still holds",
				"start", log.start, "committed", c.offset)
		}
		f = newFold(o.cfg.Topic, o.partition, o.cfg.NewEngine(o.partition))
		f.next = log.start
		return f, nil
	}
	o.alarm("recreated", "the topic was made anew; what the engine learned before is kept", "learned_to", f.next)
	// Offsets of the old topic mean nothing here, so its snapshots must not be
	// mistaken for this one's: the adopted state replaces them at once.
	f.next, f.lineage = log.start, o.plan.lineage
	state, err := f.cut(log.start)
	if err != nil {
		return nil, err
	}
	w, err := o.vault.create(ctx, state, o.cfg.At)
	if err != nil {
		return nil, err
	}
	if err := w.Commit(); err != nil {
		return nil, err
	}
	return f, o.vault.discard(ctx, func(id SnapshotID) bool { return id.Offset != log.start })
}

func (o *owner) alarm(kind, message string, args ...any) {
	o.metrics.alarms.WithLabelValues(o.cfg.Topic, kind).Inc()
	o.alarmed.Store(&message)
	o.log.Error(message, append([]any{"alarm", kind, "topic", o.cfg.Topic, "partition", o.partition}, args...)...)
}

func (o *owner) count(cause string, n uint64) {
	if n > 0 {
		o.lost.Add(n)
		o.metrics.lost.WithLabelValues(o.cfg.Topic, cause).Add(float64(n))
	}
}

// fetch lets the client fetch the partition, or not.
func (o *owner) fetch(on bool) {
	of := map[string][]int32{o.cfg.Topic: {o.partition}}
	if on {
		o.client.ResumeFetchPartitions(of)
	} else {
		o.client.PauseFetchPartitions(of)
	}
}

// start runs both cursors until stop.
func (o *owner) start() {
	all, stopAll := context.WithCancel(context.Background())
	live, stopLive := context.WithCancel(all)
	o.stopAll, o.stopLive = stopAll, stopLive
	o.drain, o.liveDone, o.pumpDone = make(chan struct{}), make(chan struct{}), make(chan struct{})
	o.wg.Go(func() {
		defer close(o.liveDone)
		o.live(live, all)
	})
	o.wg.Go(func() {
		defer close(o.pumpDone)
		if o.cfg.Store != nil {
			o.pump(all)
		}
	})
}

// stop ends both cursors. Gracefully it saves a last snapshot, lets the store
// cursor take what is in memory and acknowledges, all within ctx; else it stops
// at once, and the next owner repeats what was announced.
func (o *owner) stop(ctx context.Context, graceful bool) {
	defer context.AfterFunc(ctx, o.stopAll)()
	o.stopLive()
	if !graceful {
		o.stopAll()
	}
	<-o.liveDone // the engine ends between two records
	o.inbox.close()
	close(o.drain)
	if graceful {
		o.saveLast(ctx)
		<-o.pumpDone
	}
	o.stopAll()
	o.wg.Wait()
}

// live is the engine cursor. Between two records it ends when ctx does;
// verdicts and snapshots under way belong to all.
func (o *owner) live(ctx, all context.Context) {
	for {
		recs, ok := o.inbox.take(ctx, o.idle())
		if !ok {
			return
		}
		if len(recs) > 0 {
			o.cfg.At("polled")
		}
		for i := range recs {
			if ctx.Err() != nil {
				return
			}
			at := recs[i].Time
			o.take(all, &recs[i])
			o.republish(all, at)
		}
		more := len(recs) == 0
		for more && ctx.Err() == nil {
			more = o.republish(all, time.Now())
		}
		if len(recs) > 0 {
			o.cfg.At("produced")
		}
		if o.snapshotDue() {
			o.beginSnapshot(all)
		}
	}
}

// take runs one record through the engine and hands its verdicts and rows on.
func (o *owner) take(ctx context.Context, rec *Record) {
	f := o.fold
	if rec.Offset < f.next {
		rec.giveBack()
		return
	}
	if gone := rec.Offset - f.next; gone > 0 {
		// Control batches of transactions leave such holes too, but weir's topics
		// have none; retention is the other reason.
		o.count(causeExpired, uint64(gone))
		o.log.Error("records are gone from the log before the engine took them", "topic", o.cfg.Topic,
			"partition", o.partition, "from", f.next, "to", rec.Offset)
	}
	var out []*kgo.Record
	res := f.apply(rec, func(v *verdict.Verdict) {
		r, err := o.verdictRecord(v)
		if err == nil {
			f.aging.add(len(r.Key)+len(r.Value)+recordOverheadBytes, rec.Time)
		}
		switch {
		case rec.Offset < o.plan.emitFrom:
			return
		case err != nil:
			o.unpublished(err)
			return
		case o.cfg.OnVerdict != nil:
			o.cfg.OnVerdict(v)
		}
		out = append(out, r)
		o.supersede(v.ID)
	}, nil)
	o.account(&res)
	o.cfg.At("processed")
	o.outbox.passed(rec.Offset, len(out))
	for _, r := range out {
		o.client.Produce(ctx, r, func(_ *kgo.Record, err error) { o.published(ctx, rec.Offset, err) })
	}
	kept, deferred := false, false
	if rec.Offset >= o.plan.store && o.cfg.Store != nil {
		kept, deferred = o.backlog.add(res.chunk)
	}
	if deferred {
		o.metrics.deferred.WithLabelValues(o.cfg.Topic).Inc()
	}
	if !kept {
		rec.giveBack()
	}
	o.engineTime.Store(rec.Time.UnixNano())
	o.storeTime.CompareAndSwap(0, rec.Time.UnixNano())
	o.engine.set(f.next)
}

func (o *owner) account(res *folded) {
	topic := o.cfg.Topic
	o.metrics.records.WithLabelValues(topic, stageEngine).Inc()
	o.metrics.events.WithLabelValues(topic).Add(float64(res.events))
	if res.repeated > 0 {
		o.metrics.repeated.WithLabelValues(topic).Add(float64(res.repeated))
	}
	o.count(causeMissing, res.missing)
	if res.late > 0 {
		o.metrics.late.WithLabelValues(topic).Add(float64(res.late))
	}
	if res.bad != nil {
		o.count(causeUndecodable, uint64(max(res.badRows, 1)))
		o.log.Warn("record is unusable and skipped", "topic", topic, "partition", o.partition, "offset", res.chunk.offset, "err", res.bad)
	}
}

// published is the log's word on one verdict.
func (o *owner) published(ctx context.Context, offset int64, err error) {
	switch {
	case err == nil:
		o.verdicts.Add(1)
		o.metrics.verdicts.WithLabelValues(o.cfg.Topic).Inc()
	case ctx.Err() != nil || errors.Is(err, kgo.ErrClientClosed):
		return // unconfirmed: the next owner publishes it
	default:
		o.unpublished(err)
	}
	o.outbox.acknowledged(offset)
}

func (o *owner) unpublished(err error) {
	o.count(causeUnpublished, 1)
	o.log.Error("verdict could not be published", "topic", o.cfg.VerdictTopic, "partition", o.partition, "err", err)
}
