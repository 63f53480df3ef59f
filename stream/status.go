package stream

import (
	"context"
	"slices"
	"time"
)

// PartitionStatus is what the owner of a partition says of it.
type PartitionStatus struct {
	Topic     string
	Partition int32
	// LogEnd is the log's end as the last fetch saw it; Engine and Stored are
	// the cursors: everything below is in the engine, in the store.
	LogEnd, Engine, Stored int64
	// EngineLag and StoreLag are the age of the oldest record not passed; 0 when
	// level with the log.
	EngineLag, StoreLag time.Duration
	// BacklogBytes waits in memory for the store. Deferred: the store is so far
	// behind that it will read the log again.
	BacklogBytes int
	Deferred     bool
	// Rows were stored and Verdicts published by this owner; Lost counts losses
	// of all causes it saw.
	Rows, Verdicts, Lost uint64
	// StoreError is why the store does not take the present range; "" if it does.
	StoreError string
	// SnapshotError is why the last snapshot failed; "" if it did not.
	SnapshotError string
	// FetchError is why the log does not give what comes next; "" while it does.
	// The cursors stand meanwhile, and LogEnd is not known.
	FetchError string
	// Alarm is the last condition that an operator should look at since this owner
	// began; "" if there was none.
	Alarm string
}

// Status returns the partitions that this process owns, in order.
func (g *Group) Status() []PartitionStatus {
	g.mu.Lock()
	owners := make([]*owner, 0, len(g.owners))
	for _, o := range g.owners {
		owners = append(owners, o)
	}
	g.mu.Unlock()
	out := make([]PartitionStatus, 0, len(owners))
	for _, o := range owners {
		out = append(out, o.status(time.Now()))
	}
	slices.SortFunc(out, func(a, b PartitionStatus) int { return int(a.Partition) - int(b.Partition) })
	return out
}

// fetchErrorAge is how long a fetch that failed counts: a partition that still
// cannot be fetched fails again every two seconds.
const fetchErrorAge = 10 * time.Second

type fetchError struct {
	at   time.Time
	text string
}

func (o *owner) status(now time.Time) PartitionStatus {
	s := PartitionStatus{
		Topic: o.cfg.Topic, Partition: o.partition, LogEnd: o.inbox.logEnd(), Engine: o.engine.load(), Stored: o.stored.load(),
		Rows: o.rows.Load(), Verdicts: o.verdicts.Load(), Lost: o.lost.Load(),
	}
	s.LogEnd = max(s.LogEnd, s.Engine)
	s.BacklogBytes, s.Deferred = o.backlog.size()
	if text := o.storeErr.Load(); text != nil {
		s.StoreError = *text
	}
	if text := o.snapErr.Load(); text != nil {
		s.SnapshotError = *text
	}
	if f := o.fetchErr.Load(); f != nil && now.Sub(f.at) < fetchErrorAge {
		s.FetchError = f.text
	}
	if text := o.alarmed.Load(); text != nil {
		s.Alarm = *text
	}
	if s.Engine < s.LogEnd {
		s.EngineLag = age(now, o.engineTime.Load())
	}
	if o.cfg.Store != nil && s.Stored < s.LogEnd {
		s.StoreLag = age(now, o.storeTime.Load())
		if oldest, ok := o.backlog.oldest(); ok && !s.Deferred {
			s.StoreLag = max(0, now.Sub(oldest))
		}
	}
	return s
}

func age(now time.Time, unixNano int64) time.Duration {
	if unixNano == 0 {
		return 0
	}
	return max(0, now.Sub(time.Unix(0, unixNano)))
}

func (g *Group) watchLag(ctx context.Context) {
	for pause(ctx, time.Second) {
		g.measureLag()
	}
}

func (g *Group) measureLag() {
	var engine, store time.Duration
	for _, s := range g.Status() {
		engine, store = max(engine, s.EngineLag), max(store, s.StoreLag)
	}
	g.metrics.lag.WithLabelValues(g.cfg.Topic, stageEngine).Set(engine.Seconds())
	g.metrics.lag.WithLabelValues(g.cfg.Topic, stageStore).Set(store.Seconds())
}
