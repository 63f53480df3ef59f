// Command scoreboard plays simulated traffic through the engine and the
// enforcer and prints what was caught and who was hit.
//
//	go run ./scoreboard/cmd/scoreboard -suite small
//	go run ./scoreboard/cmd/scoreboard -people 4000 -days 4 -learn 2 -attacks all:plain@2.2
//	go run ./scoreboard/cmd/scoreboard -decisions decisions.ndjson -labels labels.ndjson
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
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
	suite := fs.String("suite", "", "small, dev, validation or test; otherwise one run as described by the other flags (with -out and no attacks: test)")
	only := fs.String("only", "", "with -suite: runs whose name begins so")
	site := fs.String("site", "shop", "shop, shop-log or blog")
	split := fs.String("split", "development", "development, validation or test")
	seed := fs.Int("seed", 1, "first seed")
	seeds := fs.Int("seeds", 1, "number of seeds")
	n := fs.Int("people", 3000, "size of each population")
	days := fs.Int("days", 4, "days of traffic")
	learn := fs.Int("learn", 2, "days that only teach")
	variant := fs.String("population", "normal", "normal, shifted or hostile")
	attacks := fs.String("attacks", "", "as for traffic")
	storm := fs.Bool("storm", false, "flash sale, outage, slow logins and a release on the last day")
	peers := fs.Bool("peers", false, "run address limits, lock-out and leaky buckets beside it")
	path := fs.String("out", "", "file to write instead of standard output")
	wrong := fs.Bool("wrong", false, "list people acted on, to standard error")
	verdicts := fs.Bool("verdicts", false, "list verdicts above observe, to standard error")
	decisions := fs.String("decisions", "", "a --decisions file of weir replay to score instead of running anything; needs -labels")
	bound := fs.Int("bound", 0, "check false_positive_bound on so many clean sessions of -split, after what else runs")
	labels := fs.String("labels", "", "the simulator's labels.ndjson for -decisions")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *decisions != "" || *labels != "" {
		return files(out, *decisions, *labels)
	}
	if *path != "" && *suite == "" && *attacks == "" {
		*suite, *peers, *bound, *split = "test", true, 1000000, "test" // as make scoreboard wants it
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
		all, err := scoreboard.Suite(*suite, *n)
		if err != nil {
			return err
		}
		for _, r := range all {
			if strings.HasPrefix(r.Name, *only) {
				runs = append(runs, r)
			}
		}
	} else if *bound == 0 {
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
	begin, done := time.Now(), func() error { return nil }
	if *path != "" {
		f, err := os.Create(*path)
		if err != nil {
			return err
		}
		if err := preface(f, *suite, *split, *n, *bound); err != nil {
			return errors.Join(err, f.Close())
		}
		out, done = f, f.Close
	}
	err := scoreboard.Report(out, runs, *peers, o)
	if err == nil && *bound > 0 {
		err = claims(out, scenario.Split(*split), *bound)
	}
	err = errors.Join(err, done())
	fmt.Fprintf(os.Stderr, "%d runs in %s\n", len(runs), time.Since(begin).Round(time.Millisecond))
	return err
}

// claims checks the false positive bounds on clean sessions.
func claims(out io.Writer, split scenario.Split, sessions int) error {
	runs, err := scoreboard.BoundRuns(split, sessions)
	if err != nil {
		return err
	}
	begin, c := processor(), scoreboard.NewClaims()
	for _, r := range runs {
		if err := c.Play(r); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "\n## bound\n\n%d clean sessions of split %q, %s of processor time.\n\n", c.Sessions, split, (processor() - begin).Round(time.Second)); err != nil {
		return err
	}
	return c.Write(out)
}

// processor is the time that this process has used so far, user and system.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// files scores what weir replay has decided.
func files(out io.Writer, decisions, labels string) (err error) {
	d, err := os.Open(decisions)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	l, err := os.Open(labels)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	t := scoreboard.NewTally()
	n, err := t.Files("files", d, l)
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("no decision has a label: are the files of one run?")
	}
	return t.Write(out)
}

// preface says what the figures are and how to get them again.
func preface(w io.Writer, suite, split string, size, bound int) error {
	_, err := fmt.Fprintf(w, `# Scoreboard

What the engine and the enforcer did with simulated traffic they were not tuned on: suite %q, seeds and populations of bench/traffic/scenario
that no tuning run uses. Every figure is about two simulators; no labelled real traffic was available. Made by

    cd bench && go run ./scoreboard/cmd/scoreboard -suite %s -split %s -people %d -peers -bound %d -out ../docs/scoreboard.md

An attempt counts as acted on when the request itself was refused, challenged, slowed or redirected on arrival, by verdicts given before it
arrived. People are counted by session; normal, shifted and hostile populations are summed. Sections: quiet (five days after two of learning,
with a release), storm (flash sale, outage, slow log-ins and a release in one day), plain, evasive and hard (all 21 threats at that level),
first-day (no learning at all), rotating (400 log-ins, 12 accounts, 90 minutes, address, fingerprint and cookie changing), log (the shop as an
access log without a map, no attack), blog (a site of which only an access log is known; the level is the attack's family),
untrained and trained (the same campaigns without and with aged accounts of the attacker's), bound (what verdicts claim as
false_positive_bound beside what happened on clean sessions; one claim in forty would fail by chance).
Sections "foreign" are a second simulator's, written without reading the first one's people and bots (bench/traffic/foreign): tickets,
forum and wallet (each of its sites with attacks of four levels, on the fifth day), first (plain attacks from the first hour on), quiet,
sale, outage, release (five days without attacks), log (its first day as an access log without a map).
Sections of access logs count by address too: a source is found once one of its requests was acted on, and a benign address is
hit in the same way. Real tools in a real site's log are scored by TestRealTools in bench/scoreboard.
`, suite, suite, split, size, bound)
	return err
}
