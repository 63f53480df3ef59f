package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// oat005 recognises scalping: polling one article until its sale opens, being
// there within a second, and going through the till faster than a hand.
//
// Blind spots: intent to resell; a bot that waits as long as people do.
type oat005 struct{}

func (oat005) Facts() Facts {
	return Facts{
		Threat: "OAT-005", Name: "Scalping",
		Roles:     []event.Role{event.RoleItemView, event.RoleCartAdd, event.RoleCheckoutStep, event.RoleOrder, event.RolePayAuth},
		Parts:     []string{"at_the_opening", "polls_of_one_item", "quick_polls", "step_time", "unowned_software", "item_polled_by_many"},
		Strongest: event.ActionBlock, Compares: "how soon after the opening, and how often before it, this site's people ask for an item",
		Verb: "was at a sale's opening faster than people are",
	}
}

func (oat005) Observe(o *Observation) {
	in := o.In
	st, a := &in.ActorStep, in.ByActor
	switch in.Role {
	case event.RoleItemView:
		if st.N > 0 && in.Object != 0 {
			k := less(a.Edge, in.Edge)
			// The first view of an item is never one.
			nats, want := o.Urn(feature.UrnEdge, st.N, k, in.Edge, habit(900, 100, st.N-1, k))
			o.Add(Actor, 1, nats, milli(uint32(a.Edge)), int32(uint32(a.N)*uint32(want)))
			if in.Edge && in.Chain {
				o.Add(Actor, 2, 300, milli(uint32(a.Quick)), 1000)
			}
			if in.Edge && besieged(in) {
				o.Add(Actor, 5, 800, milli(uint32(in.ByObject.Edge)), 0)
			}
		}
		siege(o)
		onlyOne(o)
		return
	case event.RoleCartAdd:
		k := less(a.Edge, in.Edge)
		if in.Event.Opens != 0 {
			nats, want := o.Urn(feature.UrnEdge, st.N, k, in.Edge, habit(900, 100, st.N, k))
			o.Add(Actor, 0, nats, milli(uint32(a.Edge)), int32(uint32(a.N)*uint32(want)))
			if in.ByTool != nil && in.Edge {
				o.Add(Tool, 0, min(1500, nats), milli(uint32(in.ByTool.Edge)), want)
			}
		}
	default:
	}
	// The till counts only for who was early: alone it is OAT-006.
	if c := o.Layer.Find(feature.SubjectActor, in.Identity.ID, event.RoleCartAdd); c != nil && c.Edge > 0 {
		chainPart(o, 3)
		if in.Unowned && in.ByTool != nil {
			toolPart(o, 4)
			if in.Chain {
				o.Add(Tool, 3, sketch.LnRatio(900, 300), milli(uint32(in.ByTool.Chain)), 0)
			}
		}
	}
}

// siege is the item's case: whether a view is a poll by a stranger who asks for
// nothing else. Their next requests come from visits that nobody has seen yet.
func siege(o *Observation) {
	in := o.In
	if in.ByObject == nil || !o.Mature() {
		return
	}
	p0 := in.Site.Urns[in.Role][feature.UrnEdge].Share(1, 0)
	poll := in.Edge && in.ByActor.Edge >= 3 && in.Fresh && in.Conduct.Assets == 0 && in.Conduct.Pages <= uint32(in.ByActor.N)+2
	nats := sketch.LogLikelihood(poll, 500000, min(p0, 400000))
	o.Add(Object, 5, min(1500, nats), milli(uint32(in.ByObject.Edge)), 0)
}

// onlyOne is the program's part: what people use asks for one item after the other,
// a script that claims several browsers and always asks for the same, bare of what its
// page refers to, polls it.
func onlyOne(o *Observation) {
	in := o.In
	t, st := in.ByTool, &in.ToolStep
	if t == nil || !in.Masked || in.Object == 0 || st.Tries == 0 || in.Conduct.Assets > 0 {
		return
	}
	same := 1000000 - in.Site.Urns[in.Role][feature.UrnSwitch].Share(0, 0)
	nats := sketch.LogLikelihood(!st.Switched, 950000, max(300000, min(900000, same)))
	o.Add(Tool, 1, min(500, nats), milli(uint32(t.Repeat)), milli(uint32(t.N))/4)
}

// besieged says that most views of an item are polls, by several visitors.
func besieged(in *feature.Input) bool {
	obj := in.ByObject
	return obj != nil && obj.Edge >= 8 && obj.Edge*2 >= obj.N && obj.Sessions.Bits() >= 4
}

func (oat005) Cap(o *Observation, s Subject) (event.Action, string) {
	in := o.In
	views := o.Layer.Find(feature.SubjectActor, in.Identity.ID, event.RoleItemView)
	carts := o.Layer.Find(feature.SubjectActor, in.Identity.ID, event.RoleCartAdd)
	// A page that people reload brings its sub-resources.
	bare := in.Conduct.Assets == 0 && views != nil && views.Edge >= 3 && in.Conduct.Pages <= uint32(views.N)+2
	polls := bare || views != nil && views.Edge >= 6 && views.Edge*2 >= views.N
	early := carts != nil && carts.Edge > 0
	if s == Object && !besieged(in) {
		return event.ActionObserve, "few of the item's views are polls by strangers"
	}
	if s == Actor && (!polls || !early) && o.likePeople() && in.Identity.Settled(in.Sec) {
		return event.ActionObserve, "somebody who has been here before wants it"
	}
	act, why := roleCap(o, s, polls || early && (in.Chain || views != nil && views.Edge >= 2), "neither at the opening nor polling: somebody who wants it")
	if s == Actor && act > event.ActionChallenge && in.Conduct.Assets >= in.Conduct.Pages {
		return event.ActionChallenge, "it loads what its pages refer to: somebody who reloads them"
	}
	return act, why
}
