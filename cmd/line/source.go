package line

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/enforcer/feed"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// verdictSource is where an ingress gets its verdicts: the topic, or the feed of
// a processor on another machine.
type verdictSource interface {
	// Run applies verdicts as they come until ctx ends.
	Run(ctx context.Context) error
	// Contact is when the other side was last heard of, the zero time for never.
	Contact() time.Time
	// Sequence is the last verdict applied of each partition, as the feed's ids.
	Sequence() string
	// Absent says what it means that the other side is not heard of.
	Absent() string
	// Rejected counts verdicts that do not parse or cannot be put in force.
	Rejected() int64
}

// liveFor is how old a verdict may be that counts as fresh from the engine in
// the time until it was enforced; an older one was read again.
const liveFor = time.Minute

// topicSource reads weir.verdicts.
type topicSource struct {
	*stream.Tail
	e *enforcing
}

func (s topicSource) Run(ctx context.Context) error { return s.Tail.Run(ctx, s.apply) }

func (s topicSource) Absent() string {
	return "the log does not answer: the ingress goes on with the last good verdicts"
}

func (s topicSource) Rejected() int64 { return s.e.malformed.Load() }

func (s topicSource) Sequence() string {
	next := s.Offsets()
	for p := range next {
		if next[p]--; next[p] < 0 {
			delete(next, p)
		}
	}
	return formatPosition(next)
}

// apply puts verdicts of the topic in force.
func (s topicSource) apply(_ context.Context, recs []stream.Record) error {
	now, e := time.Now(), s.e
	for i := range recs {
		v, err := wire.ParseVerdict(recs[i].Value)
		if err != nil {
			e.malformed.Add(1)
			continue
		}
		v.Sequence = recs[i].Offset
		live := now.Sub(recs[i].Time) < liveFor
		if _, err := e.decider.ApplyVerdict(&v, live); err != nil {
			e.malformed.Add(1)
			e.Log.Warn("verdict is not applied", "id", v.ID, "err", err)
		}
	}
	if len(recs) == 0 {
		return nil
	}
	next := s.Offsets()
	if next == nil {
		next = map[int32]int64{}
	}
	for i := range recs {
		next[recs[i].Partition] = recs[i].Offset + 1
	}
	e.decider.Touch(now.UnixNano(), formatPosition(next))
	return nil
}

// formatPosition and parsePosition write the next offset wanted per partition.
func formatPosition(next map[int32]int64) string {
	var parts []string
	for _, p := range slices.Sorted(maps.Keys(next)) {
		parts = append(parts, fmt.Sprintf("%d:%d", p, next[p]))
	}
	return strings.Join(parts, ",")
}

func parsePosition(s string) map[int32]int64 {
	out := map[int32]int64{}
	for part := range strings.SplitSeq(s, ",") {
		p, o, _ := strings.Cut(part, ":")
		partition, err1 := strconv.ParseInt(p, 10, 32)
		offset, err2 := strconv.ParseInt(o, 10, 64)
		if err1 == nil && err2 == nil {
			out[int32(partition)] = offset
		}
	}
	return out
}

// feedPosition marks a saved position as one of the feed: the last offsets seen,
// where the topic's are the next ones wanted.
const feedPosition = "feed "

// feedSource follows /v1/verdicts/stream.
type feedSource struct {
	*feed.Client
	e       *enforcing
	host    string
	contact atomic.Pointer[time.Time]
	first   sync.Once
}

func newFeedSource(e *enforcing) (*feedSource, error) {
	f := e.Config.Enforce.Feed
	u, err := url.Parse(f.URL)
	if err != nil {
		return nil, fmt.Errorf("enforce.feed.url: %w", err)
	}
	u.Path = config.FeedPath
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, Proxy: http.ProxyFromEnvironment}
	if transport.TLSClientConfig, err = trusting(f.CA); err != nil {
		return nil, fmt.Errorf("enforce.feed.ca: %w", err)
	}
	s := &feedSource{e: e, host: u.Host}
	position, ok := strings.CutPrefix(e.decider.Position(), feedPosition)
	if !ok {
		position = "" // of the topic, or none: a snapshot says all
	}
	if s.Client, err = feed.New(feed.Config{URL: u.String(), Key: f.Key, Position: position}, s, &http.Client{Transport: transport}, e.Log); err != nil {
		return nil, err
	}
	for what, n := range map[string]func(feed.Counts) int64{
		"connect": func(n feed.Counts) int64 { return n.Connects }, "failure": func(n feed.Counts) int64 { return n.Failures },
		"gap": func(n feed.Counts) int64 { return n.Gaps }, "verdict": func(n feed.Counts) int64 { return n.Verdicts },
	} {
		e.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "weir_feed_events_total", Help: "What came of following the verdict feed.", ConstLabels: prometheus.Labels{"event": what},
		}, func() float64 { return float64(n(s.Counts())) }))
	}
	return s, nil
}

