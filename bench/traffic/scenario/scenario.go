// Package scenario puts people, services and campaigns together on one site and
// plays them in order of time.
package scenario

import (
	"container/heap"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/bots"
	"github.com/weirproject/weir/bench/traffic/people"
)

// Split keeps what is tuned on apart from what is reported.
type Split string

// The splits: each has its own seeds and its own usual population.
const (
	Development Split = "development"
	Validation  Split = "validation"
	Test        Split = "test"
)

// Seed is the n-th seed of a split; splits never share one.
func (s Split) Seed(n int) (uint64, error) {
	// 3<<32 to 8<<32 were the test split of earlier engines.
	base, ok := map[Split]uint64{Development: 1 << 32, Validation: 2 << 32, Test: 9 << 32}[s]
	if !ok {
		return 0, fmt.Errorf("split %q is not known, want development, validation or test", s)
	}
	return base + uint64(n), nil
}

// Config describes one run.
type Config struct {
	Seed    uint64
	People  int
	Days    int
	Variant people.Variant
	// Start is midnight of the first day (default 2026-03-02, a Monday).
	Start time.Time
	// Attacks are "THREAT:LEVEL", "all:LEVEL", each with "@DAYS" (a decimal
	// number of days after Start), "xN" (attempts) and "+N" (aged accounts of the
	// attacker's that train the site for up to four days before) as options:
	// "OAT-008:evasive@1.5x200+5". Without "@" they begin on the last third.
	Attacks []string
	// Flash, Outage, SlowLogin and Release switch the site's own events on, on
	// the last day.
	Flash, Outage, SlowLogin, Release bool
	// NoServices leaves monitors, partners, readers and declared bots out.
	NoServices bool
	// Items is the size of the catalogue (default 1200).
	Items int
}

// Validate returns all faults.
func (c *Config) Validate() error {
	switch {
	case c.People < 50:
		return fmt.Errorf("people %d: want at least 50", c.People)
	case c.Days < 1:
		return fmt.Errorf("days %d: want at least 1", c.Days)
	}
	switch c.Variant {
	case people.Normal, people.Shifted, people.Hostile:
	default:
		return fmt.Errorf("population %q: want normal, shifted or hostile", c.Variant)
	}
	_, err := c.campaigns(0)
	return err
}

// FirstDay is midnight of a run's first day.
func FirstDay(c Config) time.Time {
	if c.Start.IsZero() {
		return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	}
	return c.Start
}

// Shop plays the shop and hands every exchange to sink in order of time.
func Shop(c Config, sink traffic.Sink) error {
	if c.Variant == "" {
		c.Variant = people.Normal
	}
	if c.Items == 0 {
		c.Items = 1200
	}
	c.Start = FirstDay(c)
	if err := c.Validate(); err != nil {
		return err
	}
	start := c.Start.UnixNano()
	site := traffic.NewShop("shop.example", c.Items, people.Accounts(c.People))
	last := start + int64(c.Days-1)*people.Day
	pc := people.Config{Seed: c.Seed, People: c.People, Variant: c.Variant, Start: start, Services: !c.NoServices}
	if c.Flash {
		pc.Flash = traffic.Window{From: last + 12*people.Hour, To: last + 14*people.Hour}
	}
	if c.Outage {
		site.Outages = []traffic.Window{{From: last + 18*people.Hour, To: last + 18*people.Hour + 20*people.Minute}}
	}
	if c.SlowLogin {
		site.Slow = []traffic.Window{{From: last + 9*people.Hour, To: last + 10*people.Hour}}
	}
	if c.Release {
		site.Release = last + 10*people.Hour
	}
	for d := range c.Days {
		// A limited article goes on sale at 20:00 every day.
		item := c.Items - 1 - d
		site.Items[item].Opens = start + int64(d)*people.Day + 20*people.Hour
		pc.Drops = append(pc.Drops, people.Drop{Item: item, Opens: site.Items[item].Opens, Fans: 10 + c.People/100})
	}
	population := people.New(pc, site)
	world := &bots.World{
		Site: site, Accounts: c.People, Spare: people.Accounts(c.People) - c.People, Software: population.Software(), HomeAddr: population.HomeAddr,
		CarrierAddr: population.CarrierAddr, LotCloses: people.LotCloses,
		NextDrop: func(t int64) (int, int64) {
			for _, d := range pc.Drops {
				if d.Opens > t {
					return d.Item, d.Opens
				}
			}
			return 0, 0
		},
	}
	campaigns, err := c.campaigns(start)
	if err != nil {
		return err
	}
	var attacks []traffic.Planned
	for _, one := range campaigns {
		plan, err := bots.Plan(world, one)
		if err != nil {
			return err
		}
		attacks = append(attacks, plan...)
	}
	return play(c.Days, start, population.Visits, attacks, sink)
}

