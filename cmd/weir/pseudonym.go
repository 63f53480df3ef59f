package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

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
			return showPseudonym(g, cmd.OutOrStdout(), args[0], args[1], previous)
		},
	}
	cmd.Flags().BoolVar(&previous, "previous", false, "under the key before the last rotation")
	cmd.Flags().BoolVar(&rotate, "rotate", false, "put a new key before the installation's")
	cmd.MarkFlagsMutuallyExclusive("previous", "rotate")
	return cmd
}

// showPseudonym prints a value's hash under the installation's key, or under the
// previous one.
func showPseudonym(g *global, out io.Writer, kind, value string, previous bool) error {
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
		return printJSON(out, map[string]string{"kind": kind, "pseudonym": h.String(), "key_id": id})
	}
	_, err = fmt.Fprintln(out, h)
	return err
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
