package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// oat008 recognises credential stuffing: many accounts tried, about once each,
// mostly failing, from contexts that the accounts do not know. It compares with
// the site's own people: how often who failed k of n fails again, changes the
// account, or moves.
//
// Blind spots: a correct pair at the first try from a fresh identity; fewer than
// about five attempts per group of linked identifiers.
type oat008 struct{}

func (oat008) Facts() Facts {
	return Facts{
		Threat: "OAT-008", Name: "Credential Stuffing", Roles: identityRoles,
		Parts:     []string{"failed_attempts", "distinct_target_accounts", "context_changes", "unfamiliar_contexts", "crowd_of_addresses"},
		Strongest: event.ActionBlock, Compares: "the site's own people: failures, account changes and context changes given the attempts before",
		Verb: "tried accounts and failed",
	}
}

func (oat008) Observe(o *Observation) {
	if in := o.In; in.ByObject != nil && in.ObjectStep.Stale {
		return
	}
	attemptParts(o)
	crowdPart(o, 4, feature.WayLogin)
}

func (d oat008) Cap(o *Observation, s Subject) (event.Action, string) {
	act, why := d.alone(o)
	return orCrowd(o, s, feature.WayLogin, act, why)
}

// alone is the cap of what an actor does by itself.
func (oat008) alone(o *Observation) (event.Action, string) {
	in := o.In
	a := in.ByActor
	switch {
	case familiarCap(in):
		return event.ActionObserve, "the account knows this context"
	case a.Fail == 0 && in.Event.Keys[event.KindAccount] != 0:
		if known(in) && a.N < 60 {
			return event.ActionObserve, "a known account that asks for others, and nothing failed"
		}
		return event.ActionRateLimit, "signed in, and nothing failed: it may be a support desk"
	case in.Guessed && a.Success*4 >= a.N:
		return event.ActionObserve, "log-ins succeed from here too: a shared place"
	case a.Objects.Bits() < 3 && min(a.Clients.Bits(), a.Prints.Bits()) < 3 && !in.Guessed:
		if a.Fail < 20 {
			return event.ActionObserve, "fewer than 3 accounts and 3 contexts: somebody who mistypes"
		}
		return event.ActionRateLimit, "fewer than 3 accounts and 3 contexts: a stale client is not a campaign"
	case in.Guessed && in.App() && a.GapMean > 20000:
		return event.ActionRateLimit, "the site's own app at a slow pace: a stored password that is out of date"
	case in.Guessed && a.Fail < 8:
		return event.ActionRateLimit, "log-ins guessed from paths: fewer than 8 failures"
	case a.Success*4 > a.N:
		return event.ActionObserve, "more than a quarter of the attempts succeed"
	case in.Resolution.OwnersOfJoint >= 8:
		return event.ActionChallenge, "8 proved owners share address and fingerprint"
	}
	return event.ActionBlock, ""
}
