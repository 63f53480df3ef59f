package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// oat017 recognises spamming: the same or nearly the same text posted again, by
// one actor or by several, one post after the other, by visitors who read
// nothing.
//
// Blind spots: text that is new each time and means the same.
type oat017 struct{}

func (oat017) Facts() Facts {
	return Facts{
		Threat: "OAT-017", Name: "Spamming", Roles: []event.Role{event.RolePost},
		Parts:     []string{"same_text_again", "near_text_again", "quick_posts", "without_looking", "unowned_software"},
		Strongest: event.ActionBlock, Compares: "how often two posts of this site carry one text, and what people do before they post",
		Verb: "posted the same text again and again",
	}
}

func (oat017) Observe(o *Observation) {
	in := o.In
	quickPart(o, 2)
	directPart(o, 3)
	if in.ByObject != nil && in.ObjectStep.N > 0 && sameText(in) {
		// An identical text has to be typed in by somebody who saw it.
		o.Add(Actor, 0, 3000, milli(uint32(in.ByObject.N)), 1000)
		o.Add(Object, 0, 3000, milli(uint32(in.ByObject.N)), 1000)
	}
	if in.ByGroup != nil && in.GroupName == nearText {
		o.fashion(1)
		nats, _ := o.newlyPopular()
		switch {
		case in.GroupStep.N == 0:
			nats = -700
		case !in.GroupStep.NewUser:
			nats = 1500 // the same visitor once more
		}
		o.Add(Actor, 1, min(1500, nats), milli(uint32(in.ByGroup.N)), 1000)
	}
	directTool(o, 3)
	if in.ByTool != nil && (in.ObjectStep.N > 0 || in.GroupStep.N > 0) {
		toolPart(o, 4)
	}
}

// nearText is the object that two texts share whose wording is nearly the same.
const nearText = "content.shingle"

// sameText says that the object is a text, of more words than people say all the
// time; an item that is reviewed twice is not the same post.
func sameText(in *feature.Input) bool {
	switch in.ObjectName {
	case "content", "text", "content.simhash":
		return in.Event.Object("content.simhash") != nil
	}
	return false
}

func (oat017) Cap(o *Observation, s Subject) (event.Action, string) {
	in := o.In
	if s == Object && in.ByObject.Clients.Bits() < 3 {
		return event.ActionObserve, "fewer than 3 places posted this text"
	}
	if s == Group && in.ByGroup.Clients.Bits() < 3 {
		return event.ActionObserve, "fewer than 3 places posted nearly this text"
	}
	repeated := sameText(in) && in.ByObject != nil && in.ByObject.N >= 3 ||
		in.GroupName == nearText && in.ByGroup != nil && in.ByGroup.N >= 4
	return roleCap(o, s, in.ByActor.N >= 3 || repeated, "fewer than 3 posts")
}
