package scoreboard

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/people"
	"github.com/weirproject/weir/bench/traffic/scenario"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// Run is one scenario on one site.
type Run struct {
	Name string
	// Site is "shop", "tickets", "forum", "wallet" (exchanges and flow map), each
	// with "-log" (the same traffic as an access log, no map), or "blog" (an
	// access log).
	Site   string
	Config scenario.Config
	// LearnDays only teach.
	LearnDays int
}

// Options help while tuning.
type Options struct {
	// Wrong receives a line for each session of people that was acted on first,
	// with threat and reason; nil discards.
	Wrong io.Writer
	// Verdicts receives one line per first revision of a verdict.
	Verdicts io.Writer
}

// Play runs one scenario into the tally.
func (r Run) Play(t *Tally, o Options) error {
	l, play, err := r.line()
	if err != nil {
		return err
	}
	sink := l.Sink(r.Name, t)
	if o.Wrong != nil {
		l.complain(o.Wrong)
	}
	if o.Verdicts != nil {
		l.OnVerdict = func(v *verdict.Verdict) {
			if v.Action > event.ActionObserve {
				_, _ = fmt.Fprintf(o.Verdicts, "%s r%d %s %s %s score %s caps %v: %s\n", v.ID, v.Revision, v.Scope, v.Action, v.Threats, v.Score, v.Evidence.Caps, v.Evidence.Summary)
			}
		}
	}
	if err := play(r.Config, sink); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	l.Finish()
	return nil
}

// log says that the run's site is known by an access log only.
func (r Run) log() bool { return r.Site == "blog" || strings.HasSuffix(r.Site, "-log") }

// site is what is played; of a log there is no flow map.
func (r Run) site() (scenario.Site, error) {
	s, err := scenario.Named(strings.TrimSuffix(r.Site, "-log"))
	if r.log() {
		s.Flows = ""
	}
	return s, err
}

// line makes the run's site, and says how it is played.
func (r Run) line() (*Line, func(scenario.Config, traffic.Sink) error, error) {
	s, err := r.site()
	if err != nil {
		return nil, nil, err
	}
	l, err := NewLine(s.Name, s.Flows)
	if err != nil {
		return nil, nil, err
	}
	l.Log = r.log()
	if r.LearnDays > 0 {
		l.LearnUntil = scenario.FirstDay(r.Config).UnixNano() + int64(r.LearnDays)*people.Day
	}
	return l, s.Play, nil
}

// PlayPeers runs one scenario past the peers, without weir.
func (r Run) PlayPeers(p *Peers) error {
	l, play, err := r.line()
	if err != nil {
		return err
	}
	until := l.LearnUntil
	if until == 0 {
		until = scenario.FirstDay(r.Config).UnixNano() + 6*people.Hour
	}
	p.begin(until)
	var x flow.Exchange
	var ev event.Event
	return play(r.Config, func(from *traffic.Exchange, label *traffic.Label) error {
		x = flow.Exchange{Headers: x.Headers[:0], ResponseHeaders: x.ResponseHeaders[:0], ID: from.ID}
		fill(&x, from, l.Log)
		ev = event.Event{Objects: ev.Objects[:0]}
		l.extractor.Begin(&x, &ev)
		l.extractor.End(&x, &ev)
		p.Observe(r.Name, &ev, label, ev.Time >= l.LearnUntil)
		return nil
	})
}

// complain wraps OnDecision with a report of the first wrong action of each
// session of people.
func (l *Line) complain(w io.Writer) {
	next := l.OnDecision
	seen := map[string]bool{}
	l.OnDecision = func(d *verdict.Decision, ev *event.Event, tag any) {
		next(d, ev, tag)
		label := tag.(*traffic.Label)
		if strength(d.Action.String()) == 0 || label.Class == traffic.Bot {
			return
		}
		key := fmt.Sprint(label.Who, label.Session)
		if seen[key] {
			return
		}
		seen[key] = true
		_, _ = fmt.Fprintf(w, "%s %s %s %s %s by %s %s %v group %d: %s %s (%s)\n", d.ID, label.Class, label.Who, label.Kind, d.Action, d.Verdict, d.Scope, d.Threats, d.Group, ev.Method, ev.Path, d.Reason)
	}
}

