package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// shared says that an actor stands for more than one person: several browsers
// or owners behind one identity. Detectors of plain requests then do not block.
func shared(in *feature.Input) bool {
	return in.Conduct.Owners.Bits() >= 3 || in.Resolution.OwnersOfJoint >= 8
}

// webCap is the structural cap of detectors that see plain requests.
func webCap(o *Observation, enough bool, why string) (event.Action, string) {
	switch {
	case !enough:
		return event.ActionObserve, why
	case shared(o.In):
		return event.ActionRateLimit, "several proved owners share this identity"
	}
	return event.ActionBlock, ""
}

// oat018 recognises footprinting: many distinct paths that do not exist, or
// that nobody else asks for.
//
// Blind spots: reading the application's own client code.
type oat018 struct{}

func (oat018) Facts() Facts {
	return Facts{
		Threat: "OAT-018", Name: "Footprinting",
		Parts:     []string{"missing_paths", "rare_paths", "quick_pages", "probe_paths"},
		Strongest: event.ActionBlock, Compares: "the share of unknown paths among the paths that this site's visitors ask for",
		Verb: "asked for paths that do not exist",
	}
}

func (oat018) Observe(o *Observation) {
	in := o.In
	p, c := &in.Page, in.Conduct
	if !p.Page || !p.New || in.Refused {
		return
	}
	nats, want := o.Page(feature.PageMissing, p.Fresh, p.Lost, p.Missing, 9)
	o.Add(Actor, 0, nats, milli(c.MissingPaths), int32(min(2000, c.NewPaths))*want)
	if !p.Missing {
		return
	}
	if in.PathActors == 0 {
		o.Add(Actor, 1, 500, milli(c.RarePaths), int32(min(2000, c.NewPaths))*100)
	}
	if in.Event.Payload&event.PayloadProbePath != 0 {
		o.Add(Actor, 3, 1500, milli(c.Attacks), 0)
	}
	if p.N > 0 && p.Quick {
		nats, want = o.Page(feature.PageQuick, p.N-1, p.Fast, true, 9)
		o.Add(Actor, 2, max(0, nats), milli(c.Quick), int32(min(2000, c.Pages))*want)
	}
}

func (oat018) Cap(o *Observation, _ Subject) (event.Action, string) {
	return webCap(o, o.In.Conduct.MissingPaths >= 5, "fewer than 5 missing paths: dead links")
}

// oat014 recognises vulnerability scanning: requests that carry attack payloads
// or tool marks, together with refusals and errors.
//
// Blind spots: scans of a copy of the application.
type oat014 struct{}

func (oat014) Facts() Facts {
	return Facts{
		Threat: "OAT-014", Name: "Vulnerability Scanning",
		Parts:     []string{"attack_payloads", "payload_classes", "errors", "tool_marks", "odd_methods"},
		Strongest: event.ActionBlock, Compares: "requests without attack payloads, and the site's own share of errors",
		Verb: "sent attack payloads",
	}
}

const attackClasses = event.PayloadTraversal | event.PayloadSQL | event.PayloadXSS | event.PayloadCommand |
	event.PayloadTemplate | event.PayloadProbePath | event.PayloadMalformed

func (oat014) Observe(o *Observation) {
	in := o.In
	e, c := in.Event, in.Conduct
	if in.Asset && e.Payload == 0 {
		return
	}
	attack := e.Payload&attackClasses != 0
	switch {
	case attack:
		o.Add(Actor, 0, 2300, milli(c.Attacks), 0)
		if e.Status >= 400 {
			o.Add(Actor, 2, 900, milli(c.NotFound+c.Denied+c.Rejected+c.Broken), 0)
		}
	case c.Attacks > 0:
		o.Add(Actor, 0, -500, milli(c.Attacks), 0)
	}
	if e.Payload&event.PayloadTool != 0 && c.Requests <= 3 {
		o.Add(Actor, 3, 1200, 1000, 0)
	}
	if classes := popcount(c.Classes & uint32(attackClasses)); attack && classes >= 2 {
		o.Add(Actor, 1, 400, milli(uint32(classes)), 0)
	}
	if c.Methods&64 != 0 && attack {
		o.Add(Actor, 4, 500, 1000, 0)
	}
}

