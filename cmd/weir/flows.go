package main

import (
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/baseline/route"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/line"
	"github.com/weirproject/weir/stream/flow"
)

func newFlows(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "flows", Short: "Work on flow maps: what an application's routes mean"}
	cmd.AddCommand(newFlowsCheck(g), newFlowsSuggest(g),
		newSchema("flow maps", "weir flows schema > flows.schema.json      # for editors: # yaml-language-server: $schema=flows.schema.json", config.MapSchema))
	return cmd
}

func newFlowsCheck(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE...", Short: "Lint flow maps", Args: cobra.MinimumNArgs(1), Annotations: asObject,
		Example: "  weir flows check flows/shop.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			type result struct {
				File   string   `json:"file"`
				Site   string   `json:"site,omitempty"`
				Routes int      `json:"routes"`
				Faults []string `json:"faults"`
			}
			failed, results := false, []result{}
			for _, path := range args {
				m, err := config.LoadMap(path)
				switch {
				case err != nil:
					failed = true
					results = append(results, result{File: path, Faults: strings.Split(err.Error(), "\n")})
					if g.output == "human" {
						_, _ = fmt.Fprintln(cmd.ErrOrStderr(), err)
					}
				default:
					results = append(results, result{File: path, Site: m.Site, Routes: len(m.Routes), Faults: []string{}})
					if g.output == "human" {
						_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s: site %s, %d routes, fine\n", path, m.Site, len(m.Routes))
					}
				}
			}
			if g.output == "json" {
				if err := printJSON(cmd.OutOrStdout(), results); err != nil {
					return err
				}
			}
			if failed {
				return &quietError{}
			}
			return nil
		},
	}
}

// suggestFlags are the options of weir flows suggest.
type suggestFlags struct {
	format, site, host string
	since              time.Duration
}

func newFlowsSuggest(g *global) *cobra.Command {
	var f suggestFlags
	cmd := &cobra.Command{
		Use:   "suggest [FILE...]",
		Short: "Propose a flow map from observed traffic, with its reasons",
		Long: `Reads exchange files or access logs and writes a flow map, with the reason for
each route as a comment; without a file it asks the running weir what it has
stored. Exchange files show most: bodies and cookies give claims, objects and
identifiers. Only names are looked at and kept, never a value.

It is a proposal: read it, correct it, check it with weir flows check, and put
it into force yourself.`,
		Example: `  weir flows suggest traffic.ndjson --site shop > flows/shop.yaml && weir flows check flows/shop.yaml
  weir flows suggest access.log --format combined
  weir flows suggest --site shop --since 72h`,
		Annotations: asObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := f.propose(cmd, g, args)
			if err != nil {
				return err
			}
			if g.output == "json" {
				return printJSON(cmd.OutOrStdout(), proposalJSON(p))
			}
			return writeProposal(cmd.OutOrStdout(), p, len(args) == 0)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "exchange, combined, common or json (default: by the first line)")
	fl.StringVar(&f.site, "site", "", "name of the site (default: the only one with requests, or \"default\" with files)")
	fl.StringVar(&f.host, "host", "", "only the exchanges of this host")
	spanVar(fl, &f.since, "since", 7*24*time.Hour, "without a file: how far to look back")
	return cmd
}

func (f *suggestFlags) propose(cmd *cobra.Command, g *global, files []string) (*route.Proposal, error) {
	if len(files) == 0 {
		if f.since < time.Second {
			return nil, usagef("--since %s: want a second or more", f.since)
		}
		c, err := g.running()
		if err != nil {
			return nil, err
		}
		return line.SuggestStored(cmd.Context(), c, f.site, f.since)
	}
	complaints := 0
	progress := newProgress(cmd.ErrOrStderr())
	defer progress.done()
	opt := line.SuggestOptions{Files: files, Format: f.format, Host: f.host, Site: f.site}
	return line.SuggestFiles(cmd.Context(), opt, func(err error) {
		if complaints++; complaints <= maxComplaints {
			_, _ = fmt.Fprintln(cmd.ErrOrStderr(), err)
		}
	}, progress.show)
}

