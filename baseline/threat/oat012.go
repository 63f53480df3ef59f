package threat

import (
	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/stream/event"
)

// oat012 recognises cashing out: payouts, transfers and changed addresses soon
// after a log-in from a context that the account does not know, by one actor for
// several accounts, or to one payee from many places.
//
// Blind spots: what happens with stolen goods later.
type oat012 struct{}

var oat012Trial = trial{objects: false, volume: true, cohort: true, places: true}

// partStrange replaces the unused part of failures.
const partStrange = partFailed

func (oat012) Facts() Facts {
	parts := trialParts("payees")
	parts[partStrange] = "unfamiliar_contexts"
	return Facts{
		Threat: "OAT-012", Name: "Cashing Out",
		Roles: []event.Role{event.RolePayout, event.RoleTransfer, event.RoleAddressChange}, Parts: parts,
		Strongest: event.ActionBlock, Compares: "from where this site's customers move money, to how many payees, how often",
		Verb: "moved value out of accounts",
	}
}

func (oat012) Observe(o *Observation) {
	oat012Trial.observe(o)
	in := o.In
	switch in.Resolution.Familiarity {
	case actor.Unfamiliar:
		nats := int32(2300)
		if in.ActorStep.Tries > 0 && !in.ActorStep.NewSession {
			nats /= 4 // the same stranger is no new evidence
		}
		o.Add(Actor, partStrange, nats, 1000, 50)
		if in.ByObject != nil {
			o.Add(Object, partStrange, 2000, milli(in.ByObject.Sessions.Count()), 50)
		}
	case actor.Familiar:
		o.Add(Actor, partStrange, -3000, 0, 50)
		if in.ByObject != nil {
			o.Add(Object, partStrange, -2000, 0, 50)
		}
	default:
	}
	if owners := in.Conduct.Owners.Bits(); owners >= 3 {
		o.Add(Actor, partObjects, 1500, milli(uint32(owners)), 1000)
	}
}

func (oat012) Cap(o *Observation, s Subject) (event.Action, string) {
	switch s {
	case Tool:
		return toolCap(o)
	case Object:
		if o.In.ByObject.Users.Bits() < 3 {
			return event.ActionObserve, "fewer than 3 accounts: somebody who is paid often"
		}
		return objectCap(o, 3, 0)
	default:
	}
	if o.In.Conduct.Owners.Bits() < 2 && o.In.ByActor.N+o.In.ByActor.Refused < 5 {
		return event.ActionObserve, "one account and fewer than 5 movements"
	}
	return event.ActionBlock, ""
}
