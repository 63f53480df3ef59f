package threat

import (
	"net/http"

	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// oat011 recognises scraping: one document after the other, each new, without
// sub-resources, evenly paced, or in the order of their numbers; by one actor,
// or by one program at many addresses.
//
// Blind spots: a page per identity at a human pace with a real browser.
type oat011 struct{}

func (oat011) Facts() Facts {
	return Facts{
		Threat: "OAT-011", Name: "Scraping",
		Parts:     []string{"new_documents", "bare_pages", "ordered_items", "quick_pages", "even_pace", "unowned_software", "crowd_of_addresses", "user_agents"},
		Strongest: event.ActionBlock, Compares: "how this site's visitors read: revisits, sub-resources, order, pace",
		Verb: "read one document after the other",
	}
}

// crammed is how many new documents one after the other, within two seconds each, are
// more than anybody's tabs.
const crammed = 60

func (oat011) Observe(o *Observation) {
	in := o.In
	p, c := &in.Page, in.Conduct
	if !p.Page || p.Missing && !p.Ordered || in.Event.Method != http.MethodGet {
		return
	}
	if in.ByTool != nil && !in.Chain {
		toolReads(o)
	}
	rush := p.N > 0 && p.New && in.Site.Headers != 0 && c.NewPaths > crammed && c.GapMean < 2000
	if rush {
		// Where each page is one call for data there is nothing else to see.
		o.Add(Actor, 0, 300, milli(c.NewPaths), milli(crammed))
	}
	if p.N == 0 || in.Refused {
		return
	}
	if !p.New && !o.Watches(Actor) {
		return
	}
	pages := int32(min(2000, c.Pages))
	nats, want := o.Page(feature.PageNew, p.N-1, p.Fresh-1, p.New, 19)
	if in.Naked && p.New && !in.NewApp() {
		// Who loads nothing and reads on: how many visits read as many?
		on := in.Site.Reach[event.RoleNone][min(p.N-1, 15)].Share()
		nats += sketch.LnRatio(980000, uint64(min(on, 980000)))
	}
	o.Add(Actor, 0, nats, milli(c.NewPaths), pages*want)
	if !p.New {
		return // polling the same few documents is not reading them all
	}
	crowdPart(o, 6, feature.WayReading)
	if in.Rotates && in.Naked {
		o.Add(Actor, 7, 700, milli(c.Agents.Count()), 1000)
	}
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

// toolReads is the program's case: its pages one by one, without the past of
// each actor.
func toolReads(o *Observation) {
	in := o.In
	p := &in.Page
	if !p.Bare && !p.Ordered && !in.Unowned && !o.Watches(Tool) {
		return
	}
	if p.N > 0 {
		nats, want := o.Page(feature.PageBare, 0, 0, p.Bare, 9)
		o.Tally(Tool, 1, min(nats, 800), p.Bare, want)
		nats, want = o.Page(feature.PageOrdered, 0, 0, p.Ordered, 2)
		if in.Masked {
			nats = max(nats, 0) // to read in no order is no alibi for a script
		}
		o.Tally(Tool, 2, min(nats, 1500), p.Ordered, want)
	}
	u := feature.UrnUnowned
	if in.Role == event.RoleNone {
		u = feature.PageUnowned
	}
	// An odd browser is no scraper: software counts once a visit reads on without
	// what its pages refer to.
	softwarePart(o, 5, u, p.N == 1 && p.Bare && (in.ToolStep.NewSession || in.ToolStep.NewClient))
}

func (d oat011) Cap(o *Observation, s Subject) (event.Action, string) {
	c := o.In.Conduct
	act, why := d.alone(o, s)
	if s == Actor && act > event.ActionObserve && o.tabs() && c.NewPaths < 60 && c.GapMean < 1000 {
		act, why = event.ActionObserve, tabsAgain
	}
	if s == Actor && act > event.ActionChallenge && !o.Mature() && o.In.Site.Headers != 0 && c.NewPaths < 40 {
		act, why = event.ActionChallenge, "a young site, and fewer than 40 documents: somebody may open so many tabs"
	}
	if s == Actor && act < event.ActionChallenge && o.In.Naked && c.NewPaths*2 >= c.Pages && !o.In.NewApp() {
		switch {
		case c.NewPaths >= 25:
			act, why = event.ActionChallenge, "25 documents, and neither a sub-resource nor a referer where others show both"
		case o.In.Rotates && c.NewPaths >= 8 && c.Agents.Bits() >= 4:
			act, why = event.ActionChallenge, "one address under ever new user agents"
		}
	}
	return orCrowd(o, s, feature.WayReading, act, why)
}

// alone is the cap of what an actor does by itself.
func (oat011) alone(o *Observation, s Subject) (event.Action, string) {
	c := o.In.Conduct
	if s == Actor && feature.Declared(o.In.Event.UserAgent) && c.Level < 20 && c.Attacks == 0 {
		// Without look-up data nobody can tell a search engine from who borrows
		// its name; at this pace neither does harm.
		return event.ActionObserve, "a declared crawler at a modest pace, its address not verified"
	}
	fresh := c.NewPaths >= 20 && c.NewPaths*2 >= c.Pages
	machine := c.Quick*3 >= c.Pages || c.Ordered*3 >= c.Pages || c.GapMean > 0 && c.GapDeviation*5 < c.GapMean || c.GapMean < 3000
	fresh = fresh && c.Assets*3 < c.Pages
	if s == Actor && fresh && !machine && o.In.Site.Headers == 0 && c.Referred*2 >= c.Pages && c.NewPaths < 1000 {
		return event.ActionObserve, "a person's pace from page to page: a log cannot tell a desk's work"
	}
	if s == Actor && fresh && !machine && c.NewPaths < 100 && !known(o.In) {
		if !o.Mature() || o.In.Identity.Own != 0 {
			return event.ActionObserve, "a person's pace and no order: it may be somebody's work"
		}
		if act, why := webCap(o, s, fresh, false, ""); act < event.ActionChallenge {
			return act, why
		}
		return event.ActionChallenge, "a person's pace and no order"
	}
	return webCap(o, s, fresh, c.NewPaths >= 200, "fewer than 20 documents, or sub-resources are loaded")
}
