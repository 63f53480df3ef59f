package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/line"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

func newPseudonym(g *global) *cobra.Command {
	var previous, rotate bool
	cmd := &cobra.Command{
		Use:   "pseudonym KIND VALUE",
		Short: "The keyed hash under which a session, account or device appears in the store",
		Long: `Computes HMAC-SHA-256(key, kind, 0, normalised value), first 64 bits, with the
installation's key, so that an analyst can look a person up. Kinds:
  ` + strings.Join(kinds(), "\n  ") + `
  object:NAME

--rotate puts a new key before the installation's and keeps that as the previous one
until the next rotation. Give the file to every node and start weir again: from then
on everything is hashed with the new key, what was learned of single accounts,
devices and sessions begins anew, and --previous finds what came before.`,
		Example: `  weir pseudonym account alice@example.org
  weir sql "SELECT time, client_ip FROM requests WHERE account = '$(weir pseudonym account alice@example.org)'"
  weir pseudonym account alice@example.org --previous   # as it was before the last rotation
  weir pseudonym --rotate`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case !rotate:
				return cobra.ExactArgs(2)(cmd, args)
			case len(args) > 0:
				return usagef("--rotate takes neither a kind nor a value")
			}
			return nil
		},
		Annotations: asObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			if rotate {
				return rotateKey(g, cmd.OutOrStdout())
			}
			kind, value := args[0], args[1]
			if !slices.Contains(kinds(), kind) && !strings.HasPrefix(kind, "object:") {
				return usagef("kind %q is not known%s (all: %s, object:NAME)", kind, flow.Nearest(kind, kinds()), strings.Join(kinds(), ", "))
			}
			if kind == event.KindClient.String() || kind == event.KindClientNet.String() {
				var err error
				if value, err = clientText(kind, value); err != nil {
					return err
				}
			}
			cfg, err := g.load()
			if err != nil {
				return err
			}
			keys, err := line.ExistingKeyring(cfg)
			if err != nil {
				return err
			}
			id := keys.KeyID()
			if previous {
				ids := keys.KeyIDs()
				if len(ids) < 2 {
					return errors.New("there is no previous key: the installation's was never rotated (weir pseudonym --rotate)")
				}
				id = ids[1]
			}
			h, _ := keys.PseudonymUnder(id, kind, value)
			if g.output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]string{"kind": kind, "pseudonym": h.String(), "key_id": id})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), h)
			return err
		},
	}
	cmd.Flags().BoolVar(&previous, "previous", false, "under the key before the last rotation")
	cmd.Flags().BoolVar(&rotate, "rotate", false, "put a new key before the installation's")
	cmd.MarkFlagsMutuallyExclusive("previous", "rotate")
	return cmd
}

// rotateKey puts a new key into the installation's key file.
func rotateKey(g *global, out io.Writer) error {
	cfg, err := g.load()
	if err != nil {
		return err
	}
	old, err := line.ExistingKeyring(cfg)
	if err != nil {
		return err
	}
	source := cfg.Keys.Pseudonym
	if err := config.RotateKey(source); err != nil {
		return err
	}
	keys, err := line.ExistingKeyring(cfg)
	if err != nil {
		return err
	}
	if g.output == "json" {
		return printJSON(out, map[string]string{"file": source, "key_id": keys.KeyID(), "previous_key_id": old.KeyID()})
	}
	_, err = fmt.Fprintf(out, "%s: key %s replaces %s, which stays as the previous one. Give the file to every node and start weir again.\n", source, keys.KeyID(), old.KeyID())
	return err
}

// clientText writes an address as events have it, or its /24 or /48: in another
// spelling it would have a hash that no event carries.
func clientText(kind, value string) (string, error) {
	p, err := parseClient(value)
	if err != nil {
		return "", err
	}
	a := p.Addr().Unmap()
	bits := 48
	if a.Is4() {
		bits = 24
	}
	switch {
	case kind == event.KindClientNet.String() && (p.IsSingleIP() || p.Bits() == bits):
		return netip.PrefixFrom(a, bits).Masked().String(), nil
	case kind == event.KindClient.String() && p.IsSingleIP():
		return a.String(), nil
	}
	return "", usagef("%s %q: want one address", kind, value)
}

func kinds() []string {
	var out []string
	for k := range event.NumKinds {
		out = append(out, k.String())
	}
	return out
}

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
