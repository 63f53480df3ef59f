package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// MaxParts bounds the features of one detector.
const MaxParts = 10

// Bars in milli-nats: ln(1/alpha) for alpha = 1e-2, 1e-3, 1e-4 and 1e-6.
const (
	BarObserve   = 4600
	BarRateLimit = 6900
	BarChallenge = 9200
	BarBlock     = 13800
)

// barDoubt is where doubt begins, alpha = 1/20: what the subject carries is
// remembered from there on.
const barDoubt = 3000

// ObserveBar is the bar of an observe verdict. Where only logs are known hardly any
// attack shows more than doubt before it is over; elsewhere a verdict about each
// twentieth visitor for each of 21 threats would tell nobody anything.
func ObserveBar(s *feature.Site) int32 {
	if s.Headers == 0 {
		return barDoubt
	}
	return BarObserve
}

// Subject is what a case is about.
type Subject = feature.Subject

// The subjects.
const (
	Actor  = feature.SubjectActor
	Object = feature.SubjectObject
	Group  = feature.SubjectGroup
	Tool   = feature.SubjectTool
)

const numSubjects = 5

// Facts state what a detector is.
type Facts struct {
	// Threat is the OWASP code, Name its title.
	Threat verdict.Threat
	Name   string
	// Roles are the flow roles it needs; none: it sees every request.
	Roles []event.Role
	// Parts name its features, in the order of their indexes.
	Parts []string
	// Strongest is the strongest action, First the one at the challenge bar
	// (challenge when zero).
	Strongest, First event.Action
	// Compares says with what it compares, Blind what it cannot see.
	Compares, Blind string
	// Verb is what the subject did, in the first sentence of the evidence.
	Verb string
}

// Detector recognises one threat. Observe must be a pure function of the
// observation: it keeps no state of its own, takes no time, allocates nothing.
type Detector interface {
	Facts() Facts
	Observe(o *Observation)
	// Cap returns the strongest action that the structure of the evidence
	// allows for the subject, and why it is capped.
	Cap(o *Observation, s Subject) (event.Action, string)
}

// Observation is one event on its way through the detectors.
type Observation struct {
	In *feature.Input
	// Layer gives access to the statistics of other subjects and roles.
	Layer *feature.Layer
	// said collects what the running detector says, by subject.
	said   [numSubjects]said
	spoken uint8
	// bit is the running detector's; known are those that may have a case about
	// the event's program.
	bit, known uint32
}

// Watches says that the running detector may have a case about the event's actor
// or program. Where it has none, only a sum above zero is heard: what can only
// speak for the subject need not be worked out.
func (o *Observation) Watches(s Subject) bool {
	switch s {
	case Actor:
		return o.In.Conduct.Open&o.bit != 0
	case Tool:
		return o.known&o.bit != 0
	default:
	}
	return true
}

// said has a bit in mask for each part that is valid.
type said struct {
	mask  uint16
	parts [MaxParts]part
}

type part struct {
	nats, value, expected int32
	// tally: value and expected are added to the case's, not put in their place.
	tally bool
}

// maxTally is where counts in evidence end: a million events.
const maxTally = 1_000_000_000

// into adds the part to part i of a case.
func (p *part) into(c *Case, i int) {
	c.Parts[i] += p.nats
	if p.tally {
		p.value, p.expected = min(c.Values[i]+p.value, maxTally), min(c.Expected[i]+p.expected, maxTally)
	}
	c.Values[i], c.Expected[i] = p.value, p.expected
}

// Add contributes nats (milli-nats, clamped to +-4000) for part i of the
// subject; value and expected are in thousandths and shown in the evidence.
func (o *Observation) Add(s Subject, i int, nats, value, expected int32) {
	d := &o.said[s]
	p := &d.parts[i]
	if d.mask&(1<<i) == 0 {
		d.mask |= 1 << i
		p.nats = 0
	}
	p.nats += sketch.Clamp(nats, 4000)
	p.value, p.expected, p.tally = value, expected, false
	o.spoken |= 1 << s
}

// Tally is Add for a subject that nobody counts for: the evidence shows how many
// of its events were a hit since the case began, and how many of them share, in
// thousandths of an event, would have been.
func (o *Observation) Tally(s Subject, i int, nats int32, hit bool, share int32) {
	value := int32(0)
	if hit {
		value = 1000
	}
	o.Add(s, i, nats, value, share)
	o.said[s].parts[i].tally = true
}

// Urn is the log likelihood ratio of an observation under the site's learned
// predictive distribution for the event's role: one, given k of the last n,
// against p1 (parts per million, taken as P0 at least: the test is one-sided).
// It also returns P0 in thousandths.
func (o *Observation) Urn(u feature.UrnName, n, k uint16, one bool, p1 uint32) (nats, expected int32) {
	p0 := o.In.Site.Urns[o.In.Role][u].Share(n, k)
	p0 = min(p0, 970000)
	return sketch.LogLikelihood(one, max(p1, p0), p0), int32(p0 / 1000)
}