// Suite lists the runs of a name: "small" and "small-foreign" (CI), "dev", "validation", "test", with
// populations of so many people (0: 8000).
func Suite(name string, size int) ([]Run, error) {
	if size == 0 {
		size = 8000
	}
	split, ok := map[string]scenario.Split{"small": scenario.Development, "small-foreign": scenario.Development, "dev": scenario.Development, "validation": scenario.Validation, "test": scenario.Test}[name]
	if !ok {
		return nil, fmt.Errorf("suite %q is not known, want small, small-foreign, dev, validation or test", name)
	}
	var runs []Run
	add := func(site, title string, n, size, days, learn int, variant people.Variant, attacks ...string) *Run {
		seed, _ := split.Seed(n)
		runs = append(runs, Run{Name: title, Site: site, LearnDays: learn, Config: scenario.Config{Seed: seed, People: size, Days: days, Variant: variant, Attacks: attacks}})
		return &runs[len(runs)-1]
	}
	switch name {
	case "small-foreign":
		return smallForeign(split), nil
	case "small":
		add("shop", "plain", 1, 1500, 3, 2, people.Normal, "all:plain@2.1")
		add("shop", "evasive", 2, 1500, 3, 2, people.Normal, "all:evasive@2.1x120")
		add("blog", "blog", 3, 1500, 1, 0, people.Normal, "all")
		return runs, nil
	}
	for i, v := range []people.Variant{people.Normal, people.Shifted, people.Hostile} {
		quiet := add("shop", "quiet-"+string(v), 10+i, size, 7, 2, v)
		quiet.Config.Release = true
		storm := add("shop", "storm-"+string(v), 20+i, size, 4, 2, v)
		storm.Config.Flash, storm.Config.Outage, storm.Config.SlowLogin, storm.Config.Release = true, true, true, true
		add("shop", "plain-"+string(v), 30+i, size, 4, 2, v, "all:plain@2.2")
		add("shop", "evasive-"+string(v), 40+i, size, 4, 2, v, "all:evasive@2.2")
		add("shop", "hard-"+string(v), 50+i, size, 6, 2, v, "all:hard@2.2")
		add("shop", "first-day-"+string(v), 60+i, size, 1, 0, v, "all:plain@0.3")
		add("shop-log", "log-"+string(v), 70+i, size, 2, 0, v)
		add("blog", "blog-"+string(v), 80+i, size, 2, 0, v, "all@0.1")
	}
	// The same campaigns twice: with and without an attacker who trains the site
	// for three days with ten aged accounts per campaign.
	for i := range 2 {
		for _, v := range [...]struct{ title, aged string }{{"untrained", ""}, {"trained", "+10"}} {
			add("shop", fmt.Sprintf("%s-%d", v.title, i), 90+i, min(size, 3000), 6, 2, people.Normal,
				"all:evasive@5.2"+v.aged, "OAT-008:rotating@5.6"+v.aged)
		}
	}
	for i := range 20 {
		add("shop", fmt.Sprintf("rotating-%d", i), 100+i, min(size, 3000), 4, 2, people.Normal, "OAT-008:rotating@3.3")
	}
	return append(runs, foreignRuns(split, min(size, 2000))...), nil
}

// Prefix is the part of a run's name before its last dash: runs are tallied
// together by it.
func (r Run) Prefix() string {
	if i := strings.LastIndexByte(r.Name, '-'); i > 0 {
		return r.Name[:i]
	}
	return r.Name
}

// Report plays runs and writes one section per prefix, in order of names; with
// peers, the defences beside it.
func Report(w io.Writer, runs []Run, peers bool, o Options) error {
	type section struct {
		tally *Tally
		peers *Peers
	}
	sections := map[string]*section{}
	var names []string
	for _, r := range runs {
		p := r.Prefix()
		if sections[p] == nil {
			sections[p] = &section{tally: NewTally()}
			// Peers are compared on the first simulator's sites.
			if site, err := r.site(); err == nil && peers && !site.Foreign {
				sections[p].peers = NewPeers()
			}
			if r.log() {
				sections[p].tally.Sources = NewSources()
			}
			if strings.Contains(strings.Join(r.Config.Attacks, ","), ":hard") {
				sections[p].tally.Oracle = NewOracle()
			}
			names = append(names, p)
		}
		if err := r.Play(sections[p].tally, o); err != nil {
			return err
		}
		if sections[p].peers != nil {
			if err := r.PlayPeers(sections[p].peers); err != nil {
				return err
			}
		}
	}
	sort.Strings(names)
	for _, n := range names {
		if _, err := fmt.Fprintf(w, "\n## %s\n\n", n); err != nil {
			return err
		}
		s := sections[n]
		if err := s.tally.Write(w); err != nil {
			return err
		}
		if s.peers != nil {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
			if err := s.peers.Write(w, levels(s.tally.Rows())); err != nil {
				return err
			}
		}
	}
	if a, b := sections["untrained"], sections["trained"]; a != nil && b != nil {
		return comparePoisoning(w, a.tally, b.tally)
	}
	return nil
}
