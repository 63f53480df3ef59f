package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/verdict"
)

func newVerdicts(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verdicts",
		Short: "What is in force, why, add one by hand, take one back, follow the feed",
		Example: `  weir verdicts list
  weir verdicts show v_0123...
  weir verdicts add --client 203.0.113.7 --action block --for 4h --reason "ticket 1234"
  weir verdicts revoke v_0123... --reason "our own monitor"
  weir verdicts watch`,
	}
	cmd.AddCommand(newVerdictsList(g), newVerdictsShow(g), newVerdictsAdd(g), newVerdictsRevoke(g), newVerdictsWatch(g))
	return cmd
}

func newVerdictsList(g *global) *cobra.Command {
	var f verdictFilter
	cmd := &cobra.Command{
		Use: "list", Short: "List the verdicts in force", Args: cobra.NoArgs, Annotations: asTable,
		Example: `  weir verdicts list
  weir verdicts list --client 203.0.113.7      what binds this address
  weir verdicts list --account alice -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.running()
			if err != nil {
				return err
			}
			all := []verdict.Verdict{}
			if err := c.Get(cmd.Context(), "/v1/verdicts", &all); err != nil {
				return err
			}
			if all, err = f.apply(g, all); err != nil {
				return err
			}
			if g.output == "json" {
				return printJSON(cmd.OutOrStdout(), all)
			}
			t := admin.Table{Columns: []string{"id", "site", "action", "scope", "threats", "actor", "score", "expires", "summary"}}
			for i := range all {
				v := &all[i]
				t.Rows = append(t.Rows, []any{
					v.ID, v.Site, v.Action.String(), string(v.Scope), threats(v.Threats), v.Actor, v.Score.String(),
					v.Expires.Std().Format(time.RFC3339), shorten(v.Evidence.Summary, g.output),
				})
			}
			return g.printTable(cmd, &t)
		},
	}
	f.flags(cmd)
	return cmd
}

func shorten(s, output string) string {
	const width = 80
	if output != "human" || len(s) <= width {
		return s
	}
	return s[:width] + "..."
}

func threats(list []verdict.Threat) string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = string(t)
	}
	return strings.Join(out, ",")
}

func newVerdictsShow(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one verdict with its evidence", Args: oneID, Annotations: asObject,
		Example: "  weir verdicts show v_0123456789abcdef0123456789abcdef\n  weir verdicts show v_0123456789abcdef0123456789abcdef -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.running()
			if err != nil {
				return err
			}
			var v verdict.Verdict
			if err := c.Get(cmd.Context(), "/v1/verdicts/"+escape(args[0]), &v); err != nil {
				return err
			}
			if g.output == "json" {
				return printJSON(cmd.OutOrStdout(), &v)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), g.describeVerdict(cmd.OutOrStdout(), &v))
			return err
		},
	}
}

// describeVerdict is the one readable block of a verdict, for w.
func (g *global) describeVerdict(w io.Writer, v *verdict.Verdict) string {
	var b strings.Builder
	state := ""
	if v.Revoked {
		state = ", " + g.paint(w, red, "REVOKED")
	}
	what := strings.TrimSpace(g.paint(w, bold, strings.ToUpper(v.Action.String())) + " " + threats(v.Threats))
	_, _ = fmt.Fprintf(&b, "%s  %s on %s (revision %d%s)\n", v.ID, what, v.Site, v.Revision, state)
	if v.Evidence.Summary != "" { // the feed's snapshot comes without evidence
		_, _ = fmt.Fprintf(&b, "  %s\n", printable(v.Evidence.Summary))
	}
	whom := strings.TrimSpace(string(v.Scope) + " " + v.Actor)
	_, _ = fmt.Fprintf(&b, "  %s, mode %s, from %s until %s\n", whom, v.Mode, v.Time.Std().Format(time.RFC3339), v.Expires.Std().Format(time.RFC3339))
	describeBinds(&b, v.Binds)
	if v.Bound == admin.BoundOperator {
		return b.String() // a person's word has no score
	}
	confidence, _ := v.Confidence.MarshalJSON()
	bound, _ := v.FalsePositiveBound.MarshalJSON()
	_, _ = fmt.Fprintf(&b, "  score %s bits, confidence %s, false positives at most %s per clean actor (%s bound)\n", v.Score, confidence, bound, v.Bound)
	for _, f := range v.Evidence.Features {
		_, _ = fmt.Fprintf(&b, "    %-32s %12s  expected %10s  %+9s bits\n", f.Name, f.Value, f.Expected, f.Bits)
	}
	for i, l := range v.Evidence.Links {
		if i == 6 {
			_, _ = fmt.Fprintf(&b, "    ... and %d more links\n", len(v.Evidence.Links)-i)
			break
		}
		_, _ = fmt.Fprintf(&b, "    linked %s - %s (%s bits)\n", l.From, l.To, l.Bits)
	}
	for _, c := range v.Evidence.Caps {
		_, _ = fmt.Fprintf(&b, "    capped by %s\n", c)
	}
	if v.Evidence.Counterfactual != "" {
		_, _ = fmt.Fprintf(&b, "  not given if: %s\n", printable(v.Evidence.Counterfactual))
	}
	if v.Maturity != "" {
		_, _ = fmt.Fprintf(&b, "  history behind it: %s\n", v.Maturity)
	}
	return b.String()
}

// shownBinds bounds the groups that are shown of a verdict.
const shownBinds = 4

// describeBinds says which requests a verdict meets.
func describeBinds(b *strings.Builder, groups []verdict.Group) {
	for i, g := range groups {
		if i == shownBinds {
			_, _ = fmt.Fprintf(b, "    ... or %d more\n", len(groups)-i)
			return
		}
		text := "meets " + namedBinds(g.All, " and ")
		if i > 0 {
			text = "or " + namedBinds(g.All, " and ")
		}
		if len(g.None) > 0 {
			text += ", without " + namedBinds(g.None, " or ")
		}
		if len(g.Routes) > 0 {
			text += ", on " + printable(strings.Join(g.Routes, ", "))
		}
		_, _ = fmt.Fprintf(b, "    %s\n", text)
	}
}

func namedBinds(list []verdict.Bind, between string) string {
	var names []string
	for i, bind := range list {
		if i == shownBinds {
			names = append(names, fmt.Sprintf("%d more", len(list)-i))
			break
		}
		names = append(names, printable(bind.Kind)+" "+bind.Value.String())
	}
	return strings.Join(names, between)
}

// manualActions are those that a person can order.
var manualActions = []string{"allow", "observe", "rate_limit", "redirect", "block"}

func newVerdictsAdd(g *global) *cobra.Command {
	var r admin.VerdictRequest
	cmd := &cobra.Command{
		Use: "add", Short: "Add a verdict by hand", Args: cobra.NoArgs, Annotations: asObject,
		Example: `  weir verdicts add --client 203.0.113.7 --action block --for 4h --reason "ticket 1234"
  weir verdicts add --account alice --action observe --for 24h --reason "owner called"`,
	}
	g.manual(cmd, &r, "1h")
	cmd.Flags().StringVar(&r.Action, "action", "block", strings.Join(manualActions, ", "))
	return cmd
}

// manual makes cmd one that gives a verdict by hand; span is how long by default.
func (g *global) manual(cmd *cobra.Command, r *admin.VerdictRequest, span string) {
	kinds := []struct{ flag, kind, help string }{
		{"client", "client", "client address"},
		{"session", "session", "session value, as the application set it"},
		{"account", "account", "account name"},
		{"device", "device", "device value"},
	}
	values := make([]string, len(kinds))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for i, k := range kinds {
			if values[i] == "" {
				continue
			}
			if r.Kind != "" {
				return usagef("one of --client, --session, --account, --device, not several")
			}
			r.Kind, r.Value = k.kind, values[i]
		}
		if r.Kind == "" {
			return usagef("say whom: --client, --session, --account or --device")
		}
		if r.Reason == "" {
			return usagef("--reason is required: it is what the next person on duty reads")
		}
		if d, err := config.ParseDuration(r.For); err != nil || d <= 0 {
			return usagef("--for %q: want a positive duration such as 4h or 7d", r.For)
		}
		if !slices.Contains(manualActions, r.Action) {
			return usagef("--action %q: want %s", r.Action, strings.Join(manualActions, ", "))
		}
		if r.Kind == "client" {
			var err error
			if r.Value, err = clientText(r.Kind, r.Value); err != nil {
				return err
			}
		}
		return g.changeVerdict(cmd, "/v1/verdicts", r)
	}
	f := cmd.Flags()
	for i, k := range kinds {
		f.StringVar(&values[i], k.flag, "", k.help)
	}
	f.StringVar(&r.For, "for", span, "how long")
	f.StringVar(&r.Reason, "reason", "", "why (required)")
	f.StringVar(&r.Site, "site", "", "site (default: the only one)")
}

func newVerdictsRevoke(g *global) *cobra.Command {
	return g.takeBack("revoke", "Take a verdict back", "weir verdicts revoke", "our own monitor")
}

// takeBack makes a command that ends a verdict.
func (g *global) takeBack(verb, short, line, reason string) *cobra.Command {
	var r admin.VerdictRequest
	cmd := &cobra.Command{
		Use: verb + " ID", Short: short, Args: oneID, Annotations: asObject,
		Example: fmt.Sprintf("  %s v_0123456789abcdef0123456789abcdef --reason %q", line, reason),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.ID = args[0]
			return g.changeVerdict(cmd, "/v1/verdicts/revoke", &r)
		},
	}
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why")
	return cmd
}

func (g *global) changeVerdict(cmd *cobra.Command, path string, r *admin.VerdictRequest) error {
	if u, err := user.Current(); err == nil {
		r.By = u.Username
	}
	c, err := g.running()
	if err != nil {
		return err
	}
	var v verdict.Verdict
	if err := c.Post(cmd.Context(), path, r, &v); err != nil {
		return err
	}
	if g.output == "json" {
		return printJSON(cmd.OutOrStdout(), &v)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), g.describeVerdict(cmd.OutOrStdout(), &v))
	return err
}

func newVerdictsWatch(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Follow the feed of verdicts", Args: cobra.NoArgs, Annotations: asObject,
		Example: "  weir verdicts watch\n  weir verdicts watch -o json | jq -c '[.id, .action, .threats]'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.running()
			if err != nil {
				return err
			}
			return watchFeed(cmd.Context(), c, func(v *verdict.Verdict) error {
				if g.output == "json" {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), g.describeVerdict(cmd.OutOrStdout(), v))
				return err
			})
		},
	}
}