// Page is Urn for the document urns, against the mixture that a tool's habit is
// constant but unknown: (a+k)/(a+b+n) with a = lean/10 and b = 0.1.
func (o *Observation) Page(u feature.UrnName, n, k uint16, one bool, lean uint64) (nats, expected int32) {
	p1 := habit(lean*100, 100, n, k)
	p0 := o.In.Site.Urns[event.RoleNone][u].Share(n, k)
	// One-sided: fewer than usual is no evidence either.
	p0 = min(p0, 970000)
	return sketch.LogLikelihood(one, max(p1, p0), p0), int32(p0 / 1000)
}

// Failure is the ratio for the outcome, under the failure urn of the context's
// familiarity, with the outage guard: what everybody's familiar contexts suffer
// now proves nothing about one actor.
func (o *Observation) Failure(n, k uint16, p1 uint32) (nats, expected int32) {
	in := o.In
	if in.Outcome == event.OutcomeNone {
		return 0, 0
	}
	u := feature.UrnFail
	p0 := in.Site.Urns[in.Role][u].Share(n, k)
	p0 = min(970000, max(p0, in.Site.FamiliarFail[in.Role].PPM()))
	return sketch.LogLikelihood(in.Outcome == event.OutcomeFailure, p1, p0), int32(p0 / 1000)
}

// Mature says that the site has taught for long enough for absence of history
// to mean something.
func (o *Observation) Mature() bool {
	return Mature(o.In.Site, o.In.Sec, o.Layer.Resolver.Owners(o.In.SiteIndex))
}

// Mature says that a site has been seen for two days, or has 6,000 proved owners (1,000 above the resolver's floor).
func Mature(s *feature.Site, now uint32, owners uint64) bool {
	return s.First != 0 && (now-min(now, s.First) >= 2*86400 || owners >= 6000)
}

// Case is the running evidence about one subject for one threat. It is flat.
type Case struct {
	Head
	// Events are sample event ids, as many as Count says: three first, six last.
	Events [9]ID
	Binds  [MaxBinds]Bound
	// Routes are those that binds are held to, RouteCount of them.
	Routes [4]Route
}

// Head is a case but for its samples, binds and routes, which a new case leaves as
// the one before has left them.
type Head struct {
	// Parts are the contributions, Values and Expected what the feature was
	// when it last spoke; all in thousandths.
	Parts, Values, Expected [MaxParts]int32
	// First and Last are in seconds.
	First, Last uint32
	// Peak is the highest score of the episode, Count the events in it.
	Peak  int32
	Count uint32
	// ID names the subject, Threat the detector's index, SiteIndex the site.
	ID        uint64
	Object    uint64
	SiteIndex uint16
	Threat    uint8
	Subject   Subject
	// Action is the last published action, Cap the last cap.
	Action, Cap event.Action
	NameLen     uint8
	RouteCount  uint8
	Name        [feature.MaxName]byte
	// Begin and End are where on the log the evidence stands.
	Begin, End Position
	// Published state of the verdict.
	Verdict [2]uint64
	// TaughtUntil is when the subject was last seen while the site only taught,
	// TaughtRate its requests per hour then: what an operator's own partner or
	// monitor did before weir was switched on is not news.
	TaughtUntil, TaughtRate uint32
	Expires                 int64
	Renewed                 int64
	// Told is Count at the last revision.
	Revision, Told uint32
	BindCount      uint16
	// Pending: identifiers have come since the last revision.
	Pending uint16
	// Named has a bit per detector that the last revision named as a threat.
	Named uint32
	// Members counts the events by proved accounts, of Count.
	Members, _ uint32
}

// Position is verdict.Position without padding.
type Position struct {
	Offset    int64
	Partition int32
	Row       int32
}

// Route is a route template of at most 63 bytes; what stands behind it means nothing.
type Route struct {
	Len  uint8
	Text [63]byte
}

// RouteOf returns 1 plus the index of a route of the case, which it remembers; 0
// for no route, one that is too long or one too many.
func (c *Case) RouteOf(route string) uint8 {
	if route == "" || len(route) > len(Route{}.Text) {
		return 0
	}
	if i := c.routeAt(route); i != 0 {
		return i
	}
	if int(c.RouteCount) == len(c.Routes) {
		return 0
	}
	r := &c.Routes[c.RouteCount]
	r.Len = uint8(copy(r.Text[:], route))
	c.RouteCount++
	return c.RouteCount
}

// HeldTo says that RouteOf knows the route already.
func (c *Case) HeldTo(route string) bool { return c.routeAt(route) != 0 }

func (c *Case) routeAt(route string) uint8 {
	for i := range c.Routes[:c.RouteCount] {
		if c.Routes[i].String() == route {
			return uint8(i + 1)
		}
	}
	return 0
}

