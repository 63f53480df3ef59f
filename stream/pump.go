package stream

import (
	"context"
	"errors"
	"time"
)

// maxRangeBytes bounds a range beside its rows, for events with long strings.
const maxRangeBytes = 32 << 20

// span is the range that is being gathered for the store: [from, next).
type span struct {
	from, next int64
	// to is where an announced range has to end; 0 when the end is free.
	to      int64
	token   string
	records []Stored
	rows    int
	bytes   int
	since   time.Time
	newest  time.Time // log time
	// left is set when the range was announced and may have been stored or not:
	// it must not grow, and the next owner repeats it.
	left bool
}

func (s *span) empty() bool { return s.next == s.from }

func (s *span) add(c chunk) {
	if s.empty() {
		s.since = time.Now()
	}
	s.next = c.next
	s.newest = c.stored.Record.Time
	if c.rows == 0 {
		c.stored.Record.giveBack()
		return
	}
	s.records = append(s.records, c.stored)
	s.rows += c.rows
	s.bytes += c.bytes()
}

// full reports whether the range is to be inserted without waiting for more.
func (s *span) full(rows int) bool {
	if s.to > 0 {
		return s.next >= s.to
	}
	return s.rows >= rows || s.bytes >= maxRangeBytes
}

// pump is the store cursor. It ends when ctx does, or after drain was closed
// and what is in memory is stored.
func (o *owner) pump(ctx context.Context) {
	if o.plan.rewound && o.plan.firstTo == 0 {
		// The new lineage is committed before offsets are used again.
		if o.commit(ctx, o.plan.store, 0) != nil {
			return
		}
	}
	sp := &span{from: o.plan.store, next: o.plan.store, to: o.plan.firstTo, token: o.plan.firstToken}
	for ctx.Err() == nil && !sp.left {
		c, ok, gap := o.backlog.pop()
		switch {
		case ok:
			sp.add(c)
			if sp.full(o.cfg.FlushRows) && o.flush(ctx, sp) != nil {
				return
			}
		case gap >= 0 && !o.isDraining():
			o.readAgain(ctx, max(gap, sp.next), sp)
		default:
			if o.rest(ctx, sp) {
				return
			}
		}
	}
}

func (o *owner) isDraining() bool {
	select {
	case <-o.drain:
		return true
	default:
		return false
	}
}

// rest is what the store cursor does when nothing waits: insert what is due,
// acknowledge, or wait. It returns true when the pump is to end.
func (o *owner) rest(ctx context.Context, sp *span) bool {
	draining := o.isDraining()
	age := time.Since(sp.since)
	if sp.to == 0 && !sp.empty() && (draining || age >= o.cfg.FlushInterval) {
		return o.flush(ctx, sp) != nil
	}
	if draining {
		if stored := o.stored.load(); stored != o.acked.Load() && sp.to == 0 {
			return o.commit(ctx, stored, 0) != nil
		}
		return true
	}
	wait := o.cfg.FlushInterval
	if !sp.empty() {
		wait = max(o.cfg.FlushInterval-age, time.Millisecond)
	} else if o.stored.load() == o.acked.Load() {
		wait = time.Hour
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-o.drain:
	case <-o.backlog.wake:
	case <-t.C:
		if stored := o.stored.load(); sp.empty() && sp.to == 0 && stored != o.acked.Load() {
			return o.commit(ctx, stored, 0) != nil
		}
	}
	return false
}

// flush announces the range, inserts it and moves the store cursor. It returns
// an error only when the owner stops; then the next owner repeats the range.
func (o *owner) flush(ctx context.Context, sp *span) error {
	b := Batch{
		Topic: o.cfg.Topic, Partition: o.partition, From: sp.from, To: sp.next, Records: sp.records, Rows: sp.rows,
	}
	if b.Rows > 0 {
		if sp.to == 0 {
			// One commit acknowledges what is below and announces exactly what
			// comes next. An announced range that is repeated needs no new one.
			if err := o.commit(ctx, sp.from, sp.next); err != nil {
				return err
			}
			sp.token = token(o.plan.lineage, b.Topic, b.Partition, b.From, b.To)
		}
		o.cfg.At("intent")
		if err := o.insert(ctx, sp.token, &b); err != nil {
			sp.left = true
			return err
		}
		o.cfg.At("inserted")
	}
	o.metrics.records.WithLabelValues(o.cfg.Topic, stageStore).Add(float64(b.To - b.From))
	o.storeTime.Store(sp.newest.UnixNano())
	o.stored.set(max(sp.next, sp.to))
	for i := range sp.records {
		sp.records[i].Record.giveBack()
	}
	*sp = span{from: o.stored.load(), next: o.stored.load()}
	return nil
}

// insert tries until the store takes the batch, refuses it for good, or the
// owner stops.
func (o *owner) insert(ctx context.Context, token string, b *Batch) error {
	retry := backoff{first: 50 * time.Millisecond, most: 5 * time.Second}
	for {
		err := o.cfg.Store.Insert(ctx, token, b)
		if err == nil {
			o.rows.Add(uint64(b.Rows))
			o.metrics.rows.WithLabelValues(o.cfg.Topic).Add(float64(b.Rows))
			o.storeErr.Store(nil)
			return nil
		}
		text := err.Error()
		o.storeErr.Store(&text)
		if _, permanent := errors.AsType[permanentError](err); permanent {
			o.count(causeRejected, uint64(b.Rows))
			o.log.Error("the store refuses a range for good; its rows are lost to the store", "topic", b.Topic,
				"partition", b.Partition, "from", b.From, "to", b.To, "rows", b.Rows, "err", err)
			return nil
		}
		o.metrics.retries.WithLabelValues(b.Topic).Inc()
		o.log.Warn("insert failed and is tried again", "topic", b.Topic, "partition", b.Partition, "from", b.From,
			"to", b.To, "err", err)
		if o.isDraining() {
			return err // announced, so the next owner repeats it
		}
		if !retry.wait(ctx) {
			return ctx.Err()
		}
	}
}

// commit acknowledges all below offset and announces [offset, intent). It tries
// until the group takes it; a member that was fenced off is stopped by the group
// and never gets here again.
func (o *owner) commit(ctx context.Context, offset, intent int64) error {
	retry := backoff{first: 20 * time.Millisecond, most: 2 * time.Second}
	for {
		verdicts, _ := o.outbox.confirmed()
		note := commitNote{intent: intent, verdicts: verdicts, lineage: o.plan.lineage}
		err := o.commitTo(ctx, offset, note.String())
		if err == nil {
			o.acked.Store(offset)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.log.Warn("offset commit failed and is tried again", "topic", o.cfg.Topic, "partition", o.partition, "offset", offset, "err", err)
		if !retry.wait(ctx) {
			return ctx.Err()
		}
	}
}
