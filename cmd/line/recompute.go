package line

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/store/clickhouse"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// replay recomputes a verdict from the log and the newest snapshot before it;
// where the log no longer reaches back, from the stored rows.
func (p *processor) replay(ctx context.Context, v *verdict.Verdict) *admin.Replay {
	rng := v.Evidence.Range
	if rng.Topic == "" || v.Bound == admin.BoundOperator {
		return &admin.Replay{Difference: "the verdict was added by hand: there is nothing to compute"}
	}
	r := recomputing{verdict: v, out: &admin.Replay{Source: "the log", Snapshot: fmt.Sprintf("%s/%d before offset %d", rng.Topic, rng.Partition, rng.From)}}
	err := stream.Replay(ctx, stream.ReplayConfig{
		Connection: p.conn, Topic: rng.Topic, Partition: rng.Partition, Snapshots: p.snapshot,
		NewEngine: newSiteBook().newEngine, From: rng.From, To: rng.To + 1,
	}, func(_ *event.Event, _ verdict.Position, res stream.Result) { r.see(res) })
	if errors.Is(err, stream.ErrExpired) {
		r = recomputing{verdict: v, out: r.out}
		err = p.replayRows(ctx, &r)
	}
	return r.result(err)
}

// replayRows computes from the snapshot and the rows of the table events.
func (p *processor) replayRows(ctx context.Context, r *recomputing) error {
	store, err := p.store.soon(ctx)
	if err != nil {
		return fmt.Errorf("the records have expired from the log, and the rows cannot be read: %w", err)
	}
	rng := r.verdict.Evidence.Range
	e, next, err := stream.RestoreEngine(ctx, p.snapshot, rng.Topic, rng.Partition, rng.From, newSiteBook().newEngine)
	if err != nil {
		return fmt.Errorf("the records have expired from the log, and the snapshot cannot be read: %w", err)
	}
	return r.rows(ctx, e, next, store.EventsInRange)
}

// recomputing looks for one revision of a verdict among an engine's results.
type recomputing struct {
	verdict *verdict.Verdict
	found   *verdict.Verdict
	out     *admin.Replay
}

func (r *recomputing) see(res stream.Result) {
	r.out.Events++
	for i := range res.Verdicts {
		if v := &res.Verdicts[i]; v.ID == r.verdict.ID && v.Revision == r.verdict.Revision {
			c := *v
			r.found = &c
		}
	}
}

// secretRoles are of events whose secret, or code of a card, was on the log
// only: their rows tell the engine less than it once knew.
const secretRoles = 1<<event.RoleLogin | 1<<event.RoleReset | 1<<event.RoleSignup | 1<<event.RolePayAuth

// rows runs the stored events of offsets next to the range's end through e, and
// says what they lack.
func (r *recomputing) rows(
	ctx context.Context, e stream.Engine, next int64,
	stored func(ctx context.Context, partition int32, first, last int64, each func(*clickhouse.StoredEvent) error) error,
) error {
	rng := r.verdict.Evidence.Range
	r.out.Source, r.out.Events = "the table events", 0
	if e == nil {
		return fmt.Errorf("the records have expired from the log and no snapshot at or below offset %d is kept: one a day stays, for 7 days", rng.From)
	}
	offsets, secrets := int64(0), int64(0)
	last := verdict.Position{Offset: -1}
	err := stored(ctx, rng.Partition, next, rng.To, func(ev *clickhouse.StoredEvent) error {
		if ev.Position == last {
			return nil // an insert that was repeated and is not merged yet
		}
		if ev.Position.Offset != last.Offset {
			offsets++
		}
		last = ev.Position
		if secretRoles&(1<<ev.Role) != 0 {
			secrets++
		}
		res := e.Observe(&ev.Event, ev.Position)
		if ev.Position.Offset >= rng.From {
			r.see(res)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("the records have expired from the log, and the rows cannot be read: %w", err)
	}
	missing := func(format string, args ...any) { r.out.Missing = append(r.out.Missing, fmt.Sprintf(format, args...)) }
	if n := rng.To + 1 - next - offsets; n > 0 {
		missing("%d of %d records have no rows: operators' records, or rows that have expired too", n, rng.To+1-next)
	}
	if secrets > 0 {
		missing("the secrets and card codes of %d attempts: their hashes live on the log only", secrets)
	}
	return nil
}

// result says whether what was found is what was asked for.
func (r *recomputing) result(err error) *admin.Replay {
	rng := r.verdict.Evidence.Range
	switch {
	case err != nil:
		r.out.Difference = err.Error()
	case r.found == nil:
		r.out.Difference = fmt.Sprintf("the replay of offsets %d to %d gave no revision %d of it", rng.From, rng.To, r.verdict.Revision)
	default:
		r.out.Identical, r.out.Difference = sameVerdict(r.verdict, r.found)
	}
	return r.out
}

// sameVerdict compares canonical bytes; the sequence is the log's and the policy
// the installation's, not the engine's.
func sameVerdict(a, b *verdict.Verdict) (bool, string) {
	x, y := *a, *b
	x.Sequence, y.Sequence = 0, 0
	x.Policy, y.Policy = "", ""
	p, err1 := json.Marshal(&x)
	q, err2 := json.Marshal(&y)
	if err := errors.Join(err1, err2); err != nil {
		return false, err.Error()
	}
	if bytes.Equal(p, q) {
		return true, ""
	}
	at := 0
	for at < min(len(p), len(q)) && p[at] == q[at] {
		at++
	}
	cut := func(s []byte) string { return string(s[max(0, at-20):min(len(s), at+40)]) }
	return false, fmt.Sprintf("stored %q, recomputed %q", cut(p), cut(q))
}
