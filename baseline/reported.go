package baseline

import (
	"slices"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/campaign"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// reported is the actor that the event is reported under: the attack that its visit
// was convicted of taking part in, else the resolver's. Who has something to lose
// here, an owner at home or in a place that one is at home in, is never part of one.
// The verdicts about the actor that the event has led to name the attack and say how
// sure that is.
func (e *Engine) reported(in *feature.Input, touched []threat.Touched, own uint32) event.Hash {
	name := event.Hash(e.layer.ActorKey(own))
	if in.Teach || in.Exempt || in.Asset || in.Resolution.Familiarity == actor.Familiar || in.Identity.Home != 0 {
		return name
	}
	s := e.sighting(in, touched)
	id, weight := e.attacks.See(&s)
	if id == 0 {
		return name
	}
	name = event.Hash(id)
	for i := range e.out {
		v := &e.out[i]
		if v.Scope != verdict.ScopeActor || v.Actor == "a_"+name.String() {
			continue
		}
		v.Evidence.Links = append(slices.Clip(v.Evidence.Links), verdict.Link{From: v.Actor, To: "a_" + name.String(), Bits: milliBits(weight)})
		v.Actor = "a_" + name.String()
		e.force.put(*v)
	}
	return name
}

// sighting is what attacks are told apart by.
func (e *Engine) sighting(in *feature.Input, touched []threat.Touched) campaign.Sighting {
	k := &in.Event.Keys
	s := campaign.Sighting{
		Site: in.Site.Key, Now: in.Sec, Visit: in.Session, Place: uint64(k[event.KindClient]), Act: act(in), Object: in.Object,
	}
	if s.Act == actMissing && s.Object == 0 {
		s.Object = in.Route // what is asked for although nothing is there
	}
	object, convicted := convicted(in, touched)
	s.Convicted = convicted
	switch {
	case in.Unowned:
		s.Program = uint64(k[event.KindFingerprint])
		if form := uint64(k[event.KindRequestTemplate]); form != 0 && e.shared(in, actor.Template, form) == 0 {
			s.Form = form
		}
		if in.Event.JA4 != "" {
			s.Library = sketch.HashString(in.Event.JA4)
		}
	case convicted:
		s.Program = object
	}
	return s
}

// The acts that are no role: a request for a document, by what is odd about it.
const (
	actAttack = uint8(event.NumRoles) + iota
	actMissing
	actSlow
)

// act is what a request does: its role, or what is odd about the document it asks
// for; 0 for what everybody does on the way.
func act(in *feature.Input) uint8 {
	if in.Attack != feature.NoAttack && in.Event.Payload&^(event.PayloadProbePath|event.PayloadTool) != 0 {
		return actAttack
	}
	switch in.Role {
	case event.RoleLogout, event.RoleCaptchaIssue, event.RoleCartRemove, event.RoleRelease, event.RoleSearch, event.RoleListView:
		return 0
	case event.RoleNone:
	default:
		return uint8(in.Role)
	}
	r := in.RouteStats
	switch {
	case in.Page.Missing || r.NotFound*4 > r.Requests || in.Refused && r.Requests == 0:
		return actMissing
	case in.Page.Slow:
		return actSlow
	}
	return 0
}

// convicted says that a verdict in force is about the event, and which object that
// verdict is on, 0 for none.
func convicted(in *feature.Input, touched []threat.Touched) (object uint64, yes bool) {
	yes = in.Refused && in.Event.Action >= event.ActionChallenge
	for i := range touched {
		c := touched[i].Case
		if c.Revision == 0 || c.Expires < in.Now || c.Action < event.ActionChallenge || !touched[i].Raised && !yes {
			continue
		}
		yes = true
		if c.Subject == threat.Object || c.Subject == threat.Group {
			object = c.Object
		}
	}
	return object, yes
}
