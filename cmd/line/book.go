package line

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/enforcer/wasm/policy"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// siteBook holds what the engines say of themselves and of their sites, for
// status, metrics and the table of baselines: engines belong to their own
// goroutines.
type siteBook struct {
	mu sync.Mutex
	// maturity by site; at most maxSites, further ones are left out.
	maturity map[string]maturity
	census   map[int32]baseline.Census // by partition
	// endpoints are when the busiest routes of each site were first seen.
	endpoints map[string]map[string]int64
	evicted   uint64
	dropped   uint64
	// lessons wait for the store; a full queue drops the newest, since the next
	// cut says the same and more.
	lessons chan lesson
}

// maturity is how well the engine of a partition knows a site.
type maturity struct {
	partition int32
	text      string
}

// lesson is what one site had taught at some time.
type lesson struct {
	at      time.Time
	learned []baseline.Learned
}

const (
	maxSites = 1024
	// lessonQueue bounds the lessons that wait while the store is away.
	lessonQueue = 64
	// maxEndpoints bounds the routes of a site, and maxEndpointSites the sites,
	// whose age stands in metrics.
	maxEndpoints     = 20
	maxEndpointSites = 10
	// maxSiteNotes bounds the sites that status says more of.
	maxSiteNotes = 20
)

func newSiteBook() *siteBook {
	return &siteBook{
		maturity: map[string]maturity{}, census: map[int32]baseline.Census{}, endpoints: map[string]map[string]int64{},
		lessons: make(chan lesson, lessonQueue),
	}
}

func (b *siteBook) set(site string, m maturity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.maturity[site]; !known && len(b.maturity) >= maxSites {
		return
	}
	b.maturity[site] = m
}

// all is the maturity of every site, in words.
func (b *siteBook) all() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]string, len(b.maturity))
	for site, m := range b.maturity {
		out[site] = m.text
	}
	return out
}

// keep forgets the partitions that are no longer owned, and their sites: another
// processor tells of them now.
func (b *siteBook) keep(owned []int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.census, func(p int32, _ baseline.Census) bool { return !slices.Contains(owned, p) })
	for site, m := range b.maturity {
		if !slices.Contains(owned, m.partition) {
			delete(b.maturity, site)
			delete(b.endpoints, site)
		}
	}
}

// count notes what a partition's engine holds, and what it has evicted since
// the last time.
func (b *siteBook) count(partition int32, c baseline.Census, evicted uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.census[partition] = c
	b.evicted += evicted
}

// teach queues what a site has taught.
func (b *siteBook) teach(learned []baseline.Learned) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range learned {
		l := &learned[i]
		if l.Name != "requests_per_hour" {
			continue
		}
		ends := b.endpoints[l.Site]
		if ends == nil {
			if len(b.endpoints) >= maxEndpointSites {
				break
			}
			ends = map[string]int64{}
			b.endpoints[l.Site] = ends
		}
		if _, known := ends[l.Key]; known || len(ends) < maxEndpoints {
			ends[l.Key] = l.Since
		}
	}
	select {
	case b.lessons <- lesson{time.Now(), learned}:
	default:
		b.dropped++
	}
}

// engine lets stream drive a baseline.Engine; now and then it tells the book
// about itself and the site at hand.
type engine struct {
	*baseline.Engine
	book      *siteBook
	partition int32
	events    uint64
	told      int64 // the time of the last event that was told of
	counted   time.Time
	evicted   uint64
	taught    int // the site whose turn it is
}

const (
	// tellEvery is how many events, or countEvery how much of their time, pass
	// between two entries in the book; two counts are countEvery apart.
	tellEvery  = 64
	countEvery = time.Second
	// youngEvents are counted without a pause: a site that begins is looked at.
	youngEvents = 4096
	// teachSites bounds the sites whose lessons one cut tells: it happens between
	// two records.
	teachSites = 8
)

