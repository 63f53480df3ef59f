package baseline

import (
	"slices"
	"time"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// lease is how long an action stays in force without further behaviour.
func lease(a event.Action, s threat.Subject) time.Duration {
	switch {
	case a == event.ActionObserve:
		return 4 * time.Hour
	case a == event.ActionRateLimit:
		return 30 * time.Minute
	case s != threat.Actor:
		return 12 * time.Hour
	case a == event.ActionBlock:
		return 4 * time.Hour
	}
	return time.Hour
}

// An attack on an account comes back at its own pace. A challenge of it lasts for so
// many mean gaps between what it rests on, at least an hour: who logs in after that is
// more likely its owner.
const (
	gaps     = 4
	shortest = time.Hour
)

// term is the lease of a case's verdict.
func term(a event.Action, c *threat.Case) time.Duration {
	d := lease(a, c.Subject)
	if c.Subject != threat.Object || a < event.ActionChallenge || c.Count < 2 || string(c.Name[:c.NameLen]) != "account" {
		return d
	}
	gap := time.Duration(c.Last-min(c.Last, c.First)) * time.Second / time.Duration(c.Count-1)
	return min(d, max(shortest, gaps*gap))
}

// publish turns what the event has changed into verdicts.
func (e *Engine) publish(s *site, in *feature.Input, touched []threat.Touched, pos verdict.Position) {
	for i := range touched {
		t := &touched[i]
		// A later case of the same event may have taken the row.
		c := e.set.Find(t.Case.Subject, t.Case.ID, int(t.Case.Threat))
		if c == nil || c != t.Case {
			continue
		}
		if c.Begin == (threat.Position{}) && c.Count <= 1 {
			c.Begin = pos0(pos)
		}
		c.End = pos0(pos)
		if t.Allowed >= event.ActionObserve {
			e.consider(s, in, t)
		}
	}
	if in.Conduct.Flagged != 0 {
		e.renewActor(s, in, touched)
	}
	if in.Masked {
		e.renewTool(s, in, touched)
	}
	if in.Refused {
		e.alsoNamed(in, touched)
	}
}

// stand extends the range of what the event has published to the event itself:
// a revision may follow from a renewal, long after the last of its evidence, and a
// replay of the range has to come to it.
func (e *Engine) stand(pos verdict.Position) {
	for i := range e.out {
		r := &e.out[i].Evidence.Range
		if r.Topic == "" || r.Partition != pos.Partition || r.To >= pos.Offset {
			continue
		}
		r.To = pos.Offset
		if _, ok := e.force.at[e.out[i].ID]; ok {
			e.force.put(e.out[i])
		}
	}
}

// alsoNamed adds to the verdict that refused the event the threats that the
// subjects of the event are under suspicion of beside it: what is refused for one
// reason goes on for another.
func (e *Engine) alsoNamed(in *feature.Input, touched []threat.Touched) {
	i, ok := e.force.at[in.Event.Verdict]
	if !ok {
		return
	}
	v := e.force.list[i]
	known := len(v.Threats)
	for k := range touched {
		t := touched[k].Facts.Threat
		if touched[k].Case.Score() >= threat.BarRateLimit && !slices.Contains(v.Threats, t) {
			v.Threats = append(slices.Clip(v.Threats), t)
		}
	}
	if len(v.Threats) == known {
		return
	}
	v.Revision++
	v.Time = max(v.Time, verdict.Time(in.Now))
	e.counters.Verdicts++
	e.force.put(v)
	e.out = append(e.out, v)
}

func pos0(p verdict.Position) threat.Position {
	return threat.Position{Offset: p.Offset, Partition: p.Partition, Row: p.Row}
}

// renewActor extends the verdicts in force about the event's actor: what it
// carries now is bound, and conduct renews the lease.
func (e *Engine) renewActor(s *site, in *feature.Input, touched []threat.Touched) {
	facts := e.set.Facts()
next:
	for i := range facts {
		if in.Conduct.Flagged&(1<<i) == 0 {
			continue
		}
		for k := range touched {
			if touched[k].Case.Subject == threat.Actor && int(touched[k].Case.Threat) == i {
				continue next // done already
			}
		}
		c := e.set.Find(threat.Actor, in.Identity.ID, i)
		if c == nil || c.Expires < in.Now {
			in.Conduct.Flagged &^= 1 << i
			continue
		}
		act := c.Action
		if c.Score() <= 0 && !in.Refused {
			continue // what came later refutes it: no newcomer is bound
		}
		if in.Refused && !in.Asset { // what a page loads is nobody's decision to go on
			c.Continue()
			// On a log several people may stand behind an address and an agent: what one
			// of them has begun, the others' going on does not prove.
			alone := in.Site.Headers != 0 || in.Naked
			if alone && act >= event.ActionChallenge && c.Score() >= threat.BarBlock && c.Groups() >= 2 && act < facts[i].Strongest {
				act = min(event.ActionBlock, facts[i].Strongest, max(act, c.Cap))
			}
		}
		e.consider(s, in, &threat.Touched{Case: c, Facts: &facts[i], Allowed: act})
	}
}

// renewTool binds the browser that a script claims this time where a verdict about
// the script is in force: what it does next is what it did under the other names.
func (e *Engine) renewTool(s *site, in *feature.Input, touched []threat.Touched) {
	facts := e.set.Facts()
next:
	for i := range facts {
		for k := range touched {
			if touched[k].Case.Subject == threat.Tool && int(touched[k].Case.Threat) == i {
				continue next // done already
			}
		}
		c := e.set.Find(threat.Tool, in.Tool, i)
		if c != nil && c.Action >= event.ActionChallenge && c.Expires >= in.Now {
			e.consider(s, in, &threat.Touched{Case: c, Facts: &facts[i], Allowed: c.Action})
		}
	}
}

// consider publishes a first verdict, an escalation, or a revision that is due.
func (e *Engine) consider(s *site, in *feature.Input, t *threat.Touched) {
	c, f, act, why := t.Case, t.Facts, t.Allowed, t.Cap
	inForce := c.Revision > 0 && c.Expires >= in.Now
	if inForce {
		act = max(act, c.Action)
		if act == event.ActionBlock && c.Subject == threat.Actor && c.Score() < threat.BarChallenge {
			act = event.ActionChallenge // what came later speaks for somebody else
		}
	}
	if e.force.suppressed(c.Verdict, in.Now) {
		return
	}
	if inForce && act == event.ActionObserve {
		return // nothing is enforced, so that nothing is lost between two leases
	}
	// What is doubtful is only remembered: see threat.ObserveBar.
	doubtful := !inForce && act == event.ActionObserve && c.Score() < threat.ObserveBar(in.Site)
	if doubtful && c.BindCount > 0 {
		return
	}
	fresh := e.bind(in, t)
	if doubtful {
		return
	}
	named := c.Named | e.named(c)
	known := inForce && e.known(in, c)
	if inForce && act == c.Action && !due(in, c, fresh, known, named != c.Named) || c.BindCount == 0 {
		return
	}
	if c.Revision == 0 {
		c.Verdict = verdictID(s, c, f)
	}
	c.Revision++
	id := e.text.start().add("v_").hash(c.Verdict[0]).hash(c.Verdict[1]).String()
	if i, ok := e.force.at[id]; ok {
		c.Revision = max(c.Revision, e.force.list[i].Revision+1)
	}
	c.Action, c.Named = act, named
	c.Told, c.Pending = c.Count, 0
	for i := range c.Binds[:c.BindCount] {
		c.Binds[i].Shown = 1
	}
	c.Renewed, c.Expires = in.Now, in.Now+int64(term(act, c))
	if in.Naked && act == event.ActionChallenge {
		// Addresses of a campaign come back after hours, and who loads nothing
		// solves no challenge.
		c.Expires = in.Now + int64(lease(event.ActionBlock, c.Subject))
	}
	if act >= event.ActionRateLimit && c.Subject == threat.Actor {
		in.Conduct.Flagged |= 1 << c.Threat
	}
	v := e.compose(s, in, c, f, id)
	if why != "" {
		v.Evidence.Caps = append(v.Evidence.Caps, why)
	}
	e.counters.Verdicts++
	e.force.put(v)
	e.out = append(e.out, v)
}

// verdictID is a hash of site, subject, threat and the first event's position.
func verdictID(s *site, c *threat.Case, f *threat.Facts) [2]uint64 {
	a := sketch.Join(s.state.Key, sketch.Join(c.ID, uint64(c.Subject)))
	a = sketch.Join(a, sketch.HashString(string(f.Threat)))
	a = sketch.Join(a, sketch.Join(uint64(c.Begin.Offset), uint64(c.Begin.Partition)<<32|uint64(uint32(c.Begin.Row))))
	return [2]uint64{a, sketch.Join(a, uint64(c.First))}
}

// bind remembers what the event carries, as far as it may stand alone or
// together, and says whether anything is new.
func (e *Engine) bind(in *feature.Input, t *threat.Touched) bool {
	switch t.Case.Subject {
	case threat.Actor:
		return e.bindActor(in, t)
	case threat.Object:
		c := t.Case
		polls := t.Raised && c.RouteOf(in.Event.Route) != 0 || in.Refused && c.HeldTo(in.Event.Route)
		if in.Role == event.RoleItemView && !polls {
			return false // who looks at an item is not who polls it, and does so elsewhere
		}
		return e.bindObject(in, c)
	default:
	}
	return e.bindTool(in, t.Case)
}

// shared is how many proved owners use a value.
func (e *Engine) shared(in *feature.Input, t actor.Type, v uint64) uint32 {
	return e.resolver.Shared(in.SiteIndex, t, v, in.Sec)
}

// anyOwner says that a proved owner uses the event's session or device, or both
// its address and its program.
func (e *Engine) anyOwner(in *feature.Input) bool {
	k := &in.Event.Keys
	return e.shared(in, actor.Session, uint64(k[event.KindSession])) > 0 || e.shared(in, actor.Device, uint64(k[event.KindDevice])) > 0 ||
		e.shared(in, actor.Joint, uint64(k[event.KindClientFingerprint])) > 0
}

// acquainted is how long before the first evidence a value must have been on the
// site to count as a visitor of its own, in seconds.
const acquainted = 6 * 3600

// guilty says that a value may be bound because the event carried it: it came to
// the site with the campaign, or this very event adds to the case. What the site
// knew before and what merely led to the same actor stays free: a customer's
// browser behind the line that a bot rents.
func (e *Engine) guilty(in *feature.Input, t *threat.Touched, kind actor.Type, v event.Hash) bool {
	return v == 0 || t.Raised || e.resolver.Since(in.SiteIndex, kind, uint64(v))+acquainted > t.Case.First
}

func (e *Engine) bindActor(in *feature.Input, t *threat.Touched) bool {
	c := t.Case
	k := &in.Event.Keys
	fresh := false
	if !in.Resolution.Strong() && (in.Resolution.Familiarity == actor.Familiar || e.anyOwner(in)) {
		return false // an owner at home, whom a place or a program has brought here
	}
	if !t.Raised && in.Site.Headers != 0 && (!in.Unowned || !in.Resolution.Strong() && in.Resolution.Types&(1<<actor.Joint) == 0 && !e.req.Attempt && !in.Refused) {
		// Software that people use, or somebody who only looks, at a place that was
		// not seen with the program; and nothing in the event that speaks against it.
		return false
	}
	session, device := k[event.KindSession], k[event.KindDevice]
	if !e.guilty(in, t, actor.Session, session) || !e.guilty(in, t, actor.Device, device) {
		return false
	}
	add := func(kind, with event.Kind, v, w event.Hash, owner uint64) {
		if v == 0 || with != event.NumKinds && w == 0 {
			return
		}
		b := threat.Bound{Value: uint64(v), At: in.Sec, Kind: uint8(kind), Owner: owner}
		if with != event.NumKinds {
			b.With, b.WithKind = uint64(w), uint8(with)
		}
		fresh = c.Bind(b) || fresh
	}
	template, finger := k[event.KindRequestTemplate], k[event.KindFingerprint]
	limit := uint32(3)
	if !in.Resolution.Strong() {
		limit = 0
	}
	if session != 0 && e.shared(in, actor.Session, uint64(session)) <= limit {
		add(event.KindSession, alone, session, 0, 0)
	}
	if device != 0 && e.shared(in, actor.Device, uint64(device)) <= limit {
		add(event.KindDevice, alone, device, 0, 0)
	}
	if in.Event.NewSession != 0 && in.Identity.Returned < 2 {
		add(event.KindSession, alone, in.Event.NewSession, 0, 0)
	}
	if a := k[event.KindAccount]; a != 0 && uint64(a) == in.Identity.Own && in.Resolution.Familiarity == actor.Familiar &&
		in.Conduct.Owners.Bits() <= 1 && in.Resolution.Types&(1<<actor.Session|1<<actor.Device) != 0 && e.guilty(in, t, actor.Owned, a) {
		add(event.KindAccount, alone, a, 0, 0)
	}
	e.bindPlace(in, t, add)
	if e.toolOf(in) {
		add(event.KindFingerprint, event.KindRequestTemplate, finger, template, 0)
		if in.Conduct.Agents.Bits() >= 4 && e.shared(in, actor.Template, uint64(template)) == 0 && in.Role != event.RoleNone &&
			(in.Identity.Attempts >= 12 || in.Identity.Attempts >= 6 && t.Allowed >= event.ActionBlock || e.resolver.Unexplained(in.SiteIndex, actor.Template, uint64(template)) >= 4) {
			// One script under many fingerprints: what it sends gives it away.
			add(event.KindRequestTemplate, alone, template, 0, 0)
		}
	}
	if target := k[event.KindTargetAccount]; target != 0 && template != 0 {
		add(event.KindTargetAccount, alone, target, 0, uint64(in.Event.Claimed))
		fresh = c.Bind(threat.Bound{Value: uint64(template), At: in.Sec, Kind: threat.KindTemplates}) || fresh
	}
	return fresh
}

// alone stands for the second kind of a bind of one identifier.
const alone = event.NumKinds

// bindPlace binds the event's address: with a program that nobody owns, by itself
// where both came with the campaign. A residential proxy may sit in a customer's
// home and send what the customer's browser sends; so what people use is bound
// only beside the form of the request, and not at all where the site knew it.
func (e *Engine) bindPlace(in *feature.Input, t *threat.Touched, add func(kind, with event.Kind, v, w event.Hash, owner uint64)) {
	k := &in.Event.Keys
	joint, client, template := k[event.KindClientFingerprint], k[event.KindClient], k[event.KindRequestTemplate]
	tool := in.Unowned || in.Site.Headers == 0
	came := func(kind actor.Type, v event.Hash) bool {
		return e.resolver.Since(in.SiteIndex, kind, uint64(v))+acquainted > t.Case.First
	}
	arrived := came(actor.Joint, joint)
	switch owners := e.shared(in, actor.Joint, uint64(joint)); {
	case !arrived && (!tool || !t.Raised):
	case !tool && !came(actor.Client, client): // a customer's home
	case owners <= 2 && tool && arrived:
		add(event.KindClientFingerprint, alone, joint, 0, 0)
	case owners <= 8:
		add(event.KindClientFingerprint, event.KindRequestTemplate, joint, template, 0)
	}
	if in.Conduct.Agents.Bits() >= 3 && e.shared(in, actor.Client, uint64(client)) == 0 && e.shared(in, actor.Template, uint64(template)) == 0 {
		add(event.KindClient, event.KindRequestTemplate, client, template, 0)
	}
}

// toolOf says that fingerprint and template together are a tool: no proved
// owner shares either, and the actor has shown it at several places.
func (e *Engine) toolOf(in *feature.Input) bool {
	if in.Site.Headers == 0 || in.Conduct.Clients.Bits() < 3 && in.Conduct.Sessions.Bits() < 4 {
		return false
	}
	k := &in.Event.Keys
	f := e.resolver.Vouched(in.SiteIndex, uint64(k[event.KindFingerprint]), uint64(k[event.KindRequestTemplate]), in.Sec)
	t := e.shared(in, actor.Template, uint64(k[event.KindRequestTemplate]))
	return in.Unowned || f == 0 || t == 0
}

func (e *Engine) bindObject(in *feature.Input, c *threat.Case) bool {
	k := &in.Event.Keys
	b := threat.Bound{At: in.Sec}
	if t := k[event.KindTargetAccount]; t != 0 && uint64(in.Event.Claimed) == c.Object {
		b.Kind, b.Value, b.Owner = uint8(event.KindTargetAccount), uint64(t), c.Object
		b.WithKind, b.With = uint8(event.KindRequestTemplate), uint64(k[event.KindRequestTemplate])
		if b.With == 0 {
			return false
		}
		in.Site.Try(b.With)
		fresh := c.Bind(b)
		if !threat.Mature(in.Site, in.Sec, e.resolver.Owners(in.SiteIndex)) {
			return fresh // whose templates are whose is not known yet
		}
		for _, b.With = range in.Site.Tried {
			if b.With != 0 {
				fresh = c.Bind(b) || fresh
			}
		}
		return fresh
	}
	fresh := false
	if len(in.ObjectName) <= feature.MaxName {
		b.Kind, b.Value, b.Route = threat.KindObject, c.Object, c.RouteOf(in.Event.Route)
		fresh = c.Bind(b)
	}
	return e.bindVisitor(in, c) || fresh
}

// anonymous says that hardly a proved account has a part in a case: a verdict
// about what unknown visitors do spares those who have logged in.
func anonymous(c *threat.Case) bool { return c.Members*2 < c.Count }

// bindVisitor adds the session of somebody who came to an object under a verdict
// and of whom nothing is known, or who came with another's account from a strange
// place: what the visit does next belongs to the same campaign. Where goods are
// held it is never known of the visitor at hand: see Step.Visit.
func (e *Engine) bindVisitor(in *feature.Input, c *threat.Case) bool {
	session := in.Event.Keys[event.KindSession]
	stranger := in.Fresh || in.Event.Keys[event.KindAccount] != 0 && in.Resolution.Familiarity != actor.Familiar
	if session == 0 || c.Action < event.ActionChallenge || !stranger || in.Identity.Home != 0 ||
		in.Role == event.RoleReserve || in.Role == event.RoleCartAdd ||
		e.shared(in, actor.Session, uint64(session)) > 0 {
		return false
	}
	return c.Bind(threat.Bound{At: in.Sec, Kind: uint8(event.KindSession), Value: uint64(session)})
}

// swarm is from how many addresses a program that has owners must have done the same
// before it is bound where they send the same form.
const swarm = 9

func (e *Engine) bindTool(in *feature.Input, c *threat.Case) bool {
	k := &in.Event.Keys
	if c.Subject == threat.Group {
		fresh := c.Bind(threat.Bound{
			At: in.Sec, Kind: threat.KindObject, Value: c.Object, Route: c.RouteOf(in.Event.Route),
			WithKind: uint8(event.KindRequestTemplate), With: uint64(k[event.KindRequestTemplate]),
		})
		return e.bindVisitor(in, c) || fresh
	}
	f, template := k[event.KindFingerprint], k[event.KindRequestTemplate]
	if f == 0 || template == 0 {
		return false
	}
	if in.Hello && !in.Masked && in.ByTool != nil && in.ByTool.Prints.Bits() > 1 {
		return false // versions of one browser: who has one of them is not who has another
	}
	if in.Event.JA4 != "" && !e.layer.Foreign(in) {
		return false // a rare version of a browser that people use
	}
	owners, senders := e.shared(in, actor.Fingerprint, uint64(f)), e.shared(in, actor.Template, uint64(template))
	swarms := in.Masked || in.ByTool != nil && in.ByTool.Clients.Count() >= swarm
	if owners > 0 && swarms && (in.Unowned || e.resolver.Vouched(in.SiteIndex, uint64(f), uint64(template), in.Sec) == 0) {
		senders = 0 // they are too few for the strangers who come with it
	}
	if in.Site.Headers != 0 && (senders >= 16 && (!swarms || in.Event.JA4 == "") || owners > 0 && senders > 0) {
		return false // a rare version of what many people use, or what the program's owners send
	}
	b := threat.Bound{At: in.Sec, Kind: uint8(event.KindFingerprint), Value: uint64(f)}
	if c.Score() < threat.BarBlock || in.ByTool == nil || !in.Hello || in.ByTool.Clients.Bits() < 8 && !in.Masked || owners > 0 {
		// Until there is no doubt, where the program has owners, and on a log, only what does the same in
		// the same form.
		b.WithKind, b.With = uint8(event.KindRequestTemplate), uint64(template)
	}
	return c.Bind(b)
}
