package threat

import "github.com/weirproject/weir/stream/event"

// oat010 recognises card cracking: one card number tried with changing expiry
// dates or security codes, by one actor or from many places.
//
// Blind spots: guesses distributed over other merchants.
type oat010 struct{}

var oat010Trial = trial{secrets: true, outcomes: true, volume: true, cohort: true, places: true}

func (oat010) Facts() Facts {
	return Facts{
		Threat: "OAT-010", Name: "Card Cracking", Roles: []event.Role{event.RolePayAuth}, Parts: trialParts("cards"),
		Strongest: event.ActionBlock, Compares: "how often this site's customers correct a card's details, and from where a card is used",
		Verb: "tried changing details of a card",
	}
}

func (oat010) Observe(o *Observation) { oat010Trial.observe(o) }

func (oat010) Cap(o *Observation, s Subject) (event.Action, string) {
	in := o.In
	switch s {
	case Tool:
		return toolCap(o)
	case Object:
		obj := in.ByObject
		if obj.Fail < 4 || obj.Secrets.Bits() < 4 || obj.Success > 1 && obj.Success*4 > obj.N {
			return event.ActionObserve, "fewer than 4 declined details of one card"
		}
		if repeats(obj.Secrets, obj.N, 2) {
			return event.ActionObserve, "mostly the same details again: a tester's card"
		}
		if obj.Clients.Bits() < 3 {
			return event.ActionObserve, "fewer than 3 addresses: its actor's own conduct decides"
		}
		if obj.Fail >= 8 && obj.Success == 0 {
			return event.ActionBlock, ""
		}
		return event.ActionChallenge, "a card that has been approved is challenged, not blocked"
	default:
	}
	a := in.ByActor
	if a.Fail < 5 || a.Objects.Bits()*2 > int(a.N) || a.Secrets.Bits() < 3+a.Objects.Bits() {
		return event.ActionObserve, "fewer than 5 declined details of one card: typing mistakes"
	}
	if repeats(a.Secrets, a.N, 2) {
		return event.ActionObserve, "mostly the same details again: a tester's cards"
	}
	return actorCap(o, 5, 99)
}
