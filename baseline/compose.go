package baseline

import (
	"math/bits"
	"slices"
	"time"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// milliBits turns milli-nats into thousandths of a bit.
func milliBits(nats int32) verdict.Milli { return verdict.Milli(int64(nats) * 14427 / 10000) }

// compose writes the verdict of a case under an id.
func (e *Engine) compose(s *site, in *feature.Input, c *threat.Case, f *threat.Facts, id string) verdict.Verdict {
	v := verdict.Verdict{
		ID: id, Revision: c.Revision, Site: s.name, Time: verdict.Time(in.Now), Expires: verdict.Time(c.Expires),
		Scope: verdict.ScopeActor, Action: c.Action, Mode: e.cfg.Mode, Threats: e.threats(s, c, f, id),
		Binds: e.groups(in, c), Engine: Version,
		Baseline: e.baseline(s),
		Maturity: e.maturity(s, in),
	}
	v.FalsePositiveBound, v.Bound = claim(in.Site, int(c.Threat), c.Action)
	if c.Subject == threat.Actor {
		v.Actor = e.text.start().add("a_").hash(c.ID).String()
	} else {
		v.Scope = verdict.ScopeCohort
	}
	if c.Action == event.ActionRateLimit {
		v.Limit = &verdict.Limit{Per: "1m", Requests: 5, Key: "actor"}
	}
	for i := range c.Parts {
		if c.Parts[i] == 0 {
			continue
		}
		if v.Evidence.Features == nil {
			v.Evidence.Features = make([]verdict.Feature, 0, len(f.Parts)+1)
		}
		name := "continued_when_refused"
		switch {
		case i < len(f.Parts):
			name = f.Parts[i]
		case c.Subject == threat.Object:
			name = "other_targets_at_once"
		}
		part := verdict.Feature{
			Name: name, Value: verdict.Milli(c.Values[i]), Expected: verdict.Milli(c.Expected[i]), Bits: milliBits(c.Parts[i]),
		}
		v.Score += part.Bits
		v.Evidence.Features = append(v.Evidence.Features, part)
	}
	v.Confidence = verdict.Micro(1000000 - sketch.Decay(1000000, uint32(max(0, c.Score())), 693))
	ev := &v.Evidence
	ev.Events = c.Samples()
	ev.Links = e.links(in, c, v.Actor)
	ev.Range = verdict.Range{Topic: e.cfg.Topic, Partition: c.End.Partition, From: c.Begin.Offset, To: c.End.Offset}
	ev.Summary, ev.Counterfactual = e.words(in.Site, c, f, &v)
	return v
}

// named has a bit per detector that the subject is under suspicion of.
func (e *Engine) named(c *threat.Case) uint32 {
	mask := uint32(1) << c.Threat
	open := uint32(1)<<len(e.set.Facts()) - 1
	if c.Subject == threat.Actor && e.in.Identity.ID == c.ID {
		open = e.in.Conduct.Open
	}
	for open &^= mask; open != 0; open &= open - 1 {
		i := bits.TrailingZeros32(open)
		if o := e.set.Find(c.Subject, c.ID, i); o != nil && o.Score() >= threat.BarRateLimit {
			mask |= 1 << i
		}
	}
	return mask
}

// threats lists the case's threat first and then the others that are named.
func (e *Engine) threats(s *site, c *threat.Case, f *threat.Facts, id string) []verdict.Threat {
	list := []verdict.Threat{f.Threat}
	for i := range e.set.Facts() {
		if i != int(c.Threat) && c.Named&(1<<i) != 0 {
			list = append(list, e.set.Facts()[i].Threat)
		}
	}
	if i, ok := e.force.at[id]; ok {
		for _, t := range e.force.list[i].Threats {
			if !slices.Contains(list, t) {
				list = append(list, t)
			}
		}
	}
	// A site without a flow map shows failed log-ins but no account: whether one
	// account was guessed at or many were tried, nobody can tell.
	if s.state.Declared == 0 && slices.Contains(list, "OAT-007") && !slices.Contains(list, "OAT-008") {
		list = append(list, "OAT-008")
	}
	return list
}

// groups turns the remembered identifiers into bind groups. Those that say who asks
// come before those that only say with which software, which never block: where both
// fit a request the first decides.
func (e *Engine) groups(in *feature.Input, c *threat.Case) []verdict.Group {
	out := make([]verdict.Group, 0, c.BindCount)
	for _, software := range [...]bool{false, true} {
		for _, b := range c.Binds[:c.BindCount] {
			if b.Kind == threat.KindTemplates || softwareOnly(b) != software {
				continue
			}
			g := e.group(in, c, b)
			switch {
			case b.Kind == uint8(event.KindTargetAccount) && b.With == 0:
				out = e.targets(in, c, g, out)
				continue
			case b.With != 0:
				g.All = append(g.All, verdict.Bind{Kind: e.kindName(b.WithKind, c), Value: event.Hash(b.With)})
			}
			out = append(out, g)
		}
	}
	return out
}

// softwareOnly says that an identifier tells programs apart, not who uses them.
func softwareOnly(b threat.Bound) bool {
	class := func(k uint8) bool { return k == uint8(event.KindFingerprint) || k == uint8(event.KindRequestTemplate) }
	return class(b.Kind) && (b.With == 0 || class(b.WithKind))
}

// group is that of one identifier, with whom it spares.
func (e *Engine) group(in *feature.Input, c *threat.Case, b threat.Bound) verdict.Group {
	g := verdict.Group{All: []verdict.Bind{{Kind: e.kindName(b.Kind, c), Value: event.Hash(b.Value)}}}
	spare := func(t actor.Type, v uint64) {
		g.None = append(g.None, verdict.Bind{Kind: t.String(), Value: event.Hash(v)})
	}
	if b.Route != 0 {
		g.Routes = []string{c.Routes[b.Route-1].String()}
	}
	if b.Kind == threat.KindObject && anonymous(c) {
		g.None = append(g.None, verdict.Bind{Kind: event.KindAccount.String()})
	}
	if b.Kind == threat.KindObject && c.Subject == threat.Object {
		// An office of one image has but one browser for all who want it.
		e.resolver.Commons(in.SiteIndex, func(v uint64) { spare(actor.Joint, v) })
	}
	if c.Subject == threat.Tool && b.Kind == uint8(event.KindFingerprint) && e.shared(in, actor.Fingerprint, b.Value) > 0 {
		g.None = append(g.None, verdict.Bind{Kind: event.KindAccount.String()})
		e.resolver.Residents(in.SiteIndex, b.Value, spare)
	}
	if b.Owner != 0 {
		e.resolver.Places(in.SiteIndex, b.Owner, spare)
		if c.Subject == threat.Object {
			e.resolver.Commons(in.SiteIndex, func(v uint64) { spare(actor.Joint, v) })
		}
	}
	return g
}

// targets appends the groups of a target account. It is never bound alone: it goes
// with each template that the actor has shown, since one that changes its program
// tries the next account with an earlier one.
func (e *Engine) targets(in *feature.Input, c *threat.Case, g verdict.Group, out []verdict.Group) []verdict.Group {
	for _, b := range c.Binds[:c.BindCount] {
		if b.Kind != threat.KindTemplates {
			continue
		}
		none := g.None
		if len(none) == 0 && e.shared(in, actor.Template, b.Value) == 0 {
			// No context of the owner is known, but no owner sends this form:
			// whoever is logged in is spared, and who is not may be blocked.
			none = []verdict.Bind{{Kind: event.KindAccount.String()}}
		}
		t := verdict.Bind{Kind: event.KindRequestTemplate.String(), Value: event.Hash(b.Value)}
		out = append(out, verdict.Group{All: []verdict.Bind{g.All[0], t}, None: none})
	}
	return out
}

func (e *Engine) kindName(k uint8, c *threat.Case) string {
	if k == threat.KindObject {
		return "object:" + string(c.Name[:c.NameLen])
	}
	return event.Kind(k).String()
}

func (e *Engine) maturity(s *site, in *feature.Input) string {
	owners := e.resolver.Owners(s.index)
	word := "young: evidence without history only, "
	if threat.Mature(s.state, in.Sec, owners) {
		word = "mature, "
	}
	t := e.text.start().add(word).number((in.Now - int64(s.state.First)*1e9) / int64(24*time.Hour)).add(" days, ")
	return t.number(int64(owners)).add(" owners at most, ").number(int64(s.state.Events)).add(" events").String()
}

// links explains why the actor's identifiers belong together: each as KIND:VALUE,
// or as its kind alone where the value is not at hand.
func (e *Engine) links(in *feature.Input, c *threat.Case, name string) []verdict.Link {
	if c.Subject != threat.Actor || in.Identity.ID != c.ID {
		return nil
	}
	var out []verdict.Link
	for t := range actor.NumTypes {
		if in.Identity.Links[t] == 0 {
			continue
		}
		if out == nil {
			out = make([]verdict.Link, 0, actor.NumTypes-t)
		}
		from := e.text.start().add(t.String())
		if t == actor.Object && e.req.Object != 0 {
			from.add(":").add(in.ObjectName)
		}
		if v := e.linkValue(t, in, c); v != 0 {
			from.add(":").hash(v)
		}
		out = append(out, verdict.Link{From: from.String(), To: name, Bits: milliBits(int32(in.Identity.Weights[t]) * 125)})
	}
	return out
}

// linkValue is the value of a type in the event, else the account that the actor
// owns or what the case binds; 0 when there is none.
func (e *Engine) linkValue(t actor.Type, in *feature.Input, c *threat.Case) uint64 {
	if v := e.req.Value(t); v != 0 {
		return v
	}
	if t == actor.Owned {
		return in.Identity.Own
	}
	for _, b := range c.Binds[:c.BindCount] {
		if event.Kind(b.Kind) < event.NumKinds && event.Kind(b.Kind).String() == t.String() {
			return b.Value
		}
	}
	return 0
}

// words writes the paragraph and the counterfactual.
func (e *Engine) words(s *feature.Site, c *threat.Case, f *threat.Facts, v *verdict.Verdict) (summary, counterfactual string) {
	t := e.text.start()
	switch c.Subject {
	case threat.Object, threat.Group:
		t.add("Several contexts together, all on one ").add(string(c.Name[:c.NameLen])).add(", ")
	case threat.Tool:
		t.add("One client program ")
	default:
		t.add("One actor ")
	}
	t.add(f.Verb).add(" within ").add((time.Duration(c.Last-min(c.Last, c.First)) * time.Second).String()).add(" since ")
	t.b = time.Unix(int64(c.First), 0).UTC().AppendFormat(t.b, time.DateTime)
	t.add(" (").add(string(f.Threat)).add(", ").add(f.Name).add(").")
	best := -1
	for i := range v.Evidence.Features {
		p := &v.Evidence.Features[i]
		if best < 0 || p.Bits > v.Evidence.Features[best].Bits {
			best = i
		}
		if p.Bits >= 500 {
			t.add(" ").spaced(p.Name).add(" is ").milli(p.Value).add(" where ").milli(p.Expected).add(" is expected here (").milli(p.Bits).add(" bits).")
		}
	}
	summary = t.String()
	if best >= 0 {
		p := &v.Evidence.Features[best]
		t.start().add("without ").spaced(p.Name).add(" the score would be ").milli(v.Score - p.Bits)
		counterfactual = t.add(" bits; the bar for ").add(v.Action.String()).add(" is ").milli(milliBits(bar(s, v.Action))).String()
	}
	return summary, counterfactual
}

func bar(s *feature.Site, a event.Action) int32 {
	switch {
	case a >= event.ActionBlock:
		return threat.BarBlock
	case a >= event.ActionChallenge:
		return threat.BarChallenge
	case a == event.ActionRateLimit:
		return threat.BarRateLimit
	}
	return threat.ObserveBar(s)
}
