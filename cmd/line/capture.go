package line

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// capture makes events of exchanges in one process: the flow maps in force, what
// is known of addresses, which requests are allowlisted, and whose sessions are
// whose. All of it is replaced by a reload without an exchange being lost.
type capture struct {
	*flow.Live
	role   *role
	lookup lookup
	tags   atomic.Pointer[enforcer.Allowlists]

	owners string // the file in which session owners are kept
	saving sync.Mutex
	saved  uint64 // the version that stands in it
}

// newCapture makes a role's capture; dir holds what it keeps over restarts.
func newCapture(ctx context.Context, r *role, dir string) (*capture, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%s directory: %w", r.name, err)
	}
	c := &capture{role: r, owners: filepath.Join(dir, "owners")}
	c.lookup.verify = newVerifier(net.DefaultResolver, time.Now, r.metrics)
	data, err := loadLookup(r.Config.Lookup)
	switch {
	case err == nil:
		c.lookup.data.Store(data)
	case Managed():
		// weir up has checked it: it broke since, and the part must come back.
		r.refuse(err)
	default:
		return nil, err
	}
	c.Live = flow.NewLive(nil)
	put, err := c.prepare(r.Config, nil)
	if err != nil {
		return nil, err
	}
	put()
	if err := c.loadOwners(); err != nil {
		r.Log.Warn("saved session owners are refused, starting without them", "err", err)
	}
	r.group.Go(func() error { return c.lookup.verify.Run(ctx) })
	return c, nil
}

// reloading reads everything that cfg names and returns what puts it in force;
// on an error nothing changes.
func (c *capture) reloading(cfg *config.Loaded) (put func(), err error) {
	data, err := loadLookup(cfg.Lookup)
	if err != nil {
		return nil, err
	}
	return c.prepare(cfg, data)
}

func (c *capture) prepare(cfg *config.Loaded, data *lookupData) (put func(), err error) {
	keys, err := Keyring(cfg)
	if err != nil {
		return nil, err
	}
	x, err := flow.NewExtractor(flow.Config{Keys: keys, Sites: cfg.FlowSites(), Lookup: c.lookup.find, Inherit: c.Extractor()})
	if err != nil {
		return nil, fmt.Errorf("flow maps: %w", err)
	}
	tags, err := enforcer.NewAllowlists(allowlists(cfg, keys))
	if err != nil {
		return nil, err
	}
	return func() {
		if data != nil {
			c.lookup.data.Store(data)
		}
		c.tags.Store(tags)
		c.Swap(x)
	}, nil
}

// event makes the event of an exchange that is over.
func (c *capture) event(x *flow.Exchange, ev *event.Event) {
	c.Begin(x, ev)
	c.End(x, ev)
	c.tag(ev)
}

// tag marks an allowlisted request, so that the engine accuses nobody of it.
func (c *capture) tag(ev *event.Event) {
	if c.tags.Load().Match(ev) != "" {
		ev.Flags |= event.FlagAllowlisted
	}
}

func (c *capture) loadOwners() error {
	f, err := os.Open(c.owners)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("session owners: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	_, err = c.Extractor().LoadOwners(bufio.NewReader(f))
	return err
}

// saveOwners keeps whose sessions are whose over a restart, if that has changed.
func (c *capture) saveOwners() {
	c.saving.Lock()
	defer c.saving.Unlock()
	x := c.Extractor()
	version := x.OwnersVersion()
	if version == c.saved {
		return
	}
	err := replaceFile(c.owners, x.SaveOwners)
	if err != nil {
		c.role.Log.Warn("session owners are not saved; a restart would forget some", "err", err)
		return
	}
	c.saved = version
}

// keepOwners saves the owners now and then, and once more when ctx ends.
func (c *capture) keepOwners(ctx context.Context) error {
	tick := time.NewTicker(saveTableEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.saveOwners()
			return nil
		case <-tick.C:
			c.saveOwners()
		}
	}
}
