package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/line"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

func newAllowlists(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use: "allowlists", Short: "Requests that are never acted on",
		Long: `Allowlists stand in weir.yaml (allowlists:), so that they are reviewed and
versioned like code; SIGHUP puts changes in force. They are asked before anything
else, and what they name is tagged, so that the engine accuses nobody of it.

add and remove are for a moment's need: the record goes on the log, where the
engine honours it and a replay sees it, and it ends by itself.`,
	}
	cmd.AddCommand(newAllowlistsList(g), newAllowlistsTest(g), newAllowlistsAdd(g), newAllowlistsRemove(g))
	return cmd
}

func newAllowlistsList(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the configured allowlists, and those given by hand", Args: cobra.NoArgs, Annotations: asTable,
		Example: "  weir allowlists list\n  weir allowlists list -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			t := admin.Table{Columns: []string{"name", "clients", "reason", "expires"}, Rows: [][]any{}}
			for _, a := range cfg.Allowlists {
				expires := "never"
				if !a.Expires.IsZero() {
					expires = a.Expires.Format(time.RFC3339)
				}
				t.Rows = append(t.Rows, []any{a.Name, whomListed(&a), a.Reason, expires})
			}
			c, err := g.running()
			if err != nil {
				return err
			}
			var all []verdict.Verdict
			if err := c.Get(cmd.Context(), "/v1/verdicts", &all); err != nil && !errors.Is(err, admin.ErrNotRunning) {
				return err
			}
			for i := range all {
				if v := &all[i]; v.Action == event.ActionAllow {
					t.Rows = append(t.Rows, []any{v.ID, whomAllowed(v), shorten(v.Evidence.Summary, g.output), v.Expires.Std().Format(time.RFC3339)})
				}
			}
			return g.printTable(cmd, &t)
		},
	}
}

// whomListed names all that a configured allowlist goes by.
func whomListed(a *config.Allowlist) []string {
	out := []string{}
	for _, p := range a.Clients {
		out = append(out, p.String())
	}
	for _, n := range a.ASNs {
		out = append(out, fmt.Sprintf("AS%d", n))
	}
	for _, name := range a.Accounts {
		out = append(out, "account:"+name)
	}
	for _, ua := range a.UserAgents {
		out = append(out, "user agent:"+ua)
	}
	if a.VerifiedBots {
		out = append(out, "verified bots")
	}
	return out
}

// whomAllowed names the pseudonyms that an allow verdict binds.
func whomAllowed(v *verdict.Verdict) []string {
	out := []string{}
	for _, group := range v.Binds {
		for _, b := range group.All {
			out = append(out, b.Kind+":"+b.Value.String())
		}
	}
	return out
}

func newAllowlistsTest(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "test CLIENT", Short: "Which configured allowlist fits an address", Args: cobra.ExactArgs(1), Annotations: asObject,
		Example: "  weir allowlists test 198.51.100.7",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parseClient(args[0])
			if err != nil {
				return err
			}
			cfg, err := g.load()
			if err != nil {
				return err
			}
			name := line.Allowed(cfg, p.Addr())
			if g.output == "json" {
				err := printJSON(cmd.OutOrStdout(), map[string]any{"client": p.Addr(), "allowlist": name, "fits": name != ""})
				if err == nil && name == "" {
					err = &quietError{}
				}
				return err
			}
			if name == "" {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "no allowlist fits %s\n", p.Addr())
				return &quietError{}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s fits %s\n", name, p.Addr())
			return err
		},
	}
}

func newAllowlistsAdd(g *global) *cobra.Command {
	r := admin.VerdictRequest{Action: event.ActionAllow.String()}
	cmd := &cobra.Command{
		Use: "add", Short: "Let somebody pass for a while", Args: cobra.NoArgs, Annotations: asObject,
		Example: `  weir allowlists add --client 198.51.100.7 --for 8h --reason "our load test"
  weir allowlists add --account auditor --for 24h --reason "yearly audit"`,
	}
	g.manual(cmd, &r, "24h")
	return cmd
}

func newAllowlistsRemove(g *global) *cobra.Command {
	return g.takeBack("remove", "End what add began", "weir allowlists remove", "the test is over")
}
