// Command traffic writes simulated traffic with its truth: an exchange file, a
// combined access log, labels and the site's flow map.
//
//	go run ./traffic/cmd/traffic -people 5000 -days 4 -attacks all:plain,OAT-008:rotating -out /tmp/shop
//
// With -live it sends them instead, from addresses of 127.0.0.0/8, to an ingress
// whose upstream is -origin:
//
//	bin/weir up --listen 127.0.0.1:8080 --upstream http://127.0.0.1:9000 --flows shop.yaml --mode enforce &
//	go run ./traffic/cmd/traffic -days 1 -live http://127.0.0.1:8080 -origin 127.0.0.1:9000 -speed 600
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/people"
	"github.com/weirproject/weir/bench/traffic/scenario"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "traffic:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fs := flag.NewFlagSet("traffic", flag.ContinueOnError)
	site := fs.String("site", "shop", "shop, tickets, forum, wallet (exchanges, flow map) or blog (access log only)")
	split := fs.String("split", "development", "development, validation or test: which family of seeds")
	seed := fs.Int("seed", 1, "number of the seed within the split")
	n := fs.Int("people", 4000, "size of the population; about half a session each per day")
	days := fs.Int("days", 3, "days of traffic")
	variant := fs.String("population", "normal", "normal, shifted or hostile")
	attacks := fs.String("attacks", "", "comma separated THREAT:LEVEL[@DAYS][xATTEMPTS][+TRAINERS]; THREAT may be all, LEVEL is plain, evasive, hard or rotating; tickets, forum and wallet know all:LEVEL")
	events := fs.String("events", "", "comma separated: flash, outage, slow, release (on the last day)")
	logOnly := fs.Bool("log-only", false, "number the labels as a replay of the access log will: access.log:LINE")
	out := fs.String("out", "", "directory to write to (this or -live is required)")
	live := fs.String("live", "", "ingress to send to, http://127.x.x.x:PORT")
	origin := fs.String("origin", "127.0.0.1:9000", "with -live: where to play the application, the ingress's upstream")
	speed := fs.Float64("speed", 600, "with -live: seconds of simulated time in one second; 0: as fast as answers come")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if (*out == "") == (*live == "") {
		return errors.New("one of -out (the directory to write to) and -live (the ingress to send to) is required")
	}
	base, err := scenario.Split(*split).Seed(*seed)
	if err != nil {
		return err
	}
	c := scenario.Config{Seed: base, People: *n, Days: *days, Variant: people.Variant(*variant)}
	if *attacks != "" {
		c.Attacks = strings.Split(*attacks, ",")
	}
	for _, e := range strings.FieldsFunc(*events, func(r rune) bool { return r == ',' }) {
		switch e {
		case "flash":
			c.Flash = true
		case "outage":
			c.Outage = true
		case "slow":
			c.SlowLogin = true
		case "release":
			c.Release = true
		default:
			return fmt.Errorf("event %q is not known, want flash, outage, slow or release", e)
		}
	}
	if *live != "" {
		return drive(c, *site, *live, *origin, *speed)
	}
	return write(c, *site, *out, *logOnly)
}

func write(c scenario.Config, site, out string, logOnly bool) error {
	s, err := scenario.Named(site)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		return err
	}
	w := &traffic.Writer{}
	names := []string{"exchanges.ndjson", "access.log", "labels.ndjson"}
	if s.Flows == "" {
		logOnly, names[0] = true, ""
	} else if err := os.WriteFile(filepath.Join(out, "flows.yaml"), []byte(s.Flows), 0o600); err != nil {
		return err
	}
	if logOnly {
		w.LogName = names[1]
	}
	var done []func() error
	for i, name := range names {
		if name == "" {
			continue
		}
		f, err := os.Create(filepath.Join(out, name))
		if err != nil {
			return err
		}
		b := traffic.Buffered(f)
		done = append(done, func() error { return errors.Join(b.Flush(), f.Close()) })
		switch i {
		case 0:
			w.Exchanges = b
		case 1:
			w.Combined = b
		case 2:
			w.Labels = b
		}
	}
	begin := time.Now()
	err = s.Play(c, w.Write)
	for _, f := range done {
		err = errors.Join(err, f())
	}
	fmt.Fprintf(os.Stderr, "%d exchanges in %s\n", w.Count(), time.Since(begin).Round(time.Millisecond))
	return err
}
