package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Endpoint is where a running engine answers and who may log in.
type Endpoint struct {
	// TCP and HTTP are the native and the HTTP port, as 127.0.0.1:PORT.
	TCP  string
	HTTP string
	// Users maps each user to its password.
	Users Credentials
}

// Engine is one engine child. Its methods may be called from any goroutine;
// Start only once at a time, and again after the child has ended.
type Engine struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	child    *child
	endpoint Endpoint
}

// child is one run of the process.
type child struct {
	cmd    *exec.Cmd
	pty    *os.File
	out    *rotatingLog
	ended  chan struct{} // closed when the process is gone
	err    error         // set before ended is closed
	stdin  sync.Mutex    // guards what follows, and writes to pty
	asked  bool          // Stop has typed exit
	closed bool
}

var (
	// ErrPortInUse means that the fixed HTTP port belongs to someone else.
	ErrPortInUse = errors.New("port in use")
	// ErrDirectoryInUse means that another engine runs on the same directory.
	ErrDirectoryInUse = errors.New("another engine runs on this data directory")
)

// lockedMessage is what the engine says when another process holds the lock of
// its data directory. After a parent was killed its engine needs about a second
// to notice the hang-up, so a start waits that long and a bit more.
const (
	// refusedMessage stands where one of the first queries failed, as against
	// what the engine itself logs: that may name faults it can live with.
	refusedMessage = "Received exception"
	listenMessage  = "DB::Exception: Listen ["
	lockedMessage  = "Another server instance in same directory is already running"
	lockPatience   = 4 * time.Second
	pollInterval   = 4 * time.Millisecond
)

// allocator is the library's jemalloc: what an insert has freed is kept for 15
// seconds instead of five, since the next insert, a second later, takes it again
// and the kernel would have to clear it first; and no heap profile is prepared.
// With an insert a second that is 4 % of the engine's CPU for some 20 MB.
const allocator = "prof:false,dirty_decay_ms:15000"

// New returns an engine that is not running.
func New(cfg Config, log *slog.Logger) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	var err error
	for _, dir := range []*string{&cfg.Dir, &cfg.ColdDir, &cfg.Engine.Path} {
		// The child's working directory is Dir, so every path must be absolute.
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, fmt.Errorf("embedded engine: %w", err)
		}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Engine{cfg: cfg, log: log}, nil
}

// Run starts the engine, calls ready once both ports answer, and blocks until
// ctx ends (then it stops the child cleanly and returns nil) or the child ends
// by itself (then it returns the reason).
func (e *Engine) Run(ctx context.Context, ready func(Endpoint)) error {
	if err := e.Start(ctx); err != nil {
		return err
	}
	if ready != nil {
		ready(e.Endpoint())
	}
	select {
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.StopTimeout)
		defer cancel()
		return e.Stop(stop)
	case <-e.Ended():
		return e.Err()
	}
}

