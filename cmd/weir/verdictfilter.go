package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirproject/weir/cmd/line"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// verdictFilter narrows a list of verdicts down: why is this customer refused?
type verdictFilter struct {
	site, action                     string
	client, session, account, device string
}

func (f *verdictFilter) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.site, "site", "", "only of this site")
	fl.StringVar(&f.action, "action", "", "only with this action: "+strings.Join(verdictActions(), ", "))
	fl.StringVar(&f.client, "client", "", "only those that name this address, or its network")
	fl.StringVar(&f.session, "session", "", "only those that name this session, as the application set it")
	fl.StringVar(&f.account, "account", "", "only those that name this account, as its owner's or as a target")
	fl.StringVar(&f.device, "device", "", "only those that name this device")
}

func verdictActions() []string {
	var out []string
	for a := event.ActionAllow; a <= event.ActionBlock; a++ {
		out = append(out, a.String())
	}
	return out
}

// apply returns the verdicts that fit.
func (f *verdictFilter) apply(g *global, all []verdict.Verdict) ([]verdict.Verdict, error) {
	if f.action != "" && !slices.Contains(verdictActions(), f.action) {
		return nil, usagef("--action %q: want %s", f.action, strings.Join(verdictActions(), ", "))
	}
	wanted, err := f.binds(g)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(v verdict.Verdict) bool {
		return f.site != "" && v.Site != f.site || f.action != "" && v.Action.String() != f.action || wanted != nil && !names(&v, wanted)
	}), nil
}

// names reports whether one of the verdict's groups requires one of wanted.
func names(v *verdict.Verdict, wanted []verdict.Bind) bool {
	return slices.ContainsFunc(v.Binds, func(g verdict.Group) bool {
		return slices.ContainsFunc(g.All, func(b verdict.Bind) bool { return slices.Contains(wanted, b) })
	})
}

// binds are the pseudonyms of what was asked for; nil when that was nothing.
func (f *verdictFilter) binds(g *global) (wanted []verdict.Bind, err error) {
	values := map[string]string{
		"session": f.session, "device": f.device, "account": f.account, "target_account": f.account, "client": f.client,
	}
	if f.client != "" {
		for _, kind := range []string{"client", "client_net"} {
			if values[kind], err = clientText(kind, f.client); err != nil {
				return nil, err
			}
		}
	}
	maps.DeleteFunc(values, func(_, value string) bool { return value == "" })
	if len(values) == 0 {
		return nil, nil
	}
	cfg, err := g.load()
	if err != nil {
		return nil, err
	}
	keys, err := line.ExistingKeyring(cfg)
	if err != nil {
		return nil, err
	}
	for kind, value := range values {
		// Also under the key before the last rotation, with which a weir hashes until it
		// is started again, and which verdicts given before keep.
		for _, id := range keys.KeyIDs() {
			h, _ := keys.PseudonymUnder(id, kind, value)
			wanted = append(wanted, verdict.Bind{Kind: kind, Value: h})
		}
	}
	return wanted, nil
}
