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
		Parts:     []string{"failed_attempts", "distinct_target_accounts", "context_changes", "unfamiliar_contexts", "crowd_of_addresses", "sessions_without_owner"},
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
	if !o.In.Guessed {
		programParts(o)
	}
}

// programParts is the case of a program that comes with ever new sessions, without
// an owner, for ever new accounts, and fails.
func programParts(o *Observation) {
	in := o.In
	nats, want := o.Program()
	if nats == 0 {
		return
	}
	tool, st := in.ByTool, &in.ToolStep
	o.Add(Tool, 5, nats, milli(tool.Sessions.Count()), int32(tool.Sessions.Count())*want)
	if nats, want = o.Failure(st.N, st.Fail, 970000); st.Known {
		o.Add(Tool, 0, nats, milli(uint32(tool.Fail)), int32(uint32(tool.N)*uint32(want)))
	}
}

func (d oat008) Cap(o *Observation, s Subject) (event.Action, string) {
	if s == Tool {
		if t := o.In.ByTool; t.Fail*2 < t.N || t.Objects.Bits() < 6 && (!o.In.Masked || t.Objects.Bits() < 3) {
			return event.ActionObserve, "most log-ins of the program succeed, or it has tried fewer than 6 accounts"
		} else if n, accounts, visits := uint32(t.N), t.Objects.Count(), t.Sessions.Count(); n*2 >= accounts*3 && accounts*2 >= visits && accounts <= visits*2 {
			return event.ActionObserve, "each visit tries its one account again: people who have forgotten"
		}
		return toolCap(o)
	}
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
	case in.Guessed && (in.App() || in.NewApp()) && a.GapMean > 20000:
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
