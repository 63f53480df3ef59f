package flow

import (
	"sync/atomic"

	"github.com/weirproject/weir/stream/event"
)

// Live is an Extractor that can be replaced while exchanges are under way: an
// exchange is completed by the extractor that began it, so that a reload never
// reads an answer by another map, or under another key, than its request. It is
// safe for concurrent use.
type Live struct{ current atomic.Pointer[Extractor] }

// NewLive returns a Live that works with e.
func NewLive(e *Extractor) *Live {
	l := &Live{}
	l.current.Store(e)
	return l
}

// Extractor returns the one in force: the next one's Config.Inherit.
func (l *Live) Extractor() *Extractor { return l.current.Load() }

// Swap puts another extractor in force for all exchanges that begin from now on.
func (l *Live) Swap(e *Extractor) { l.current.Store(e) }

// Needs is Extractor.Needs.
func (l *Live) Needs(site, method, target string) Needs {
	return l.current.Load().Needs(site, method, target)
}

// Begin is Extractor.Begin.
func (l *Live) Begin(x *Exchange, ev *event.Event) {
	x.by = l.current.Load()
	x.by.Begin(x, ev)
}

// End is Extractor.End of the extractor that began x.
func (l *Live) End(x *Exchange, ev *event.Event) {
	by := x.by
	if by == nil {
		by = l.current.Load()
	}
	by.End(x, ev)
}