func (c *Config) campaigns(start int64) ([]bots.Campaign, error) {
	var all []bots.Campaign
	for _, text := range c.Attacks {
		spec, trainers, trained := strings.Cut(text, "+")
		spec, attempts, _ := strings.Cut(spec, "x")
		spec, day, placed := strings.Cut(spec, "@")
		threat, level, _ := strings.Cut(spec, ":")
		n, aged, at := 0, 0, float64(c.Days)*2/3
		var err error
		if trained {
			if aged, err = strconv.Atoi(trainers); err != nil {
				return nil, fmt.Errorf("attack %q: trainers %q is no number", text, trainers)
			}
		}
		if attempts != "" {
			if n, err = strconv.Atoi(attempts); err != nil {
				return nil, fmt.Errorf("attack %q: attempts %q is no number", text, attempts)
			}
		}
		if placed {
			if at, err = strconv.ParseFloat(day, 64); err != nil {
				return nil, fmt.Errorf("attack %q: day %q is no number", text, day)
			}
		}
		threats := []string{threat}
		if threat == "all" {
			threats = bots.Threats()
		}
		for i, t := range threats {
			one := bots.Campaign{
				Threat: t, Level: bots.Level(level), Seed: traffic.Mix(c.Seed, uint64(len(all)+1)), Attempts: n, Trainers: aged,
				Start: start + int64(at*float64(people.Day)) + int64(i)*17*people.Minute,
			}
			one.TrainFrom = max(start, one.Start-4*people.Day)
			if _, err := bots.Plan(&bots.World{Site: &traffic.Site{}}, bots.Campaign{Threat: t, Level: "none"}); !strings.Contains(err.Error(), "level") {
				return nil, fmt.Errorf("attack %q: %w", text, err)
			}
			switch one.Level {
			case bots.Plain, bots.Evasive, bots.Hard, bots.Rotating:
			default:
				return nil, fmt.Errorf("attack %q: level %q is not known, want plain, evasive, hard or rotating", text, level)
			}
			one.Name = fmt.Sprintf("%s-%s-%d", t, level, len(all)+1)
			all = append(all, one)
		}
	}
	return all, nil
}

// play runs planned visits in order of start and emits their exchanges in order
// of time: an exchange leaves the queue once no visit can start before it.
func play(days int, start int64, visits func(day int) []traffic.Planned, attacks []traffic.Planned, sink traffic.Sink) error {
	sort.SliceStable(attacks, func(i, j int) bool { return attacks[i].Start < attacks[j].Start })
	q := &queue{}
	emit := func(x traffic.Exchange, l traffic.Label) { heap.Push(q, entry{x, l, q.next()}) }
	flush := func(until int64) error {
		for len(q.entries) > 0 && q.entries[0].x.Time < until {
			e := heap.Pop(q).(entry)
			if err := sink(&e.x, &e.l); err != nil {
				return err
			}
		}
		return nil
	}
	run := func(p traffic.Planned) error {
		if err := flush(p.Start); err != nil {
			return err
		}
		p.Run(emit)
		return nil
	}
	end := start + int64(days)*people.Day
	var later []traffic.Planned
	for d := range days {
		// What a day plans past its midnight is played with the next day's.
		plan := append(later, visits(d)...)
		sort.SliceStable(plan, func(i, j int) bool { return plan[i].Start < plan[j].Start })
		today := sort.Search(len(plan), func(i int) bool { return plan[i].Start >= start+int64(d+1)*people.Day })
		later = append([]traffic.Planned(nil), plan[today:]...)
		for _, p := range plan[:today] {
			for len(attacks) > 0 && attacks[0].Start <= p.Start {
				if err := run(attacks[0]); err != nil {
					return err
				}
				attacks = attacks[1:]
			}
			if err := run(p); err != nil {
				return err
			}
		}
	}
	for _, p := range attacks {
		if p.Start >= end {
			break
		}
		if err := run(p); err != nil {
			return err
		}
	}
	return flush(1<<63 - 1)
}

type entry struct {
	x   traffic.Exchange
	l   traffic.Label
	seq int
}

type queue struct {
	entries []entry
	seq     int
}

func (q *queue) next() int { q.seq++; return q.seq }

func (q *queue) Len() int { return len(q.entries) }

func (q *queue) Less(i, j int) bool {
	a, b := &q.entries[i], &q.entries[j]
	return a.x.Time < b.x.Time || a.x.Time == b.x.Time && a.seq < b.seq
}
func (q *queue) Swap(i, j int) { q.entries[i], q.entries[j] = q.entries[j], q.entries[i] }

// Push is part of heap.Interface.
func (q *queue) Push(e any) { q.entries = append(q.entries, e.(entry)) }

// Pop is part of heap.Interface.
func (q *queue) Pop() any {
	e := q.entries[len(q.entries)-1]
	q.entries[len(q.entries)-1] = entry{}
	q.entries = q.entries[:len(q.entries)-1]
	return e
}
