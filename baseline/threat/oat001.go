package threat

import "github.com/weirproject/weir/stream/event"

// oat001 recognises carding: many different cards tried by one actor, by one
// program without owners, or of one issuer range, mostly declined.
//
// Blind spots: whether a card is stolen; one card per identity with a good
// approval rate.
type oat001 struct{}

var oat001Trial = trial{objects: true, outcomes: true, volume: true, cohort: true, group: true}

func (oat001) Facts() Facts {
	return Facts{
		Threat: "OAT-001", Name: "Carding", Roles: []event.Role{event.RolePayAuth}, Parts: trialParts("cards"),
		Strongest: event.ActionBlock, Compares: "how this site's customers pay: declines, changes of card, payments per visit",
		Verb: "tried one card after the other",
	}
}

func (oat001) Observe(o *Observation) { oat001Trial.observe(o) }

func (oat001) Cap(o *Observation, s Subject) (event.Action, string) {
	in := o.In
	switch s {
	case Tool:
		return toolCap(o)
	case Group:
		g := in.ByGroup
		if g == nil || g.Fail < 6 || g.Fail*10 < g.N*7 || g.Sessions.Bits() < 4 {
			return event.ActionObserve, "fewer than 6 declines in 4 sessions, or many approvals"
		}
		return event.ActionChallenge, "an issuer range is challenged, never blocked"
	default:
	}
	switch a := in.ByActor; {
	case a.Objects.Bits() < 4:
		return event.ActionObserve, "fewer than 4 cards: a wallet"
	case repeats(a.Objects, a.N, 3):
		return event.ActionObserve, "the same few cards again and again: a tester's"
	case known(in) && a.Fail < 10:
		return event.ActionObserve, "a known account and fewer than 10 declines: a telephone desk's bad day"
	case a.Success*2 > a.N && known(in):
		return event.ActionObserve, "a known account, and most cards are approved: a telephone desk"
	case a.Success*2 > a.N && in.Event.Keys[event.KindAccount] != 0:
		return event.ActionRateLimit, "signed in, and most cards are approved"
	}
	act, why := actorCap(o, 3, 4)
	if act > event.ActionChallenge && in.ByActor.Objects.Bits() < 6 {
		return event.ActionChallenge, "fewer than 6 cards: somebody whose cards are all declined, or who tests"
	}
	return act, why
}
