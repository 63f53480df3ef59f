package scoreboard

import (
	"github.com/weirproject/weir/bench/traffic/foreign"
	"github.com/weirproject/weir/bench/traffic/scenario"
)

// foreignRuns are the runs on the second simulator's sites. Nothing is taught:
// weir acts from the first request on, and what is special happens on the fifth
// day. The first day and the log begin with attacks and people at once.
func foreignRuns(split scenario.Split, size int) []Run {
	var runs []Run
	for i, kind := range foreign.Kinds() {
		site := string(kind)
		add := func(title, site string, n, days int, attacks ...string) *scenario.Config {
			seed, _ := split.Seed(n + i)
			runs = append(runs, Run{Name: "foreign-" + title, Site: site, Config: scenario.Config{Seed: seed, People: size, Days: days, Attacks: attacks}})
			return &runs[len(runs)-1].Config
		}
		for k, level := range [...]string{"plain", "evasive", "hard", "rotating"} {
			add(site+"-"+level, site, 200+10*k, 5, "all:"+level)
		}
		add("first-"+site, site, 240, 1, "all:plain")
		add("quiet-"+site, site, 250, 5)
		add("sale-"+site, site, 260, 5).Flash = true
		add("outage-"+site, site, 270, 5).Outage = true
		add("release-"+site, site, 280, 5).Release = true
		add("log-"+site, site+"-log", 290, 1)
	}
	return runs
}

// smallForeign are few of them, in small.
func smallForeign(split scenario.Split) []Run {
	var runs []Run
	for i, kind := range foreign.Kinds() {
		for k, level := range [...]string{"plain", "evasive"} {
			seed, _ := split.Seed(300 + 10*k + i)
			runs = append(runs, Run{
				Name: "foreign-" + string(kind) + "-" + level, Site: string(kind),
				Config: scenario.Config{Seed: seed, People: 500, Days: 3, Attacks: []string{"all:" + level}},
			})
		}
	}
	return runs
}
