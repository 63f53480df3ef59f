package feature

import "github.com/weirproject/weir/stream/event"

// Attack is how much a payload class says in its place.
type Attack uint8

// The weights. Weak: what a person may paste into a search box or follow as a
// link (SQL words, markup), or bytes of another protocol. Medium: the
// same, refused or not found. Strong: what nobody types by accident (climbing
// directories, shell and template injection).
const (
	NoAttack Attack = iota
	WeakAttack
	MediumAttack
	StrongAttack
)

// weigh places the payload classes of an event. A tool's user agent is no
// payload, and a probe path that the application answers is a page.
func weigh(e *event.Event) Attack {
	const strong = event.PayloadTraversal | event.PayloadCommand | event.PayloadTemplate
	// A broken answer (5xx) says that something is there.
	refused := e.Status >= 400 && e.Status < 500
	switch p := e.Payload; {
	case p&strong != 0 && (refused || p&(p-1)&^event.PayloadTool != 0 || e.QueryKeys == ""):
		return StrongAttack
	case p&(strong|event.PayloadSQL|event.PayloadXSS|event.PayloadProbePath|event.PayloadMalformed) == 0:
		return NoAttack
	case refused && p&^event.PayloadTool != event.PayloadMalformed:
		return MediumAttack
	case p&(strong|event.PayloadSQL|event.PayloadXSS|event.PayloadMalformed) != 0:
		return WeakAttack
	}
	return NoAttack
}
