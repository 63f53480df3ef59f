package feature

import (
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// Stats is what one subject (an actor, an object, a fingerprint ...) has done
// in one role in the running episode: the state of every sequential test.
// Counters saturate at 65535.
type Stats struct {
	// Objects counts what was tried (accounts, cards, coupons, items), Clients,
	// Prints and Sessions from where, Secrets the distinct secrets. Groups
	// belongs to TLS hellos: see Layer.hello.
	Objects, Clients, Prints, Sessions, Secrets, Groups sketch.Distinct
	// Users counts who did it: accounts where they are proved, else sessions, else
	// addresses; contexts that an account knows are not counted.
	Users sketch.Distinct
	// Pending is a holder who has not been asked after yet, since PendingAt seconds:
	// see Step.Visit.
	Pending uint64
	// First and Last are in seconds, LastMilli the low half of Unix milliseconds.
	First, Last, LastMilli                        uint32
	LastObject, LastClient, LastPrint, LastSecret uint32
	PendingAt                                     uint32
	// GapMean and GapDeviation describe the gaps, milliseconds.
	GapMean, GapDeviation uint32
	// N counts attempts that the application answered; Fail and Success their
	// outcomes; Switch changes of object, Move changes of both address and
	// fingerprint, Strange attempts from a context that the account does not
	// know, Repeat a return to the object before, Quick gaps under two seconds,
	// Refused attempts that an enforcer answered, Streak failures in a row.
	N, Fail, Success, Switch, Move, Strange, Repeat, Quick, Refused, Streak uint16
	// NewSecret counts a changed secret on an unchanged object.
	NewSecret uint16
	// Settled is how many completions a test has counted already.
	Settled uint16
	// Chain, Edge, Direct, Unowned and Hold count what their urns are about.
	Chain, Edge, Direct, Unowned, Hold uint16
	// Firsts counts visitors by their first attempt in the role, Fresh those of whom
	// nothing is known: see Step.Visit. PendingFresh is 1 for such a Pending.
	Firsts, Fresh, PendingFresh uint16
	// Earlier counts the secrets of an account's earlier days beyond the first of each:
	// see Step.Overnight.
	Earlier uint16
	_       [3]uint16
}

// Step is how one attempt differs from the ones before; made before the attempt
// is counted.
type Step struct {
	// N (answered), Fail and Tries (answered or refused), Firsts and Fresh as before
	// the attempt.
	N, Fail, Tries, Firsts, Fresh uint16
	// Failed is the outcome; Known says that there is one.
	Failed, Known bool
	// Switched: another object than before; Moved: another address and another
	// fingerprint within the hour; NewObject: one never tried in the episode.
	Switched, Moved, NewObject bool
	// Changed: the same object with another secret.
	Changed bool
	// Stale: the same object was tried with the same secret before: a client that
	// has an old password, not somebody who guesses.
	Stale bool
	// Overnight: an account's first attempt of a UTC day, after one that failed. Secrets
	// of two days are hashed with different keys, so it may well be the same old one.
	Overnight bool
	// Gap is the time since the last attempt in milliseconds, -1 for the first.
	Gap int64
	// NewUser: somebody whom Users does not have yet.
	NewUser bool
	// Visit: the event tells of one more visitor, Stranger: one of whom nothing is
	// known. That is the actor itself at its first attempt in the role. Where goods
	// are held it is somebody who held some a quarter of an hour ago or more, and
	// whoever has paid since is no stranger. For an account it is whoever tries it
	// from a context that it does not know, a stranger who is refused a new secret.
	Visit, Stranger bool
	// NewClient and NewSession: not seen before in the episode of this subject.
	NewClient, NewSession bool
}

func inc(c *uint16, by bool) {
	if by && *c < 65535 {
		*c++
	}
}

// resetIf starts a new episode after that much silence.
func (s *Stats) resetIf(now, silence uint32) {
	if s.N+s.Refused > 0 && now-min(now, s.Last) > silence {
		*s = Stats{}
	}
}

// overnight begins a day of an account's row: what was tried the day before cannot
// be compared.
func (s *Stats) overnight(in *Input) bool {
	const day = 86400
	if in.Role != event.RoleLogin || in.Secret == 0 || s.N+s.Refused == 0 || s.Last/day == in.Sec/day {
		return false
	}
	s.Earlier = uint16(min(65535, int(s.Earlier)+max(0, s.Secrets.Bits()-1)))
	s.Secrets = 0
	return s.Streak > 0
}

// step compares an attempt with the ones before.
func (s *Stats) step(in *Input) Step {
	e := in.Event
	st := Step{Firsts: s.Firsts, Fresh: s.Fresh, N: s.N, Fail: s.Fail, Tries: uint16(min(65535, uint32(s.N)+uint32(s.Refused))), Known: in.Outcome != event.OutcomeNone, Failed: in.Outcome == event.OutcomeFailure, Gap: -1}
	object, client := uint32(in.Object), uint32(e.Keys[event.KindClient])
	software, session := uint32(e.Keys[event.KindFingerprint]), uint32(in.Session)
	if s.N+s.Refused > 0 {
		st.Gap = int64(in.Milli - s.LastMilli)
		if in.Sec-min(in.Sec, s.Last) > 1<<21 || int32(in.Milli-s.LastMilli) < 0 {
			st.Gap = int64(in.Sec-min(in.Sec, s.Last)) * 1000
		}
		st.Switched = in.Object != 0 && s.LastObject != object
		st.Moved = st.Gap < 3600000 && s.LastPrint != software && s.LastClient != client
		st.Changed = in.Secret != 0 && in.Object != 0 && s.LastObject == object && s.LastSecret != uint32(in.Secret)
	}
	b := &in.bits
	st.NewUser = in.User != 0 && s.Users&b.user == 0
	st.Stale = in.Secret != 0 && in.Object != 0 && s.Secrets&b.secret != 0 && s.Secrets.Bits() < 40
	st.NewObject = in.Object != 0 && s.Objects&b.object == 0
	st.NewClient = s.Clients&b.client == 0
	st.NewSession = session != 0 && s.Sessions&b.session == 0
	return st
}

// count folds the attempt in.
func (s *Stats) count(in *Input, st *Step) {
	e := in.Event
	if s.N+s.Refused == 0 {
		s.First = in.Sec
	}
	if in.Refused {
		inc(&s.Refused, true)
	} else {
		inc(&s.N, true)
		inc(&s.Fail, st.Failed)
		inc(&s.Success, in.Outcome == event.OutcomeSuccess)
		if inc(&s.Streak, st.Failed); in.Outcome == event.OutcomeSuccess {
			s.Streak = 0
		}
	}
	inc(&s.Switch, st.Switched)
	inc(&s.Move, st.Moved)
	inc(&s.Strange, in.Strange)
	inc(&s.Repeat, s.N > 1 && in.Object != 0 && !st.NewObject)
	inc(&s.Quick, st.Gap >= 0 && st.Gap < 2000)
	inc(&s.NewSecret, st.Changed)
	inc(&s.Chain, in.Chain)
	inc(&s.Edge, in.Edge)
	inc(&s.Direct, in.Direct)
	inc(&s.Unowned, in.Unowned)
	inc(&s.Hold, in.Hold)
	inc(&s.Firsts, st.Visit)
	inc(&s.Fresh, st.Stranger)
	b := &in.bits
	if in.Object != 0 {
		s.Objects |= b.object
		s.LastObject = uint32(in.Object)
	}
	if in.User != 0 {
		s.Users |= b.user
	}
	if in.Secret != 0 {
		s.Secrets |= b.secret
		s.LastSecret = uint32(in.Secret)
	}
	if in.Session != 0 {
		s.Sessions |= b.session
	}
	s.Clients |= b.client
	s.Prints |= b.print
	s.LastClient, s.LastPrint = uint32(e.Keys[event.KindClient]), uint32(e.Keys[event.KindFingerprint])
	if st.Gap >= 0 {
		gap := uint32(min(st.Gap, 86400000))
		if s.GapMean == 0 {
			s.GapMean, s.GapDeviation = gap, gap/2
		} else {
			dev := max(gap, s.GapMean) - min(gap, s.GapMean)
			s.GapMean += gap/8 - s.GapMean/8
			s.GapDeviation += dev/8 - s.GapDeviation/8
		}
	}
	s.Last, s.LastMilli = in.Sec, in.Milli
}

// merge adds the attempts of another subject that turned out to be the same.
func (s *Stats) merge(o *Stats) {
	s.Objects |= o.Objects
	s.Clients |= o.Clients
	s.Prints |= o.Prints
	s.Sessions |= o.Sessions
	s.Secrets |= o.Secrets
	s.Users |= o.Users
	for _, p := range []struct {
		to   *uint16
		from uint16
	}{
		{&s.N, o.N},
		{&s.Fail, o.Fail},
		{&s.Success, o.Success},
		{&s.Switch, o.Switch},
		{&s.Move, o.Move},
		{&s.Strange, o.Strange},
		{&s.Repeat, o.Repeat},
		{&s.Quick, o.Quick},
		{&s.Refused, o.Refused},
		{&s.NewSecret, o.NewSecret},
		{&s.Chain, o.Chain},
		{&s.Edge, o.Edge},
		{&s.Direct, o.Direct},
		{&s.Unowned, o.Unowned},
		{&s.Hold, o.Hold},
		{&s.Firsts, o.Firsts},
		{&s.Fresh, o.Fresh},
	} {
		*p.to = uint16(min(65535, uint32(*p.to)+uint32(p.from)))
	}
	if s.First == 0 || o.First != 0 && o.First < s.First {
		s.First = o.First
	}
	if o.Last > s.Last {
		s.Last, s.LastMilli = o.Last, o.LastMilli
		s.LastObject, s.LastClient, s.LastPrint, s.LastSecret = o.LastObject, o.LastClient, o.LastPrint, o.LastSecret
	}
}
