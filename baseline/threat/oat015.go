package threat

import (
	"net/http"

	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// oat015 recognises denial of service at the application: one actor, or one
// program, that asks for the same costly thing again and again.
//
// Blind spots: network floods; logs without service times hide what is costly.
type oat015 struct{}

func (oat015) Facts() Facts {
	return Facts{
		Threat: "OAT-015", Name: "Denial of Service",
		Parts:     []string{"quick_pages", "same_route", "slow_documents", "request_rate", "unowned_software", "crowd_of_addresses"},
		Strongest: event.ActionBlock, Compares: "the pace, variety and cost of this site's visitors",
		Verb: "asked for costly things without pause",
	}
}

func (oat015) Observe(o *Observation) {
	in := o.In
	p, c := &in.Page, in.Conduct
	if !p.Page {
		return
	}
	if in.ByTool != nil && in.Event.Method == http.MethodGet && (p.Slow || o.Watches(Tool)) {
		alone, want := o.Page(feature.PageSlow, 0, 0, p.Slow, 9)
		o.Tally(Tool, 2, min(1500, alone), p.Slow, want)
		if p.Slow {
			toolPart(o, 4)
		}
	}
	if p.N == 0 || in.Refused {
		return
	}
	crowdPart(o, 5, feature.WayHammering)
	if !p.Quick && !p.Same && !p.Slow && o.spoken&(1<<Actor) == 0 && !o.Watches(Actor) {
		return
	}
	pages := int32(min(2000, c.Pages))
	nats, want := o.Page(feature.PageQuick, p.N-1, p.Fast, p.Quick, 9)
	o.Add(Actor, 0, nats, milli(c.Quick), pages*want)
	nats, want = o.Page(feature.PageSame, p.N-1, p.Again, p.Same, 9)
	o.Add(Actor, 1, nats, milli(c.Same), pages*want)
	if in.Event.Method == http.MethodGet {
		nats, want = o.Page(feature.PageSlow, p.N-1, p.Tardy, p.Slow, 9)
		o.Add(Actor, 2, nats, milli(c.Slow), pages*want)
	}
	switch {
	case c.Level > 20 && p.Quick:
		o.Add(Actor, 3, 400, milli(c.Level), 5000)
	case c.Level > 12 && p.Same && p.Bare && c.Same*2 > c.Pages:
		// More than one a second for a while, all for one route: a log's whole
		// seconds hide how quick they are.
		o.Add(Actor, 3, 350, milli(c.Level), 5000)
	}
}

func (oat015) Cap(o *Observation, s Subject) (event.Action, string) {
	c := o.In.Conduct
	enough := c.Level >= 20 && c.Assets*4 < c.Pages || c.Slow >= 5 && c.Slow*2 >= c.Pages
	if s == Actor && o.tabs() && c.NewPaths*2 >= c.Pages && c.Slow*2 < c.Pages {
		return event.ActionObserve, tabsAgain
	}
	act, why := webCap(o, s, enough, c.Level >= 60 || c.Slow >= 60, "a burst of fewer than 20 requests, or one with sub-resources")
	return orCrowd(o, s, feature.WayHammering, act, why)
}
