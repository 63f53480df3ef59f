package threat

import (
	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// identityRoles are the roles in which an account is tried.
var identityRoles = []event.Role{event.RoleLogin, event.RoleReset}

// switching is P1 for a change: the tool's own habit so far under a Beta(0.5,
// 0.5) prior, leaning to neither. Parts per million.
func switching(n, k uint16) uint32 { return habit(500, 500, n, k) }

// moving is P1 for a move of address and fingerprint, leaning to move.
func moving(n, k uint16) uint32 { return habit(900, 400, n, k) }

// habit is the predictive (a+k)/(a+b+n), a and b in thousandths, in parts per
// million and at most 0.98: an alternative that needs no known rate.
func habit(a, b uint64, n, k uint16) uint32 {
	return uint32(min(980000, (a+1000*uint64(min(k, n)))*1000000/(a+b+1000*uint64(n))))
}

// attemptParts adds the four features of the sequential test on attempts
// (failed, switched, moved, strange) to the actor's case, parts 0 to 3.
func attemptParts(o *Observation) {
	in := o.In
	st, a := &in.ActorStep, in.ByActor
	nats, want := o.Failure(st.N, st.Fail, 970000)
	o.Add(Actor, 0, nats, milli(uint32(a.Fail)), int32(uint32(a.N)*uint32(want)))
	if in.Guessed && in.Object == 0 {
		return // a log names no account: that it does not change says nothing
	}
	if st.Tries > 0 {
		k := less(a.Switch, st.Switched)
		nats, want = o.Urn(feature.UrnSwitch, st.Tries-1, k, st.Switched, switching(st.Tries-1, k))
		o.Add(Actor, 1, nats, milli(a.Objects.Count()), 1000+int32(uint32(a.N)*uint32(want)))
		k = less(a.Move, st.Moved)
		nats, want = o.Urn(feature.UrnMove, st.Tries-1, k, st.Moved, moving(st.Tries-1, k))
		o.Add(Actor, 2, nats, milli(uint32(a.Move)), int32(uint32(a.N)*uint32(want)))
	}
	if in.Resolution.Familiarity != 0 {
		k := less(a.Strange, in.Strange)
		p1 := habit(9000, 1000, st.Tries, k)
		nats, want = o.Urn(feature.UrnStrange, st.Tries, k, in.Strange, p1)
		o.Add(Actor, 3, nats, milli(uint32(a.Strange)), int32(uint32(a.N)*uint32(want)))
	}
}

func milli(v uint32) int32 { return int32(min(v, 2000000)) * 1000 }

// familiarCap: a context that the account has used for a long time is never
// acted on because of its actor.
func familiarCap(in *feature.Input) bool {
	return in.Resolution.Familiarity == actor.Familiar
}