// Start starts the child and returns when both ports answer. ctx bounds the
// start only; the child lives on until Stop, Kill or the end of this process.
func (e *Engine) Start(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.child != nil && !e.child.hasEnded() {
		return errors.New("embedded engine: already running")
	}
	creds, err := e.prepare(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.StartTimeout)
	defer cancel()
	begin := time.Now()
	want := e.wantedPorts(ctx)
	for {
		c, err := e.spawn(want)
		if err != nil {
			return err
		}
		tcp, http, err := e.awaitPorts(ctx, c)
		if err == nil {
			e.child = c
			e.endpoint = Endpoint{TCP: "127.0.0.1:" + tcp, HTTP: "127.0.0.1:" + http, Users: creds}
			e.log.Info("clickhouse engine ready", "pid", c.cmd.Process.Pid, "tcp", tcp, "http", http, "took", time.Since(begin))
			return e.writeDatasource()
		}
		c.kill()
		if fallback := (ports{http: e.cfg.HTTPPort}); errors.Is(err, ErrPortInUse) && want != fallback {
			want = fallback // somebody took the port of the last run just now
			continue
		}
		locked := strings.Contains(c.out.Tail(), lockedMessage)
		if !locked || ctx.Err() != nil {
			return err
		}
		if time.Since(begin) > lockPatience {
			return fmt.Errorf("%w: %s: stop the other weir, or give this one another --data", ErrDirectoryInUse, e.cfg.Dir)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// prepare writes what the child reads and checks what would make it fail late.
func (e *Engine) prepare(ctx context.Context) (Credentials, error) {
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded engine: %w: is the data directory writable?", err)
	}
	creds, err := LoadCredentials(e.cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := e.cfg.writeConfig(creds); err != nil {
		return nil, err
	}
	if e.cfg.HTTPPort != 0 {
		if err := checkPort(ctx, e.cfg.HTTPPort); err != nil {
			return nil, fmt.Errorf("clickhouse.embeddedHTTP: %w: %w: choose another port, or 0 for a free one", ErrPortInUse, err)
		}
	}
	return creds, nil
}

// ports are the ports to open; 0 asks for any free one.
type ports struct{ tcp, http int }

func (e *Engine) portsFile() string { return filepath.Join(e.cfg.Dir, "ports.tsv") }

// wantedPorts are those of the last run where they are still free, so that
// clients find a restarted engine where it was, and the fixed one.
func (e *Engine) wantedPorts(ctx context.Context) ports {
	var last ports
	raw, err := os.ReadFile(e.portsFile())
	if err == nil {
		_, err = fmt.Sscan(string(raw), &last.tcp, &last.http)
	}
	if err != nil || last.tcp < 1024 || checkPort(ctx, last.tcp) != nil {
		last.tcp = 0
	}
	if err != nil || last.http < 1024 || checkPort(ctx, last.http) != nil {
		last.http = 0
	}
	if e.cfg.HTTPPort != 0 {
		last.http = e.cfg.HTTPPort
	}
	return last
}

func checkPort(ctx context.Context, port int) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	return l.Close()
}

// arguments is the engine's command line after the program's name.
func (e *Engine) arguments(want ports) []string {
	return []string{
		"--config-file", filepath.Join(e.cfg.Dir, "config.xml"), "--path", filepath.Join(e.cfg.Dir, "data"),
		"--tcp_port", strconv.Itoa(want.tcp), "--http_port", strconv.Itoa(want.http), "--log-level=error",
		// Interactive on a terminal: only then does local mode leave out the
		// error handler that ends the process when a client misbehaves.
		"--interactive", "--disable_suggestion", "--highlight", "0", "--progress", "off", "--history_file", "/dev/null",
		"--query", "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; " +
			"SELECT getServerPort('tcp_port'), getServerPort('http_port') INTO OUTFILE 'ports.tsv' TRUNCATE FORMAT TSV",
	}
}

func (e *Engine) spawn(want ports) (*child, error) {
	if err := os.Remove(e.portsFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("embedded engine: %w", err)
	}
	argv := append([]string{e.cfg.Engine.Path, "local"}, e.arguments(want)...)
	if e.cfg.Engine.Kind == KindLibrary {
		argv = append(append(append([]string{}, e.cfg.Command...), e.cfg.Engine.Path), e.arguments(want)...)
	}
	out, err := openLog(filepath.Join(e.cfg.Dir, "engine.log"), e.cfg.LogBytes)
	if err != nil {
		return nil, err
	}
	master, slave, err := openPTY()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	defer func() { _ = slave.Close() }()
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // G204: the arguments are ours; the child must outlive the context of its start
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = e.cfg.Dir, slave, out, out
	// Not our environment: it may hold secrets, and the engine lets queries read
	// some of it. HOME keeps a person's own client configuration out.
	cmd.Env = []string{"TERM=dumb", "TZ=UTC", "LANG=C.UTF-8", "HOME=" + e.cfg.Dir, "PATH=/usr/bin:/bin", "JE_MALLOC_CONF=" + allocator}
	// Setsid also shields us: SYSTEM SHUTDOWN signals the whole process group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the clickhouse engine: %w", err), master.Close(), out.Close())
	}
	c := &child{cmd: cmd, pty: master, out: out, ended: make(chan struct{})}
	go func() {
		// The terminal echoes what it is told; nobody reads it.
		_, _ = io.Copy(io.Discard, master)
	}()
	go c.wait()
	return c, nil
}

// awaitPorts polls for the file that the engine's first query writes.
func (e *Engine) awaitPorts(ctx context.Context, c *child) (tcp, http string, err error) {
	for {
		raw, err := os.ReadFile(e.portsFile())
		if fields := strings.Fields(string(raw)); err == nil && len(fields) == 2 && strings.HasSuffix(string(raw), "\n") {
			if fields[0] == "0" || fields[1] == "0" {
				return "", "", fmt.Errorf("the clickhouse engine opened no port: %s", lastLines(c.out.Tail()))
			}
			return fields[0], fields[1], nil
		}
		if tail := c.out.Tail(); strings.Contains(tail, refusedMessage) {
			err := errors.New(lastLines(tail))
			if strings.Contains(tail, listenMessage) {
				err = fmt.Errorf("%w: %w", ErrPortInUse, err)
			}
			return "", "", fmt.Errorf("the clickhouse engine did not open its ports: %w", err)
		}
		select {
		case <-c.ended:
			return "", "", c.err
		case <-ctx.Done():
			return "", "", fmt.Errorf("the clickhouse engine did not open its ports: %w: %s", ctx.Err(), lastLines(c.out.Tail()))
		case <-time.After(pollInterval):
		}
	}
}

// Endpoint returns where the engine answers; zero before the first Start.
func (e *Engine) Endpoint() Endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.endpoint
}

