package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/weirproject/weir/cmd/line"
	"github.com/weirproject/weir/cmd/replay"
	"github.com/weirproject/weir/stream/event"
)

// replayFlags are the options of weir replay.
type replayFlags struct {
	format, site, flows, learnUntil, mode string
	delay                                 time.Duration
	decisions, verdicts                   string
	stateIn, stateOut                     string
	strict                                bool
}

func newReplay(g *global) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Run recorded traffic through the engine and the enforcer's own code",
		Long: `Reads exchange files or access logs and decides each request as the ingress would
have decided it, in event time, with only what was known when it arrived. No
server runs and nothing is sent. "-" is standard input; .gz and .zst are read as
such. Same input, same flags, same binary: identical bytes.

Without --config or --data it ignores weir.yaml and uses a fixed public pseudonym
key, so that results compare between machines; with one of them, the sites,
allowlists and key of that installation.`,
		Example: `  weir replay access.log --format combined
  weir replay traffic.ndjson --flows flows.yaml --learn-until 2026-03-04T00:00:00Z --mode enforce --decisions out.ndjson
  weir replay day1.gz day2.gz --state-out after.state && weir replay day3.gz --state-in after.state`,
		Args: cobra.MinimumNArgs(1), Annotations: asObject,
		RunE: func(cmd *cobra.Command, args []string) error { return runReplay(cmd, g, &f, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "exchange, combined, common or json (default: by the first line)")
	fl.StringVar(&f.site, "site", "", "site of all exchanges (default: by host, else \"default\")")
	fl.StringVar(&f.flows, "flows", "", "flow map of that site")
	fl.StringVar(&f.learnUntil, "learn-until", "", "exchanges before this time (RFC 3339) only teach")
	fl.StringVar(&f.mode, "mode", "shadow", "shadow or enforce")
	spanVar(fl, &f.delay, "verdict-delay", 0, "how long a verdict takes to reach the enforcer")
	fl.StringVar(&f.decisions, "decisions", "", "write one decision per exchange to this file")
	fl.StringVar(&f.verdicts, "verdicts", "", "write one verdict per line to this file")
	fl.StringVar(&f.stateIn, "state-in", "", "begin with the state that another run wrote")
	fl.StringVar(&f.stateOut, "state-out", "", "write the state after the last exchange")
	fl.BoolVar(&f.strict, "strict", false, "end at the first line that cannot be used")
	return cmd
}

func (f *replayFlags) parse() (mode event.Mode, learnUntil int64, err error) {
	if mode, err = event.ParseMode(f.mode); err != nil || mode == event.ModeNone {
		return 0, 0, usagef("--mode %q: want shadow or enforce", f.mode)
	}
	if f.learnUntil != "" {
		t, err := time.Parse(time.RFC3339Nano, f.learnUntil)
		if err != nil {
			return 0, 0, usagef("--learn-until %q: want RFC 3339, such as 2026-03-04T00:00:00Z", f.learnUntil)
		}
		learnUntil = t.UnixNano()
	}
	if f.format != "" && !slices.Contains(choices["format"], f.format) {
		return 0, 0, usagef("--format %q: want %s", f.format, strings.Join(choices["format"], ", "))
	}
	return mode, learnUntil, nil
}

// overwrites refuses an output that is one of the files to be read, or the other
// output: it would be emptied before anything is read from it.
func (f *replayFlags) overwrites(files []string) error {
	taken := map[string]string{"--flows": f.flows, "--state-in": f.stateIn}
	for i, path := range files {
		taken[fmt.Sprintf("FILE %d", i+1)] = path
	}
	for _, o := range []struct{ flag, path string }{{"--decisions", f.decisions}, {"--verdicts", f.verdicts}, {"--state-out", f.stateOut}} {
		for flag, path := range taken {
			if replaced := flag == "--state-in" && o.flag == "--state-out"; !replaced && sameFile(o.path, path) {
				return usagef("%s %s: that is %s too, and would be overwritten", o.flag, o.path, flag)
			}
		}
		taken[o.flag] = o.path
	}
	return nil
}

// sameFile reports whether two paths name one regular file, or will.
func sameFile(a, b string) bool {
	if a == "" || b == "" || b == "-" {
		return false
	}
	one, err := os.Stat(a)
	if err != nil {
		one, err := filepath.Abs(a)
		two, err2 := filepath.Abs(b)
		return err == nil && err2 == nil && one == two
	}
	two, err := os.Stat(b)
	return err == nil && one.Mode().IsRegular() && os.SameFile(one, two)
}

func runReplay(cmd *cobra.Command, g *global, f *replayFlags, files []string) (err error) {
	if err := f.overwrites(files); err != nil {
		return err
	}
	mode, learnUntil, err := f.parse()
	if err != nil {
		return err
	}
	opt := line.ReplayOptions{Mode: mode, Site: f.site, Flows: f.flows}
	if g.config != "" || g.data != "" {
		if opt.Config, err = g.load(); err != nil {
			return err
		}
	}
	parts, err := line.NewReplay(opt)
	if err != nil {
		return err
	}
	if f.stateIn != "" {
		if err := replay.LoadState(f.stateIn, parts.State()...); err != nil {
			return err
		}
	}
	cfg := replay.Config{
		Extractor: parts.Extractor, Engine: parts, Decider: parts.Decider,
		LearnUntil: learnUntil, VerdictDelay: f.delay, Mode: mode, Policy: parts.Decider.Status().PolicyHash,
	}
	var outputs []*output
	for _, o := range []struct {
		path string
		to   *io.Writer
	}{{f.decisions, &cfg.Decisions}, {f.verdicts, &cfg.Verdicts}} {
		if o.path == "" {
			continue
		}
		file, err := create(o.path)
		if err != nil {
			return err
		}
		outputs = append(outputs, file)
		*o.to = file
	}
	r := replay.New(cfg)
	began := time.Now()
	err = readAll(cmd, f, files, r)
	sum, finishErr := r.Finish()
	err = errors.Join(err, finishErr)
	for _, o := range outputs {
		err = errors.Join(err, o.Close())
	}
	if err == nil && f.stateOut != "" {
		err = replay.SaveState(f.stateOut, parts.State()...)
	}
	if err != nil {
		return err
	}
	if sum.Exchanges == 0 && len(sum.Rejected) > 0 {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "weir: no line could be used: is --format right?")
	}
	return printSummary(cmd, g, &sum, time.Since(began))
}

