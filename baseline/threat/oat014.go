package threat

import (
	"math/bits"

	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// oat014 recognises vulnerability scanning: requests that carry attack payloads
// or tool marks, together with refusals and errors. A payload that the
// application answers like any other request may be somebody who pasted it.
//
// Blind spots: scans of a copy of the application; payloads in bodies that no
// collector reads.
type oat014 struct{}

func (oat014) Facts() Facts {
	return Facts{
		Threat: "OAT-014", Name: "Vulnerability Scanning",
		Parts:     []string{"attack_payloads", "payload_classes", "errors", "tool_marks", "odd_methods", "odd_protocol", "crowd_of_addresses"},
		Strongest: event.ActionBlock, Compares: "requests without attack payloads, and the site's own share of errors",
		Verb: "sent attack payloads",
	}
}

// Contributions in milli-nats. One strong payload is worth watching at once;
// three weak ones in a search box are not.
const (
	strongPayload = 3100
	mediumPayload = 2300
	weakPayload   = 700
	cleanDocument = -500
	toolMark      = 3000
)

func (oat014) Observe(o *Observation) {
	in := o.In
	e, c := in.Event, in.Conduct
	if in.Asset && in.Attack == feature.NoAttack {
		return
	}
	nats := int32(cleanDocument)
	switch in.Attack {
	case feature.StrongAttack:
		nats = strongPayload
	case feature.MediumAttack:
		nats = mediumPayload
	case feature.WeakAttack:
		nats = weakPayload
	default:
	}
	if in.Attack != feature.NoAttack && !in.PathNew && in.Attack != feature.StrongAttack {
		nats /= 2 // the same form again
	}
	if in.Attack != feature.NoAttack || c.Attacks > 0 {
		o.Add(Actor, 0, nats, milli(c.Attacks), 0)
	}
	crowdPart(o, 6, feature.WayProbing)
	if in.ByTool != nil && (nats > 0 || o.Watches(Tool)) {
		o.Tally(Tool, 0, min(nats, 2300), in.Attack != feature.NoAttack, 0)
	}
	if in.Attack >= feature.MediumAttack && e.Status >= 400 {
		o.Add(Actor, 2, 900, milli(c.NotFound+c.Denied+c.Rejected+c.Broken), 0)
	}
	if e.Payload&event.PayloadTool != 0 && c.Requests <= 3 {
		o.Add(Actor, 3, toolMark, 1000, 0)
	}
	if classes := bits.OnesCount32(c.Classes &^ uint32(event.PayloadTool)); in.Attack >= feature.MediumAttack && classes >= 2 {
		o.Add(Actor, 1, 400, milli(uint32(classes)), 0)
	}
	if c.Methods&64 != 0 && in.Attack != feature.NoAttack {
		o.Add(Actor, 4, 500, 1000, 0)
	}
	if oddProtocol(e.Protocol) {
		o.Add(Actor, 5, 3100, 1000, 0)
	}
}

// oddProtocol: versions of HTTP that do not exist (RFC 9110 section 2.5).
func oddProtocol(p string) bool {
	switch p {
	case "", "HTTP/0.9", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/2.0", "HTTP/3", "HTTP/3.0":
		return false
	}
	return true
}

func (oat014) Cap(o *Observation, s Subject) (event.Action, string) {
	c := o.In.Conduct
	enough := c.Strong >= 3 || c.AttackPaths >= 2 && c.Attacks >= 4 || c.Attacks >= 12 && c.Attacks*2 >= c.Pages
	act, why := webCap(o, s, enough, c.Strong+c.AttackPaths >= 40, "fewer than 4 payloads on 2 paths: somebody who pasted something")
	if s == Actor && act < event.ActionChallenge && c.Strong+c.AttackPaths >= 12 && o.borrowed() {
		act, why = event.ActionChallenge, "software that people use as well, and 12 payloads"
	}
	return orCrowd(o, s, feature.WayProbing, act, why)
}
