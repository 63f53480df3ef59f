package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirproject/weir/stream/verdict"
)

// GroupConfig configures a Group.
type GroupConfig struct {
	Connection Connection
	// Topic is what is processed; default weir.events.
	Topic string
	// Group names the consumer group; members share partitions, snapshots and
	// the store. Default "weir".
	Group string
	// Member is this process's static name in the group, kept over its restarts,
	// so that a quick restart moves no partition. Empty: dynamic membership.
	Member string
	// SessionTimeout is after how long a silent member loses its partitions;
	// default 10 s, at least 1 s (Apache Kafka: 6 s unless configured).
	SessionTimeout time.Duration
	// VerdictTopic receives the engine's verdicts; default weir.verdicts.
	VerdictTopic string

	// NewEngine makes the engine of one partition; nil when the topic is only
	// stored. It may be called twice for a partition: a second reading for the
	// store has an engine of its own.
	NewEngine func(partition int32) Engine
	// Store takes the rows; nil to run the engine alone.
	Store Store
	// Snapshots is required with NewEngine.
	Snapshots SnapshotStore
	// OnVerdict, if set, sees each verdict before it is published. It is called
	// from several goroutines and must neither block nor keep the verdict.
	OnVerdict func(v *verdict.Verdict)

	// FlushRows and FlushInterval bound a range: whichever is reached first.
	// Defaults 50,000 rows and 1 s.
	FlushRows     int
	FlushInterval time.Duration
	// BacklogBytes bounds, per partition, what waits in memory for the store;
	// default 32 MiB. Past it the store reads the log again later.
	BacklogBytes int
	// InboxBytes bounds, per partition, what was fetched and waits for the
	// engine; default 8 MiB. Past it fetching pauses.
	InboxBytes int
	// SnapshotInterval and SnapshotEvents: a snapshot is due when either is
	// reached and the state has changed. They bound what a restart after a crash
	// reads again; 2,000,000 events take an engine about ten seconds. Defaults 30 s
	// and 2,000,000 events.
	SnapshotInterval time.Duration
	SnapshotEvents   uint64
	// KeepSnapshots is how many of the newest stay beside those that are pinned
	// (the newest that the store cursor still needs; one per day for DailyFor).
	// Defaults 3 and 7 days.
	KeepSnapshots int
	DailyFor      time.Duration
	// StopTimeout bounds handing over a partition; default 10 s.
	StopTimeout time.Duration
	// Leave gives the partitions up at the end of Run. Without it a static
	// member keeps them for SessionTimeout, so that it finds them again.
	Leave bool

	// Log is required. At, if set, is called at the points where a crash is most
	// interesting, for kill tests: polled, intent, processed, inserted, produced,
	// snapmid, snapdone.
	Log *slog.Logger
	At  func(point string)
}

func (c GroupConfig) withDefaults() GroupConfig {
	text := func(v *string, def string) {
		if *v == "" {
			*v = def
		}
	}
	text(&c.Topic, TopicEvents)
	text(&c.Group, "weir")
	text(&c.VerdictTopic, TopicVerdicts)
	number := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	number(&c.FlushRows, 50_000)
	number(&c.BacklogBytes, 32<<20)
	number(&c.InboxBytes, 8<<20)
	number(&c.KeepSnapshots, 3)
	span := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	span(&c.SessionTimeout, 10*time.Second)
	span(&c.FlushInterval, time.Second)
	span(&c.SnapshotInterval, 30*time.Second)
	span(&c.DailyFor, 7*24*time.Hour)
	span(&c.StopTimeout, 10*time.Second)
	if c.SnapshotEvents == 0 {
		c.SnapshotEvents = 2_000_000
	}
	if c.At == nil {
		c.At = func(string) {}
	}
	return c
}

// Validate reports all faults.
func (c GroupConfig) Validate() error {
	c = c.withDefaults()
	errs := []error{c.Connection.Validate()}
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Log == nil, "stream: a logger is needed")
	bad(c.NewEngine == nil && c.Store == nil, "stream: neither engine nor store: there is nothing to do")
	bad(c.NewEngine != nil && c.Snapshots == nil, "process.snapshots: an engine needs a place for its snapshots")
	bad(c.FlushRows < 1 || c.FlushRows > 1_000_000, "process.flushRows: %d: want 1 to 1000000", c.FlushRows)
	bad(c.FlushInterval < time.Millisecond || c.FlushInterval > time.Minute, "process.flushInterval: %v: want 1ms to 1m", c.FlushInterval)
	bad(c.BacklogBytes < 1<<10, "process.backlogBytes: %d: want at least 1 KiB", c.BacklogBytes)
	bad(c.InboxBytes < 1<<10, "process.inboxBytes: %d: want at least 1 KiB", c.InboxBytes)
	bad(c.SessionTimeout < time.Second, "process.sessionTimeout: %v: want at least 1s", c.SessionTimeout)
	bad(c.SnapshotInterval < 10*time.Millisecond, "process.snapshotInterval: %v: want at least 10ms", c.SnapshotInterval)
	bad(c.KeepSnapshots < 2, "process.keepSnapshots: %d: want at least 2, so that a corrupt one has a predecessor", c.KeepSnapshots)
	return errors.Join(errs...)
}
