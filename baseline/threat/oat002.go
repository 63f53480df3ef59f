package threat

import "github.com/weirproject/weir/stream/event"

// oat002 recognises token cracking: coupon, voucher or gift card codes tried one
// after the other, mostly not valid.
//
// Blind spots: codes that leaked and are right at the first try.
type oat002 struct{}

var oat002Trial = trial{objects: true, outcomes: true, volume: true, cohort: true, group: true}

func (oat002) Facts() Facts {
	return Facts{
		Threat: "OAT-002", Name: "Token Cracking", Roles: []event.Role{event.RoleCouponApply}, Parts: trialParts("codes"),
		Strongest: event.ActionBlock, Compares: "how this site's customers try codes: misses, changes, tries per visit",
		Verb: "tried one code after the other",
	}
}

func (oat002) Observe(o *Observation) { oat002Trial.observe(o) }

func (oat002) Cap(o *Observation, s Subject) (event.Action, string) {
	switch s {
	case Tool:
		return toolCap(o)
	case Group:
		if g := o.In.ByGroup; g.Fail < 6 || g.Objects.Bits() < 6 || g.Fail*10 < g.N*8 || !o.strangers(s, 4) {
			return event.ActionObserve, "fewer than 6 wrong codes of one range, or by people one knows"
		}
		return event.ActionChallenge, "a range of codes is challenged, never blocked"
	default:
	}
	if a := o.In.ByActor; a.Objects.Bits() < 6 || a.Fail < 6 || a.Success*4 >= a.N {
		return event.ActionObserve, "fewer than 6 codes or wrong ones, or a quarter of them valid: a bargain hunter"
	}
	return actorCap(o, 5, 6)
}
