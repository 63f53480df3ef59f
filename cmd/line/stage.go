package line

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/stream/flow"
)

// stage writes the effective configuration for the parts, with its flow maps
// beside it as they were checked: a part that comes back later starts from what
// is in force, not from what stands half edited in the user's files. On an error
// nothing has changed.
func (u *up) stage(cfg *config.Loaded) (*config.Loaded, error) {
	if err := CheckLookup(cfg.Lookup); err != nil {
		return nil, err
	}
	staged := cfg.Config
	staged.Sites = slices.Clone(cfg.Sites)
	found := map[string]*flow.Map{}
	var errs []error
	for i := range staged.Sites {
		s := &staged.Sites[i]
		if s.Flows == "" {
			continue
		}
		m, err := config.LoadMap(s.Flows)
		if err == nil && m.Site != s.Name {
			err = fmt.Errorf("%s is the map of site %q, not of %q", s.Flows, m.Site, s.Name)
		}
		errs = append(errs, err)
		found[s.Name], s.Flows = m, runFile(cfg.Data, "flows-"+s.Name+".yaml")
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i := range staged.Sites {
		if s := &staged.Sites[i]; s.Flows != "" {
			if err := config.WriteMapFile(s.Flows, found[s.Name]); err != nil {
				return nil, err
			}
		}
	}
	if err := staged.WriteFile(u.config); err != nil {
		return nil, err
	}
	return config.Load(u.config, os.LookupEnv)
}

// reload reads the configuration again on every signal of hup until ctx ends,
// stages it for the parts and tells them. A faulty one changes nothing, which
// status says until one is good; what only a restart can change is named.
func (u *up) reload(ctx context.Context, hup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		text, err := u.reloadOnce(ctx)
		if err != nil {
			why := refusal(err)
			u.refused.Store(&why)
			u.Log.Error("reload refused, the previous configuration stays in force", "err", err)
			text = fmt.Sprintf("reload refused, the previous configuration stays in force: %v", err)
		} else {
			u.refused.Store(nil)
		}
		_, _ = fmt.Fprintln(u.opt.Out, text)
	}
}

func (u *up) reloadOnce(ctx context.Context) (string, error) {
	asked, err := u.opt.Reload()
	if err != nil {
		return "", err
	}
	old := u.now.Load()
	cfg, err := u.stage(asked)
	if err != nil {
		return "", err
	}
	var changed []string
	for _, site := range slices.Sorted(maps.Keys(cfg.Maps)) {
		if before := old.Maps[site]; before != nil && !reflect.DeepEqual(before, cfg.Maps[site]) {
			changed = append(changed, site)
		}
	}
	u.now.Store(cfg)
	u.parts.Signal(syscall.SIGHUP, "enforce", "collect", "process", "sink")
	changes := cfg.Diff(&old.Config)
	for _, p := range u.wanted(cfg) {
		if slices.ContainsFunc(u.parts.States(), func(s supervise.State) bool { return s.Name == p.Name }) {
			continue
		}
		if err := u.part(ctx, p); err != nil {
			return "", fmt.Errorf("the configuration is in force, but %w", err)
		}
		startedWith(changes, p.Name)
	}
	return told(changes, changed), nil
}

// startedWith marks the changes that a part which was started for them works with.
func startedWith(changes []config.Change, part string) {
	for i := range changes {
		if strings.HasPrefix(changes[i].Path, part+".") {
			changes[i].Reload = true
		}
	}
}
