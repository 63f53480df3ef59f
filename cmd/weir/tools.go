package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/line"
)

func newConfig(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check, print or describe the configuration"}
	cmd.AddCommand(&cobra.Command{
		Use: "check [FILE]", Short: "Report every fault with its line", Args: cobra.MaximumNArgs(1), Annotations: asObject,
		Example: "  weir config check\n  weir config check /etc/weir/weir.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				g.config = args[0]
			}
			cfg, err := g.load()
			if err == nil {
				err = line.CheckLookup(cfg.Lookup)
			}
			if err != nil && g.output == "json" {
				faults := strings.Split(strings.TrimPrefix(err.Error(), "configuration: "), "\n")
				return errors.Join(printJSON(cmd.OutOrStdout(), map[string]any{"valid": false, "faults": faults}), &quietError{})
			}
			if err != nil {
				return err
			}
			what := "defaults (no weir.yaml here)"
			if len(cfg.Files) > 0 {
				what = strings.Join(cfg.Files, ", ")
			}
			if g.output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]any{"files": append([]string{}, cfg.Files...), "sites": len(cfg.Sites), "valid": true, "faults": []string{}})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: fine\n", what)
			return err
		},
	}, &cobra.Command{
		Use: "print", Short: "Print the effective configuration, secrets hidden", Args: cobra.NoArgs, Annotations: asObject,
		Example: "  weir config print\n  weir config print -o json | jq .enforce",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			if g.output == "json" {
				return cfg.PrintJSON(cmd.OutOrStdout())
			}
			return cfg.Print(cmd.OutOrStdout())
		},
	}, newSchema("weir.yaml", "weir config schema > weir.schema.json      # for editors: # yaml-language-server: $schema=weir.schema.json", config.Schema))
	return cmd
}

// newSchema prints the JSON schema of one kind of file, which editors understand.
func newSchema(of, example string, schema func() ([]byte, error)) *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON schema of " + of, Args: cobra.NoArgs, Annotations: asObject,
		Example: "  " + example,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
			return err
		},
	}
}

func newDoctor(g *global) *cobra.Command {
	var fetch, quiet bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "What this machine can and cannot do, with the remedy for each", Args: cobra.NoArgs, Annotations: asTable,
		Example: "  weir doctor\n  weir doctor --fetch\n  weir doctor -o json | jq '.[] | select(.ok | not)'",
		Long:    "Checks kernel capture, memory, disk, ports and the engine library. Exit status 1\nwhen something that weir up needs is missing; what is only nice to have does not\ncount. --fetch obtains the ClickHouse engine first.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			if fetch {
				if err := line.FetchEngine(cmd.Context(), cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			findings := line.Diagnose(cmd.Context(), cfg)
			bad := slices.ContainsFunc(findings, func(f line.Finding) bool { return !f.OK && f.Required })
			switch {
			case g.output == "json":
				err = printJSON(cmd.OutOrStdout(), findings)
			case g.output == "csv":
				t := admin.Table{Columns: []string{"name", "ok", "required", "detail", "remedy"}}
				for _, f := range findings {
					t.Rows = append(t.Rows, []any{f.Name, f.OK, f.Required, f.Detail, f.Remedy})
				}
				err = g.printTable(cmd, &t)
			case !quiet || bad:
				g.printFindings(cmd.OutOrStdout(), findings)
			}
			if err == nil && bad {
				err = &quietError{}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&fetch, "fetch", false, "fetch the embedded ClickHouse engine if it is not here")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "print only when something needed is missing")
	return cmd
}

func (g *global) printFindings(w io.Writer, findings []line.Finding) {
	for _, f := range findings {
		word := "ok     "
		if !f.OK && f.Required {
			word = g.paint(w, red, "MISSING")
		} else if !f.OK {
			word = "absent "
		}
		_, _ = fmt.Fprintf(w, "%s %-18s %s\n", word, f.Name, f.Detail)
		if f.Remedy != "" {
			_, _ = fmt.Fprintf(w, "        %-18s -> %s\n", "", f.Remedy)
		}
	}
}
