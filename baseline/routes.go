package baseline

import "github.com/weirproject/weir/baseline/route"

// Suggest proposes what a site's endpoints mean, with reasons, for a person to
// check; route.WriteFlowMap writes it as a flow map.
func (e *Engine) Suggest(site string) []route.Suggestion {
	if s := e.sites[site]; s != nil {
		return s.routes.Suggest()
	}
	return nil
}
