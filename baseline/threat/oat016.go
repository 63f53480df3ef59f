package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// oat016 recognises skewing: votes, likes or clicks that only move a number.
// One actor that means the same target again and again, visitors who come for
// nothing else, and one program that does so from many addresses.
//
// Blind spots: people who are paid to do it.
type oat016 struct{}

func (oat016) Facts() Facts {
	return Facts{
		Threat: "OAT-016", Name: "Skewing", Roles: []event.Role{event.RoleVote, event.RoleLike, event.RoleClick},
		Parts:     []string{"same_target_again", "quick_actions", "without_looking", "unowned_software", "new_voters", "unknown_voters"},
		Strongest: event.ActionBlock, Compares: "how often this site's people act on one target again, and what they do before",
		Verb: "acted on one target again and again",
	}
}

func (oat016) Observe(o *Observation) {
	in := o.In
	againPart(o, 0)
	quickPart(o, 1)
	directPart(o, 2)
	directTool(o, 2)
	if in.ByTool != nil && !in.ToolStep.Switched && in.ToolStep.N > 0 {
		toolPart(o, 3)
	}
	// The target: new sessions that do nothing but this.
	if st := &in.ObjectStep; in.ByObject != nil && st.NewSession && st.NewClient && in.Direct {
		p0 := in.Site.Urns[in.Role][feature.UrnDirect].Share(0, 0)
		o.Add(Object, 4, min(1500, sketch.LogLikelihood(true, 800000, max(p0, 50000))), milli(uint32(in.ByObject.Direct)), int32(p0/1000))
	}
	o.visitor(Object, 5)
}

func (oat016) Cap(o *Observation, s Subject) (event.Action, string) {
	a := o.In.ByActor
	if s == Object && o.In.ByObject.Direct < 6 && !o.strangers(s, 6) {
		return event.ActionObserve, "fewer than 6 unknown visitors, or visitors who did nothing else"
	}
	return roleCap(o, s, a.N >= 4 && (a.Switch*3 < a.N || a.Direct*2 > a.N), "fewer than 4 actions")
}
