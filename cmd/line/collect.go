package line

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/collector"
	"github.com/weirproject/weir/collector/probe"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// Collect runs the collector role: the kernel source and the access logs.
func Collect(ctx context.Context, env Env) error {
	return runRole(ctx, env, "collect", func(ctx context.Context, r *role) (func() admin.Report, error) {
		conn, err := connection(env, "collect")
		if err != nil {
			return nil, err
		}
		c := &collecting{role: r}
		if c.capture, err = newCapture(ctx, r, filepath.Join(env.Config.Data, "collect")); err != nil {
			return nil, err
		}
		r.reload = func(cfg *config.Loaded) error {
			put, err := c.capture.reloading(cfg)
			if err == nil {
				put()
			}
			return err
		}
		if c.events, err = stream.NewProducer(stream.ProducerConfig{
			Connection: conn, Node: node(env.Config), Linger: collectLinger, Log: env.Log,
		}, r.metrics); err != nil {
			return nil, fmt.Errorf("event producer: %w", err)
		}
		after, drained := context.WithCancel(context.WithoutCancel(ctx))
		r.group.Go(func() error { return c.events.Run(after) })
		r.group.Go(func() error { return c.capture.keepOwners(after) })
		r.group.Go(func() error {
			defer drained()
			return c.sources(ctx)
		})
		return c.report, nil
	})
}

// collectLinger is how long captured events wait for others: each record costs
// every part that handles it. With the slack of this part's timers it is 10 ms at
// most.
const collectLinger = 7 * time.Millisecond

type collecting struct {
	*role
	capture   *capture
	events    *stream.Producer
	kernel    atomic.Pointer[collector.Kernel]
	kernelErr atomic.Pointer[string]
	logs      []*follower
}

// sources starts every configured source and blocks until all have ended.
func (c *collecting) sources(ctx context.Context) error {
	if err := c.openFollowers(); err != nil {
		return err
	}
	// One that fails ends them all, so that the supervisor starts them again: none
	// is ever dead unnoticed.
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range c.logs {
		g.Go(func() error { return f.Run(ctx) })
	}
	g.Go(func() error { return c.runKernel(ctx) })
	supervise.Ready(c.describe())
	return g.Wait()
}

func (c *collecting) describe() string {
	var what []string
	if n := len(c.logs); n > 0 {
		what = append(what, fmt.Sprintf("access logs: %d", n))
	}
	if ports := capturePorts(c.Config); c.Config.Collect.EBPF.Enabled != "off" && len(ports) > 0 {
		what = append(what, fmt.Sprintf("kernel capture (%s) of port %s", c.Config.Collect.EBPF.Enabled, strings.Trim(fmt.Sprint(ports), "[]")))
	}
	return strings.Join(what, ", ")
}

// runKernel captures the ports of declared upstreams; without the right or the
// kernel for it everything else runs and status says so.
func (c *collecting) runKernel(ctx context.Context) error {
	mode := c.Config.Collect.EBPF.Enabled
	if mode == "off" {
		return nil
	}
	ports := capturePorts(c.Config)
	if len(ports) == 0 {
		c.note("kernel capture has nothing to watch: no upstream on this machine is declared")
		return nil
	}
	k, err := collector.OpenKernel(collector.KernelConfig{Probe: probe.Config{Ports: ports}, Node: node(c.Config)})
	if err != nil {
		if mode == "on" {
			return fmt.Errorf("collect.ebpf.enabled is on: %w", err)
		}
		c.note("kernel capture is off: " + err.Error())
		c.Log.Warn("kernel capture is not possible, the other sources go on", "err", err)
		return nil
	}
	c.kernel.Store(k)
	return k.Run(ctx, func(x *flow.Exchange) {
		clamp(x)
		c.take(x)
	})
}

func (c *collecting) note(s string) { c.kernelErr.Store(&s) }

// Live sources' event time is clamped to receive time -24 h / +5 m.
const (
	maxLate  = 24 * time.Hour
	maxAhead = 5 * time.Minute
)

// clamp holds a captured exchange's time near the present; followed logs do so
// themselves.
func clamp(x *flow.Exchange) {
	now := time.Now()
	if x.Flags&event.FlagClockClamped == 0 && (x.Time.Before(now.Add(-maxLate)) || x.Time.After(now.Add(maxAhead))) {
		x.Time = now
		x.Flags |= event.FlagClockClamped
	}
}

// take makes the event of an exchange and sends it.
func (c *collecting) take(x *flow.Exchange) {
	ev := events.Get().(*event.Event) // the pool holds nothing else
	defer events.Put(ev)
	c.capture.event(x, ev)
	c.events.Emit(ev)
}

// events are reused: one is larger than all that it takes to fill it allocates.
var events = sync.Pool{New: func() any { return &event.Event{} }}

func (c *collecting) report() admin.Report {
	l := c.events.Ledger()
	src := admin.Source{Name: "collect", Produced: int64(l.Produced), Delivered: int64(l.Delivered), Queued: int64(l.InFlight), Lost: map[string]int64{}}
	for cause, n := range l.Lost {
		src.Lost[cause] = int64(n)
	}
	rep := admin.Report{Sources: []admin.Source{src}}
	if s := c.kernelErr.Load(); s != nil {
		rep.Notes = append(rep.Notes, *s)
	}
	if k := c.kernel.Load(); k != nil {
		if n, err := k.Counters(); err == nil {
			for cause, lost := range n.Lost() {
				if lost > 0 {
					rep.Notes = append(rep.Notes, fmt.Sprintf("kernel capture lost %d by %s", lost, cause))
				}
			}
			rep.Notes = append(rep.Notes, fmt.Sprintf("kernel capture: %d exchanges, %d encrypted connections not seen into, %d transfers without bytes", n.Assembly.Exchanges, n.Kernel.TLSConns, n.Kernel.NoData))
		}
	}
	rep.Notes = append(rep.Notes, c.capture.lookup.describe()...)
	for _, f := range c.logs {
		text, err := f.describe()
		if err != nil {
			rep.Problems = append(rep.Problems, err.Error())
			continue
		}
		rep.Notes = append(rep.Notes, text)
	}
	return rep
}
