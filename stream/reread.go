package stream

import (
	"context"
	"time"

	"github.com/weirproject/weir/stream/verdict"
)

// reopenDistance is how near, in records, a second reading must come to the
// engine cursor before the backlog keeps records again.
const reopenDistance = 32

// readAgain brings the store cursor through what the backlog did not keep: with
// an engine of its own, restored from the newest snapshot at or below from, it
// reads the log again and computes the same rows as the first time. It returns
// once the backlog holds everything after, or when the owner stops; a fault is
// logged and the pump comes back to it.
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
	select {
	case o.reading <- struct{}{}:
		defer func() { <-o.reading }()
	case <-ctx.Done():
		return
	}
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
	for {
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
