package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/demo"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

const (
	demoDays     = 5
	demoPeople   = 12
	demoAttempts = 600
	// demoQuiet is how long people have the shop to themselves at first.
	demoQuiet = 15 * time.Second
)

// demonstration is the demo while it runs.
type demonstration struct {
	out     io.Writer
	ingress string
	admin   *admin.Client
	data    string

	mu     sync.Mutex
	people tally
	bot    tally
}

type tally struct{ answered, refused atomic.Int64 }

func (t *tally) count(status int) {
	if status == http.StatusForbidden || status == http.StatusTooManyRequests {
		t.refused.Add(1)
	} else {
		t.answered.Add(1)
	}
}

// ServeShop serves the demo shop on a free loopback port until ctx ends.
func ServeShop(ctx context.Context) (addr string, err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("demo shop: %w", err)
	}
	srv := &http.Server{Handler: demo.NewShop(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(ln) }()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	return ln.Addr().String(), nil
}

// teach gives the engine recorded days of the shop's people.
func (u *up) teach(ctx context.Context) (*demonstration, error) {
	keys, err := Keyring(u.Config)
	if err != nil {
		return nil, err
	}
	x, err := flow.NewExtractor(flow.Config{Keys: keys, Sites: u.Config.FlowSites()})
	if err != nil {
		return nil, fmt.Errorf("flow maps: %w", err)
	}
	conn, err := connection(u.Env, "demo")
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if u.hasTaught() {
		u.say("demo", "the shop's people are known from the last time")
		return u.demonstration(), nil
	}
	events, err := stream.NewProducer(stream.ProducerConfig{Connection: conn, Node: "demo", Log: u.Log}, nil)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- events.Run(runCtx) }()
	n, err := demo.Record(ctx, demoDays, time.Now(), func(ex *flow.Exchange) {
		var ev event.Event
		ex.Source = event.SourceReplay
		x.Begin(ex, &ev)
		x.End(ex, &ev)
		ev.Flags |= event.FlagTeach
		for events.Ledger().InFlight > 50_000 { // the producer sheds rather than wait
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Millisecond):
			}
		}
		events.Emit(&ev)
	})
	if err == nil {
		err = events.Flush(ctx)
	}
	stop()
	err = errors.Join(err, <-done)
	if err == nil {
		err = u.taught(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("teach the demo's past: %w", err)
	}
	u.say("demo", fmt.Sprintf("taught %d days of the shop's past, %d requests, in %.1f s", demoDays, n, time.Since(began).Seconds()))
	return u.demonstration(), nil
}

// hasTaught reports whether this data directory has a taught past.
func (u *up) hasTaught() bool {
	var done bool
	return readRunFile(u.Config.Data, "demo.json", &done) == nil && done
}

// taught waits until the engine has seen it all, so that live requests come
// after the past.
func (u *up) taught(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	process := admin.NewClient(admin.Socket(u.Config.Data, "process"))
	for {
		var rep admin.Report
		if err := process.Get(ctx, "/status", &rep); err != nil {
			return err
		}
		behind := int64(0)
		for _, l := range rep.Lag {
			if l.Stage == "engine" {
				behind += l.Records
			}
		}
		if behind == 0 && len(rep.Lag) > 0 {
			return writeRunFile(u.Config.Data, "demo.json", true)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the engine is %d records behind: %w", behind, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (u *up) demonstration() *demonstration {
	return &demonstration{
		out: u.opt.Out, ingress: u.Config.Enforce.Listen, data: u.Config.Data,
		admin: admin.NewClient(admin.Socket(u.Config.Data, "process")),
	}
}

// run lets people and bot loose and tells what happens.
func (d *demonstration) run(ctx context.Context) error {
	d.print("\nPeople are browsing the demo shop through the ingress at http://%s (mode enforce).\n", d.ingress)
	d.print("In %.0f s a bot begins to try stolen passwords, each from another address, with another\n", demoQuiet.Seconds())
	d.print("browser and a new session. Nothing tells weir who it is.\n\n")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { demo.People(ctx, d.ingress, demoPeople, d.people.count); return nil })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(demoQuiet):
		}
		d.print("-- the bot begins\n")
		for round := 0; ctx.Err() == nil; round++ {
			demo.Bot(ctx, d.ingress, demoAttempts, d.bot.count)
		}
		return nil
	})
	g.Go(func() error { return d.watch(ctx) })
	g.Go(func() error { return d.score(ctx) })
	return g.Wait()
}

func (d *demonstration) print(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = fmt.Fprintf(d.out, format, args...)
}

// score prints a line of counts now and then.
func (d *demonstration) score(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	told := false
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if n < 24 || n%12 == 0 {
			d.print("   people: %5d answered, %d refused     bot: %4d passed, %4d refused\n",
				d.people.answered.Load(), d.people.refused.Load(), d.bot.answered.Load(), d.bot.refused.Load())
		}
		if !told && d.bot.refused.Load() >= 5 {
			told = true
			d.print("%s", whatNext(d.data))
		}
	}
}

// watch prints the first verdict that acts and the first one that blocks: what
// follows says the same again, and weir verdicts list has it all.
func (d *demonstration) watch(ctx context.Context) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	shown := event.ActionObserve
	for shown < event.ActionBlock {
		var list []verdict.Verdict
		if err := d.admin.Get(ctx, "/v1/verdicts", &list); err == nil {
			if v := strongest(list); v != nil && v.Action > shown && (shown == event.ActionObserve || v.Action == event.ActionBlock) {
				shown = v.Action
				d.print("%s", block(v))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// strongest returns the verdict with the strongest action, or nil.
func strongest(list []verdict.Verdict) *verdict.Verdict {
	var best *verdict.Verdict
	for i := range list {
		if best == nil || list[i].Action > best.Action {
			best = &list[i]
		}
	}
	return best
}

// block is a verdict in a few lines.
func block(v *verdict.Verdict) string {
	var b strings.Builder
	names := make([]string, len(v.Threats))
	for i, t := range v.Threats {
		names[i] = string(t)
	}
	_, _ = fmt.Fprintf(&b, "\n== %s  %s  %s\n", strings.ToUpper(v.Action.String()), strings.Join(names, ", "), v.ID)
	_, _ = fmt.Fprintf(&b, "   %s\n", v.Evidence.Summary)
	for i, f := range v.Evidence.Features {
		if i == 6 {
			break
		}
		_, _ = fmt.Fprintf(&b, "   %-30s %10s  expected %8s  %+8s bits\n", f.Name, f.Value, f.Expected, f.Bits)
	}
	_, _ = fmt.Fprintf(&b, "   score %s bits; in force until %s\n\n", v.Score, v.Expires.Std().Format("15:04:05"))
	return b.String()
}

func whatNext(data string) string {
	flag := "--data " + data
	return fmt.Sprintf(`
-- weir found it. Now try, in another terminal:
   bin/weir verdicts list %[1]s
   bin/weir explain VERDICT-ID --replay %[1]s
   bin/weir sql "SELECT action, count(), uniq(client_ip) FROM requests WHERE role = 'login' AND source = 'enforcer' GROUP BY action" %[1]s
   bin/weir sql "SELECT actor, count() AS requests, uniq(client_ip) AS addresses FROM requests GROUP BY actor ORDER BY addresses DESC LIMIT 5" %[1]s
   bin/weir status %[1]s
   dashboards: deploy/grafana, data source in %[2]s/grafana/datasource.yaml
   your own application, nothing blocked (shadow mode): bin/weir up --upstream http://127.0.0.1:9000
   Ctrl-C ends all of this.

`, flag, data)
}
