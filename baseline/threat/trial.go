package threat

import (
	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// Unowned says that no proved owner uses the event's program (fingerprint) at
// all, which means something only on a mature site.
func (o *Observation) Unowned() bool {
	in := o.In
	k := &in.Event.Keys
	f := uint64(k[event.KindFingerprint])
	return in.Unowned || f != 0 && o.Layer.Resolver.Vouched(in.SiteIndex, f, uint64(k[event.KindRequestTemplate]), in.Sec) == 0
}

// maskedShare bounds the share of people's sessions that is expected of software
// that claims several browsers under one hello, in parts per million: those behind
// a proxy that opens their company's connections.
const maskedShare = 50000

// Repetition is the ratio for one more attempt by an actor that made so many in
// this episode, against the learned share of the site's actors that go on after
// as many: people pay once or twice, and sign up once.
func (o *Observation) Repetition() (nats, expected int32) {
	st := &o.In.ActorStep
	if st.Tries == 0 {
		return 0, 1000
	}
	cells := &o.In.Site.Reach[o.In.Role]
	p0 := cells[min(int(st.Tries)-1, 15)].Share()
	return sketch.LnRatio(980000, uint64(min(p0, 980000))), int32(1000 + p0/1000)
}

// Program is the ratio for an attempt from a new session by a program that no
// proved owner uses, against the learned share of such attempts among programs
// with as many sessions: a browser release has owners within hours, a tool
// never.
func (o *Observation) Program() (nats, expected int32) {
	in := o.In
	if in.ByTool == nil || !o.Mature() || !in.ToolStep.NewSession && (in.Session != 0 || !in.ToolStep.NewClient) {
		return 0, 0
	}
	p0 := in.Site.Unowned[in.Role][min(sessionsBefore(in.ByTool), 7)].Share()
	if in.Masked {
		p0 = min(p0, maskedShare)
	}
	return sketch.LogLikelihood(o.Unowned(), 980000, min(p0, 970000)), int32(p0 / 1000)
}

// spread adds the ratio for one more user of an object that so many have acted on
// in two days, against the learned share of objects that spread as far: a card
// has one holder, a popular coupon thousands.
func (o *Observation) spread(part int) {
	in := o.In
	st, obj := &in.ObjectStep, in.ByObject
	n := usersBefore(obj)
	if !st.NewUser || n == 0 {
		return
	}
	p0 := in.Site.Spread[in.Role][min(n-1, 15)].Share()
	nats := sketch.LnRatio(980000, uint64(min(p0, 980000)))
	o.Add(Object, part, nats, milli(obj.Users.Count()), int32(1000+p0/1000))
}

// fashion adds the ratio for one more user of a group that is new on the site (an
// e-mail domain, a range of numbers), against the learned share of new groups
// that became so popular.
func (o *Observation) fashion(part int) {
	if nats, want := o.newlyPopular(); want > 0 {
		o.Add(Group, part, nats, milli(o.In.ByGroup.Users.Count()), want)
	}
}

// newlyPopular is the ratio of fashion with how many users are expected; both are 0
// where the event brings a new group nobody more.
func (o *Observation) newlyPopular() (nats, want int32) {
	in := o.In
	if in.ByGroup == nil || !in.Novel || !in.GroupStep.NewUser {
		return 0, 0
	}
	n := usersBefore(in.ByGroup)
	if n == 0 {
		return 0, 0
	}
	p0 := in.Site.Fashion[in.Role][min(n-1, 15)].Share()
	return sketch.LnRatio(980000, uint64(min(p0, 980000))), int32(1000 + p0/1000)
}

// maxVisitor bounds what one visitor adds, in milli-nats: five at least make a
// crowd.
const maxVisitor = 2000

// changed is the share of unknown visitors, in parts per million, that is looked
// for where an object's own past holds fewer.
const changed = 600000

// newcomers is the share of accounts that a site has not seen before which is
// expected at least: of the first days' visitors nobody knows who comes once a month.
const newcomers = 150000

// visitor adds the ratio for one more visitor of an object or a group, by whether
// anything is known of the visitor, given how many of those before were unknown:
// against the learned share of this role's objects, or the share that unknown
// visitors have on all objects now where that is larger. An article that is
// advertised draws new people, but then others do as well.
func (o *Observation) visitor(s Subject, part int) {
	in := o.In
	stats, st, urn := in.ByObject, &in.ObjectStep, feature.UrnObjectFresh
	if s == Group {
		stats, st, urn = in.ByGroup, &in.GroupStep, feature.UrnGroupFresh
	}
	if !st.Visit || !o.Mature() {
		return
	}
	learned := &in.Site.Urns[in.Role][urn]
	now := in.Site.Newcomers[in.Role].PPM()
	if in.Role == event.RoleLogin {
		// Of the log-ins that fail many may be attacks, but not at home.
		now = in.Site.FamiliarFail[in.Role].PPM()
	}
	p0 := max(learned.Share(st.Firsts, st.Fresh), learned.Share(0, 0), now)
	if in.Newcomer {
		p0 = max(p0, newcomers)
	}
	p0 = min(p0, 970000)
	p1 := max(p0, changed, habit(500, 500, st.Firsts, st.Fresh))
	o.Add(s, part, min(maxVisitor, sketch.LogLikelihood(st.Stranger, p1, p0)), milli(uint32(stats.Fresh)), int32(uint32(stats.Firsts)*(p0/1000)))
}

// strangers says that so many unknown visitors, a quarter of all, came to the object
// or group of a case.
func (o *Observation) strangers(s Subject, least uint16) bool {
	stats := o.In.ByObject
	if s == Group {
		stats = o.In.ByGroup
	}
	return stats != nil && stats.Fresh >= least && stats.Fresh*4 >= stats.Firsts
}

// trial is the common test of threats that try objects (accounts, cards, codes,
// numbers) one after the other. Its parts have fixed indexes.
type trial struct {
	// objects: the object is expected to change with each attempt; secrets: the
	// secret changes on one object; outcomes: failures count.
	objects, secrets, outcomes bool
	// volume: mere repetition counts, since people do this once or twice.
	volume bool
	// cohort: programs without owners are tested; places: objects from many
	// places are; group: groups of objects are.
	cohort, places, group bool
}

// The parts of a trial.
const (
	partFailed = iota
	partObjects
	partMoves
	partRepeats
	partProgram
	partSecrets
	partPlaces
)

// trialParts names them for an object such as "cards".
func trialParts(objects string) []string {
	return []string{
		"failed_attempts", "distinct_" + objects, "context_changes", "repetitions", "sessions_without_owner", "changed_secrets", "new_places",
	}
}

func (t trial) observe(o *Observation) {
	in := o.In
	st, a := &in.ActorStep, in.ByActor
	var want int32
	if t.outcomes && st.Known {
		var nats int32
		nats, want = o.Failure(st.N, st.Fail, 960000)
		o.Add(Actor, partFailed, nats, milli(uint32(a.Fail)), int32(uint32(a.N)*uint32(want)))
	}
	if st.Tries > 0 {
		n := st.Tries - 1
		if t.objects && in.Object != 0 {
			k := less(a.Switch, st.Switched)
			nats, w := o.Urn(feature.UrnSwitch, n, k, st.Switched, switching(n, k))
			o.Add(Actor, partObjects, nats, milli(a.Objects.Count()), 1000+int32(uint32(a.N)*uint32(w)))
		}
		if t.secrets && in.Secret != 0 && !st.Switched {
			k := less(a.NewSecret, st.Changed)
			nats, w := o.Urn(feature.UrnSecret, n, k, st.Changed, switching(n, k))
			o.Add(Actor, partSecrets, nats, milli(a.Secrets.Count()), 1000+int32(uint32(a.N)*uint32(w)))
		}
		k := less(a.Move, st.Moved)
		nats, w := o.Urn(feature.UrnMove, n, k, st.Moved, moving(n, k))
		o.Add(Actor, partMoves, nats, milli(uint32(a.Move)), int32(uint32(a.N)*uint32(w)))
		if t.volume {
			nats, w = o.Repetition()
			o.Add(Actor, partRepeats, nats, milli(uint32(st.Tries)+1), w)
		}
	}
	if t.cohort {
		t.program(o)
	}
	if t.places && in.ByObject != nil {
		t.place(o)
	}
	if t.group {
		o.fashion(partPlaces)
		if t.outcomes {
			o.visitor(Group, partMoves)
		}
	}
	if t.group && t.outcomes && in.ByGroup != nil && st.Known {
		g, gs := in.ByGroup, &in.GroupStep
		p0 := in.Site.GroupFail[in.Role].Share(gs.N, gs.Fail)
		p0 = max(p0, in.Site.FamiliarFail[in.Role].PPM())
		o.Add(Group, partFailed, sketch.LogLikelihood(gs.Failed, 960000, min(960000, p0)), milli(uint32(g.Fail)), int32(uint32(g.N)*(p0/1000)))
		if gs.Failed && gs.NewObject && gs.NewSession {
			o.Add(Group, partObjects, 150, milli(g.Objects.Count()), 1000)
		}
	}
}

// program adds the cohort test of the event's program.
func (t trial) program(o *Observation) {
	in := o.In
	nats, want := o.Program()
	if nats == 0 {
		return
	}
	tool, st := in.ByTool, &in.ToolStep
	o.Add(Tool, partProgram, nats, milli(tool.Sessions.Count()), int32(tool.Sessions.Count())*want)
	if t.outcomes && st.Known {
		n, w := o.Failure(st.N, st.Fail, 960000)
		o.Add(Tool, partFailed, n, milli(uint32(tool.Fail)), int32(uint32(tool.N)*uint32(w)))
	}
	if t.objects && st.Tries > 0 && in.Object != 0 {
		o.Add(Tool, partObjects, sketch.LogLikelihood(st.NewObject, 950000, 800000), milli(tool.Objects.Count()), milli(uint32(tool.N)*8/10))
	}
}

// place adds the test of an object that is tried from many places.
func (t trial) place(o *Observation) {
	in := o.In
	if in.Resolution.Familiarity == actor.Familiar && in.ObjectName == "account" {
		return
	}
	obj, st := in.ByObject, &in.ObjectStep
	if t.outcomes && st.Known {
		p0 := in.Site.Urns[in.Role][feature.UrnObjectFail].Share(st.N, st.Fail)
		p0 = min(970000, max(p0, in.Site.FamiliarFail[in.Role].PPM()))
		o.Add(Object, partFailed, sketch.LogLikelihood(st.Failed, 970000, p0), milli(uint32(obj.Fail)), int32(uint32(obj.N)*(p0/1000)))
	}
	if st.Tries == 0 {
		return
	}
	if t.secrets && in.Secret != 0 {
		k := less(obj.NewSecret, st.Changed)
		nats, w := o.Urn(feature.UrnSecret, st.Tries-1, k, st.Changed, switching(st.Tries-1, k))
		o.Add(Object, partSecrets, nats, milli(obj.Secrets.Count()), 1000+int32(uint32(obj.N)*uint32(w)))
	}
	o.spread(partPlaces)
}

// toolCap bounds verdicts on a program: several places, and hardly any owner.
func toolCap(o *Observation) (event.Action, string) {
	in := o.In
	t := in.ByTool
	switch {
	case in.Masked && t.Clients.Bits() >= maskedPlaces && t.Clients.Bits() < 4:
		return event.ActionChallenge, "one script under several browsers' names, seen at fewer than 4 addresses"
	case t.Clients.Bits() < 4:
		return event.ActionObserve, "the program was seen from fewer than 4 addresses"
	case !o.Unowned():
		return event.ActionObserve, "proved owners use the same program"
	case t.Success*2 > t.N:
		return event.ActionChallenge, "most attempts of the program succeed"
	}
	return event.ActionBlock, ""
}

// actorCap is the structural cap of trials about an actor: at least so many
// failures or distinct objects.
func actorCap(o *Observation, fails uint16, objects int) (event.Action, string) {
	in := o.In
	a := in.ByActor
	switch {
	case a.Fail < fails && a.Objects.Bits() < objects:
		return event.ActionObserve, "too few failures and objects for more than a person's bad day"
	case shared(in):
		return event.ActionChallenge, "several proved owners share this identity"
	}
	return event.ActionBlock, ""
}

// repeats says that of n tries fewer than one in so many was of a new value: who tests
// a shop pays with the same cards ever again, who tests cards does not. Beyond 200 tries
// the counter does not tell values apart.
func repeats(values sketch.Distinct, n uint16, in uint32) bool {
	return values.Count()*in < uint32(min(n, 200))
}

// objectCap is that of trials about an object: several places.
func objectCap(o *Observation, clients int, fails uint16) (event.Action, string) {
	obj := o.In.ByObject
	if obj == nil || obj.Clients.Bits() < clients && obj.Sessions.Bits() < clients || obj.Fail < fails {
		return event.ActionObserve, "too few places and failures"
	}
	return event.ActionChallenge, "an object is challenged, never blocked: somebody owns it"
}
