package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/stream/broker"
)

// UpOptions of weir up beside the configuration.
type UpOptions struct {
	// Out receives one line per part as it comes up, then "ready".
	Out io.Writer
	// Demo runs the shop, its people and its bot.
	Demo bool
	// Reload returns the configuration as it is now, checked, on SIGHUP.
	Reload func() (*config.Loaded, error)
}

// up is the supervisor of one machine's line.
type up struct {
	Env
	opt    UpOptions
	parts  *supervise.Supervisor
	config string // the effective configuration's file
	began  time.Time
	// engineCtx ends the store after the parts: the processor hands over to it
	// when it stops.
	engineCtx context.Context //nolint:containedctx // a life, not a call's

	// now is the configuration in force; Config is the one this began with.
	now     atomic.Pointer[config.Loaded]
	refused atomic.Pointer[string] // why the last reload was, nil after a good one

	mu     sync.Mutex
	engine supervise.State
}

// Up runs the whole line on this machine until ctx ends, then stops every part.
func Up(ctx context.Context, env Env, opt UpOptions) error {
	u := &up{Env: env, opt: opt, began: time.Now()}
	hup, stopHangUp := onHangUp()
	defer stopHangUp()
	release, err := u.prepare()
	if err != nil {
		return err
	}
	defer release()
	u.parts = supervise.New(env.Binary, filepath.Join(env.Config.Data, "log"), env.Log)
	defer u.parts.Stop()

	g, ctx := errgroup.WithContext(ctx)
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	u.engineCtx = engineCtx
	g.Go(func() error {
		err := u.start(ctx, g)
		if ctx.Err() != nil {
			err = nil // stopped while starting
		}
		return err
	})
	g.Go(func() error { return u.reload(ctx, hup) })
	g.Go(func() error {
		<-ctx.Done()
		_, _ = fmt.Fprintln(opt.Out, "stopping")
		u.parts.Stop()
		stopEngine()
		return nil
	})
	return g.Wait()
}

