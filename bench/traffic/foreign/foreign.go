// Package foreign is a second simulator: a box office (tickets), a swap shop with
// a forum (forum) and a money app (wallet), with people, machines and bots of
// their own. It was written without reading bench/traffic/people and
// bench/traffic/bots, and nothing may be made alike: what an engine gains on one
// simulator is worth something only when the other one shows it too.
//
// It shares the labels, the splits of seeds and the scoring with the first one.
// The same seed gives the same bytes. Attacks draw from a source of their own,
// so people are the same with and without them.
package foreign

import (
	_ "embed"
	"fmt"
	"slices"

	"github.com/weirproject/weir/bench/traffic"
)

// Kind is one of the three sites.
type Kind string

// The sites: pages with cookies and a JSON API; pages and forms of which the
// application vouches for the member; a JSON API with bearer tokens.
const (
	Tickets Kind = "tickets"
	Forum   Kind = "forum"
	Wallet  Kind = "wallet"
)

// Kinds lists the sites.
func Kinds() []Kind { return []Kind{Tickets, Forum, Wallet} }

var (
	//go:embed tickets.flows.yaml
	ticketsFlows string
	//go:embed forum.flows.yaml
	forumFlows string
	//go:embed wallet.flows.yaml
	walletFlows string
)

// site is what a kind's application is.
type site struct {
	name, host, flows string
	// session and device name the cookies, vouch the answer's header in which
	// the application names whom it knows.
	session, device, vouch string
}

var sites = map[Kind]site{
	Tickets: {name: "boxoffice", host: "boxoffice.test", flows: ticketsFlows, session: "BOSESS", device: "_bodev"},
	Forum:   {name: "barter", host: "barter.test", flows: forumFlows, session: "bb_sid", vouch: "X-Member"},
	Wallet:  {name: "wallet", host: "api.wallet.test", flows: walletFlows, vouch: "X-Customer"},
}

// Flows is a kind's flow map with the name of its site; "" when it is not known.
func Flows(k Kind) (name, flows string) { return sites[k].name, sites[k].flows }

// Config describes one run; what is special happens on the last day.
type Config struct {
	Kind   Kind
	Seed   uint64
	People int
	// Start is midnight of the first day in Unix nanoseconds.
	Start int64
	Days  int
	// Level is that of the attacks: "", "plain", "evasive", "hard" or "rotating".
	Level string
	// Sale adds four visits per person in two hours, many by people who had not
	// been seen; Outage fails three log-ins in four for 36 minutes; Release
	// changes the app under most of its users.
	Sale, Outage, Release bool
}

// Validate returns the first fault.
func (c *Config) Validate() error {
	switch {
	case !slices.Contains(Kinds(), c.Kind):
		return fmt.Errorf("site %q: want tickets, forum or wallet", c.Kind)
	case c.People < 50:
		return fmt.Errorf("people %d: want at least 50", c.People)
	case c.Days < 1:
		return fmt.Errorf("days %d: want at least 1", c.Days)
	}
	switch c.Level {
	case "", plain, evasive, hard, rotating:
		return nil
	}
	return fmt.Errorf("level %q is not known, want plain, evasive, hard or rotating", c.Level)
}

// Seconds in an hour and a day: inside the package time is in seconds after the
// first midnight.
const (
	hour = 3600.
	day  = 24 * hour
)

// Play plays a run and hands every exchange to sink in order of time.
func Play(c Config, sink traffic.Sink) error {
	if err := c.Validate(); err != nil {
		return err
	}
	w := newWorld(c)
	last := c.Days - 1
	for d := range c.Days {
		if d == last {
			w.special(float64(last) * day)
		}
		w.day(d)
		if d < last {
			// A visit may begin a little before what plans it; an hour is plenty.
			if err := w.flush(float64(d+1)*day-hour, sink); err != nil {
				return err
			}
		}
	}
	if c.Level != "" {
		w.attack(c.Level, last)
	}
	return w.flush((float64(c.Days)+.5)*day, sink)
}

// special sets up what the last day, which begins at lo, is asked to be.
func (w *world) special(lo float64) {
	if w.c.Sale {
		everybody := append(slices.Clone(w.people), w.dormant...)
		for range 4 * w.c.People {
			p := choice(w.r, everybody)
			w.visit(p, lo+11*hour+pow15(w.r.Float64())*2*hour)
		}
	}
	if w.c.Outage {
		w.outage, w.slow = [2]float64{lo + 18*hour, lo + 18.6*hour}, 1.5
	}
	if w.c.Release {
		w.release = lo + 9*hour
	}
}

// row is one exchange that waits for its turn.
type row struct {
	t     float64
	order int
	x     traffic.Exchange
	l     traffic.Label
}

// flush emits what has happened before until.
func (w *world) flush(until float64, sink traffic.Sink) error {
	slices.SortFunc(w.rows, func(a, b *row) int {
		if a.t != b.t {
			if a.t < b.t {
				return -1
			}
			return 1
		}
		return a.order - b.order
	})
	n := 0
	for n < len(w.rows) && w.rows[n].t < until {
		if err := sink(&w.rows[n].x, &w.rows[n].l); err != nil {
			return err
		}
		n++
	}
	w.rows = slices.Clone(w.rows[n:])
	return nil
}
