package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
)

func newStatus(g *global) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Health of each part, lag, and whether every event is accounted for",
		Long: `Shows each part of the running weir, how far each stage is behind, and per source
produced = delivered + lost + queued. Exit status 1 when something is wrong.`,
		Example: `  weir status
  weir status --wait 30s      wait until all is well, at most 30 s
  weir status -o json`,
		Args: cobra.NoArgs, Annotations: asObject,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := g.dataDir()
			if err != nil {
				return err
			}
			st, err := awaitStatus(cmd.Context(), data, wait)
			if err != nil {
				return err
			}
			if g.output == "json" {
				err = printJSON(cmd.OutOrStdout(), st)
			} else {
				g.printStatus(cmd.OutOrStdout(), st)
			}
			if err == nil && !st.Healthy {
				err = &quietError{}
			}
			return err
		},
	}
	spanVar(cmd.Flags(), &wait, "wait", 0, "wait at most this long for everything to be well")
	return cmd
}

func awaitStatus(ctx context.Context, data string, wait time.Duration) (*admin.Status, error) {
	deadline := time.Now().Add(wait)
	for {
		st, err := askStatus(ctx, data)
		if err == nil && st.Healthy || !time.Now().Before(deadline) {
			return st, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// askStatus asks weir up, or else joins what the roles say that run on the data
// directory by themselves.
func askStatus(ctx context.Context, data string) (*admin.Status, error) {
	var out admin.Status
	err := admin.NewClient(admin.Socket(data, "weir")).Get(ctx, "/v1/status", &out)
	if err == nil || !errors.Is(err, admin.ErrNotRunning) {
		return &out, err
	}
	for _, role := range []string{"process", "enforce", "collect", "sink"} {
		var st admin.Status
		if admin.NewClient(admin.Socket(data, role)).Get(ctx, "/v1/status", &st) != nil {
			continue
		}
		out.Version, out.Data = st.Version, st.Data
		out.Parts = append(out.Parts, st.Parts...)
		out.Reports = append(out.Reports, st.Reports...)
		out.Problems = append(out.Problems, st.Problems...)
		err = nil
	}
	out.Healthy = err == nil && len(out.Problems) == 0
	return &out, err
}

func (g *global) printStatus(w io.Writer, st *admin.Status) {
	word := g.paint(w, green, "healthy")
	if !st.Healthy {
		word = g.paint(w, red, "NOT healthy")
	}
	_, _ = fmt.Fprintf(w, "weir %s at %s: %s\n", st.Version, st.Data, word)
	for _, p := range st.Problems {
		_, _ = fmt.Fprintf(w, "  %s %s\n", g.paint(w, red, "problem:"), p)
	}
	for _, p := range st.Parts {
		state := "ready"
		if !p.Ready {
			state = "NOT READY"
		}
		_, _ = fmt.Fprintf(w, "  %-10s %-9s pid %-7d restarts %d  %s\n", p.Name, state, p.PID, p.Restarts, p.Detail)
		if p.LastExit != "" {
			_, _ = fmt.Fprintf(w, "             last exit: %s\n", printable(p.LastExit))
		}
	}
	for _, r := range st.Reports {
		for _, s := range r.Sources {
			var lost int64
			for _, n := range s.Lost {
				lost += n
			}
			_, _ = fmt.Fprintf(w, "  events %-10s produced %d = delivered %d + lost %d + queued %d\n", s.Name, s.Produced, s.Delivered, lost, s.Queued)
			for _, cause := range slices.Sorted(maps.Keys(s.Lost)) {
				_, _ = fmt.Fprintf(w, "             lost by %s: %d\n", cause, s.Lost[cause])
			}
		}
		for _, l := range r.Lag {
			_, _ = fmt.Fprintf(w, "  lag    %-10s partition %d: %d records, %.1f s\n", l.Stage, l.Partition, l.Records, l.Seconds)
		}
		for _, s := range r.Sites {
			_, _ = fmt.Fprintf(w, "  site   %-10s mode %s  %s\n", s.Name, s.Mode, s.Maturity)
			if len(s.Detectors) > 0 {
				_, _ = fmt.Fprintf(w, "             detectors at work: %s\n", strings.Join(s.Detectors, " "))
			}
			if len(s.Missing) > 0 {
				_, _ = fmt.Fprintf(w, "             missing roles:\n               %s\n", strings.Join(s.Missing, "\n               "))
			}
		}
		for _, n := range r.Notes {
			_, _ = fmt.Fprintf(w, "  note   %s: %s\n", r.Part, n)
		}
	}
}
