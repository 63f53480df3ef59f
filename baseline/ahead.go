package baseline

import (
	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// ahead is what Ahead remembers of the event before, for the second half of its
// hints.
type ahead struct {
	site  *site
	keys  [event.NumKinds]event.Hash
	role  event.Role
	claim event.Hash
}

// Ahead tells of an event that will be observed soon, so that the memory which it
// needs is on its way meanwhile: an event touches a dozen places at random in
// hundreds of megabytes, and the processor would wait for one after the other. Two
// events ahead is best: what hangs on the first answer is asked for with the next
// call. It changes nothing, may be left out, and may be wrong.
func (e *Engine) Ahead(ev *event.Event) {
	e.follow()
	s := e.recent
	if s == nil || s.name != ev.Site {
		s = e.sites[ev.Site]
	}
	e.next.site = s
	if s == nil {
		return
	}
	e.next.keys, e.next.role, e.next.claim = ev.Keys, ev.Role, ev.Claimed
	e.resolver.Hint(s.index, actor.Session, uint64(ev.Keys[event.KindSession]))
	path := sketch.HashString(ev.Path)
	e.layer.HintPath(s.state, path)
	s.routes.Hint(path)
}

// follow asks for what hangs on the session.
func (e *Engine) follow() {
	n := &e.next
	if n.site == nil {
		return
	}
	k, i := &n.keys, n.site.index
	known := uint32(0)
	if s := k[event.KindSession]; s != 0 {
		if known = e.resolver.Peek(i, uint64(s)); known != 0 {
			e.layer.HintActor(known)
		}
	}
	if known != 0 && !attempts[n.role] {
		return
	}
	e.resolver.Hint(i, actor.Device, uint64(k[event.KindDevice]))
	e.resolver.Hint(i, actor.Client, uint64(k[event.KindClient]))
	e.resolver.Hint(i, actor.Joint, uint64(k[event.KindClientFingerprint]))
	e.resolver.Hint(i, actor.Fingerprint, uint64(k[event.KindFingerprint]))
	e.resolver.Hint(i, actor.Template, uint64(k[event.KindRequestTemplate]))
	account := n.claim
	if account == 0 {
		account = k[event.KindAccount]
	}
	e.resolver.HintAccount(i, uint64(account))
}
