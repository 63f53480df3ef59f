package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// oat021 recognises denial of inventory: goods, seats or slots that are held
// again and again while nothing is bought.
//
// Blind spots: honest hesitation; one hold per identity with a real browser.
type oat021 struct{}

func (oat021) Facts() Facts {
	return Facts{
		Threat: "OAT-021", Name: "Denial of Inventory", Roles: []event.Role{event.RoleReserve, event.RoleCartAdd},
		Parts:     []string{"holds_without_purchase", "quick_holds", "without_looking", "unowned_software", "unknown_visitors"},
		Strongest: event.ActionBlock, Compares: "how many things this site's people hold before they buy",
		Verb: "held goods again and again and bought nothing",
	}
}

func (oat021) Observe(o *Observation) {
	in := o.In
	st, a := &in.ActorStep, in.ByActor
	if st.N >= 2 {
		k := less(a.Hold, in.Hold)
		nats, want := o.Urn(feature.UrnHold, st.N, k, in.Hold, habit(900, 100, st.N, k))
		if in.Hold {
			// Each further hold without a purchase counts beside the habit: the
			// urn alone gets used to it.
			nats = max(nats, 250*int32(min(4, st.N-1)))
		}
		o.Add(Actor, 0, nats, milli(uint32(a.Hold)), int32(uint32(a.N)*uint32(want)))
	}
	quickPart(o, 1)
	directPart(o, 2)
	o.visitor(Object, 4)
	o.visitor(Group, 4)
	if in.ByTool != nil && in.Hold {
		toolPart(o, 3)
		nats, want := o.Urn(feature.UrnHold, 0, 0, true, 950000)
		o.Add(Tool, 0, min(700, max(150, nats)), milli(uint32(in.ByTool.Hold)), want)
	} else if in.ByTool != nil {
		o.Add(Tool, 0, -1500, milli(uint32(in.ByTool.Hold)), 0)
	}
}

func (oat021) Cap(o *Observation, s Subject) (event.Action, string) {
	if (s == Object || s == Group) && !o.strangers(s, 6) {
		return event.ActionObserve, "fewer than 6 unknown visitors"
	}
	if by := o.In.ByObject; s == Object && by.Fresh*3 < by.Firsts*2 {
		return event.ActionObserve, "more than a third of its visitors are known, or buy"
	}
	if s == Object && o.In.Role == event.RoleCartAdd {
		return event.ActionObserve, "a cart holds nothing: who fills many is found by its own conduct"
	}
	a := o.In.ByActor
	return roleCap(o, s, a.Hold >= 6, "fewer than 6 holds: somebody who hesitates")
}