// output is a buffered file.
type output struct {
	*bufio.Writer
	file *os.File
}

func create(path string) (*output, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	return &output{Writer: bufio.NewWriterSize(file, 1<<16), file: file}, nil
}

func (o *output) Close() error {
	if err := errors.Join(o.Flush(), o.file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", o.file.Name(), err)
	}
	return nil
}

// maxComplaints bounds the rejected lines that are shown one by one.
const maxComplaints = 10

func readAll(cmd *cobra.Command, f *replayFlags, files []string, r *replay.Runner) error {
	complaints := 0
	progress := newProgress(cmd.ErrOrStderr())
	defer progress.done()
	return line.ReadExchanges(cmd.Context(), files, f.format, f.site, f.strict, r, func(err error) {
		if complaints++; complaints <= maxComplaints {
			_, _ = fmt.Fprintln(cmd.ErrOrStderr(), err)
		} else if complaints == maxComplaints+1 {
			_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "further rejected lines are only counted")
		}
	}, progress.show)
}

// progress shows how far a long run is, when a person watches.
type progress struct {
	w    io.Writer
	on   bool
	last time.Time
}

func newProgress(w io.Writer) *progress {
	file, ok := w.(*os.File)
	return &progress{w: w, on: ok && term.IsTerminal(int(file.Fd())), last: time.Now()}
}

func (p *progress) show(exchanges int64) {
	if p.on && time.Since(p.last) > 500*time.Millisecond {
		p.last = time.Now()
		_, _ = fmt.Fprintf(p.w, "\r%d exchanges", exchanges)
	}
}

func (p *progress) done() {
	if p.on {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// printAccused says who would be acted on, for what and why.
func printAccused(w io.Writer, sum *replay.Summary) {
	if sum.Accusations == 0 {
		_, _ = fmt.Fprintln(w, "accused     nobody")
		return
	}
	_, _ = fmt.Fprintf(w, "accused     by requests, %d of %d; --verdicts FILE has all, --decisions FILE each request\n", len(sum.Accused), sum.Accusations)
	for i := range sum.Accused {
		a := &sum.Accused[i]
		var who []string
		for _, c := range a.Clients {
			who = append(who, c.String())
		}
		if a.Others {
			who = append(who, "and others")
		}
		_, _ = fmt.Fprintf(w, "  %-11s %6d requests of %s\n              %s\n", a.Action, a.Requests, strings.Join(who, ", "), a.Summary)
	}
}

func printSummary(cmd *cobra.Command, g *global, sum *replay.Summary, took time.Duration) error {
	var usage unix.Rusage
	peak := int64(0)
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) == nil {
		peak = usage.Maxrss << 10
	}
	rate := float64(sum.Exchanges) / max(took.Seconds(), 1e-9)
	w := cmd.OutOrStdout()
	if g.output == "json" {
		return printJSON(w, struct {
			*replay.Summary
			EventsPerSecond float64 `json:"events_per_second"`
			PeakMemoryBytes int64   `json:"peak_memory_bytes"`
		}{sum, rate, peak})
	}
	_, _ = fmt.Fprintf(w, "exchanges   %d (%d only taught, %d out of order)\n", sum.Exchanges, sum.Taught, sum.Disordered)
	var rejected int64
	for _, n := range sum.Rejected {
		rejected += n
	}
	_, _ = fmt.Fprintf(w, "rejected    %d\n", rejected)
	for _, reason := range slices.Sorted(maps.Keys(sum.Rejected)) {
		_, _ = fmt.Fprintf(w, "  %-24s %d\n", reason, sum.Rejected[reason])
	}
	if sum.Exchanges > 0 {
		_, _ = fmt.Fprintf(w, "time        %s to %s\n", sum.First.Std().Format(time.RFC3339), sum.Last.Std().Format(time.RFC3339))
	}
	_, _ = fmt.Fprintf(w, "actors      %d\nverdicts    %d\n", sum.Actors, sum.Verdicts)
	for _, t := range slices.Sorted(maps.Keys(sum.ByThreat)) {
		_, _ = fmt.Fprintf(w, "  %-24s %d\n", t, sum.ByThreat[t])
	}
	_, _ = fmt.Fprintln(w, "decisions   (scope/action; in shadow mode what would have happened)")
	for _, a := range slices.Sorted(maps.Keys(sum.Actions)) {
		_, _ = fmt.Fprintf(w, "  %-24s %d\n", a, sum.Actions[a])
	}
	printAccused(w, sum)
	_, err := fmt.Fprintf(w, "speed       %.0f events/s, peak memory %d MB\n", rate, peak>>20)
	return err
}
