package scenario

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/foreign"
)

// Site is an application that can be played.
type Site struct {
	// Name is what its flow map calls it; Flows is that map in YAML, "" for a
	// site of which only an access log is known.
	Name, Flows string
	Play        func(Config, traffic.Sink) error
	// Foreign sites are those of the second simulator.
	Foreign bool
}

// Named is the site of that name: shop, blog, tickets, forum or wallet.
func Named(name string) (Site, error) {
	switch kind := foreign.Kind(name); {
	case name == "shop":
		return Site{Name: name, Flows: traffic.ShopFlows, Play: Shop}, nil
	case name == "blog":
		return Site{Name: name, Play: Blog}, nil
	case slices.Contains(foreign.Kinds(), kind):
		s := Site{Play: played(kind), Foreign: true}
		s.Name, s.Flows = foreign.Flows(kind)
		return s, nil
	}
	return Site{}, fmt.Errorf("site %q is not known, want shop, blog, tickets, forum or wallet", name)
}

// played plays a site of the second simulator. Of the attacks it knows
// "all:LEVEL", on the last day; Flash is its sale, Outage and Release its own.
func played(kind foreign.Kind) func(Config, traffic.Sink) error {
	return func(c Config, sink traffic.Sink) error {
		level := ""
		if len(c.Attacks) > 0 {
			var ok bool
			if level, ok = strings.CutPrefix(c.Attacks[0], "all:"); !ok || len(c.Attacks) > 1 {
				return fmt.Errorf("attacks %v: %s knows one of all:plain, all:evasive, all:hard, all:rotating", c.Attacks, kind)
			}
		}
		return foreign.Play(foreign.Config{
			Kind: kind, Seed: c.Seed, People: c.People, Days: c.Days, Start: FirstDay(c).UnixNano(), Level: level,
			Sale: c.Flash, Outage: c.Outage, Release: c.Release,
		}, sink)
	}
}
