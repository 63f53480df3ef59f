package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
)

func newShadow(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "shadow", Short: "What enforcement would have done where weir only watches"}
	cmd.AddCommand(newShadowReport(g))
	return cmd
}

func newShadowReport(g *global) *cobra.Command {
	var rule, since string
	cmd := &cobra.Command{
		Use: "report", Short: "What would have been blocked, by whom it would have hit, with a 95 % bound", Args: cobra.NoArgs, Annotations: asObject,
		Long: `Sums up the decisions of shadow mode: how many requests and sessions would have
been acted on, by action, route, threat, country, account age and purchases,
with samples, and in words what that says of traffic to come. Sessions of
accounts that had been known for a day or more look like customers: what hits
them is what false positives are estimated from.`,
		Example: `  weir shadow report
  weir shadow report --since 24h --rule OAT-008
  weir shadow report -o json | jq .customers.statement`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d, err := config.ParseDuration(since); err != nil || d <= 0 {
				if _, err := time.Parse(time.RFC3339, since); err != nil {
					return usagef("--since %q: want a duration such as 24h or 7d, or a time such as 2026-03-02T09:15:00Z", since)
				}
			}
			c, err := g.running()
			if err != nil {
				return err
			}
			var rep admin.ShadowReport
			q := url.Values{"since": {since}, "rule": {rule}}
			if err := c.Get(cmd.Context(), "/v1/shadow?"+q.Encode(), &rep); err != nil {
				return err
			}
			if g.output == "json" {
				return printJSON(cmd.OutOrStdout(), &rep)
			}
			return printShadow(cmd.OutOrStdout(), &rep)
		},
	}
	cmd.Flags().StringVar(&rule, "rule", "", "only what this rule or threat (OAT-008) proposed")
	cmd.Flags().StringVar(&since, "since", "7d", "how far back, or since when")
	return cmd
}

// shadowParts are the groups of a report in the order in which people ask.
var shadowParts = []struct{ name, title string }{
	{"action", "would have been"},
	{"threat", "threat"},
	{"route", "route"},
	{"account_age", "account age"},
	{"customer_value", "customer value"},
	{"country", "country"},
}

func printShadow(w io.Writer, rep *admin.ShadowReport) error {
	_, _ = fmt.Fprintf(w, "since %s: %d of %d requests in shadow mode would have been acted on\n", rep.Since.Format(time.RFC3339), rep.Acted, rep.Requests)
	if rep.Enforced > 0 {
		_, _ = fmt.Fprintf(w, "  %d more were decided in enforce mode and do not count here\n", rep.Enforced)
	}
	if rep.Requests == 0 {
		_, _ = fmt.Fprintln(w, "  nothing can be said of what acting would have hit")
		return nil
	}
	for _, b := range []admin.ShadowBound{rep.Sessions, rep.Blocked, rep.Customers} {
		_, _ = fmt.Fprintf(w, "  %s\n", b.Statement)
	}
	_, _ = fmt.Fprintln(w, "  The first two count attackers' sessions too; the last is the estimate of false positives.")
	tw := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	for _, p := range shadowParts {
		list := rep.Groups[p.name]
		if len(list) == 0 || !slices.ContainsFunc(list, func(x admin.ShadowGroup) bool { return x.Key != "" }) {
			continue
		}
		_, _ = fmt.Fprintf(tw, "\n%s\trequests\tsessions\tproven accounts\n", p.title)
		for _, x := range list {
			key := printable(x.Key)
			if key == "" {
				key = "unknown"
			}
			_, _ = fmt.Fprintf(tw, "  %s\t%d\t%d\t%d\n", key, x.Requests, x.Sessions, x.Accounts)
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if rep.Samples == nil || len(rep.Samples.Rows) == 0 {
		return nil
	}
	_, _ = fmt.Fprintf(w, "\nsamples (%s)\n", strings.Join(rep.Samples.Columns, ", "))
	for _, row := range rep.Samples.Rows {
		_, _ = fmt.Fprintf(w, "  %s\n", strings.Join(texts(row, true), "  "))
	}
	return nil
}
