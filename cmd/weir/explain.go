package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/stream/verdict"
)

func newExplain(g *global) *cobra.Command {
	var replay bool
	cmd := &cobra.Command{
		Use:   "explain ID",
		Short: "Why: the evidence behind a verdict, decision or request",
		Long: `Takes a verdict id, or a request id (the X-Weir-Request-Id of a response, which is
also the decision's id), and shows the evidence in words, numbers and events.
With --replay the verdict is computed again from the log and the stored
snapshot; the answer says whether it is identical, byte for byte, and the exit
status is 1 when it is not or when something needed is gone.`,
		Example: `  weir explain v_0123456789abcdef0123456789abcdef
  weir explain v_0123456789abcdef0123456789abcdef --replay
  weir explain 01jd... -o json`,
		Args: oneID, Annotations: asObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.running()
			if err != nil {
				return err
			}
			target := "/v1/explain/" + escape(args[0])
			if replay {
				target += "?replay=1"
			}
			var e admin.Explanation
			if err := c.Get(cmd.Context(), target, &e); err != nil {
				return err
			}
			if g.output == "json" {
				err = printJSON(cmd.OutOrStdout(), &e)
			} else {
				err = g.printExplanation(cmd, &e)
			}
			if err == nil && replay && (e.Replay == nil || !e.Replay.Identical) {
				err = &quietError{}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&replay, "replay", false, "recompute the verdict from the log and compare")
	return cmd
}

// oneID takes one id of something that happened.
func oneID(cmd *cobra.Command, args []string) error {
	if err := cobra.ExactArgs(1)(cmd, args); err != nil {
		return err
	}
	switch id := args[0]; {
	case strings.TrimSpace(id) == "":
		return usagef("the id is empty: `weir verdicts list` shows some")
	case strings.HasPrefix(id, "a_"):
		return usagef("%s is an actor; what it did: weir sql \"SELECT * FROM requests WHERE actor = '%s' ORDER BY time DESC LIMIT 20\"", printable(id), printable(id))
	}
	return nil
}

func (g *global) printExplanation(cmd *cobra.Command, e *admin.Explanation) error {
	w := cmd.OutOrStdout()
	if d := e.Decision; d != nil {
		describeDecision(w, d)
	}
	if e.Verdict != nil {
		_, _ = fmt.Fprint(w, g.describeVerdict(w, e.Verdict))
	}
	if e.Request != nil && len(e.Request.Rows) > 0 {
		_, _ = fmt.Fprintln(w, "request:")
		for i, c := range e.Request.Columns {
			_, _ = fmt.Fprintf(w, "  %-16s %s\n", c, texts(e.Request.Rows[0], true)[i])
		}
	}
	if e.Events != nil && len(e.Events.Rows) > 0 {
		_, _ = fmt.Fprintln(w, "events behind it:")
		if err := g.printTable(cmd, e.Events); err != nil {
			return err
		}
	}
	if r := e.Replay; r != nil {
		switch {
		case r.Source == "":
			_, _ = fmt.Fprintf(w, "replay: not possible: %s\n", r.Difference)
		case r.Identical:
			_, _ = fmt.Fprintf(w, "replay: IDENTICAL (snapshot %s, %d events of %s)\n", r.Snapshot, r.Events, r.Source)
		default:
			_, _ = fmt.Fprintf(w, "replay: NOT identical: %s (snapshot %s, %d events of %s)\n", r.Difference, r.Snapshot, r.Events, r.Source)
		}
		for _, m := range r.Missing {
			_, _ = fmt.Fprintf(w, "  missing: %s\n", m)
		}
	}
	return nil
}

func describeDecision(w io.Writer, d *verdict.Decision) {
	_, _ = fmt.Fprintf(w, "request %s at %s: %s", d.ID, d.Time.Std().Format(time.RFC3339), d.Action)
	if d.Proposed != d.Action {
		_, _ = fmt.Fprintf(w, " (proposed %s, mode %s)", d.Proposed, d.Mode)
	}
	_, _ = fmt.Fprintf(w, "\n  %s\n", printable(d.Reason))
	if r := d.Request; r != nil {
		_, _ = fmt.Fprintf(w, "  %s %s%s from %s\n", r.Method, printable(r.Host), printable(r.Path), r.Client)
	}
}
