package stream

import (
	"context"
	"math"
	"time"
)

// snapshotPatience is how long a finished snapshot waits for the store cursor
// to reach it. A snapshot past the store cursor is good for detection, but a
// restart then has to compute the rows in between from the one before.
const snapshotPatience = 10 * time.Second

// saved says that the state is that of the last snapshot.
func (o *owner) saved() bool { return o.fold.next == o.savedNext && !o.saveFailed.Load() }

// idle is how long the engine cursor waits for records before it looks at the
// clocks: that of snapshots and that of verdicts in force. 0 is without limit.
func (o *owner) idle() time.Duration {
	if o.fold.engine == nil {
		return 0
	}
	const never = time.Duration(math.MaxInt64)
	wait := never
	if !o.saved() {
		wait = o.cfg.SnapshotInterval - time.Since(o.lastSaved)
	}
	if since := o.fold.aging.since; since != 0 && o.keeps.age > 0 {
		wait = min(wait, o.keeps.age/2-time.Since(time.Unix(0, since)))
	}
	switch {
	case o.repeats != nil:
		return time.Millisecond
	case wait == never:
		return 0
	}
	return max(wait, time.Millisecond)
}

func (o *owner) snapshotDue() bool {
	f := o.fold
	if f.engine == nil || o.saved() {
		return false
	}
	return time.Since(o.lastSaved) >= o.cfg.SnapshotInterval || f.events-o.savedEvents >= o.cfg.SnapshotEvents
}

// beginSnapshot freezes the state between two records and lets it be written and
// settle beside the engine. Meanwhile no other begins.
func (o *owner) beginSnapshot(ctx context.Context) {
	if !o.snapMu.TryLock() {
		o.lastSaved = time.Now() // try again after the interval, without spinning
		return
	}
	f := o.cut()
	if f == nil {
		o.snapMu.Unlock()
		return
	}
	o.wg.Go(func() {
		defer o.snapMu.Unlock()
		w := o.writeSnapshot(ctx, f)
		if w == nil {
			return
		}
		if o.cfg.Store != nil {
			o.awaitStored(ctx, f.id.Offset)
		}
		o.settle(ctx, w, f.id.Offset)
	})
}

// awaitStored gives the store cursor snapshotPatience, or until the owner stops.
func (o *owner) awaitStored(ctx context.Context, offset int64) {
	ctx, cancel := context.WithTimeout(ctx, snapshotPatience)
	defer cancel()
	o.wg.Go(func() {
		select {
		case <-o.drain:
			cancel()
		case <-ctx.Done():
		}
	})
	o.stored.wait(ctx, offset)
}

// cut freezes the state; nil when that failed.
func (o *owner) cut() *frozen {
	o.lastSaved = time.Now()
	f, err := o.fold.cut(o.stored.load())
	if err != nil {
		o.snapshotFailed(err)
		return nil
	}
	o.savedNext, o.savedEvents = o.fold.next, o.fold.events
	o.saveFailed.Store(false)
	return f
}

func (o *owner) writeSnapshot(ctx context.Context, f *frozen) SnapshotWriter {
	w, err := o.vault.create(ctx, f, o.cfg.At)
	if err != nil {
		o.snapshotFailed(err)
		return nil
	}
	return w
}

func (o *owner) snapshotFailed(err error) {
	o.vault.count("failed")
	o.saveFailed.Store(true)
	text := err.Error()
	o.snapErr.Store(&text)
	o.log.Error("snapshot failed; the one before it stays in use", "topic", o.cfg.Topic, "partition", o.partition, "err", err)
}

// settle commits a snapshot once every verdict before it is on the log: a state
// that has given a verdict must never be restored while the verdict is missing.
func (o *owner) settle(ctx context.Context, w SnapshotWriter, offset int64) {
	for {
		confirmed, changed := o.outbox.confirmed()
		if confirmed >= offset {
			break
		}
		select {
		case <-ctx.Done():
			_ = w.Abort() // the remains are swept by a later Create
			return
		case <-changed:
		}
	}
	if err := w.Commit(); err != nil {
		o.snapshotFailed(err)
		return
	}
	o.vault.count("saved")
	o.snapErr.Store(nil)
	o.cfg.At("snapdone")
	if err := o.vault.prune(ctx, o.needed(), o.cfg.KeepSnapshots, o.cfg.DailyFor, time.Now()); err != nil {
		o.log.Warn("old snapshots could not be removed", "topic", o.cfg.Topic, "partition", o.partition, "err", err)
	}
}

// needed is the offset that a snapshot must not be past for the next owner to
// compute the rows that are not acknowledged as stored.
func (o *owner) needed() int64 {
	if o.cfg.Store == nil {
		return math.MaxInt64
	}
	return o.acked.Load()
}

// saveLast saves the state when the partition is handed over, so that the next
// owner starts where this one ended.
func (o *owner) saveLast(ctx context.Context) {
	if o.fold.engine == nil {
		return
	}
	o.snapMu.Lock() // one that is settling ends first; ctx ends it
	defer o.snapMu.Unlock()
	if o.saved() {
		return
	}
	f := o.cut()
	if f == nil {
		return
	}
	if w := o.writeSnapshot(ctx, f); w != nil {
		o.settle(ctx, w, f.id.Offset)
	}
}
