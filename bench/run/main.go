// Command run measures weir beside its peers and floors, as whole processes in
// the same minutes on the same machine, and writes bench/results/NAME.json and
// the table in bench/README.md.
//
// Figures are CPU seconds of processes and ratios of them, since the machines it
// runs on are shared: wall-clock rates are only written down. Peer and weir take
// turns, three rounds each; the table shows medians.
//
//	go run ./run                   # everything, about ten minutes
//	go run ./run -only replay,ingress
//	go run ./run -only line -long  # ten minutes at 20,000 events/s: results/soak.json
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weirproject/weir/store/embedded"
)

// benchmark is one comparison. run fills in samples and rows.
type benchmark struct {
	name, title string
	run         func(ctx context.Context, env *environment, res *result) error
}

func benchmarks() []benchmark {
	return []benchmark{
		{"replay", "log replay with the whole engine on, against fail2ban-regex with one filter", runReplay},
		{"ingress", "ingress with 1M verdicts, policy and event capture, against nginx and net/http ReverseProxy", runIngress},
		{"processor", "log -> wire decode -> engine -> verdicts, against a hand-written consumer", runProcessor},
		{"line", "log line -> topic -> engine -> MergeTree, against inserting ready-made Arrow", runLine(1)},
		{"soak", "the line for ten minutes", runLine(10)},
		{"latency", "from the request that crosses the threshold to the first refused one", runLatency},
		{"idle", "weir up with nothing to do", runIdle},
	}
}

// environment is what the benchmarks share.
type environment struct {
	// weir and self are executables, bench the module's directory, dir a scratch
	// directory that is removed at the end.
	weir, self, bench, dir string
	rounds                 int
}

// scratch returns a new directory below the scratch directory.
func (e *environment) scratch(name string) (string, error) {
	return os.MkdirTemp(e.dir, name+"-")
}

func main() {
	// The same program is the peers that have to be programs of their own.
	if len(os.Args) > 2 && os.Args[1] == "child" {
		if err := child(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "run child:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	only := fs.String("only", "", "comma separated names; default all: "+strings.Join(names(), ", "))
	long := fs.Bool("long", false, "run soak in the place of line")
	rounds := fs.Int("rounds", 3, "rounds of each comparison")
	weir := fs.String("weir", "", "weir binary; default: build it")
	keep := fs.Bool("keep", false, "leave the scratch directory")
	if err := fs.Parse(args); err != nil {
		return err
	}
	env := &environment{rounds: *rounds, weir: *weir}
	chosen, err := choose(*only, *long)
	if err != nil {
		return err
	}
	if err := env.prepare(ctx); err != nil {
		return err
	}
	if !*keep {
		defer func() { _ = os.RemoveAll(env.dir) }()
	}
	var failed []error
	for _, b := range chosen {
		if ctx.Err() != nil {
			break
		}
		fmt.Printf("== %s: %s\n", b.name, b.title)
		began := time.Now()
		res := newResult(ctx, env, b)
		if err := b.run(ctx, env, res); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", b.name, err))
			fmt.Printf("   failed: %v\n", err)
			continue
		}
		res.print()
		fmt.Printf("   took %s\n", time.Since(began).Round(time.Second))
		if err := res.save(env.bench); err != nil {
			return err
		}
	}
	return errors.Join(append(failed, writeTable(env.bench))...)
}

func names() (out []string) {
	for _, b := range benchmarks() {
		out = append(out, b.name)
	}
	return out
}

// choose picks benchmarks by name; soak takes ten minutes and runs only when it is
// named or, as long, in the place of line.
func choose(only string, long bool) ([]benchmark, error) {
	all := benchmarks()
	wanted := slices.DeleteFunc(names(), func(n string) bool { return n == "soak" })
	if only != "" {
		wanted = strings.Split(only, ",")
	}
	for i, name := range wanted {
		if name == "line" && long {
			wanted[i] = "soak"
		}
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("-only %q: want some of %s", name, strings.Join(names(), ", "))
		}
	}
	// Replay comes first: Linux counts a parent's memory at the fork as the child's
	// peak, and what the others hold is no part of it.
	return slices.DeleteFunc(all, func(b benchmark) bool { return !slices.Contains(wanted, b.name) }), nil
}

// prepare finds the module, builds weir and fetches the store's engine.
func (e *environment) prepare(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	e.bench = filepath.Dir(strings.TrimSpace(string(out)))
	if filepath.Base(e.bench) != "bench" {
		return errors.New("start it in bench/ of the repository: go run ./run")
	}
	if e.self, err = os.Executable(); err != nil {
		return err
	}
	if e.dir, err = os.MkdirTemp("", "weir-bench-"); err != nil {
		return err
	}
	if e.weir == "" {
		e.weir = filepath.Join(e.dir, "weir")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", e.weir, "./cmd/weir")
		build.Dir, build.Stderr = filepath.Dir(e.bench), os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build weir: %w", err)
		}
	}
	if e.weir, err = filepath.Abs(e.weir); err != nil {
		return err
	}
	cache, err := embedded.CacheDir()
	if err == nil {
		_, err = embedded.Fetch(ctx, cache, func(string, int64, int64) {})
	}
	if err != nil {
		return fmt.Errorf("ClickHouse engine: %w", err)
	}
	return nil
}

// child runs one of the programs that are measured. WEIR_BENCH_CPUPROFILE=PATH
// leaves the last one's profile in PATH.NAME.
func child(name string, args []string) error {
	if path := os.Getenv("WEIR_BENCH_CPUPROFILE"); path != "" {
		f, err := os.Create(path + "." + name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	switch name {
	case "proxy":
		return childProxy(args)
	case "floor":
		return childFloor(args)
	case "engine":
		return childEngine(args)
	}
	return fmt.Errorf("unknown program %q", name)
}
