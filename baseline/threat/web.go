package threat

import (
	"strings"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// shared says that an actor stands for more than one person: several browsers
// or owners behind one identity. Detectors of plain requests then do not block.
func shared(in *feature.Input) bool {
	return in.Conduct.Owners.Bits() >= 3 || in.Resolution.OwnersOfJoint >= 8
}

// known says that the actor is an account's owner in a place that the account
// has used for a long time: a tester, a support desk, somebody with sixty tabs,
// not a stranger.
func known(in *feature.Input) bool {
	return in.Resolution.Familiarity == actor.Familiar || in.Conduct.Home > 0 ||
		in.Identity.Home != 0 && in.Sec-min(in.Sec, in.Identity.Home) < 86400
}

// webCap is the structural cap of detectors that see plain requests. enough says
// that there is more than an accident, massive that no person does as much.
func webCap(o *Observation, s Subject, enough, massive bool, why string) (event.Action, string) {
	in := o.In
	switch {
	case s == Tool:
		return softwareCap(o)
	case !enough:
		return event.ActionObserve, why
	case (known(o.In) || shared(o.In)) && massive:
		return event.ActionRateLimit, "proved owners use this identity"
	case known(o.In):
		return event.ActionObserve, "a known account in a place it knows"
	case shared(o.In):
		return event.ActionObserve, "several proved owners share this identity"
	case in.Site.Headers == 0 && dressed(in) && !massive:
		return event.ActionObserve, "it loads what its pages refer to, at a human pace"
	case !o.Mature() && in.Site.Headers != 0 && in.Identity.Returned >= 3 && in.Conduct.GapMean > 4000 && in.Conduct.Pages < 400 && !massive:
		return event.ActionObserve, "a young site, and a browser at a human pace"
	case o.likePeople() && !massive:
		return event.ActionObserve, "software that proved owners use, and fewer than 80 documents in two minutes"
	}
	return event.ActionBlock, ""
}

// dressed says that a log's actor loads sub-resources and names referers as
// browsers do, and no faster than a person reads.
func dressed(in *feature.Input) bool {
	c := in.Conduct
	return c.Assets*4 >= c.Pages && c.Referred*2 >= c.Pages && c.GapMean > 1500
}

// likePeople says that the actor's software is what proved owners use too, and
// that it has not yet asked for more than somebody who opens many tabs.
func (o *Observation) likePeople() bool {
	in, c := o.In, o.In.Conduct
	return o.Mature() && !in.Unowned && in.Site.Headers != 0 && (c.Pages < 80 || c.Last-c.Begin < 120 || c.GapMean > 4000 && c.Pages < 300)
}

// tabsAgain is why tabs caps.
const tabsAgain = "a young site, and fewer than 60 requests in a burst: somebody opens yesterday's tabs"

// tabs says that on a young site somebody may have opened the tabs of the day before:
// what they refer to is in a cache that weir never saw filled.
func (o *Observation) tabs() bool {
	return !o.Mature() && o.In.Site.Headers != 0 && o.In.Conduct.Level < 60
}

// borrowed says that nothing speaks for the actor but software that owners use too:
// a partner's programs are made with the libraries that scanners are made with.
func (o *Observation) borrowed() bool {
	return o.likePeople() && !known(o.In) && !shared(o.In)
}

// softwareCap holds verdicts about software to software that nobody owns and that
// was seen at several places: one odd browser is not a campaign.
func softwareCap(o *Observation) (event.Action, string) {
	in := o.In
	if in.Site.Headers == 0 {
		if p := in.Program; p == nil || p.Sessions != 0 || p.Users.Bits() > 1 || p.Clients.Bits() < 6 {
			return event.ActionObserve, "people use this program too, or it was seen at fewer than 6 addresses"
		}
		if !o.Mature() && strings.HasPrefix(in.Event.UserAgent, "Mozilla/") {
			return event.ActionObserve, "a young site, and a program that calls itself a browser"
		}
		return event.ActionChallenge, "a program by its user agent alone"
	}
	switch t := in.ByTool; {
	case t == nil || !in.Unowned || !o.Mature():
		return event.ActionObserve, "proved owners use this software, or the site is young"
	case in.Masked && t.Clients.Bits() >= maskedPlaces && t.Clients.Bits() < 5:
		return event.ActionChallenge, "one script under several browsers' names, seen at fewer than 5 addresses"
	case t.Clients.Bits() < 3 || t.Sessions.Bits() < 3 && (t.Sessions != 0 || t.Clients.Bits() < 5):
		return event.ActionObserve, "software seen at fewer than 3 addresses, or 5 where it keeps no session"
	case t.Clients.Bits() < 5 || t.Sessions == 0:
		return event.ActionChallenge, "software seen at fewer than 5 addresses, or that keeps no session"
	}
	return event.ActionBlock, ""
}

// maskedPlaces is at how many addresses software that claims several browsers under
// one hello must have been seen: nobody's browsers do so at home.
const maskedPlaces = 2

// crowdPart adds to part i of the actor's case that a crowd of addresses goes the
// same way now, each with a few requests and none as browsers do.
func crowdPart(o *Observation, i int, w feature.Way) {
	c := &o.In.Crowd[w]
	if c.Nats > 0 {
		o.Add(Actor, i, c.Nats+sketch.LnRatio(uint64(c.Addresses), 6)/2, c.Now, c.Usual)
	}
	if w == feature.WayReading && !o.Mature() {
		return // a new native app reads like that too
	}
	if p := o.In.Program; c.Joined && p != nil && p.Sessions == 0 {
		o.Add(Tool, i, sketch.LogLikelihood(true, 900000, o.In.Site.Usual(w)), milli(p.Clients.Count()), c.Usual)
	}
}

// orCrowd lets one of a crowd be challenged although its own few requests would
// not do: the crowd is the campaign, not each address.
func orCrowd(o *Observation, s Subject, w feature.Way, act event.Action, why string) (event.Action, string) {
	if s == Actor && act < event.ActionChallenge && o.In.Crowd[w].Nats > 0 {
		return event.ActionChallenge, "one of a crowd of addresses: challenged, not blocked"
	}
	return act, why
}

// toolPart adds to part i of the tool's case that its requests in this role come
// from software no proved owner uses, once per new session: the site's own share
// of such software is what is expected.
func toolPart(o *Observation, i int) {
	in := o.In
	softwarePart(o, i, feature.UrnUnowned, in.ByTool != nil && (in.ToolStep.NewSession || in.ToolStep.NewClient))
}

// softwarePart is toolPart with the moment chosen by the caller.
func softwarePart(o *Observation, i int, u feature.UrnName, now bool) {
	in := o.In
	t := in.ByTool
	if t == nil || !o.Mature() {
		return
	}
	p0 := in.Site.Urns[in.Role][u].Share(0, 0)
	switch {
	case !in.Unowned:
		o.Add(Tool, i, -4000, 0, int32(p0/1000))
	case now:
		o.Add(Tool, i, min(2500, sketch.LogLikelihood(true, 900000, p0)), milli(t.Clients.Count()), int32(p0/1000))
	}
}

// roleCap is the cap of detectors of what is done in a role.
func roleCap(o *Observation, s Subject, enough bool, why string) (event.Action, string) {
	in := o.In
	massive := in.ByActor.N >= 60
	switch {
	case s == Tool:
		return softwareCap(o)
	case s != Actor:
		return event.ActionChallenge, "what many do to one object is challenged, not blocked"
	case !enough:
		return event.ActionObserve, why
	case (known(in) || shared(in)) && massive:
		return event.ActionRateLimit, "proved owners use this identity"
	case known(in):
		return event.ActionObserve, "a known account in a place it knows"
	case shared(in):
		return event.ActionObserve, "several proved owners share this identity"
	case o.likePeople() && !massive:
		return event.ActionChallenge, "software that proved owners use"
	}
	return event.ActionBlock, ""
}

// chainPart adds that the actor acted within 2 s of its request before.
func chainPart(o *Observation, i int) {
	in, a := o.In, o.In.ByActor
	if in.Gap < 0 {
		return
	}
	k := less(a.Chain, in.Chain)
	nats, want := o.Urn(feature.UrnChain, in.ActorStep.N, k, in.Chain, habit(900, 100, in.ActorStep.N, k))
	o.Add(Actor, i, nats, milli(uint32(a.Chain)), int32(uint32(a.N)*uint32(want)))
}

// directness is the ratio for acting without having fetched a page. A tool may well
// look first: that it does speaks for people a little, and only once.
func directness(in *feature.Input, again bool) (nats, p0 int32) {
	share := in.Site.Urns[in.Role][feature.UrnDirect].Share(0, 0)
	nats = sketch.LogLikelihood(in.Direct, 500000, min(share, 500000))
	if again && !in.Direct {
		nats = 0
	}
	return nats, int32(share / 1000)
}

// directPart adds that the actor acts although it never fetched a page.
func directPart(o *Observation, i int) {
	in := o.In
	again := in.ActorStep.Tries > 0
	nats, p0 := directness(in, again)
	if again {
		nats /= 4 // the same actor's habit is no new evidence
	}
	o.Add(Actor, i, min(2500, nats), milli(uint32(in.ByActor.Direct)), p0)
}

// directTool adds the same to the program's case.
func directTool(o *Observation, i int) {
	if t := o.In.ByTool; t != nil {
		nats, p0 := directness(o.In, o.In.ToolStep.Tries > 0)
		o.Add(Tool, i, min(1000, nats), milli(uint32(t.Direct)), p0)
	}
}

// quickPart adds two attempts of a role within two seconds.
func quickPart(o *Observation, i int) {
	st, a := &o.In.ActorStep, o.In.ByActor
	if st.N == 0 {
		return
	}
	quick := st.Gap >= 0 && st.Gap < 2000
	k := less(a.Quick, quick)
	nats, want := o.Urn(feature.UrnQuick, st.N-1, k, quick, habit(900, 100, st.N-1, k))
	// Many tools take their time: that is no alibi for the rest.
	o.Add(Actor, i, max(-300, nats), milli(uint32(a.Quick)), int32(uint32(a.N)*uint32(want)))
}

// againPart adds that the same object is meant as before.
func againPart(o *Observation, i int) {
	in, st, a := o.In, &o.In.ActorStep, o.In.ByActor
	if st.N == 0 || in.Object == 0 {
		return
	}
	k := less(a.Switch, st.Switched)
	p0 := 1000000 - min(970000, in.Site.Urns[in.Role][feature.UrnSwitch].Share(st.N-1, k))
	nats := sketch.LogLikelihood(!st.Switched, max(p0, habit(900, 100, st.N-1, st.N-1-min(st.N-1, k))), p0)
	o.Add(Actor, i, nats, milli(uint32(a.N-a.Switch)), int32(uint32(a.N)*(p0/1000)))
}
