package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// ErrExpired says that retention has taken records that were asked for.
var ErrExpired = errors.New("records have expired from the log")

// ErrPastEnd says that the log ends before the records that were asked for.
var ErrPastEnd = errors.New("the log ends before that offset")

// partitionReader reads one partition from an offset on, beside any group.
type partitionReader struct {
	client *kgo.Client
}

func newPartitionReader(c Connection, topic string, partition int32, from int64) (*partitionReader, error) {
	cl, err := c.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // after retention: the caller sees the jump
		kgo.FetchMaxWait(500*time.Millisecond), kgo.FetchMinBytes(1), kgo.FetchMaxBytes(8<<20),
		kgo.FetchMaxPartitionBytes(4<<20), kgo.MaxConcurrentFetches(1),
	)
	if err != nil {
		return nil, err
	}
	return &partitionReader{client: cl}, nil
}

// poll returns the next records, at least one, or ctx's error. Faults of the
// connection are retried inside.
func (r *partitionReader) poll(ctx context.Context) ([]Record, error) {
	retry := backoff{first: 50 * time.Millisecond, most: 2 * time.Second}
	for {
		fs := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var recs []Record
		fs.EachRecord(func(k *kgo.Record) { recs = append(recs, recordOf(k)) })
		if len(recs) > 0 {
			return recs, nil
		}
		if err := fs.Err(); errors.Is(err, kgo.ErrClientClosed) || !retry.wait(ctx) {
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

func (r *partitionReader) close() { r.client.Close() }

// ReadRange calls fn with the records [from, to) of one partition in order. It
// returns ErrExpired or ErrPastEnd when the log does not hold all of them.
func ReadRange(ctx context.Context, c Connection, topic string, partition int32, from, to int64, fn func(*Record) error) error {
	if from >= to {
		return nil
	}
	r, err := newPartitionReader(c, topic, partition, from)
	if err != nil {
		return err
	}
	defer r.close()
	start, end, err := bounds(ctx, r.client, topic, partition)
	switch {
	case err != nil:
		return err
	case from < start:
		return fmt.Errorf("%s partition %d: offset %d: %w, which begins at %d now", topic, partition, from, ErrExpired, start)
	case to > end:
		return fmt.Errorf("%s partition %d: offset %d: %w, which is %d", topic, partition, to, ErrPastEnd, end)
	}
	for next := from; next < to; {
		recs, err := r.poll(ctx)
		if err != nil {
			return err
		}
		for i := range recs {
			if recs[i].Offset > next {
				return fmt.Errorf("%s partition %d: offset %d: %w while reading", topic, partition, next, ErrExpired)
			}
			if recs[i].Offset >= to {
				return nil
			}
			if err := fn(&recs[i]); err != nil {
				return err
			}
			next = recs[i].Offset + 1
		}
	}
	return nil
}

// bounds returns the first offset the log holds and the one after its last.
func bounds(ctx context.Context, cl *kgo.Client, topic string, partition int32) (start, end int64, err error) {
	all, err := logBounds(ctx, cl, topic)
	if err != nil {
		return 0, 0, err
	}
	b, ok := all[partition]
	if !ok {
		return 0, 0, fmt.Errorf("%s has no partition %d", topic, partition)
	}
	return b.start, b.end, nil
}

// logBounds returns the bounds of all partitions of a topic.
func logBounds(ctx context.Context, cl *kgo.Client, topic string) (map[int32]logState, error) {
	adm := kadm.NewClient(cl)
	starts, err1 := adm.ListStartOffsets(ctx, topic)
	ends, err2 := adm.ListEndOffsets(ctx, topic)
	if err := errors.Join(err1, err2, starts.Error(), ends.Error()); err != nil {
		return nil, fmt.Errorf("bounds of %s: %w", topic, err)
	}
	out := make(map[int32]logState)
	starts.Each(func(l kadm.ListedOffset) {
		if e, ok := ends.Lookup(topic, l.Partition); ok {
			out[l.Partition] = logState{start: l.Offset, end: e.Offset}
		}
	})
	return out, nil
}

// ReplayConfig says what Replay computes again.
type ReplayConfig struct {
	Connection Connection
	Topic      string // default weir.events
	Partition  int32
	Snapshots  SnapshotStore
	NewEngine  func(partition int32) Engine
	// From and To bound the records that are shown, To exclusive. The state comes
	// from the newest snapshot at or below From.
	From, To int64
}

// Replay computes the engine's results for [From, To) again, from a snapshot and
// the log, and calls seen after each event. It returns ErrExpired when neither a
// snapshot nor the log reaches back far enough.
func Replay(ctx context.Context, c ReplayConfig, seen func(ev *event.Event, pos verdict.Position, res Result)) error {
	if c.Topic == "" {
		c.Topic = TopicEvents
	}
	m, err := newGroupMetrics(nil)
	if err != nil {
		return err
	}
	v := &vault{
		store: c.Snapshots, topic: c.Topic, partition: c.Partition, newEngine: c.NewEngine, metrics: m, log: quiet,
	}
	f, _, err := v.newest(ctx, c.From, func(string) bool { return true })
	if err != nil {
		return err
	}
	if f == nil {
		f = newFold(c.Topic, c.Partition, c.NewEngine(c.Partition))
	}
	f.rowless = true
	return ReadRange(ctx, c.Connection, c.Topic, c.Partition, f.next, c.To, func(rec *Record) error {
		show := seen
		if rec.Offset < c.From {
			show = nil
		}
		f.apply(rec, func(*verdict.Verdict) {}, show)
		return nil
	})
}

// RestoreEngine returns an engine with the newest usable state at or below limit
// and the offset of the first record that is not part of it, for computing again
// from stored events what the log no longer holds. It returns nil when there is
// no such snapshot.
func RestoreEngine(
	ctx context.Context, snapshots SnapshotStore, topic string, partition int32, limit int64, newEngine func(int32) Engine,
) (Engine, int64, error) {
	m, err := newGroupMetrics(nil)
	if err != nil {
		return nil, 0, err
	}
	v := &vault{store: snapshots, topic: topic, partition: partition, newEngine: newEngine, metrics: m, log: quiet}
	f, _, err := v.newest(ctx, limit, func(string) bool { return true })
	if f == nil || err != nil {
		return nil, 0, err
	}
	return f.engine, f.next, nil
}