func (r *Route) String() string { return string(r.Text[:r.Len]) }

// ID is an event id of at most 127 bytes; what stands behind it means nothing.
type ID struct {
	Len  uint8
	Text [127]byte
}

// KindObject marks a bound object; KindTemplates a template that goes with every
// target account of the case.
const (
	KindObject    = uint8(event.NumKinds)
	KindTemplates = KindObject + 1
)

// MaxBinds bounds the identifiers that one case remembers.
const MaxBinds = 64

// Bound is an identifier that the subject has used: one hash, or two that must
// be present together. Kinds are event kinds; KindObject marks an object.
type Bound struct {
	Value, With uint64
	// Owner is the account whose proved contexts are exempt, 0 for none.
	Owner uint64
	// At is when it was last seen, in seconds.
	At             uint32
	Kind, WithKind uint8
	// Shown: the last revision has it. Route is 1 plus the index of the case's route
	// that it is held to, 0 for all.
	Shown, Route uint8
}

// PartContinued is the last part of every actor's case: requests that went on
// although they were refused. A person stops or solves the challenge.
const PartContinued = MaxParts - 1

// PartCompany is the same part of an account's case as a target: others that are
// targets at the same time.
const PartCompany = PartContinued

// Continue counts one refused request that did not stop the actor.
func (c *Case) Continue() {
	c.Values[PartContinued] += 1000
	if c.Values[PartContinued] > 3000 {
		c.Parts[PartContinued] = min(6000, c.Parts[PartContinued]+300)
	}
}

// Score is the sum of the parts.
func (c *Case) Score() int32 {
	var s int32
	for i := range c.Parts { // in place: a copy would wait for what was just stored
		s += c.Parts[i]
	}
	return s
}

// Groups counts the parts that carry at least one nat.
func (c *Case) Groups() int {
	n := 0
	for _, p := range c.Parts[:PartContinued] {
		if p >= 1000 {
			n++
		}
	}
	return n
}

// halfLife of evidence, in seconds: an actor's conduct is of the hour, while what
// many do to one object, or with one program, may be spread over days.
const (
	halfLife       = 6 * 3600
	sharedHalfLife = 36 * 3600
)

func (c *Case) decay(now uint32) {
	half := uint32(halfLife)
	if c.Subject != Actor {
		half = sharedHalfLife
	}
	if dt := now - min(now, c.Last); dt > 3600 {
		for i := range c.Parts {
			c.Parts[i] = sketch.Decay(c.Parts[i], dt, half)
		}
	}
}

// Sample remembers an event id: the first three, then the last six.
func (c *Case) Sample(id string) {
	at := int(c.Count)
	if at >= 3 {
		at = 3 + (at-3)%6
	}
	e := &c.Events[at]
	e.Len = uint8(copy(e.Text[:], id))
	c.Count++
}

// Samples lists the remembered ids in order.
func (c *Case) Samples() []string {
	n := int(min(c.Count, 9))
	out := make([]string, 0, n)
	for i := range n {
		at := i
		if i >= 3 && c.Count > 9 {
			at = 3 + (int(c.Count)-9+i-3)%6
		}
		out = append(out, string(c.Events[at].Text[:c.Events[at].Len]))
	}
	return out
}

// Bind remembers an identifier and says whether it is new to the case. Where the
// quota of its kind or the whole is used up, the oldest makes room: sessions that
// change with every request must not drive out the accounts that come again.
func (c *Case) Bind(b Bound) bool {
	oldest, oldestKind, same := 0, -1, 0
	for i := range c.Binds[:c.BindCount] {
		have := &c.Binds[i]
		if have.Kind == b.Kind {
			if have.Value == b.Value && have.With == b.With && have.WithKind == b.WithKind && have.Route == b.Route {
				have.At = b.At
				return false
			}
			if same++; oldestKind < 0 || have.At < c.Binds[oldestKind].At {
				oldestKind = i
			}
		}
		if have.At < c.Binds[oldest].At {
			oldest = i
		}
	}
	switch {
	case same >= c.quota(b.Kind):
		oldest = oldestKind
	case c.BindCount < MaxBinds:
		oldest = int(c.BindCount)
		c.BindCount++
	}
	c.Binds[oldest] = b
	return true
}

// quota is how many binds of a kind are kept. An actor's kinds together fit into
// MaxBinds, so that what it changes with each request (its programs) never drives
// out what it comes back to (the accounts it is after).
func (c *Case) quota(kind uint8) int {
	const many = 24
	if c.Subject == Tool {
		return many // a program may have many fingerprints
	}
	switch kind {
	case uint8(event.KindSession), uint8(event.KindClientFingerprint):
		return 10
	case uint8(event.KindDevice), KindTemplates:
		return 4
	case uint8(event.KindClient), uint8(event.KindFingerprint):
		return 5
	case uint8(event.KindAccount), uint8(event.KindRequestTemplate):
		return 1
	default:
	}
	return many
}
