package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// oat018 recognises footprinting: many distinct paths that do not exist, or
// that nobody else asks for.
//
// Blind spots: reading the application's own client code; one missing path per
// address where no header order is known.
type oat018 struct{}

func (oat018) Facts() Facts {
	return Facts{
		Threat: "OAT-018", Name: "Footprinting",
		Parts:     []string{"missing_paths", "rare_paths", "quick_pages", "probe_paths", "crowd_of_addresses"},
		Strongest: event.ActionBlock, Compares: "the share of unknown paths among the paths that this site's visitors ask for",
		Verb: "asked for paths that do not exist",
	}
}

func (oat018) Observe(o *Observation) {
	in := o.In
	p, c := &in.Page, in.Conduct
	if !p.Page || !p.New {
		return
	}
	if in.Refused {
		// What an enforcer has answered tells only whether anybody knows the route.
		if in.ByTool != nil && in.RouteStats.Requests == 0 && p.Fresh >= 2 {
			alone, want := o.Page(feature.PageMissing, 0, 0, true, 9)
			o.Tally(Tool, 0, min(alone, 1500), true, want)
		}
		return
	}
	if !p.Missing && !o.Watches(Actor) && (in.ByTool == nil || !o.Watches(Tool)) {
		return
	}
	nats, want := o.Page(feature.PageMissing, p.Fresh, p.Lost, p.Missing, 9)
	if p.Missing && !in.Stray {
		nats /= 4 // an article that is gone
	}
	if p.Fresh == 0 {
		nats = min(nats, 1200) // everybody mistypes an address once
	}
	o.Add(Actor, 0, nats, milli(c.MissingPaths), int32(min(2000, c.NewPaths))*want)
	if in.ByTool != nil && (p.Missing || o.Watches(Tool)) {
		alone, _ := o.Page(feature.PageMissing, 0, 0, p.Missing, 9)
		o.Tally(Tool, 0, min(alone, 2500), p.Missing, want)
	}
	if !p.Missing {
		return
	}
	crowdPart(o, 4, feature.WayMissing)
	if in.PathActors == 0 {
		o.Add(Actor, 1, 500, milli(c.RarePaths), int32(min(2000, c.NewPaths))*100)
		if in.ByTool != nil {
			o.Tally(Tool, 1, 500, true, 100)
		}
	}
	if in.Event.Payload&event.PayloadProbePath != 0 {
		o.Add(Actor, 3, 1500, milli(c.Attacks), 0)
	}
	if p.N > 0 && p.Quick {
		nats, want = o.Page(feature.PageQuick, p.N-1, p.Fast, true, 9)
		o.Add(Actor, 2, max(0, nats), milli(c.Quick), int32(min(2000, c.Pages))*want)
	}
}

func (oat018) Cap(o *Observation, s Subject) (event.Action, string) {
	c := o.In.Conduct
	act, why := webCap(o, s, c.StrayPaths >= 5, c.StrayPaths >= 40, "fewer than 5 missing paths: dead links")
	if s == Actor && act < event.ActionChallenge && c.StrayPaths >= 15 && c.StrayPaths*2 >= c.NewPaths && o.borrowed() {
		act, why = event.ActionChallenge, "software that people use as well, and 15 missing paths, most of what it asked for"
	}
	return orCrowd(o, s, feature.WayMissing, act, why)
}
