package baseline

import (
	"time"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/stream/event"
)

// A revision costs the engine, the log, the store, the feed and every enforcer
// that reads it, so one is given when an enforcer would decide otherwise with
// it. What the next request needs goes out at once, what may help later is
// collected, for longer the more has been said: n revisions take n*n/8 seconds,
// so that an attack of minutes gets some dozens and one of hours some hundreds.
// All times are event time.
const (
	// patience is how long identifiers are collected per revision so far, and
	// collect how long at most.
	patience = int64(time.Second / 4)
	collect  = int64(time.Minute)
	// burst revisions that the next request needs may follow each other at once,
	// then one a second: a flood that changes everything with every request is
	// not caught up with by naming what it has thrown away.
	burst       = 32
	burstPeriod = int64(time.Second)
)

// due says whether an event is worth a revision of a verdict in force, whose
// lease and action stay as they are. fresh: the event has shown an identifier
// that the case did not know; known: a published bind matches the event.
func due(in *feature.Input, c *threat.Case, fresh, known, renamed bool) bool {
	since := in.Now - c.Renewed
	if fresh {
		c.Pending = 1
	}
	switch {
	case renamed, since > (c.Expires-c.Renewed)/2:
		return true
	case c.Pending != 0 && !known:
		return c.Revision < burst || since >= burstPeriod
	}
	if c.Pending != 0 {
		return since >= min(collect, int64(c.Revision)*patience)
	}
	return since >= collect && c.Count >= 2*max(8, c.Told)
}

// known says that a bind of the last revision matches the event: whoever sends
// the like again is met already.
func (e *Engine) known(in *feature.Input, c *threat.Case) bool {
	template := false
	ev := in.Event
	for i := range c.Binds[:c.BindCount] {
		b := &c.Binds[i]
		template = template || b.Shown != 0 && b.Kind == threat.KindTemplates && b.Value == uint64(ev.Keys[event.KindRequestTemplate])
		if c.Subject != threat.Actor && b.Shown == 0 && b.Kind == uint8(event.KindSession) && carries(ev, b.Kind, b.Value) {
			return false // a visitor whose next request is for something else
		}
	}
	for i := range c.Binds[:c.BindCount] {
		b := &c.Binds[i]
		if b.Kind == uint8(event.KindTargetAccount) && b.With == 0 && !template {
			continue // an account goes with the templates
		}
		if b.Route != 0 && c.Routes[b.Route-1].String() != ev.Route || b.Kind == threat.KindObject && anonymous(c) && ev.Keys[event.KindAccount] != 0 {
			continue
		}
		if b.Shown != 0 && b.Kind != threat.KindTemplates && carries(ev, b.Kind, b.Value) && (b.With == 0 || carries(ev, b.WithKind, b.With)) &&
			(b.Owner == 0 || !e.athome(in, b.Owner)) {
			return true
		}
	}
	return false
}

// carries says that a request shows an identifier.
func carries(ev *event.Event, kind uint8, value uint64) bool {
	if kind != threat.KindObject {
		return uint64(ev.Keys[kind]) == value
	}
	for i := range ev.Objects {
		if uint64(ev.Objects[i].Hash) == value {
			return true
		}
	}
	return false
}

// athome says that the request comes from a place in which the owner has proved
// itself, which the bind exempts.
func (e *Engine) athome(in *feature.Input, owner uint64) (home bool) {
	k := &in.Event.Keys
	e.resolver.Places(in.SiteIndex, owner, func(t actor.Type, v uint64) {
		switch t {
		case actor.Session:
			home = home || uint64(k[event.KindSession]) == v
		case actor.Device:
			home = home || uint64(k[event.KindDevice]) == v
		case actor.Client:
			home = home || uint64(k[event.KindClient]) == v
		case actor.Joint:
			home = home || uint64(k[event.KindClientFingerprint]) == v
		default:
		}
	})
	return home
}
