package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// oat006 recognises expediting: going through the steps of a process faster than
// this site's people, at even intervals, or past steps they take.
//
// Blind spots: forms that an assistive tool or a password manager fills.
type oat006 struct{}

func (oat006) Facts() Facts {
	return Facts{
		Threat: "OAT-006", Name: "Expediting",
		Roles:     []event.Role{event.RoleCheckoutStep, event.RoleOrder, event.RolePayAuth, event.RoleSignup, event.RoleOTPVerify, event.RoleAddressChange},
		Parts:     []string{"step_time", "even_pace", "unowned_software"},
		Strongest: event.ActionBlock, Compares: "the time that this site's people take from one step to the next",
		Verb: "went through a process faster than people do",
	}
}

func (oat006) Observe(o *Observation) {
	in, a := o.In, o.In.ByActor
	chainPart(o, 0)
	if a.N >= 6 && a.GapMean > 0 && a.GapDeviation*5 < a.GapMean {
		o.Add(Actor, 1, 300, milli(a.GapDeviation), int32(min(2000000, a.GapMean)))
	}
	if in.ByTool != nil && in.Gap >= 0 {
		nats, want := o.Urn(feature.UrnChain, 0, 0, in.Chain, 900000)
		o.Add(Tool, 0, min(1500, nats), milli(uint32(in.ByTool.Chain)), want)
		if in.Chain {
			toolPart(o, 2)
		}
	}
}

func (oat006) Cap(o *Observation, s Subject) (event.Action, string) {
	in := o.In
	total := uint16(0)
	for _, r := range []event.Role{event.RoleCheckoutStep, event.RoleOrder, event.RolePayAuth, event.RoleSignup, event.RoleAddressChange} {
		if st := o.Layer.Find(feature.SubjectActor, in.Identity.ID, r); st != nil {
			total += min(1000, st.Chain)
		}
	}
	return roleCap(o, s, total >= 2, "one quick step may be a double click")
}
