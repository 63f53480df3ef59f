// Command scoreboard plays simulated traffic through the engine and the
// enforcer and prints what was caught and who was hit.
//
//	go run ./scoreboard/cmd/scoreboard -suite small
//	go run ./scoreboard/cmd/scoreboard -people 4000 -days 4 -learn 2 -attacks all:plain@2.2
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/weirproject/weir/bench/scoreboard"
	"github.com/weirproject/weir/bench/traffic/people"
	"github.com/weirproject/weir/bench/traffic/scenario"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "scoreboard:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("scoreboard", flag.ContinueOnError)
	suite := fs.String("suite", "", "small, dev, validation or test; otherwise one run as described by the other flags")
	only := fs.String("only", "", "with -suite: runs whose name begins so")
	site := fs.String("site", "shop", "shop, shop-log or blog")
	split := fs.String("split", "development", "development, validation or test")
	seed := fs.Int("seed", 1, "first seed")
	seeds := fs.Int("seeds", 1, "number of seeds")
	n := fs.Int("people", 3000, "size of the population")
	days := fs.Int("days", 4, "days of traffic")
	learn := fs.Int("learn", 2, "days that only teach")
	variant := fs.String("population", "normal", "normal, shifted or hostile")
	attacks := fs.String("attacks", "", "as for traffic")
	storm := fs.Bool("storm", false, "flash sale, outage, slow logins and a release on the last day")
	wrong := fs.Bool("wrong", false, "list people acted on, to standard error")
	verdicts := fs.Bool("verdicts", false, "list verdicts above observe, to standard error")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var o scoreboard.Options
	if *wrong {
		o.Wrong = os.Stderr
	}
	if *verdicts {
		o.Verdicts = os.Stderr
	}
	var runs []scoreboard.Run
	if *suite != "" {
		all, err := scoreboard.Suite(*suite)
		if err != nil {
			return err
		}
		for _, r := range all {
			if strings.HasPrefix(r.Name, *only) {
				runs = append(runs, r)
			}
		}
	} else {
		for i := range *seeds {
			base, err := scenario.Split(*split).Seed(*seed + i)
			if err != nil {
				return err
			}
			c := scenario.Config{Seed: base, People: *n, Days: *days, Variant: people.Variant(*variant), Flash: *storm, Outage: *storm, SlowLogin: *storm, Release: *storm}
			if *attacks != "" {
				c.Attacks = strings.Split(*attacks, ",")
			}
			runs = append(runs, scoreboard.Run{Name: fmt.Sprintf("run-%d", *seed+i), Site: *site, Config: c, LearnDays: *learn})
		}
	}
	begin := time.Now()
	err := scoreboard.Report(out, runs, o)
	fmt.Fprintf(os.Stderr, "%d runs in %s\n", len(runs), time.Since(begin).Round(time.Millisecond))
	return err
}