// start brings the parts up in the order in which they need each other.
func (u *up) start(ctx context.Context, g *errgroup.Group) error {
	handler := u.handler()
	g.Go(func() error { return admin.ServeUnix(ctx, admin.Socket(u.Config.Data, "weir"), handler) })
	if addr := u.Config.Admin.Listen; addr != "" {
		g.Go(func() error {
			return admin.ServeTCP(ctx, addr, handler, func(a net.Addr) { u.say("admin", "http://"+a.String()) })
		})
	}
	stored := make(chan error, 1)
	if len(u.Config.ClickHouse.Addr) == 0 {
		g.Go(func() error { return u.runEngine(u.engineCtx, stored) })
	} else {
		u.say("store", "ClickHouse at "+strings.Join(u.Config.ClickHouse.Addr, ", "))
		stored <- nil
	}
	if err := u.startLog(ctx); err != nil {
		return err
	}
	select {
	case err := <-stored:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := u.part(ctx, supervise.Part{Name: "process", Args: u.args("process"), ReadyTimeout: time.Minute, StopTimeout: 20 * time.Second}); err != nil {
		return err
	}
	var demo *demonstration
	if u.opt.Demo {
		var err error
		if demo, err = u.teach(ctx); err != nil {
			return err
		}
	}
	if err := u.edges(ctx); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(u.opt.Out, "ready (%.1f s)\n", time.Since(u.began).Seconds())
	if demo != nil {
		g.Go(func() error { return demo.run(ctx) })
	}
	return nil
}

// edges starts what faces the outside: ingress, collectors, sinks.
func (u *up) edges(ctx context.Context) error {
	u.endOrphan("enforce") // it served until here
	for _, p := range u.wanted(u.Config) {
		if err := u.part(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// wanted lists the edges that a configuration has work for.
func (u *up) wanted(cfg *config.Loaded) (parts []supervise.Part) {
	if hasUpstream(cfg) {
		parts = append(parts, supervise.Part{Name: "enforce", Args: u.args("enforce"), Outlive: true, Prompt: true, StopTimeout: 40 * time.Second})
	}
	if len(cfg.Collect.AccessLogs) > 0 || cfg.Collect.EBPF.Enabled != "off" && len(capturePorts(cfg)) > 0 {
		parts = append(parts, supervise.Part{Name: "collect", Args: u.args("collect")})
	}
	if len(cfg.Sinks) > 0 {
		parts = append(parts, supervise.Part{Name: "sink", Args: u.args("sink")})
	}
	return parts
}

func (u *up) args(command ...string) []string {
	return append(command, "--config", u.config, "--data", u.Config.Data)
}

func (u *up) part(ctx context.Context, p supervise.Part) error {
	p.Env = append(p.Env, managedEnv+"=1")
	detail, err := u.parts.Start(ctx, p)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	u.say(p.Name, detail)
	return nil
}

func (u *up) say(part, detail string) {
	_, _ = fmt.Fprintf(u.opt.Out, "%-8s up   %s\n", part, detail)
}

// prepare makes the data directory, takes its lock and writes the effective
// configuration.
func (u *up) prepare() (release func(), err error) {
	if u.Config.Enforce.Feed.URL != "" {
		return nil, errors.New("enforce.feed is for `weir enforce` on another machine: weir up has a log and an engine of its own")
	}
	data := u.Config.Data
	if err := os.MkdirAll(filepath.Join(data, "run"), 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w (choose another with --data DIR)", err)
	}
	if err := unix.Access(data, unix.W_OK); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be written: %w (choose another with --data DIR)", data, err)
	}
	if err := enoughSpace(data, spaceNeeded(u.Config)); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(runFile(data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of the data directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("another weir up runs on %s: stop it, or give this one its own --data directory", data)
	}
	_ = os.Remove(runFile(data, "store.json"))
	u.config = runFile(data, "weir.yaml")
	// Work with what the parts will read.
	if u.Config, err = u.stage(u.Config); err != nil {
		_ = lock.Close()
		return nil, err
	}
	u.now.Store(u.Config)
	return func() { _ = lock.Close() }, nil
}

// minFreeBytes is what a start wants free beside the log: one insert, one merge,
// a snapshot.
const minFreeBytes = 256 << 20

// spaceNeeded is what a start wants free: the embedded log refuses records
// below a limit of its own, and a line that begins there would only look alive.
func spaceNeeded(cfg *config.Loaded) uint64 {
	if len(cfg.Kafka.Brokers) > 0 {
		return minFreeBytes
	}
	return minFreeBytes + broker.DefaultMinFreeBytes
}

func enoughSpace(dir string, needed uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < needed {
		return fmt.Errorf("%s has %d MB free, weir needs at least %d MB to start: free some, or choose another directory with --data DIR", dir, free>>20, needed>>20)
	}
	return nil
}

// orphanPatience is how many looks of 25 ms an orphan has to drain and end.
const orphanPatience = 1600

// endOrphan stops a part that an earlier, killed supervisor left running.
func (u *up) endOrphan(part string) {
	b, err := os.ReadFile(runFile(u.Config.Data, part+".pid"))
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return
	}
	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || !strings.Contains(string(cmdline), "\x00"+part+"\x00") || !strings.Contains(string(cmdline), u.Config.Data) {
		return // long gone; the number may be someone else's
	}
	u.Log.Info("a part outlived its supervisor, taking over from it", "part", part, "pid", pid)
	_ = syscall.Kill(pid, syscall.SIGTERM)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for range orphanPatience {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		<-tick.C
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// startLog starts the embedded log unless Apache Kafka is configured, and makes
// the topics.
func (u *up) startLog(ctx context.Context) error {
	if len(u.Config.Kafka.Brokers) == 0 {
		u.endOrphan("log") // one whose supervisor was killed is closing its files
		if err := u.part(ctx, supervise.Part{Name: "log", Args: []string{"child", "log", u.Config.Data}, Leash: true}); err != nil {
			return err
		}
	} else {
		u.say("log", "Apache Kafka at "+strings.Join(u.Config.Kafka.Brokers, ", "))
	}
	conn, err := connection(u.Env, "up")
	if err != nil {
		return err
	}
	return ensureTopics(ctx, u.Config, conn)
}

// handler joins the parts' interfaces into one.
func (u *up) handler() http.Handler {
	mux := http.NewServeMux()
	process := admin.Forward(admin.Socket(u.Config.Data, "process"))
	mux.Handle("/v1/", process)
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { admin.JSON(w, u.status(r.Context()), nil) })
	mux.Handle("GET /metrics", admin.Metrics(u.clients))
	if u.Config.Admin.PProf {
		mux.HandleFunc("GET /debug/pprof/", u.profile)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { admin.JSON(w, "ok", nil) })
	mux.HandleFunc("GET /readyz", readiness(u.status))
	return mux
}

// profile serves the profiler of the part that ?part= names, or the
// supervisor's own.
func (u *up) profile(w http.ResponseWriter, r *http.Request) {
	part := r.URL.Query().Get("part")
	if part == "" {
		admin.Profiler().ServeHTTP(w, r)
		return
	}
	if u.clients()[part] == nil {
		admin.JSON(w, nil, admin.Errorf(http.StatusNotFound, "no part %q runs here", part))
		return
	}
	admin.Forward(admin.Socket(u.Config.Data, part)).ServeHTTP(w, r)
}

func (u *up) clients() map[string]*admin.Client {
	out := map[string]*admin.Client{}
	for _, st := range u.parts.States() {
		out[st.Name] = admin.NewClient(admin.Socket(u.Config.Data, st.Name))
	}
	return out
}

func (u *up) status(ctx context.Context) admin.Status {
	u.mu.Lock()
	engine := u.engine
	u.mu.Unlock()
	st := admin.Status{Version: u.Version, Data: u.Config.Data, Parts: u.parts.States(), Problems: []string{}}
	if engine.Name != "" {
		st.Parts = append(st.Parts, engine)
	}
	for _, p := range st.Parts {
		if !p.Ready {
			st.Problems = append(st.Problems, fmt.Sprintf("%s is not running: %s", p.Name, p.LastExit))
		}
	}
	if why := u.refused.Load(); why != nil {
		st.Problems = append(st.Problems, *why)
	}
	for name, c := range u.clients() {
		var rep admin.Report
		if err := c.Get(ctx, "/status", &rep); err != nil {
			st.Problems = append(st.Problems, fmt.Sprintf("%s does not answer: %v", name, err))
			continue
		}
		st.Reports = append(st.Reports, rep)
		for _, p := range rep.Problems {
			st.Problems = append(st.Problems, name+": "+p)
		}
	}
	sortReports(&st)
	st.Healthy = len(st.Problems) == 0
	return st
}
