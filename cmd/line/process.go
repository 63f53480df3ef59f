package line

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/wire"
)

// Process runs the processor role: it owns partitions of weir.events, feeds the
// engine and the store, and answers questions about both.
func Process(ctx context.Context, env Env) error {
	return runRole(ctx, env, "process", func(ctx context.Context, r *role) (func() admin.Report, error) {
		conn, err := connection(env, "process")
		if err != nil {
			return nil, err
		}
		if !Managed() { // weir up has made them
			if err := ensureTopics(ctx, env.Config, conn); err != nil {
				return nil, err
			}
		}
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(baseline.GCPercent)
		}
		p := &processor{role: r, conn: conn, feed: admin.NewFeed(r.clock.forget), sites: newSiteBook()}
		if err := p.build(ctx); err != nil {
			return nil, err
		}
		feed, err := p.serveFeed(ctx)
		if err != nil {
			return nil, err
		}
		detail := "partitions of " + stream.TopicEvents
		if feed != "" {
			r.Log.Info("verdict feed listens", "at", feed)
			detail += ", " + feed
		}
		supervise.Ready(detail)
		return p.report, nil
	})
}

type processor struct {
	*role
	conn     stream.Connection
	feed     *admin.Feed
	store    *tables
	groups   []*stream.Group
	control  *stream.Publisher
	snapshot stream.SnapshotStore
	sites    *siteBook
	// enforcers are those that may follow the feed from other machines.
	enforcers *admin.Enforcers
}

func (p *processor) build(ctx context.Context) error {
	var err error
	p.store = newTables(p.Env, p.metrics)
	p.metrics.MustRegister(p.store.rejected, p.sites)
	// The store stays connected until the owners have handed over.
	after, handedOver := context.WithCancel(context.WithoutCancel(ctx))
	var owners sync.WaitGroup
	p.group.Go(func() error { return p.store.Run(after) })
	p.group.Go(func() error {
		<-ctx.Done()
		owners.Wait()
		handedOver()
		return nil
	})
	if p.snapshot, err = snapshotStore(p.Config); err != nil {
		return err
	}
	member := memberName(p.Config)
	for _, c := range []stream.GroupConfig{
		{
			NewEngine: p.sites.newEngine, Store: eventTable{p.store}, Snapshots: p.snapshot, FlushInterval: time.Second,
			SnapshotInterval: time.Duration(p.Config.Process.Every), BacklogBytes: backlogBytes(p.Config),
		},
		{Topic: stream.TopicVerdicts, Group: "weir-verdicts", Store: verdictTable{p.store}, FlushInterval: recordsInterval},
		{Topic: stream.TopicDecisions, Group: "weir-decisions", Store: decisionTable{p.store}, FlushInterval: recordsInterval},
	} {
		c.Connection, c.Log, c.Member = p.conn, p.Log, member
		g, err := stream.NewGroup(c, p.metrics)
		if err != nil {
			return fmt.Errorf("processor of %s: %w", c.Topic, err)
		}
		p.groups = append(p.groups, g)
		owners.Add(1)
		p.group.Go(func() error {
			defer owners.Done()
			return g.Run(ctx)
		})
	}
	if p.control, err = stream.NewPublisher(stream.PublisherConfig{Connection: p.conn, Topic: stream.TopicEvents, Log: p.Log}, p.metrics); err != nil {
		return fmt.Errorf("control records: %w", err)
	}
	p.group.Go(func() error { return p.control.Run(ctx) })
	tail, err := stream.NewTail(stream.TailConfig{Connection: p.conn, Topic: stream.TopicVerdicts, Log: p.Log, OnCaughtUp: p.feed.Current, OnGap: p.rewind})
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	p.group.Go(func() error { return tail.Run(ctx, p.follow) })
	p.group.Go(func() error { return newAccounts(p).run(ctx) })
	p.group.Go(func() error { return p.keepLessons(ctx) })
	return p.routes()
}

// recordsInterval is how long verdicts and decisions are gathered for an insert,
// which costs the same for one row as for a thousand. Enforcers and the feed
// have them from the log at once.
const recordsInterval = 5 * time.Second

// backlogBytes is what may wait in memory for a store that stalls, per partition,
// before the log has to be read again by a second engine. The one partition of
// the embedded log has what several on brokers have together: at 20,000 events/s
// a quarter of a minute.
func backlogBytes(cfg *config.Loaded) int {
	if len(cfg.Kafka.Brokers) == 0 {
		return 128 << 20
	}
	return 0 // the default
}

