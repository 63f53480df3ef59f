package threat

import "github.com/weirproject/weir/stream/event"

// oat019 recognises bulk account creation: sign-ups repeated by one actor or by
// one program without owners.
//
// Blind spots: farms of people with an own browser each.
type oat019 struct{}

var oat019Trial = trial{objects: true, volume: true, cohort: true, group: true}

func (oat019) Facts() Facts {
	return Facts{
		Threat: "OAT-019", Name: "Account Creation", Roles: []event.Role{event.RoleSignup}, Parts: trialParts("accounts"),
		Strongest: event.ActionBlock, Compares: "how many accounts this site's newcomers create, and with which programs",
		Verb: "created one account after the other",
	}
}

func (oat019) Observe(o *Observation) { oat019Trial.observe(o) }

func (oat019) Cap(o *Observation, s Subject) (event.Action, string) {
	switch s {
	case Tool:
		return toolCap(o)
	case Group:
		if g := o.In.ByGroup; g.Users.Bits() < 6 {
			return event.ActionObserve, "fewer than 6 accounts with the new e-mail domain"
		}
		return event.ActionChallenge, "an e-mail domain is challenged, never blocked"
	default:
	}
	if a := o.In.ByActor; a.Objects.Bits() < 4 || a.N+a.Refused < 4 {
		return event.ActionObserve, "fewer than 4 accounts: a family"
	} else if !o.Mature() && a.GapMean > 20000 && a.N+a.Refused < 12 {
		return event.ActionObserve, "a young site, and fewer than 12 accounts at a human pace"
	} else if a.GapMean > 60000 && a.N+a.Refused < 8 && o.likePeople() {
		return event.ActionObserve, "fewer than 8 accounts, minutes apart, by software that people use: an office during a sale"
	}
	return event.ActionBlock, ""
}