// Observe implements stream.Engine.
func (e *engine) Observe(ev *event.Event, pos verdict.Position) stream.Result {
	r := e.Engine.Observe(ev, pos)
	if e.events%tellEvery == 0 || ev.Time >= e.told+int64(countEvery) {
		e.told = ev.Time
		site := strings.Clone(ev.Site) // the event's strings are valid during the call only
		e.book.set(site, maturity{e.partition, e.Maturity(site)})
		if now := time.Now(); now.Sub(e.counted) >= countEvery || e.events < youngEvents {
			e.tell(now)
		}
	}
	e.events++
	return stream.Result{Actor: r.Actor, Route: r.Route, Verdicts: withPolicy(r.Verdicts)}
}

// tell counts what the engine holds.
func (e *engine) tell(now time.Time) {
	c := e.Census()
	more := c.Evicted - min(e.evicted, c.Evicted)
	if e.counted.IsZero() {
		more = 0 // a restored engine has evicted before, and said so
	}
	e.counted, e.evicted = now, c.Evicted
	e.book.count(e.partition, c, more)
}

// Control implements stream.Engine.
func (e *engine) Control(c *verdict.Control, pos verdict.Position) []verdict.Verdict {
	return withPolicy(e.Engine.Control(c, pos))
}

// InForce implements stream.Engine.
func (e *engine) InForce() []verdict.Verdict { return withPolicy(e.Engine.InForce()) }

// policyHash names the policy that caps what verdicts propose: the module that
// every enforcer of this version runs.
var policyHash = func() string {
	sum := sha256.Sum256(policy.Strongest)
	return "sha256:" + hex.EncodeToString(sum[:])
}()

// withPolicy says on the engine's verdicts which policy caps them.
func withPolicy(list []verdict.Verdict) []verdict.Verdict {
	for i := range list {
		if list[i].Bound != admin.BoundOperator {
			list[i].Policy = policyHash
		}
	}
	return list
}

// Cut implements stream.Engine. What the sites have taught is told with it, and
// what came since the last count.
func (e *engine) Cut() (stream.Cut, error) {
	c, err := e.Engine.Cut()
	if err != nil {
		return nil, err
	}
	e.tell(time.Now())
	for range min(teachSites, e.Sites()) {
		if e.taught >= e.Sites() {
			e.taught = 0
		}
		e.book.teach(e.Learned(e.taught))
		e.taught++
	}
	return c, nil
}

// partitionEntities sizes the engine of one partition: half a million
// identifiers in about 190 MB once they are all in use. A processor owns several
// partitions, and a site that outgrows one has a machine of its own.
const partitionEntities = 1 << 19

// newEngine makes the engine of one partition.
func (b *siteBook) newEngine(partition int32) stream.Engine {
	return &engine{Engine: baseline.New(baseline.Config{Entities: partitionEntities}), book: b, partition: partition}
}

// largestActorLimit is what an actor should not outgrow (the resolver's own
// bound is twice that): past it the evidence is at fault, not the traffic.
const largestActorLimit = 10_000

// alarms says which bounds the engines have left, and what they hold.
func (b *siteBook) alarms() (problems, notes []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var largest uint16
	var identifiers, cases, verdicts, refused, late, overflow uint64
	for _, p := range slices.Sorted(maps.Keys(b.census)) {
		c := b.census[p]
		largest, refused = max(largest, c.LargestActor), refused+c.MergesRefused
		identifiers, cases, verdicts = identifiers+c.Identifiers, cases+c.Cases, verdicts+c.Verdicts
		late, overflow = late+c.Late, overflow+c.Overflow
		if c.LargestActor > largestActorLimit {
			problems = append(problems, fmt.Sprintf("an actor of partition %d has swallowed %d others (limit %d): what links them is at fault", p, c.LargestActor, largestActorLimit))
		}
		for _, s := range c.Sites {
			notes = append(notes, fmt.Sprintf("site %s: %d events, %d actors so far, %.1f for each proved owner (%d at most)", s.Name, s.Events, s.Actors, float64(s.Actors)/float64(max(1, s.Owners)), s.Owners))
		}
	}
	notes = notes[:min(len(notes), maxSiteNotes)]
	if len(b.census) > 0 {
		notes = append(notes, fmt.Sprintf("engines hold %d identifiers, %d cases, %d verdicts; the largest actor has swallowed %d others; %d merges were refused; %d entries were evicted", identifiers, cases, verdicts, largest, refused, b.evicted))
	}
	if late > 0 {
		notes = append(notes, fmt.Sprintf("%d events came more than a minute late", late))
	}
	if overflow > 0 {
		problems = append(problems, fmt.Sprintf("%d events are of sites past the bound of one partition: these sites share one baseline", overflow))
	}
	if b.dropped > 0 {
		notes = append(notes, fmt.Sprintf("%d lessons did not reach the table of baselines: the store was away", b.dropped))
	}
	return problems, notes
}