// memberName is a processor's static name in its groups: the same after a
// restart, another for each data directory of a machine.
func memberName(cfg *config.Loaded) string {
	sum := sha256.Sum256([]byte(cfg.Data))
	return node(cfg) + "-" + hex.EncodeToString(sum[:4])
}

// rewind lets the feed take the offsets again that the log has lost.
func (p *processor) rewind(g stream.Gap) {
	if g.Rewound {
		p.feed.Rewind(g.Partition)
	}
}

// follow puts new verdicts on the feed.
func (p *processor) follow(_ context.Context, recs []stream.Record) error {
	for i := range recs {
		v, err := wire.ParseVerdict(recs[i].Value)
		if err != nil {
			p.Log.Warn("unusable verdict on the topic", "partition", recs[i].Partition, "offset", recs[i].Offset, "err", err)
			continue
		}
		p.feed.Add(recs[i].Partition, recs[i].Offset, &v)
	}
	return nil
}

// owned lists the partitions of weir.events that this processor owns.
func (p *processor) owned() (list []int32) {
	for _, g := range p.groups {
		for _, s := range g.Status() {
			if s.Topic == stream.TopicEvents {
				list = append(list, s.Partition)
			}
		}
	}
	return list
}

// lagLimit is how old an unprocessed record may be before status calls it a
// problem.
const lagLimit = 30 * time.Second

func (p *processor) report() admin.Report {
	rep := admin.Report{Verdicts: len(p.feed.InForce()), Sites: sites(p.now.Load(), p.sites.all())}
	losses := map[string]int64{}
	for _, g := range p.groups {
		for _, s := range g.Status() {
			partitionReport(&rep, s)
			if s.Lost > 0 {
				losses[s.Topic] += int64(s.Lost)
			}
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(losses)) {
		rep.Notes = append(rep.Notes, fmt.Sprintf("%d losses seen on %s (metrics tell the causes)", losses[topic], topic))
	}
	for _, e := range p.enforcers.List().Enforcers {
		if e.State == "away" {
			rep.Notes = append(rep.Notes, fmt.Sprintf("enforcer %s is away since %s: it goes on with what it had", e.Name, e.Seen.Format(time.RFC3339)))
		}
	}
	problems, notes := p.sites.alarms()
	rep.Problems, rep.Notes = append(rep.Problems, problems...), append(rep.Notes, notes...)
	if err := p.store.Err(); err != nil {
		rep.Problems = append(rep.Problems, "store: "+err.Error())
	}
	return rep
}

// partitionReport adds what is to say of one partition.
func partitionReport(rep *admin.Report, s stream.PartitionStatus) {
	store := "store:" + s.Topic
	if s.Topic == stream.TopicEvents {
		store = "store"
		rep.Lag = append(rep.Lag, admin.Lag{Stage: "engine", Partition: s.Partition, Records: max(0, s.LogEnd-s.Engine), Seconds: s.EngineLag.Seconds()})
	}
	rep.Lag = append(rep.Lag, admin.Lag{Stage: store, Partition: s.Partition, Records: max(0, s.LogEnd-s.Stored), Seconds: s.StoreLag.Seconds()})
	problem := func(format string, args ...any) { rep.Problems = append(rep.Problems, fmt.Sprintf(format, args...)) }
	if s.EngineLag > lagLimit {
		problem("the engine is %s behind on partition %d of %s", s.EngineLag.Round(time.Second), s.Partition, s.Topic)
	}
	if s.FetchError != "" {
		problem("the log does not give what comes next on %s/%d: %s", s.Topic, s.Partition, s.FetchError)
	}
	if s.StoreError != "" {
		problem("the store does not take %s/%d: %s (nothing is lost until the log's retention)", s.Topic, s.Partition, s.StoreError)
	}
	if s.SnapshotError != "" {
		problem("the last snapshot of %s/%d failed: %s (a restart takes the one before it and the log after it)", s.Topic, s.Partition, s.SnapshotError)
	}
	if s.Alarm != "" {
		rep.Notes = append(rep.Notes, fmt.Sprintf("%s/%d: %s", s.Topic, s.Partition, s.Alarm))
	}
}
