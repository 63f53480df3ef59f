package line

import (
	"maps"
	"slices"
	"strings"

	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// sites lists the configured sites and those that sent events.
func sites(cfg *config.Loaded, maturity map[string]string) []admin.Site {
	var out []admin.Site
	for i := range cfg.Sites {
		s := &cfg.Sites[i]
		site := admin.Site{Name: s.Name, Mode: effectiveMode(cfg, s).String(), Maturity: maturity[s.Name]}
		site.Detectors, site.Missing = detectorsOf(cfg.Maps[s.Name])
		out = append(out, site)
	}
	for _, name := range slices.Sorted(maps.Keys(maturity)) {
		if slices.ContainsFunc(out, func(s admin.Site) bool { return s.Name == name }) {
			continue
		}
		site := admin.Site{Name: name, Mode: effectiveMode(cfg, nil).String(), Maturity: maturity[name]}
		site.Detectors, site.Missing = detectorsOf(nil)
		out = append(out, site)
	}
	return out
}

// detectorsOf says which detectors work with a flow map (nil: without one) and
// what the others wait for: none of their roles is declared, or only some.
func detectorsOf(m *flow.Map) (working, missing []string) {
	var declared [event.NumRoles]bool
	if m != nil {
		for i := range m.Routes {
			if r, err := event.ParseRole(m.Routes[i].Role); err == nil {
				declared[r] = true
			}
		}
	}
	for _, d := range threat.Detectors() {
		f := d.Facts()
		var absent []string
		for _, r := range f.Roles {
			if !declared[r] {
				absent = append(absent, r.String())
			}
		}
		code := string(f.Threat)
		switch {
		case len(absent) == len(f.Roles) && len(absent) > 0 && m == nil && slices.Contains(f.Roles, event.RoleLogin) && f.Threat != "OAT-020":
			missing = append(missing, code+" works on log-ins guessed from paths, needs "+strings.Join(absent, " or "))
		case len(absent) == len(f.Roles) && len(absent) > 0:
			missing = append(missing, code+" needs "+strings.Join(absent, " or "))
		case len(absent) > 0:
			working = append(working, code)
			missing = append(missing, code+" sees more with "+strings.Join(absent, ", "))
		default:
			working = append(working, code)
		}
	}
	return working, missing
}
