package feature

import (
	"strings"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// hello is the key of the event's TLS hello. In its row Users are the accounts at
// home that come with it, and browsers that are older than it (see returns), Groups
// those of them that did not come to the site when it did; Objects are the browsers
// that requests of software without owners name under it.
func (l *Layer) hello(in *Input) uint64 {
	return statsKey(SubjectHello, sketch.Join(in.Site.Key, sketch.HashString(in.Event.JA4)), event.RoleNone)
}

// hosts is how many accounts at home with a TLS hello say something of whose it is, and
// few how many owners of a program vouch for nothing where its hello was taught.
const (
	hosts = 4
	few   = 2
)

// greet remembers when a TLS hello was first seen, and whose it is.
func (l *Layer) greet(in *Input) {
	s := l.stat(l.hello(in), in.Sec)
	if s.First == 0 {
		s.First = in.Sec
	}
	s.Last = in.Sec
	if in.Resolution.Familiarity != actor.Familiar {
		return
	}
	s.Users.Add(in.Identity.Own)
	if l.Resolver.Independent(in.SiteIndex, in.Identity.Own, s.First) {
		s.Groups.Add(in.Identity.Own)
	}
}

// greeted is what is known of the event's TLS hello, or nil.
func (l *Layer) greeted(in *Input) *Stats {
	if in.Event.JA4 == "" {
		return nil
	}
	return l.stats.Find(l.hello(in))
}

// taught says that the accounts at home with a TLS hello are several, and nearly all
// came to the site when it did, or most of twice as many: that is how aged accounts
// teach a site a program. Whoever is at home with it himself is spared what follows.
func taught(in *Input, s *Stats) bool {
	if s == nil || in.Resolution.Familiarity == actor.Familiar || in.Identity.Home != 0 {
		return false
	}
	users, others := s.Users.Bits(), s.Groups.Bits()
	return users >= hosts && others*4 < users || users >= 2*hosts && others*2 < users
}

// Foreign says that no account at home comes with the event's TLS hello, or only such
// as have taught it: whatever browser the request names, another program has sent it.
func (l *Layer) Foreign(in *Input) bool {
	if in.Event.JA4 == "" {
		return false
	}
	s := l.greeted(in)
	return s == nil || s.Users == 0 || taught(in, s)
}

// name finds what the event's program is known by: its fingerprint, or its hello
// where it claims to be a browser and that is nobody's at home, or was taught.
func (l *Layer) name(in *Input) {
	e := in.Event
	f := uint64(e.Keys[event.KindFingerprint])
	if f == 0 {
		return
	}
	in.Tool = sketch.Join(in.Site.Key, f)
	if !in.Unowned || !in.Mature || e.JA4 == "" || !strings.HasPrefix(e.UserAgent, "Mozilla/") || Declared(e.UserAgent) {
		return
	}
	s := l.stat(l.hello(in), in.Sec)
	if s.First == 0 {
		s.First = in.Sec
	}
	l.returns(in, s)
	s.Objects.Add(agentName(e.UserAgent))
	if s.Users != 0 && !taught(in, s) {
		return
	}
	in.Tool, in.Hello = sketch.Join(in.Site.Key, sketch.HashString(e.JA4)), true
	in.Masked = s.Objects.Bits() >= 2
}

// returns counts a browser among those at home with its hello where it has been here a
// day longer than the hello: browsers get new versions overnight, and bring the cookies
// that they had. A script has none that are older than itself.
func (l *Layer) returns(in *Input, s *Stats) {
	const day = 86400
	k := &in.Event.Keys
	for _, of := range [...]struct {
		t actor.Type
		v event.Hash
	}{{actor.Device, k[event.KindDevice]}, {actor.Session, k[event.KindSession]}} {
		if since := l.Resolver.Since(in.SiteIndex, of.t, uint64(of.v)); since != 0 && since+day <= s.First {
			s.Users.Add(uint64(of.v))
			s.Groups.Add(uint64(of.v))
			return
		}
	}
}

// agentName names a program without its version: the user agent without digits.
func agentName(agent string) uint64 {
	var h uint64
	for i := 0; i < len(agent); i++ {
		from := i
		for i < len(agent) && (agent[i] < '0' || agent[i] > '9') {
			i++
		}
		if from < i {
			h = sketch.Hash(h, agent[from:i])
		}
	}
	return h
}
