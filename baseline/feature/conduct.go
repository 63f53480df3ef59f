package feature

import (
	"net/http"

	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// episodeSeconds of silence end an episode: counts start again.
const episodeSeconds = 6 * 3600

// Conduct is what one actor does over all of its requests in the running
// episode. Counters saturate.
type Conduct struct {
	// Paths holds the paths it has asked for.
	Paths sketch.Bloom
	// Sessions, Agents and Clients count distinct values.
	Sessions, Agents, Clients sketch.Distinct
	// Owners counts accounts that have succeeded from here.
	Owners sketch.Distinct
	// Begin and Last are in seconds; LastMilli is the low half of Unix
	// milliseconds, for gaps.
	Begin, Last, LastMilli uint32
	// Requests counts all, Pages documents, Assets their sub-resources.
	Requests, Pages, Assets, NewPaths uint32
	// NotFound counts 404 and 410, Denied 401, 403 and 407, Rejected the other 4xx,
	// Broken 5xx.
	NotFound, Denied, Rejected, Broken uint32
	// RarePaths counts paths that nobody else has been given an answer for.
	RarePaths uint32
	// MissingPaths counts distinct paths answered 404.
	MissingPaths uint32
	// Attacks counts requests with a payload class, Classes which.
	Attacks uint32
	// Ordered counts item ids that follow the one before by 1 to 3, or by as much as
	// that followed its own; LastItem is the one before.
	Ordered, LastItem uint32
	// GapMean and GapDeviation describe the gaps between pages, milliseconds.
	GapMean, GapDeviation uint32
	// Level is a leaky bucket: requests, leaking one per second.
	Level uint32
	// Open has one bit per detector that has a case about the actor.
	Open uint32
	// Proven: the episode was counted as clean.
	Proven uint32
	// LastStep is how much the last item id was above the one before it, 0 where it
	// was below or far away.
	LastStep uint32
	// Flagged has one bit per threat whose verdict is in force at rate_limit or
	// above.
	Flagged uint32
	// Referred counts requests that name this site or another as referer.
	Referred uint32
	Classes  uint32
	Methods  uint32
	// Quick counts pages within 300 ms of the one before, Bare pages without a
	// sub-resource since the one before, Same pages of the route before.
	Quick, Bare, Same uint32
	LastRoute         uint32
	AssetsBefore      uint32
	// Slow counts documents that took the server long, AttackPaths distinct
	// paths with a payload class, Strong payloads that nobody types by accident.
	Slow, AttackPaths, Strong uint32
	// StrayPaths counts distinct missing paths on routes that hardly ever answer:
	// not a dead link to an article that is gone.
	StrayPaths uint32
	// Home counts requests of an account in a place that it has known for long,
	// once per change of identity.
	Home uint32
	// LastSession is the low half of the session of the request before.
	LastSession, _ uint32
}

// PageStep is how a document request differs from the actor's ones before; N is
// the number of pages before it, the others count those before it too.
type PageStep struct {
	// Page: the event is a document request; the rest is valid only then.
	Page                                       bool
	New, Missing, Quick, Bare, Same, Ordered   bool
	N, Fresh, Lost, Fast, Naked, Again, Sorted uint16
	// Slow: it took the server at least half a second and four times the site's
	// mean; Tardy counts those before.
	Slow  bool
	Tardy uint16
}

func small(v uint32) uint16 { return uint16(min(v, 65535)) }

// note folds one request into the conduct.
func (c *Conduct) note(in *Input) {
	e := in.Event
	if c.Requests == 0 || in.Sec-min(in.Sec, c.Last) > episodeSeconds {
		flagged, open := c.Flagged, c.Open
		*c = Conduct{Begin: in.Sec, Last: in.Sec, LastMilli: in.Milli, Flagged: flagged, Open: open}
		in.Gap = -1
	}
	c.Requests++
	c.leak(in)
	c.Sessions.Add(uint64(e.Keys[event.KindSession]))
	c.Agents |= in.bits.print
	c.Clients |= in.bits.client
	c.Methods |= methodBit(e.Method)
	if e.RefererHost != "" {
		c.Referred++
	}
	in.PathNew = c.Paths.Add(in.Path)
	in.Attack = weigh(e)
	if in.Attack != NoAttack {
		c.Attacks++
		c.Classes |= uint32(e.Payload)
		add(&c.AttackPaths, in.PathNew)
		add(&c.Strong, in.Attack == StrongAttack)
	}
	in.Page = PageStep{
		Page: !in.Asset, N: small(c.Pages), Fresh: small(c.NewPaths), Lost: small(c.MissingPaths), Fast: small(c.Quick),
		Naked: small(c.Bare), Again: small(c.Same), Sorted: small(c.Ordered), New: in.PathNew, Tardy: small(c.Slow),
		Missing: in.PathNew && !in.Refused && (e.Status == 404 || e.Status == 410),
	}
	if in.PathNew {
		c.NewPaths++
	}
	if in.Asset {
		// One that is not there was guessed: no page refers to it.
		add(&c.Assets, in.Refused || e.Status < 400)
	} else {
		c.page(in)
	}
	if in.Item != 0 {
		c.order(in)
	}
	if !in.Refused {
		c.answer(in)
	}
	c.Last, c.LastMilli, c.LastSession = in.Sec, in.Milli, uint32(in.Session)
}

// maxStep is how far apart the ids of one catalogue may lie: many are not dense.
const maxStep = 10000

// order says whether the item's id follows those before.
func (c *Conduct) order(in *Input) {
	if in.ItemNumber == 0 {
		return
	}
	d := in.ItemNumber - c.LastItem // wraps where it is below
	if c.LastItem == 0 || d > maxStep {
		d = 0
	}
	if d != 0 && (d <= 3 || d == c.LastStep) {
		c.Ordered++
		in.Page.Ordered = true
	}
	if d != 0 || c.LastItem != in.ItemNumber {
		c.LastStep = d
	}
	c.LastItem = in.ItemNumber
}

func (c *Conduct) page(in *Input) {
	p := &in.Page
	if c.Pages > 0 {
		p.Quick = in.Gap >= 0 && in.Gap < 300
		p.Bare = c.Assets == c.AssetsBefore
		p.Same = c.LastRoute == uint32(in.Route)
	}
	c.Pages++
	add(&c.Quick, p.Quick)
	add(&c.Bare, p.Bare)
	add(&c.Same, p.Same)
	p.Slow = in.Event.Method == http.MethodGet && in.slow()
	add(&c.Slow, p.Slow)
	c.LastRoute, c.AssetsBefore = uint32(in.Route), c.Assets
	c.pace(in)
}

func add(c *uint32, by bool) {
	if by {
		*c++
	}
}

func (c *Conduct) leak(in *Input) {
	c.Level -= min(c.Level, in.Sec-min(in.Sec, c.Last))
	c.Level++
}

// pace follows the gaps between pages: mean and mean deviation over about eight.
func (c *Conduct) pace(in *Input) {
	if in.Gap < 0 {
		return
	}
	gap := uint32(min(in.Gap, 3600000))
	if c.GapMean == 0 {
		c.GapMean, c.GapDeviation = gap, gap/2
		return
	}
	dev := max(gap, c.GapMean) - min(gap, c.GapMean)
	c.GapMean += gap/8 - c.GapMean/8
	c.GapDeviation += dev/8 - c.GapDeviation/8
}

func (c *Conduct) answer(in *Input) {
	e := in.Event
	switch s := e.Status; {
	case s == 404 || s == 410:
		c.NotFound++
		if in.PathNew {
			c.MissingPaths++
			add(&c.StrayPaths, in.Stray)
		}
	case s == 401 || s == 403 || s == 407:
		c.Denied++
	case s >= 500:
		c.Broken++
	case s >= 400:
		c.Rejected++
	}
	if in.PathNew && in.PathActors == 0 && !in.Asset {
		c.RarePaths++
	}
}

// merge adds another actor's conduct, when both turn out to be one.
func (c *Conduct) merge(o *Conduct) {
	if o.Requests == 0 {
		return
	}
	for i := range c.Paths {
		c.Paths[i] |= o.Paths[i]
	}
	c.Sessions |= o.Sessions
	c.Agents |= o.Agents
	c.Clients |= o.Clients
	c.Owners |= o.Owners
	c.Classes |= o.Classes
	c.Methods |= o.Methods
	c.Flagged |= o.Flagged
	c.Open |= o.Open
	if c.Requests == 0 {
		c.Begin = o.Begin
	}
	c.Begin = min(c.Begin, o.Begin)
	c.Last, c.LastMilli = max(c.Last, o.Last), max(c.LastMilli, o.LastMilli)
	for _, p := range []struct {
		to   *uint32
		from uint32
	}{
		{&c.Requests, o.Requests},
		{&c.Pages, o.Pages},
		{&c.Assets, o.Assets},
		{&c.NewPaths, o.NewPaths},
		{&c.NotFound, o.NotFound},
		{&c.Denied, o.Denied},
		{&c.Rejected, o.Rejected},
		{&c.Broken, o.Broken},
		{&c.RarePaths, o.RarePaths},
		{&c.MissingPaths, o.MissingPaths},
		{&c.Attacks, o.Attacks},
		{&c.Ordered, o.Ordered},
		{&c.Level, o.Level},
		{&c.Referred, o.Referred},
		{&c.Quick, o.Quick},
		{&c.Bare, o.Bare},
		{&c.Same, o.Same},
		{&c.Slow, o.Slow},
		{&c.AttackPaths, o.AttackPaths},
		{&c.Strong, o.Strong},
		{&c.StrayPaths, o.StrayPaths},
		{&c.Home, o.Home},
	} {
		*p.to += p.from
	}
}

func methodBit(m string) uint32 {
	switch m {
	case "GET":
		return 1
	case "POST":
		return 2
	case "HEAD":
		return 4
	case "PUT", "PATCH":
		return 8
	case "DELETE":
		return 16
	case "OPTIONS":
		return 32
	}
	return 64
}

// slow compares a document's server time with the site's mean, and moves that. A
// refused one took none: what its route usually takes counts.
func (in *Input) slow() bool {
	us, s := uint32(min(in.Event.Duration/1000, 3600e6)), in.Site
	if in.Refused {
		us = in.RouteStats.Duration
	}
	slow := s.Duration > 0 && us >= 500000 && us/4 >= s.Duration
	if us == 0 || in.Refused {
		return slow
	}
	if !slow || s.Duration == 0 {
		s.Duration += us/64 - s.Duration/64
	}
	return slow
}