func (s *feedSource) Contact() time.Time {
	if at := s.contact.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

func (s *feedSource) Absent() string {
	return fmt.Sprintf("the verdict feed at %s does not answer: the ingress goes on with the last good verdicts (log/enforce.log or stderr says why)", s.host)
}

func (s *feedSource) Rejected() int64 {
	n := s.Counts()
	return n.Malformed + n.Refused
}

func (s *feedSource) Sequence() string {
	return strings.TrimPrefix(s.e.decider.Position(), feedPosition)
}

// Receive implements feed.Sink.
func (s *feedSource) Receive(v *verdict.Verdict, live bool) error {
	fresh := time.Since(v.Time.Std()) < liveFor // a resumed feed begins with older ones
	return s.e.decider.Receive(v, live && fresh)
}

// BeginSnapshot implements feed.Sink.
func (s *feedSource) BeginSnapshot() { s.e.decider.BeginSnapshot() }

// EndSnapshot implements feed.Sink.
func (s *feedSource) EndSnapshot() int { return s.e.decider.EndSnapshot() }

// Touch implements feed.Sink. The first one follows what was missed.
func (s *feedSource) Touch(now int64, position string) {
	at := time.Now()
	s.contact.Store(&at)
	s.e.decider.Touch(now, feedPosition+position)
	s.first.Do(func() { close(s.e.current) })
}

// eventSink and decisionSink take what an ingress saw and did.
type (
	eventSink interface {
		Emit(ev *event.Event)
		Ledger() stream.Ledger
		Run(ctx context.Context) error
	}
	decisionSink interface {
		Decision(d *verdict.Decision)
		Run(ctx context.Context) error
	}
)

// noLog stands for the log of an ingress that has none, only a feed: it enforces,
// and what it sees is counted as lost.
type noLog struct {
	events    atomic.Uint64
	decisions atomic.Uint64
}

// lostNoLog is the cause of its losses.
const lostNoLog = "no_log"

// Emit implements eventSink.
func (n *noLog) Emit(*event.Event) { n.events.Add(1) }

// Decision implements decisionSink.
func (n *noLog) Decision(*verdict.Decision) { n.decisions.Add(1) }

// Ledger implements eventSink.
func (n *noLog) Ledger() stream.Ledger {
	l := stream.Ledger{Produced: n.events.Load()}
	if l.Produced > 0 {
		l.Lost = map[string]uint64{lostNoLog: l.Produced}
	}
	return l
}

// Run implements both.
func (n *noLog) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

var (
	noLogProduced = prometheus.NewDesc("weir_events_produced_total", "Events handed to the producer.", []string{"source"}, nil)
	noLogLost     = prometheus.NewDesc("weir_events_lost_total", "Events that did not reach the log, by cause.", []string{"source", "cause"}, nil)
	noLogDecided  = prometheus.NewDesc("weir_stream_published_lost_total", "Records that did not reach the log, by cause.", []string{"cause"}, prometheus.Labels{"topic": stream.TopicDecisions})
)

// Describe implements prometheus.Collector.
func (n *noLog) Describe(ch chan<- *prometheus.Desc) {
	ch <- noLogProduced
	ch <- noLogLost
	ch <- noLogDecided
}

// Collect implements prometheus.Collector.
func (n *noLog) Collect(ch chan<- prometheus.Metric) {
	const source = "enforcer"
	produced := float64(n.events.Load())
	ch <- prometheus.MustNewConstMetric(noLogProduced, prometheus.CounterValue, produced, source)
	ch <- prometheus.MustNewConstMetric(noLogLost, prometheus.CounterValue, produced, source, lostNoLog)
	ch <- prometheus.MustNewConstMetric(noLogDecided, prometheus.CounterValue, float64(n.decisions.Load()), lostNoLog)
}
