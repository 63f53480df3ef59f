package threat

import "github.com/weirproject/weir/stream/event"

// oat003 recognises cost-inflation fraud: functions that cost the site money
// (messages, paid calls, ad clicks) used again and again by one actor, by one
// program without owners, or for one range of numbers, without the completion
// that would make sense of them.
//
// Blind spots: collusion of the provider; impressions outside the site.
type oat003 struct{}

var oat003Trial = trial{objects: true, volume: true, cohort: true, group: true}

// partUnfinished replaces the unused part of changed secrets.
const partUnfinished = partSecrets

// partQuick replaces the unused part of failures: who gets an answer reads it.
const partQuick = partFailed

func (oat003) Facts() Facts {
	parts := trialParts("destinations")
	parts[partUnfinished], parts[partQuick] = "sends_never_completed", "quick_calls"
	return Facts{
		Threat: "OAT-003", Name: "Cost-Inflation Fraud",
		Roles: []event.Role{event.RoleOTPSend, event.RoleChargeableCall, event.RoleLLMCall, event.RoleClick}, Parts: parts,
		Strongest: event.ActionBlock, Compares: "how many paid calls this site's visitors make and complete",
		Verb: "used paid functions again and again",
	}
}

func (oat003) Observe(o *Observation) {
	oat003Trial.observe(o)
	quickPart(o, partQuick)
	in := o.In
	if in.Role != event.RoleOTPSend || in.Site.Roles[event.RoleOTPVerify] < 20 {
		return
	}
	o.unfinished(Actor, in.Identity.ID)
	if in.Group != 0 {
		o.unfinished(Group, SubjectID(in, Group))
	}
}

// unfinished counts a send whose predecessors were never completed.
func (o *Observation) unfinished(s Subject, id uint64) {
	in := o.In
	stats, st := in.ByActor, &in.ActorStep
	if s == Group {
		stats, st = in.ByGroup, &in.GroupStep
	}
	if st.Tries == 0 {
		return
	}
	done := uint16(0)
	if v := o.Layer.Find(s, id, event.RoleOTPVerify); v != nil {
		done = v.Success
	}
	nats := int32(1100) // ln(0.97/0.32)
	if done > stats.Settled {
		nats, stats.Settled = -2300, done
	}
	o.Add(s, partUnfinished, nats, milli(uint32(stats.N)-min(uint32(stats.N), uint32(done))), milli(uint32(stats.N)/4))
}

func (oat003) Cap(o *Observation, s Subject) (event.Action, string) {
	in := o.In
	switch s {
	case Tool:
		return toolCap(o)
	case Group:
		if g := in.ByGroup; g.N < 12 || g.Objects.Bits() < 8 || g.Settled*4 > g.N {
			return event.ActionObserve, "fewer than 12 sends to the range, or a quarter completed"
		}
		return event.ActionChallenge, "a range of numbers is challenged, never blocked"
	default:
	}
	a := in.ByActor
	calls := a.N + a.Refused
	if calls >= 6 && calls < 20 && a.GapMean > 20000 && (known(in) || o.likePeople()) {
		return event.ActionObserve, "fewer than 20 paid calls at a human pace, by software that people use"
	}
	return roleCap(o, s, calls >= 6, "fewer than 6 paid calls")
}
