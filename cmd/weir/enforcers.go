package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
)

func newEnforcers(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use: "enforcers", Short: "Who enforces, how far each has come, and who may follow the feed",
		Long: `An ingress on this machine reads verdicts from the log. One on another machine
follows the feed of the processor (feed.listen) with a key of its own: add makes
it, shows it once and keeps its hash; remove takes it back and ends the
connection, while that ingress goes on with the last good verdicts.`,
		Example: `  weir enforcers list
  weir enforcers add edge-1
  weir enforcers remove edge-1`,
	}
	cmd.AddCommand(newEnforcersList(g), newEnforcersAdd(g), newEnforcersRemove(g))
	return cmd
}

func newEnforcersList(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List those that enforce, with sequence number and lag", Args: cobra.NoArgs, Annotations: asTable,
		Example: "  weir enforcers list\n  weir enforcers list -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			all, err := askEnforcers(cmd.Context(), cfg.Data)
			if err != nil {
				return err
			}
			t := admin.Table{Columns: []string{"name", "via", "state", "sequence", "behind", "seen", "from"}, Rows: [][]any{}}
			for i := range all {
				e := &all[i]
				behind := any(e.Behind)
				if e.Behind < 0 {
					behind = nil
				}
				t.Rows = append(t.Rows, []any{e.Name, e.Via, e.State, e.Sequence, behind, moment(e.Seen), e.From})
			}
			return g.printTable(cmd, &t)
		},
	}
}

// moment shows a time, nothing for none.
func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// askEnforcers joins those that have a key of the processor's with the ingress
// that runs on the data directory.
func askEnforcers(ctx context.Context, data string) ([]admin.Enforcer, error) {
	st, err := askStatus(ctx, data)
	if err != nil {
		return nil, err
	}
	var list admin.EnforcerList
	c := admin.NewClient(admin.Socket(data, "weir"), admin.Socket(data, "process"))
	if err := c.Get(ctx, "/v1/enforcers", &list); err != nil && !errors.Is(err, admin.ErrNotRunning) {
		return nil, err
	}
	for _, r := range st.Reports {
		if r.Enforcer == nil {
			continue
		}
		e := *r.Enforcer
		if list.Sequence != "" {
			e.Behind = admin.Behind(list.Sequence, e.Sequence)
		}
		list.Enforcers = append(list.Enforcers, e)
	}
	slices.SortFunc(list.Enforcers, func(a, b admin.Enforcer) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Via, b.Via))
	})
	return list.Enforcers, nil
}

func newEnforcersAdd(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "add NAME", Short: "Make a key for an ingress on another machine and show it once", Args: cobra.ExactArgs(1), Annotations: asObject,
		Example: "  weir enforcers add edge-1\n  weir enforcers add edge-1 -o json | jq -r .key",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.running()
			if err != nil {
				return err
			}
			var made admin.EnforcerKey
			if err := c.Post(cmd.Context(), "/v1/enforcers", admin.EnforcerRequest{Name: args[0]}, &made); err != nil {
				return err
			}
			if g.output == "json" {
				return printJSON(cmd.OutOrStdout(), made)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `%s
The key of %s is shown this once. Over there, beside the same sites, flow maps
and pseudonym key (keys.pseudonym), weir.yaml says

  enforce:
    feed: {url: "https://THIS-MACHINE:PORT", key: "${WEIR_FEED_KEY}"}

with the address of feed.listen, and WEIR_FEED_KEY=KEY weir enforce runs it.
`, made.Key, made.Name)
			return err
		},
	}
}

func newEnforcersRemove(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Take a key back and end its connection", Args: cobra.ExactArgs(1), Annotations: asObject,
		Example: "  weir enforcers remove edge-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.running()
			if err != nil {
				return err
			}
			var gone admin.EnforcerRequest
			if err := c.Post(cmd.Context(), "/v1/enforcers/remove", admin.EnforcerRequest{Name: args[0]}, &gone); err != nil {
				return err
			}
			if g.output == "json" {
				return printJSON(cmd.OutOrStdout(), gone)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s can follow the feed no more; what it has stays in force there until it ends\n", gone.Name)
			return err
		},
	}
}
