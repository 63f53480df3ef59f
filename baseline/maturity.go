package baseline

import "github.com/weirproject/weir/baseline/feature"

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
