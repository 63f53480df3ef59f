package threat

import "github.com/weirproject/weir/stream/event"

// oat020 recognises account aggregation: many accounts read with their own
// passwords by one actor or one program without owners. Often tolerated: its
// strongest response is a challenge.
//
// Blind spots: the consent of the owners.
type oat020 struct{}

var oat020Trial = trial{objects: true, volume: true, cohort: true}

func (oat020) Facts() Facts {
	return Facts{
		Threat: "OAT-020", Name: "Account Aggregation", Roles: []event.Role{event.RoleLogin, event.RoleExport}, Parts: trialParts("accounts"),
		Strongest: event.ActionChallenge, Compares: "how many accounts this site's people log in to, and with which programs",
		Verb: "read one account after the other",
	}
}

func (oat020) Observe(o *Observation) {
	if in := o.In; in.Outcome == event.OutcomeFailure || in.Guessed {
		return
	}
	if in := o.In; in.Refused && !in.ActorStep.Switched {
		return
	}
	oat020Trial.observe(o)
	if known(o.In) {
		o.Add(Actor, partObjects, -2500, milli(o.In.ByActor.Objects.Count()), 1000)
	}
}

func (oat020) Cap(o *Observation, s Subject) (event.Action, string) {
	if s == Tool {
		return toolCap(o)
	}
	in := o.In
	a := in.ByActor
	quick := a.GapMean < 5000 || o.Mature() && in.Unowned && a.GapMean < 60000
	switch {
	case known(in):
		return event.ActionObserve, "the accounts know this context: an agency or a shared machine"
	case a.Objects.Bits() < 8 && in.Conduct.Owners.Bits() < 8:
		return event.ActionObserve, "fewer than 8 accounts: a family or an office"
	case in.Conduct.Assets*2 > in.Conduct.Pages || !quick:
		return event.ActionObserve, "pages are read as people do: a shared machine"
	}
	return event.ActionChallenge, ""
}
