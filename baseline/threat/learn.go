package threat

import (
	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// Trusted says that nothing about the event's actor is suspicious: the event may
// teach, and may prove ownership to the resolver.
func (s *Set) Trusted(in *feature.Input) bool {
	if in.Conduct.Flagged != 0 || in.Refused {
		return false
	}
	for i := range s.touched {
		// What many share teaches less readily: three nats of doubt are enough.
		limit := int32(BarRateLimit)
		if s.touched[i].Case.Subject != Actor {
			limit = barDoubt
		}
		if s.touched[i].Case.Score() >= limit {
			return false
		}
	}
	return true
}

// learn teaches the site's baselines from an event that is not suspicious; an
// actor teaches at most 40 times per episode.
func (s *Set) learn(in *feature.Input) {
	page, role := in.Page.Page && in.Page.N < 60, in.Role != event.RoleNone && in.ByActor != nil
	if !page && !role || !s.Trusted(in) {
		return
	}
	if page && !crowded(in) {
		learnPage(in)
	}
	if role {
		learnActor(in)
		s.learnOthers(in)
	}
}

// learnPage teaches how people read.
func learnPage(in *feature.Input) {
	p, u := &in.Page, &in.Site.Urns[event.RoleNone]
	if p.New {
		u[feature.PageMissing].Learn(p.Fresh, p.Lost, p.Missing)
	}
	in.Site.Reach[event.RoleNone].Learn(int(p.N))
	if p.N > 0 {
		u[feature.PageQuick].Learn(p.N-1, p.Fast, p.Quick)
		u[feature.PageNew].Learn(p.N-1, p.Fresh-1, p.New)
		u[feature.PageBare].Learn(p.N-1, p.Naked, p.Bare)
		u[feature.PageSame].Learn(p.N-1, p.Again, p.Same)
		u[feature.PageOrdered].Learn(p.N-1, p.Sorted, p.Ordered)
		u[feature.PageSlow].Learn(p.N-1, p.Tardy, p.Slow)
	}
	u[feature.PageUnowned].Learn(0, 0, in.Unowned)
}

// learnActor teaches what people do in a role.
func learnActor(in *feature.Input) {
	st, u := &in.ActorStep, &in.Site.Urns[in.Role]
	if st.N < 40 {
		a := in.ByActor
		u[feature.UrnChain].Learn(st.N, less(a.Chain, in.Chain), in.Chain)
		u[feature.UrnEdge].Learn(st.N, less(a.Edge, in.Edge), in.Edge)
		u[feature.UrnDirect].Learn(0, 0, in.Direct)
		u[feature.UrnUnowned].Learn(0, 0, in.Unowned)
		u[feature.UrnHold].Learn(st.N, less(a.Hold, in.Hold), in.Hold)
		if st.Known {
			u[feature.UrnFail].Learn(st.N, st.Fail, st.Failed)
		}
		if st.N > 0 {
			u[feature.UrnSwitch].Learn(st.N-1, less(a.Switch, st.Switched), st.Switched)
			u[feature.UrnMove].Learn(st.N-1, less(a.Move, st.Moved), st.Moved)
			quick := st.Gap >= 0 && st.Gap < 2000
			u[feature.UrnQuick].Learn(st.N-1, less(a.Quick, quick), quick)
			if in.Secret != 0 && st.Switched {
				u[feature.UrnReused].Learn(0, 0, reused(in))
			}
			if in.Secret != 0 && !st.Switched {
				u[feature.UrnSecret].Learn(st.N-1, less(a.NewSecret, st.Changed), st.Changed)
			}
		}
		if in.Resolution.Familiarity != actor.Unknown {
			u[feature.UrnStrange].Learn(st.N, less(a.Strange, in.Strange), in.Strange)
		}
		if in.Resolution.Familiarity == actor.Familiar && st.Known {
			in.Site.FamiliarFail[in.Role].Add(st.Failed)
		}
	}
	if st.Tries < 60 {
		in.Site.Reach[in.Role].Learn(int(st.Tries))
	}
}

// learnOthers teaches whom programs, objects and groups see in a role.
func (s *Set) learnOthers(in *feature.Input) {
	u := &in.Site.Urns[in.Role]
	if in.ByTool != nil && in.ToolStep.NewSession {
		n := sessionsBefore(in.ByTool)
		in.Site.Unowned[in.Role][min(n, 7)].Add(s.obs.Unowned())
	}
	if in.ByGroup != nil && in.Novel && in.GroupStep.NewUser {
		in.Site.Fashion[in.Role].Learn(usersBefore(in.ByGroup))
	}
	if st := &in.ObjectStep; st.Visit {
		in.Site.Newcomers[in.Role].Add(st.Stranger)
		u[feature.UrnObjectFresh].Learn(st.Firsts, st.Fresh, st.Stranger)
	}
	if st := &in.GroupStep; st.Visit {
		u[feature.UrnGroupFresh].Learn(st.Firsts, st.Fresh, st.Stranger)
	}
	if g := in.ByGroup; g != nil && in.GroupStep.Known && in.GroupStep.N < 40 {
		in.Site.GroupFail[in.Role].Learn(in.GroupStep.N, in.GroupStep.Fail, in.GroupStep.Failed)
	}
	if o := in.ByObject; o != nil && in.ObjectStep.N < 40 {
		st := &in.ObjectStep
		if st.Known {
			u[feature.UrnObjectFail].Learn(st.N, st.Fail, st.Failed)
		}
		if st.NewUser {
			in.Site.Spread[in.Role].Learn(usersBefore(o))
		}
	}
}

// crowded says that the actor goes the way of a crowd that is there now.
func crowded(in *feature.Input) bool {
	for i := range in.Crowd {
		if in.Crowd[i].Nats > 0 {
			return true
		}
	}
	return false
}

func usersBefore(s *feature.Stats) int { return max(0, s.Users.Bits()-1) }

func sessionsBefore(s *feature.Stats) int { return max(0, s.Sessions.Bits()-1) }

// less is a count before the running event, where that was by one.
func less(n uint16, by bool) uint16 {
	if by && n > 0 {
		return n - 1
	}
	return n
}
