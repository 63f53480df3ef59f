package feature

import (
	"strings"

	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// hello is the key of the event's TLS hello. In its row Users are the accounts at
// home that come with it; Objects are the browsers that requests of
// software without owners name under it.
func (l *Layer) hello(in *Input) uint64 {
	return statsKey(SubjectHello, sketch.Join(in.Site.Key, sketch.HashString(in.Event.JA4)), event.RoleNone)
}

// Foreign says that no account at home comes with the event's TLS hello: whatever
// browser the request names, another program has sent it.
func (l *Layer) Foreign(in *Input) bool {
	if in.Event.JA4 == "" {
		return false
	}
	s := l.stats.Find(l.hello(in))
	return s == nil || s.Users == 0
}

// name finds what the event's program is known by: its fingerprint, or its hello
// where it claims to be a browser and no account at home comes with that.
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
	s.Objects.Add(agentName(e.UserAgent))
	if s.Users != 0 {
		return
	}
	in.Tool, in.Hello = sketch.Join(in.Site.Key, sketch.HashString(e.JA4)), true
	in.Masked = s.Objects.Bits() >= 2
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