// PID returns the child's process id, or 0 when none runs.
func (e *Engine) PID() int {
	if c := e.current(); c != nil && !c.hasEnded() {
		return c.cmd.Process.Pid
	}
	return 0
}

// Ended returns a channel that is closed when the child is gone. It is closed
// already when none was started.
func (e *Engine) Ended() <-chan struct{} {
	if c := e.current(); c != nil {
		return c.ended
	}
	none := make(chan struct{})
	close(none)
	return none
}

// Err says why the child ended: nil while it runs and after a clean stop.
func (e *Engine) Err() error {
	c := e.current()
	if c == nil || !c.hasEnded() {
		return nil
	}
	return c.err
}

// Stop ends the child as a user would, by typing exit. The engine then waits up
// to 5 s, fixed in its code, for clients that hold a connection, idle ones too;
// close your own first. Past StopTimeout, or with ctx, the child is killed, which
// loses no acknowledged row either: parts are renamed into place when complete.
func (e *Engine) Stop(ctx context.Context) error {
	c := e.current()
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.StopTimeout)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		// Repeatedly, because what is typed just before the engine shows its
		// prompt is thrown away when it switches the terminal's mode.
		c.askToExit()
		select {
		case <-c.ended:
			return c.err
		case <-again.C:
		case <-ctx.Done():
			e.log.Info("clickhouse engine still had clients and was killed", "pid", c.cmd.Process.Pid)
			c.kill()
			return nil
		}
	}
}

// Kill ends the child at once and waits until it is gone.
func (e *Engine) Kill() {
	if c := e.current(); c != nil {
		c.kill()
	}
}

func (e *Engine) current() *child {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.child
}

func (c *child) wait() {
	err := c.cmd.Wait()
	c.stdin.Lock()
	if err == nil && !c.asked { // the engine's own exit status is 0 even when it could not start
		err = errors.New("without being asked to")
	}
	if err != nil {
		err = fmt.Errorf("the clickhouse engine ended: %w: %s", err, lastLines(c.out.Tail()))
	}
	c.closed = true
	err = errors.Join(err, c.pty.Close(), c.out.Close())
	c.stdin.Unlock()
	c.err = err
	close(c.ended)
}

func (c *child) askToExit() {
	c.stdin.Lock()
	defer c.stdin.Unlock()
	if !c.closed {
		c.asked = true
		_, _ = c.pty.WriteString("exit\n")
	}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
}

func (c *child) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// lastLines shortens an engine log for an error message: the last line that
// names a fault, without the stack trace under it.
func lastLines(log string) string {
	last := "no message"
	for line := range strings.Lines(log) {
		if i := strings.Index(line, "DB::Exception"); i >= 0 {
			last = strings.TrimSpace(line[i:])
		} else if s := strings.TrimSpace(line); last == "no message" && s != "" {
			last = s
		}
	}
	return last[:min(len(last), 600)]
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