func writeProposal(w io.Writer, p *route.Proposal, stored bool) error {
	notes := config.MapNotes{Identifiers: p.Identifiers}
	notes.Head = []string{
		fmt.Sprintf("Proposed by weir flows suggest from %d exchanges. Check every line before it is put into force.", p.Exchanges),
		"Confidence is in points of 99: from 80 on nearly certain, below 55 worth a look.",
	}
	if stored {
		notes.Head = append(notes.Head, "The store keeps no bodies and cookies: add identifiers, claims and objects, or suggest from an exchange file.")
	}
	if p.Lost > 0 {
		notes.Head = append(notes.Head, fmt.Sprintf("%d names or endpoints found no room.", p.Lost))
	}
	for i := range p.Notes {
		n := &p.Notes[i]
		lines := []string{fmt.Sprintf("%d requests, confidence %d:", n.Requests, n.Confidence)}
		for _, r := range n.Reasons {
			lines = append(lines, "  "+r)
		}
		notes.Routes = append(notes.Routes, lines)
	}
	if len(p.Left) > 0 {
		notes.Tail = append(notes.Tail, "What else writes, and got no role:")
		for _, l := range p.Left {
			notes.Tail = append(notes.Tail, fmt.Sprintf("  %s %s (%d requests)", l.Method, l.Path, l.Requests))
		}
	}
	return config.WriteMap(w, &p.Map, notes)
}

// The JSON form of a proposal, as tools read it.
type (
	proposedMap struct {
		Site        string                        `json:"site"`
		Exchanges   uint64                        `json:"exchanges"`
		Lost        uint64                        `json:"lost"`
		Identifiers map[string]proposedIdentifier `json:"identifiers"`
		Routes      []proposedRoute               `json:"routes"`
		Left        []leftRoute                   `json:"without_role"`
	}
	proposedIdentifier struct {
		Selectors flow.Selectors `json:"selectors"`
		Reason    string         `json:"reason"`
	}
	proposedRoute struct {
		Method     string                    `json:"method"`
		Path       string                    `json:"path"`
		Role       string                    `json:"role"`
		Confidence int                       `json:"confidence"`
		Requests   uint64                    `json:"requests"`
		Reasons    []string                  `json:"reasons"`
		Claims     map[string]flow.Selectors `json:"claims,omitempty"`
		Objects    map[string]flow.Selectors `json:"objects,omitempty"`
		Success    *proposedCondition        `json:"success,omitempty"`
		Failure    *proposedCondition        `json:"failure,omitempty"`
		Proves     string                    `json:"proves,omitempty"`
		Step       int                       `json:"step,omitempty"`
	}
	proposedCondition struct {
		Status string            `json:"status,omitempty"`
		Body   map[string]string `json:"response_body,omitempty"`
	}
	leftRoute struct {
		Method   string `json:"method"`
		Path     string `json:"path"`
		Requests uint64 `json:"requests"`
	}
)

func proposalJSON(p *route.Proposal) any {
	out := proposedMap{
		Site: p.Map.Site, Exchanges: p.Exchanges, Lost: p.Lost, Identifiers: map[string]proposedIdentifier{}, Routes: []proposedRoute{}, Left: []leftRoute{},
	}
	ids := &p.Map.Identifiers
	for name, list := range present(map[string]flow.Selectors{"session": ids.Session, "device": ids.Device, "account": ids.Account}) {
		out.Identifiers[name] = proposedIdentifier{list, p.Identifiers[name]}
	}
	for i := range p.Map.Routes {
		r, n := &p.Map.Routes[i], &p.Notes[i]
		e := proposedRoute{
			Method: r.Match.Method, Path: r.Match.Path, Role: r.Role, Confidence: n.Confidence, Requests: n.Requests, Reasons: n.Reasons,
			Claims:  present(map[string]flow.Selectors{"account": r.Claims.Account, "secret": r.Claims.Secret}),
			Objects: map[string]flow.Selectors{}, Success: shown(r.Outcome.Success), Failure: shown(r.Outcome.Failure), Proves: r.Proves, Step: r.Step,
		}
		for _, o := range r.Objects {
			e.Objects[o.Name] = o.Selectors
		}
		out.Routes = append(out.Routes, e)
	}
	for _, l := range p.Left {
		out.Left = append(out.Left, leftRoute(l))
	}
	return out
}

// present leaves out what has no selector.
func present(all map[string]flow.Selectors) map[string]flow.Selectors {
	maps.DeleteFunc(all, func(_ string, list flow.Selectors) bool { return len(list) == 0 })
	return all
}

func shown(c *flow.Condition) *proposedCondition {
	if c == nil {
		return nil
	}
	return &proposedCondition{c.Status, c.ResponseBody}
}
