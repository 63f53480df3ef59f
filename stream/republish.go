package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// The log forgets: when retention takes a verdict's record, an enforcer that
// starts with an empty table would not hear of it although it is in force. So
// the owner puts the verdicts in force on the topic again before that, at half
// the topic's retention, under the same id and revision and without evidence.
// Who has such a verdict drops the copy.

// republishedHeader marks such copies for those that keep all they read.
const republishedHeader = "republished"

// Republished says that a record of weir.verdicts repeats a verdict in force
// without its evidence. Stores and sinks pass it over.
func (r *Record) Republished() bool {
	for i := range r.Headers {
		if r.Headers[i].Key == republishedHeader {
			return true
		}
	}
	return false
}

// republishBatch is how many verdicts are repeated between two records: a new
// verdict waits for no more than these.
const republishBatch = 256

// retention is how far back a partition of a topic reaches; 0 is without end.
type retention struct {
	bytes int64
	age   time.Duration
}

// cautious is assumed of a broker that does not tell.
var cautious = retention{bytes: 16 << 20}

// topicRetention asks the broker.
func topicRetention(ctx context.Context, cl *kgo.Client, topic string) (r retention, err error) {
	var described kadm.ResourceConfig
	configs, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, topic)
	if err == nil {
		described, err = configs.On(topic, nil)
	}
	if err = errors.Join(err, described.Err); err != nil {
		return r, fmt.Errorf("retention of %s: %w", topic, err)
	}
	for _, c := range described.Configs {
		n, err := strconv.ParseInt(c.MaybeValue(), 10, 64)
		switch {
		case err != nil || n <= 0:
		case c.Key == "retention.bytes":
			r.bytes = n
		case c.Key == "retention.ms":
			r.age = time.Duration(min(n, int64(1e6*time.Hour/time.Millisecond))) * time.Millisecond
		}
	}
	return r, nil
}

// aging is what the verdict topic has taken since the verdicts in force were last
// repeated. It is part of a partition's state.
type aging struct {
	bytes uint64
	since int64 // log time, UnixNano; 0 as long as there was no verdict
}

func (a *aging) add(bytes int, at time.Time) {
	if a.since == 0 {
		a.since = at.UnixNano()
	}
	a.bytes += uint64(bytes)
}

// due reports whether half of the retention has passed.
func (a *aging) due(r retention, now time.Time) bool {
	return a.since != 0 && (r.bytes > 0 && a.bytes >= uint64(r.bytes/2) || r.age > 0 && now.UnixNano()-a.since >= int64(r.age/2))
}

// republish repeats the next verdicts in force when it is time, a few at once;
// it reports whether more are left. The state says that they were repeated only
// when all are on their way, so that a crash in between begins again.
func (o *owner) republish(ctx context.Context, now time.Time) (more bool) {
	f := o.fold
	if f.engine == nil || !f.aging.due(o.keeps, now) {
		return false
	}
	if o.repeats == nil {
		if o.repeats = f.engine.InForce(); len(o.repeats) > 0 {
			o.log.Info("verdicts in force are repeated before the log forgets them", "topic", o.cfg.VerdictTopic,
				"partition", o.partition, "verdicts", len(o.repeats))
		}
	}
	n := min(len(o.repeats), republishBatch)
	records := make([]*kgo.Record, 0, n)
	for i := range o.repeats[:n] {
		v := o.repeats[i].Bare()
		r, err := o.verdictRecord(&v)
		if err != nil {
			o.unpublished(err)
			continue
		}
		r.Headers = []kgo.RecordHeader{{Key: republishedHeader, Value: []byte("1")}}
		records = append(records, r)
	}
	if o.repeats = o.repeats[n:]; len(o.repeats) == 0 {
		o.repeats = nil
		f.aging = aging{since: now.UnixNano()}
	}
	offset := f.next - 1
	o.outbox.passed(offset, len(records))
	for _, r := range records {
		o.client.Produce(ctx, r, func(_ *kgo.Record, err error) { o.published(ctx, offset, err) })
	}
	o.metrics.republished.WithLabelValues(o.cfg.Topic).Add(float64(len(records)))
	return o.repeats != nil
}

// supersede drops a verdict that is about to be repeated: its next revision, or
// its revocation, goes out now.
func (o *owner) supersede(id string) {
	if o.repeats != nil {
		o.repeats = slices.DeleteFunc(o.repeats, func(v verdict.Verdict) bool { return v.ID == id })
	}
}

// verdictRecord encodes a verdict for the topic.
func (o *owner) verdictRecord(v *verdict.Verdict) (*kgo.Record, error) {
	b, err := wire.AppendVerdict(nil, v)
	if err != nil {
		return nil, err
	}
	return &kgo.Record{Topic: o.cfg.VerdictTopic, Key: []byte(v.Site), Value: b}, nil
}
