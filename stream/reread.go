package stream

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/stream/verdict"
)

// reopenDistance is how near, in records, a second reading must come to the
// engine cursor before the backlog keeps records again.
const reopenDistance = 32

// readSlice is how long a second reading may store rows while another partition
// waits for its turn. Without it a store that is too slow for one partition would
// starve the others.
const readSlice = 10 * time.Second

// turns admits one second reading at a time in this process, first come first
// served: each costs the memory of an engine.
type turns struct {
	slot    chan struct{}
	waiting atomic.Int32
}

func newTurns() *turns { return &turns{slot: make(chan struct{}, 1)} }

func (t *turns) take(ctx context.Context) bool {
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	select {
	case t.slot <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *turns) release() { <-t.slot }

// over reports whether a turn that began to store at since must end.
func (t *turns) over(since time.Time) bool {
	return !since.IsZero() && t.waiting.Load() > 0 && time.Since(since) > readSlice
}

// readAgain brings the store cursor through what the backlog did not keep: with
// an engine of its own, restored from the newest snapshot at or below from, it
// reads the log again and computes the same rows as the first time. It returns
// once the backlog holds everything after, when the turn is over or when the
// owner stops; a fault is logged. The pump comes back to what is left.
func (o *owner) readAgain(ctx context.Context, from int64, sp *span) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o.wg.Go(func() {
		select {
		case <-o.drain:
			cancel()
		case <-ctx.Done():
		}
	})
	if !o.reading.take(ctx) {
		return
	}
	defer o.reading.release()
	f, err := o.foldFor(ctx, from)
	if err == nil {
		err = o.readThrough(ctx, f, from, sp)
	}
	if err != nil && ctx.Err() == nil {
		o.log.Error("the store cannot read the log again; it tries later", "topic", o.cfg.Topic, "partition", o.partition,
			"from", from, "err", err)
		pause(ctx, time.Second)
	}
}

// foldFor returns a state at or below from.
func (o *owner) foldFor(ctx context.Context, from int64) (*fold, error) {
	if o.cfg.NewEngine == nil {
		f := newFold(o.cfg.Topic, o.partition, nil)
		f.next = from
		return f, nil
	}
	f, _, err := o.vault.newest(ctx, from, sameTopic(o.plan.lineage))
	if f != nil || err != nil {
		return f, err
	}
	if o.logStart > 0 {
		o.alarm("state_lost", "no snapshot reaches back to what is not stored yet: actors of these rows come from a new engine", "from", from)
	}
	f = newFold(o.cfg.Topic, o.partition, o.cfg.NewEngine(o.partition))
	f.next = o.logStart
	return f, nil
}

func (o *owner) readThrough(ctx context.Context, f *fold, from int64, sp *span) error {
	r, err := newPartitionReader(o.cfg.Connection, o.cfg.Topic, o.partition, f.next)
	if err != nil {
		return err
	}
	defer r.close()
	until := int64(-1)
	defer func() {
		if f.next < until { // an error, or the owner stops
			o.backlog.forget(max(f.next, from))
		}
	}()
	var since time.Time // when the first row was stored
	for {
		// Once the backlog keeps records again, the little that is left is read.
		if until < 0 && o.reading.over(since) {
			return nil
		}
		if until < 0 {
			if at, ok := o.backlog.reopen(f.next, reopenDistance); ok {
				until = at
			}
		}
		if until >= 0 && f.next >= until {
			return nil
		}
		recs, err := r.poll(ctx)
		if err != nil {
			return err
		}
		for i := range recs {
			if recs[i].Offset < f.next || until >= 0 && recs[i].Offset >= until {
				continue
			}
			if err := o.again(ctx, f, &recs[i], from, sp); err != nil {
				return err
			}
			if since.IsZero() && recs[i].Offset >= from {
				since = time.Now()
			}
		}
	}
}

// again takes one record of a second reading. Its losses were counted by the
// first, but for those below the engine's start, which nobody will see.
func (o *owner) again(ctx context.Context, f *fold, rec *Record, from int64, sp *span) error {
	if gone := rec.Offset - max(f.next, from); gone > 0 {
		o.count(causeExpired, uint64(gone))
		o.log.Error("retention took records before they were stored", "topic", o.cfg.Topic, "partition", o.partition, "records", gone)
	}
	res := f.apply(rec, func(*verdict.Verdict) {}, nil)
	if rec.Offset < from {
		return nil
	}
	sp.add(res.chunk)
	if sp.full(o.cfg.FlushRows) {
		return o.flush(ctx, sp)
	}
	return nil
}
