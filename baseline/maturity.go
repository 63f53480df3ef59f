package baseline

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Maturity says how much history stands behind the verdicts about a site, in
// the words that they carry; "" for a site that sent nothing yet. Like all of
// an Engine it is for the engine's own goroutine.
func (e *Engine) Maturity(name string) string {
	s := e.sites[name]
	if s == nil {
		return ""
	}
	return e.maturity(s, &feature.Input{Now: s.state.Clock, Sec: uint32(s.state.Clock / 1e9)})
}

// Bound is the false positive bound that a verdict of the threat and action
// about the site would carry now, and its kind, "model" or "empirical"; 0 and ""
// for an unknown site or threat.
func (e *Engine) Bound(name string, t verdict.Threat, a event.Action) (bound verdict.Nano, kind string) {
	s := e.sites[name]
	if s == nil {
		return 0, ""
	}
	for i := range e.set.Facts() {
		if e.set.Facts()[i].Threat == t {
			return claim(s.state, i, a)
		}
	}
	return 0, ""
}

func claim(s *feature.Site, detector int, a event.Action) (verdict.Nano, string) {
	nano, empirical := threat.FalsePositives(s, detector, a)
	if empirical {
		return verdict.Nano(nano), "empirical"
	}
	return verdict.Nano(nano), "model"
}
