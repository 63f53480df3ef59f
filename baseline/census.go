package baseline

import (
	"time"

	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/route"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Census says how full an engine's tables are and whether its actors keep
// within their bounds.
type Census struct {
	// Identifiers, Accounts, Features, Cases and Verdicts are entries in use.
	Identifiers, Accounts, Features, Cases, Verdicts uint64
	// Evicted entries of all tables made room for others.
	Evicted uint64
	// Late events were more than a minute older than what their site had sent
	// before; Overflow counts events of sites past the bound, which share one
	// baseline.
	Late, Overflow uint64
	// LargestActor is how many others the largest actor has swallowed, as the
	// last whole pass over the actors found it; MergesRefused counts merges that
	// the bound on it, or two proved owners, forbade.
	LargestActor  uint16
	MergesRefused uint64
	Sites         []SiteCensus
}

// SiteCensus is what the engine has seen of one site.
type SiteCensus struct {
	Name string
	// Since is its first event's time, UTC nanoseconds.
	Since  int64
	Events uint64
	// Actors were created in all; Owners is the estimated number of proved
	// owners, at least 5,000: many actors per owner mean that people fall apart
	// into several.
	Actors, Owners uint64
}

// censusSlots is how many actors one Census looks at, so that it takes
// microseconds whatever the engine's size.
const censusSlots = 8192

// census is the pass over the actors that is under way.
type census struct {
	at         int
	most, last uint16
}

// Census counts. Like all of an Engine it is for the engine's own goroutine; it
// changes nothing that a verdict or a snapshot depends on.
func (e *Engine) Census() Census {
	c := e.Counters()
	out := Census{
		Cases: c.CasesUsed, Verdicts: uint64(len(e.force.list)), Evicted: c.Evicted + c.CasesEvicted, MergesRefused: c.Actor.Refused,
		Features: e.layer.Used(), Late: c.Late, Overflow: c.Overflow,
	}
	out.Identifiers, out.Accounts = e.resolver.Used()
	n := min(censusSlots, e.resolver.Slots()-e.count.at)
	e.count.most = max(e.count.most, e.resolver.Largest(e.count.at, n))
	if e.count.at += n; e.count.at >= e.resolver.Slots() {
		e.count = census{last: e.count.most}
	}
	out.LargestActor = max(e.count.last, e.count.most)
	for _, s := range e.order {
		actors, owners := e.resolver.Population(s.index)
		out.Sites = append(out.Sites, SiteCensus{
			Name: s.name, Since: int64(s.state.First) * int64(time.Second), Events: s.state.Events, Actors: actors, Owners: owners,
		})
	}
	return out
}

// Learned is one quantity that a site has taught.
type Learned struct {
	Site string
	// Baseline is the version that verdicts name.
	Baseline string
	// Key is "METHOD /template" of a route, "role:NAME", or "site".
	Key string
	// Name of the quantity: see learnedShares; also requests_per_hour and
	// error_share of routes, document_milliseconds and clean_episodes of sites.
	Name  string
	Value verdict.Milli
	// Observations stand behind Value; those of a role's shares begin at 20, the
	// weight of what is expected of any site.
	Observations uint64
	// Since is when the learning began, UTC nanoseconds.
	Since int64
}

// maxLearnedRoutes bounds the routes that Learned lists of one site, the most
// frequent first.
const maxLearnedRoutes = 200

// learnedShares name the shares of a role that explain themselves: what is
// expected of an actor that has done nothing yet. Of role "none" they speak of
// document requests.
var learnedShares, learnedPages = []learnedShare{
	{"failure_share", feature.UrnFail},
	{"strange_context_share", feature.UrnStrange},
	{"unowned_software_share", feature.UrnUnowned},
}, []learnedShare{
	{"missing_share", feature.PageMissing},
	{"new_path_share", feature.PageNew},
	{"unowned_software_share", feature.PageUnowned},
}

type learnedShare struct {
	name string
	urn  feature.UrnName
}

// Sites is how many sites the engine knows.
func (e *Engine) Sites() int { return len(e.order) }

// Learned lists what the engine's site number i has taught, in a steady order.
// It is for the engine's own goroutine, and takes about a millisecond for a site
// with thousands of endpoints.
func (e *Engine) Learned(i int) (out []Learned) {
	s := e.order[i]
	l := Learned{Site: s.name, Baseline: e.baseline(s), Since: int64(s.state.First) * int64(time.Second)}
	add := func(key, name string, value int64, observations uint64) {
		l.Key, l.Name, l.Value, l.Observations = key, name, verdict.Milli(value), observations
		out = append(out, l)
	}
	add("site", "document_milliseconds", int64(s.state.Duration), s.state.Events)
	add("site", "clean_episodes", int64(s.state.Clean)*1000, s.state.Events)
	for r := range event.NumRoles {
		shares := learnedShares
		if r == event.RoleNone {
			shares = learnedPages
		}
		if s.state.Roles[r] == 0 {
			continue
		}
		for _, share := range shares {
			cell := s.state.Urns[r][share.urn][0][0]
			add("role:"+r.String(), share.name, int64(cell.Share()/1000), uint64(cell.Observations()))
		}
	}
	for _, p := range route.Busiest(s.routes.Inventory(), maxLearnedRoutes) {
		l.Since = p.First
		key, hours := p.Method+" "+p.Template, max(1, (p.Last-p.First)/int64(time.Hour))
		add(key, "requests_per_hour", int64(p.Count)*1000/hours, p.Count)
		var errors uint64
		for _, st := range p.Statuses {
			if st.Code >= 400 {
				errors += st.Count
			}
		}
		add(key, "error_share", int64(errors*1000/max(1, p.Count)), p.Count)
	}
	return out
}

// baseline is the version of what the site has taught.
func (e *Engine) baseline(s *site) string {
	return e.text.start().add("b_").hash(sketch.Join(s.state.Key, s.state.Events>>12)).String()
}
