package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// oat004 recognises fingerprinting: a few requests that only tell what software
// runs here. Known paths of products that are missing, methods that no page
// uses, and the program that sends them from many addresses, one or two each.
//
// Blind spots: passive fingerprinting; a single ordinary request.
type oat004 struct{}

func (oat004) Facts() Facts {
	return Facts{
		Threat: "OAT-004", Name: "Fingerprinting",
		Parts:     []string{"product_paths", "odd_methods", "first_requests", "tool_marks", "crowd_of_addresses"},
		Strongest: event.ActionBlock, Compares: "requests for paths and methods that this site's visitors use",
		Verb: "asked for paths that only tell which software runs here",
	}
}

func (oat004) Observe(o *Observation) {
	in := o.In
	e, c := in.Event, in.Conduct
	if !in.Page.Page || in.Refused {
		return
	}
	probe := e.Payload&event.PayloadProbePath != 0 && in.Attack != feature.NoAttack && in.PathNew
	odd := oddMethod(e.Method) && e.Status >= 400
	if !probe && !odd {
		if (c.Attacks > 0 || in.ByTool != nil) && o.Watches(Actor) {
			o.Add(Actor, 0, -400, milli(c.Attacks), 0)
		}
		if in.ByTool != nil && o.Watches(Tool) {
			o.Tally(Tool, 0, -400, false, 0)
		}
		return
	}
	crowdPart(o, 4, feature.WayProbing)
	if probe {
		o.Add(Actor, 0, 2200, milli(c.Attacks), 0)
	}
	if odd {
		o.Add(Actor, 1, 2600, 1000, 0)
	}
	if c.Requests <= 2 {
		o.Add(Actor, 2, 900, milli(c.Requests), 0)
	}
	if e.Payload&event.PayloadTool != 0 {
		o.Add(Actor, 3, 800, 1000, 0)
	}
	if in.ByTool != nil {
		o.Tally(Tool, 0, 2000, true, 0)
		if in.ToolStep.NewClient {
			o.Add(Tool, 2, 500, milli(in.ByTool.Clients.Count()), 0)
		}
	}
}

// oddMethod: methods that browsers and usual interfaces never send.
func oddMethod(m string) bool {
	switch m {
	case "", "GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS":
		return false
	}
	return true
}

func (oat004) Cap(o *Observation, s Subject) (event.Action, string) {
	c := o.In.Conduct
	act, why := webCap(o, s, c.AttackPaths >= 3 || c.Methods&64 != 0 && c.AttackPaths >= 1, c.AttackPaths >= 40, "fewer than 3 product paths: a wrong address")
	return orCrowd(o, s, feature.WayProbing, act, why)
}
