package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// vault keeps the snapshots of one partition.
type vault struct {
	store     SnapshotStore
	topic     string
	partition int32
	newEngine func(int32) Engine
	metrics   *groupMetrics
	log       *slog.Logger
}

// newest restores the newest usable snapshot at or below limit, and says which
// store cursor it had reached. Corrupt ones are refused, counted and passed over
// for the one before. accept decides by lineage; nil result: there is none.
func (v *vault) newest(ctx context.Context, limit int64, accept func(lineage string) bool) (*fold, int64, error) {
	ids, err := v.store.List(ctx, v.topic, v.partition)
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(ids, newestFirst)
	for _, id := range ids {
		if id.Offset > limit {
			continue
		}
		f, stored, err := v.restore(ctx, id, accept)
		switch {
		case ctx.Err() != nil:
			return nil, 0, ctx.Err()
		case errors.Is(err, ErrSnapshotStore):
			return nil, 0, err // an older one would cost history for a broken connection
		case err == nil && f != nil:
			v.count("restored")
			return f, stored, nil
		case err != nil:
			v.count("corrupt")
			v.log.Warn("snapshot refused, the one before it is used", "topic", v.topic, "partition", v.partition,
				"offset", id.Offset, "err", err)
		}
	}
	return nil, 0, nil
}

func newestFirst(a, b SnapshotID) int {
	if a.Offset != b.Offset {
		if a.Offset > b.Offset {
			return -1
		}
		return 1
	}
	return b.Saved.Compare(a.Saved)
}

// restore returns nil without an error for a snapshot of another lineage.
func (v *vault) restore(ctx context.Context, id SnapshotID, accept func(string) bool) (*fold, int64, error) {
	r, err := v.store.Open(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	err = checkSnapshot(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, 0, err
	}
	if r, err = v.store.Open(ctx, id); err != nil {
		return nil, 0, err
	}
	f, m, err := restoreFold(r, v.topic, v.partition, v.newEngine(v.partition))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, 0, err
	}
	if !accept(m.lineage) {
		return nil, 0, nil
	}
	return f, m.stored, nil
}

func (v *vault) count(result string) { v.metrics.snapshots.WithLabelValues(v.topic, result).Inc() }

// sameTopic accepts lineages of the same incarnation of the topic: a snapshot
// below the point where the log lost its end is as good as before.
func sameTopic(lineage string) func(string) bool {
	id, _, _ := strings.Cut(lineage, lineageSeparator)
	return func(l string) bool { return strings.HasPrefix(l, id+lineageSeparator) }
}

// create writes a snapshot; the caller commits it once it may be used.
func (v *vault) create(ctx context.Context, f *frozen, at func(string)) (SnapshotWriter, error) {
	w, err := v.store.Create(ctx, f.id)
	if err != nil {
		f.engine.Release()
		return nil, err
	}
	at("snapmid")
	if err := f.write(ctx, w); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot: %w", err), w.Abort())
	}
	return w, nil
}

// prune removes what nobody needs: all but the newest keep, the newest at or
// below the store cursor (a restart computes the rows after it), and the newest
// of each of the last days (for explaining old verdicts).
func (v *vault) prune(ctx context.Context, stored int64, keep int, dailyFor time.Duration, now time.Time) error {
	ids, err := v.store.List(ctx, v.topic, v.partition)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range superfluous(ids, stored, keep, dailyFor, now) {
		errs = append(errs, v.store.Remove(ctx, id))
	}
	return errors.Join(errs...)
}

func superfluous(ids []SnapshotID, stored int64, keep int, dailyFor time.Duration, now time.Time) []SnapshotID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, newestFirst)
	days := make(map[string]bool)
	var out []SnapshotID
	pinned := 0
	for i, id := range ids {
		keeps := i < keep
		// Two below the store cursor stay, should the newer one be corrupt.
		if id.Offset <= stored && pinned < 2 {
			pinned++
			keeps = true
		}
		if day := id.Saved.UTC().Format(time.DateOnly); now.Sub(id.Saved) < dailyFor && !days[day] {
			days[day] = true
			keeps = true
		}
		if !keeps {
			out = append(out, id)
		}
	}
	return out
}

// discard removes the snapshots for which drop returns true.
func (v *vault) discard(ctx context.Context, drop func(SnapshotID) bool) error {
	ids, err := v.store.List(ctx, v.topic, v.partition)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if drop(id) {
			errs = append(errs, v.store.Remove(ctx, id))
		}
	}
	return errors.Join(errs...)
}