var (
	entitiesDesc  = prometheus.NewDesc("weir_entities", "Entries in use in the engines' tables.", []string{"key"}, nil)
	evictionsDesc = prometheus.NewDesc("weir_entity_evictions_total", "Entries of the engines' tables that made room for others.", nil, nil)
	ageDesc       = prometheus.NewDesc("weir_baseline_age_seconds", "How long a site (endpoint \"*\") or one of its busiest routes has been learned.", []string{"site", "endpoint"}, nil)
	largestDesc   = prometheus.NewDesc("weir_actor_largest_merges", "How many others the largest actor has swallowed.", nil, nil)
	refusedDesc   = prometheus.NewDesc("weir_actor_merges_refused_total", "Merges of actors that a bound or two proved owners forbade.", nil, nil)
	lateDesc      = prometheus.NewDesc("weir_events_late_total", "Events more than a minute older than what their site had sent before.", nil, nil)
	overflowDesc  = prometheus.NewDesc("weir_site_overflow_events_total", "Events of sites past the bound of one partition, which share one baseline.", nil, nil)
	lessonsDesc   = prometheus.NewDesc("weir_baseline_lessons_dropped_total", "Lessons that did not reach the table of baselines because the store was away.", nil, nil)
)

// Describe implements prometheus.Collector.
func (*siteBook) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{entitiesDesc, evictionsDesc, ageDesc, largestDesc, refusedDesc, lateDesc, overflowDesc, lessonsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (b *siteBook) Collect(ch chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	var sum baseline.Census
	since := map[string]int64{}
	for _, c := range b.census {
		sum.Identifiers, sum.Accounts, sum.Features = sum.Identifiers+c.Identifiers, sum.Accounts+c.Accounts, sum.Features+c.Features
		sum.Cases, sum.Verdicts, sum.MergesRefused = sum.Cases+c.Cases, sum.Verdicts+c.Verdicts, sum.MergesRefused+c.MergesRefused
		sum.Late, sum.Overflow = sum.Late+c.Late, sum.Overflow+c.Overflow
		sum.LargestActor = max(sum.LargestActor, c.LargestActor)
		for _, s := range c.Sites {
			if s.Since != 0 && len(since) < maxSites/4 {
				since[s.Name] = s.Since
			}
		}
	}
	for key, n := range map[string]uint64{
		"identifier": sum.Identifiers, "account": sum.Accounts, "feature": sum.Features, "case": sum.Cases, "verdict": sum.Verdicts,
	} {
		gauge(entitiesDesc, float64(n), key)
	}
	for d, n := range map[*prometheus.Desc]uint64{
		evictionsDesc: b.evicted, refusedDesc: sum.MergesRefused, lateDesc: sum.Late, overflowDesc: sum.Overflow, lessonsDesc: b.dropped,
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	gauge(largestDesc, float64(sum.LargestActor))
	age := func(at int64) float64 { return max(0, time.Since(time.Unix(0, at)).Seconds()) }
	for site, at := range since {
		gauge(ageDesc, age(at), site, "*")
	}
	for site, ends := range b.endpoints {
		for endpoint, at := range ends {
			gauge(ageDesc, age(at), site, endpoint)
		}
	}
}
