package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/scenario"
)

const (
	replayLines = 600_000
	// fail2banLines is a slice of the same file: at 50,000 lines/s of CPU the
	// whole of it would only take longer.
	fail2banLines = 100_000
	replayFilter  = "/etc/fail2ban/filter.d/nginx-botsearch.conf"
)

var errEnough = errors.New("enough")

// writeLog writes a combined log of n lines: three days of a web log's readers,
// services and every kind of scanner that the simulator knows. The same n gives
// the same bytes.
func writeLog(path string, n int) error {
	seed, err := scenario.Development.Seed(7)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b := traffic.Buffered(f)
	w := &traffic.Writer{Combined: b}
	err = scenario.Blog(scenario.Config{Seed: seed, People: n / 15, Days: 3, Attacks: []string{"all"}}, func(x *traffic.Exchange, l *traffic.Label) error {
		if w.Count() == n {
			return errEnough
		}
		return w.Write(x, l)
	})
	if err == nil {
		err = fmt.Errorf("the simulator gave %d lines only", w.Count())
	} else if errors.Is(err, errEnough) {
		err = nil
	}
	return errors.Join(err, b.Flush(), f.Close())
}

// head copies the first n lines.
func head(from, to string, n int) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	var out bytes.Buffer
	s := bufio.NewScanner(in)
	for i := 0; i < n && s.Scan(); i++ {
		out.Write(s.Bytes())
		out.WriteByte('\n')
	}
	return os.WriteFile(to, out.Bytes(), 0o600)
}

func runReplay(ctx context.Context, env *environment, res *result) error {
	regex, err := need(ctx, "fail2ban-regex", "fail2ban")
	if err != nil {
		return err
	}
	res.version(ctx, "fail2ban", regex, "--version")
	dir, err := env.scratch("replay")
	if err != nil {
		return err
	}
	log, slice := filepath.Join(dir, "access.log"), filepath.Join(dir, "slice.log")
	if err := writeLog(log, replayLines); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	if err := head(log, slice, fail2banLines); err != nil {
		return err
	}
	res.note("%d lines of a simulated web log: people, feed readers, search bots, monitors, scanners; weir with the engine and the enforcer on, writing no files", replayLines)
	res.note("fail2ban-regex with the filter nginx-botsearch on the first %d lines, scaled per line; it matches one pattern and keeps no state", fail2banLines)
	for round := range env.rounds {
		s, err := measure(ctx, env.weir, "replay", "--format", "combined", log)
		if err != nil {
			return err
		}
		res.add(round, "weir", map[string]float64{
			"lines_per_cpu_s": replayLines / s.CPU.Seconds(), "cpu_s": s.CPU.Seconds(), "wall_s": s.Wall.Seconds(), "peak_MB": float64(s.PeakBytes) / 1e6,
		})
		if s, err = measure(ctx, regex, slice, replayFilter); err != nil {
			return err
		}
		res.add(round, "fail2ban", map[string]float64{
			"lines_per_cpu_s": fail2banLines / s.CPU.Seconds(), "cpu_s": s.CPU.Seconds(), "wall_s": s.Wall.Seconds(), "peak_MB": float64(s.PeakBytes) / 1e6,
		})
	}
	res.ratio("combined log of 600,000 lines, whole engine", "lines per CPU-second", res.median("weir", "lines_per_cpu_s"),
		res.median("fail2ban", "lines_per_cpu_s"), "fail2ban-regex, one filter", atLeast(2.5, "x"))
	res.value("peak memory of that replay", "MB", res.median("weir", "peak_MB"), atMost(500, " MB"))
	return nil
}
