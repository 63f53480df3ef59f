package scenario

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/bots"
	"github.com/weirproject/weir/bench/traffic/people"
)

// Blog plays a web log of which only an access log is known. Attacks are names
// of bots.LogFamilies or "all", with "@DAYS" as for the shop.
func Blog(c Config, sink traffic.Sink) error {
	if c.Variant == "" {
		c.Variant = people.Normal
	}
	if c.Items == 0 {
		c.Items = 900
	}
	c.Start = FirstDay(c)
	plain := c
	plain.Attacks = nil
	if err := plain.Validate(); err != nil {
		return err
	}
	start := c.Start.UnixNano()
	site := traffic.NewBlog("blog.example", c.Items)
	pc := people.Config{Seed: c.Seed, People: c.People, Variant: c.Variant, Start: start, Services: !c.NoServices}
	if c.Flash {
		last := start + int64(c.Days-1)*people.Day
		pc.Flash = traffic.Window{From: last + 12*people.Hour, To: last + 14*people.Hour}
	}
	population := people.New(pc, site)
	world := &bots.World{Site: site, Accounts: c.People, Software: population.Software(), HomeAddr: population.HomeAddr, CarrierAddr: population.CarrierAddr}
	var attacks []traffic.Planned
	n := 0
	for _, text := range c.Attacks {
		name, day, placed := strings.Cut(text, "@")
		at := .05
		if placed {
			var err error
			if at, err = strconv.ParseFloat(day, 64); err != nil {
				return fmt.Errorf("attack %q: day %q is no number", text, day)
			}
		}
		names := []string{name}
		if name == "all" {
			names = bots.LogFamilies()
		}
		for i, family := range names {
			n++
			plan, err := bots.PlanLog(world, family, traffic.Mix(c.Seed, uint64(n)), start+int64(at*float64(people.Day))+int64(i)*31*people.Minute)
			if err != nil {
				return err
			}
			attacks = append(attacks, plan...)
		}
	}
	return play(c.Days, start, population.Reading, attacks, sink)
}
