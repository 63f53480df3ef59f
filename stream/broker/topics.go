package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics, and their shares of the log's bytes in percent.
var topicShares = []struct {
	name    string
	percent int64
}{{"weir.events", 80}, {"weir.verdicts", 10}, {"weir.decisions", 10}}

// TopicsConfig says how the topics are made.
type TopicsConfig struct {
	// Partitions of each topic, default DefaultPartitions. It is fixed at
	// creation, since sites are bound to partitions by its number.
	Partitions int
	// ReplicationFactor, default the broker's own.
	ReplicationFactor int16
	// LogBytes is the size of all topics together; default DefaultLogBytes.
	LogBytes int64
	// Manage also sets the limits of topics that exist, as is right for the
	// embedded log. On a shared cluster existing topics belong to its operators.
	Manage bool
	// MaxMessageBytes of a record batch; default 1 MiB + 64 KiB.
	MaxMessageBytes int
}

// DefaultPartitions suits the embedded log, which one processor reads: its
// engine takes several hundred thousand events a second, more than the rest of
// the line can on one machine, while each further partition makes the inserts
// smaller (four cost 38 % more CPU of the whole line at 20,000 events/s) and
// needs an engine's memory.
const DefaultPartitions = 1

func (c TopicsConfig) withDefaults() TopicsConfig {
	if c.Partitions == 0 {
		c.Partitions = DefaultPartitions
	}
	if c.ReplicationFactor == 0 {
		c.ReplicationFactor = -1
	}
	if c.LogBytes == 0 {
		c.LogBytes = DefaultLogBytes()
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = 1<<20 + 64<<10
	}
	return c
}

// Validate reports all faults.
func (c TopicsConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Partitions < 1 || c.Partitions > 1024 {
		errs = append(errs, fmt.Errorf("partitions %d: want 1 to 1024", c.Partitions))
	}
	if c.LogBytes < 128<<20 {
		errs = append(errs, fmt.Errorf("retention.log %d bytes: want at least 128 MiB", c.LogBytes))
	}
	if c.MaxMessageBytes < 1<<20 || c.MaxMessageBytes > 16<<20 {
		errs = append(errs, fmt.Errorf("max message of %d bytes: want 1 to 16 MiB", c.MaxMessageBytes))
	}
	return errors.Join(errs...)
}

// limits returns the retention and segment size of one of so many partitions.
// Retention is by size alone: time would drop records that nobody has read, and
// on the embedded log could empty a partition.
func (c TopicsConfig) limits(percent int64, partitions int) map[string]*string {
	retention := max(c.LogBytes/100*percent/int64(partitions), 8*int64(c.MaxMessageBytes))
	segment := min(max(retention/4, 1<<20), 32<<20)
	text := func(n int64) *string { return new(strconv.FormatInt(n, 10)) }
	return map[string]*string{
		"cleanup.policy":    new("delete"),
		"retention.ms":      new("-1"),
		"retention.bytes":   text(retention),
		"segment.bytes":     text(segment),
		"max.message.bytes": text(int64(c.MaxMessageBytes)),
	}
}

// EnsureTopics creates the topics that are missing and returns the number of
// partitions of each, which may differ from the configured one where a topic
// existed. It keeps trying while the broker comes up, until ctx ends.
func EnsureTopics(ctx context.Context, cl *kgo.Client, cfg TopicsConfig) (map[string]int, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	for {
		partitions, err := ensureTopics(ctx, kadm.NewClient(cl), cfg)
		if err == nil || !passing(err) || ctx.Err() != nil {
			return partitions, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// passing reports whether an error is one of a broker that is coming up.
func passing(err error) bool {
	return kerr.IsRetriable(err) || kgo.IsRetryableBrokerErr(err)
}

func ensureTopics(ctx context.Context, adm *kadm.Client, cfg TopicsConfig) (map[string]int, error) {
	for _, t := range topicShares {
		resp, err := adm.CreateTopics(ctx, int32(cfg.Partitions), cfg.ReplicationFactor, cfg.limits(t.percent, cfg.Partitions), t.name)
		if err != nil {
			return nil, fmt.Errorf("create topic %s: %w", t.name, err)
		}
		switch r := resp[t.name]; {
		case r.Err == nil:
		case errors.Is(r.Err, kerr.TopicAlreadyExists):
		default:
			err = fmt.Errorf("%w: %s", r.Err, r.ErrMessage)
		}
		if err != nil {
			return nil, fmt.Errorf("topic %s: %w", t.name, err)
		}
	}
	partitions, err := countPartitions(ctx, adm)
	if err != nil || !cfg.Manage {
		return partitions, err
	}
	for _, t := range topicShares {
		if err := alter(ctx, adm, t.name, cfg.limits(t.percent, partitions[t.name])); err != nil {
			return nil, fmt.Errorf("topic %s: %w", t.name, err)
		}
	}
	return partitions, nil
}

func alter(ctx context.Context, adm *kadm.Client, topic string, limits map[string]*string) error {
	var configs []kadm.AlterConfig
	for name, value := range limits {
		configs = append(configs, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: value})
	}
	resp, err := adm.AlterTopicConfigs(ctx, configs, topic)
	for _, r := range resp {
		err = errors.Join(err, r.Err)
	}
	return err
}

func countPartitions(ctx context.Context, adm *kadm.Client) (map[string]int, error) {
	var names []string
	for _, t := range topicShares {
		names = append(names, t.name)
	}
	details, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	partitions := map[string]int{}
	for _, name := range names {
		d := details[name]
		if d.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", name, d.Err)
		}
		partitions[name] = len(d.Partitions)
	}
	return partitions, nil
}

// Incarnation names the offsets of a topic: as long as it stays, an offset
// stands for the same record. It consists of the cluster's id, which on the
// embedded log changes when records may have been lost, and the topic's id,
// which changes when it is deleted and made again. It belongs into every
// deduplication token that is made of offsets.
func Incarnation(ctx context.Context, cl *kgo.Client, topic string) (string, error) {
	m, err := kadm.NewClient(cl).Metadata(ctx, topic)
	if err != nil {
		return "", fmt.Errorf("incarnation of %s: %w", topic, err)
	}
	t := m.Topics[topic]
	if t.Err != nil {
		return "", fmt.Errorf("incarnation of %s: %w", topic, t.Err)
	}
	return m.Cluster + "/" + t.ID.String(), nil
}
