package feature

import (
	"unsafe"

	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// What an event needs lies at random places, so it is asked for as soon as its
// name is known, and read when the rest of the event is done. None of this changes
// anything.

// HintPath asks the processor for the row of a path.
func (l *Layer) HintPath(s *Site, path uint64) { l.paths.Hint(sketch.Join(s.Key, path) | 1) }

// HintActor asks for the conduct of the actor at an index.
func (l *Layer) HintActor(a uint32) { l.conduct.Hint(int(a), 1) }

// hint asks for the places of the statistics about what the event is about.
func (l *Layer) hint(in *Input) {
	in.keys = [SubjectPlace]uint64{}
	if in.Asset {
		return
	}
	if f := in.Event.Keys[event.KindFingerprint]; f != 0 && in.Site.Headers != 0 {
		l.name(in, SubjectTool, sketch.Join(in.Site.Key, uint64(f)))
	}
	if in.Role == event.RoleNone {
		return
	}
	if in.Object != 0 {
		l.name(in, SubjectObject, sketch.Join(in.Site.Key, in.Object))
	}
	if in.Group != 0 {
		l.name(in, SubjectGroup, sketch.Join(in.Site.Key, in.Group))
	}
}

func (l *Layer) name(in *Input, s Subject, id uint64) {
	in.keys[s] = statsKey(s, id, in.Role)
	l.stats.Hint(in.keys[s])
}

// hintActor asks for the place of the actor's.
func (l *Layer) hintActor(in *Input) {
	if !in.Asset && in.Role != event.RoleNone {
		l.name(in, SubjectActor, in.Identity.ID)
	}
}

// hintValues asks for the statistics themselves, whose places have come.
func (l *Layer) hintValues(in *Input) {
	for _, k := range in.keys {
		if k != 0 {
			l.stats.HintValue(k, int(unsafe.Sizeof(Stats{})))
		}
	}
}