func popcount(v uint32) int {
	n := 0
	for ; v != 0; v &= v - 1 {
		n++
	}
	return n
}

func (oat014) Cap(o *Observation, _ Subject) (event.Action, string) {
	c := o.In.Conduct
	return webCap(o, c.Attacks >= 4 && c.NewPaths >= 2, "fewer than 4 payloads on 2 paths: somebody who pasted something")
}

// oat015 recognises denial of service at the application: one actor that asks
// for the same costly thing again and again without pause.
//
// Blind spots: network floods.
type oat015 struct{}

func (oat015) Facts() Facts {
	return Facts{
		Threat: "OAT-015", Name: "Denial of Service",
		Parts:     []string{"quick_pages", "same_route", "bare_pages", "request_rate"},
		Strongest: event.ActionBlock, Compares: "the pace and variety of this site's visitors",
		Verb: "asked without pause",
	}
}

func (oat015) Observe(o *Observation) {
	in := o.In
	p, c := &in.Page, in.Conduct
	if !p.Page || p.N == 0 {
		return
	}
	pages := int32(min(2000, c.Pages))
	nats, want := o.Page(feature.PageQuick, p.N-1, p.Fast, p.Quick, 9)
	o.Add(Actor, 0, nats, milli(c.Quick), pages*want)
	nats, want = o.Page(feature.PageSame, p.N-1, p.Again, p.Same, 9)
	o.Add(Actor, 1, nats, milli(c.Same), pages*want)
	if in.Site.Roles[0]+1 > 0 && in.Event.Duration > 0 && p.Quick && c.Level > 20 {
		o.Add(Actor, 3, 400, milli(c.Level), 5000)
	}
	if c.Level > 25 && p.Quick {
		o.Add(Actor, 3, 300, milli(c.Level), 5000)
	}
}

func (oat015) Cap(o *Observation, _ Subject) (event.Action, string) {
	c := o.In.Conduct
	return webCap(o, c.Level >= 20 && c.Assets*4 < c.Pages, "a burst of fewer than 20 requests, or one with sub-resources")
}

// oat011 recognises scraping: one document after the other, each new, without
// sub-resources, evenly paced, or in the order of their numbers.
//
// Blind spots: a page per identity at a human pace.
type oat011 struct{}

func (oat011) Facts() Facts {
	return Facts{
		Threat: "OAT-011", Name: "Scraping",
		Parts:     []string{"new_documents", "bare_pages", "ordered_items", "quick_pages", "even_pace"},
		Strongest: event.ActionBlock, Compares: "how this site's visitors read: revisits, sub-resources, order, pace",
		Verb: "read one document after the other",
	}
}

func (oat011) Observe(o *Observation) {
	in := o.In
	p, c := &in.Page, in.Conduct
	if !p.Page || p.N == 0 || p.Missing || in.Event.Method != "GET" {
		return
	}
	pages := int32(min(2000, c.Pages))
	nats, want := o.Page(feature.PageNew, p.N-1, p.Fresh-1, p.New, 19)
	o.Add(Actor, 0, nats, milli(c.NewPaths), pages*want)
	nats, want = o.Page(feature.PageBare, p.N-1, p.Naked, p.Bare, 9)
	o.Add(Actor, 1, nats, milli(c.Bare), pages*want)
	nats, want = o.Page(feature.PageOrdered, p.N-1, p.Sorted, p.Ordered, 2)
	o.Add(Actor, 2, nats, milli(c.Ordered), pages*want)
	nats, want = o.Page(feature.PageQuick, p.N-1, p.Fast, p.Quick, 5)
	o.Add(Actor, 3, nats, milli(c.Quick), pages*want)
	if c.Pages > 12 && c.GapMean > 0 && c.GapDeviation*5 < c.GapMean {
		o.Add(Actor, 4, 250, milli(c.GapDeviation), int32(min(2000000, c.GapMean)))
	}
}

func (oat011) Cap(o *Observation, _ Subject) (event.Action, string) {
	c := o.In.Conduct
	return webCap(o, c.NewPaths >= 20 && c.Assets*3 < c.Pages, "fewer than 20 documents, or sub-resources are loaded")
}
