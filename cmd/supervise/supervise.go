// Package supervise starts the parts of weir up as child processes, waits for
// each to say that it is ready, restarts one that dies with back-off, and stops
// them in reverse order.
//
// It promises that Run returns only when every child it started has ended
// (except parts that outlive the supervisor by design, see Part.Outlive, and
// then only when the supervisor itself is killed), that a part which fails
// before its first readiness ends the start with that part's own words, and
// that a restart never waits longer than maxBackOff. It knows nothing of what
// the parts do.
package supervise

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	minBackOff = 200 * time.Millisecond
	maxBackOff = 10 * time.Second
	// steadyAfter is how long a part must have run for its back-off to start
	// over.
	steadyAfter = time.Minute
	// maxLogBytes bounds one part's log file; at a start beyond it the file is
	// kept once as NAME.log.1.
	maxLogBytes = 16 << 20
	// NotifyEnv names the inherited descriptor a part writes its state lines to.
	NotifyEnv = "WEIR_NOTIFY_FD"
)

// Part is one child process.
type Part struct {
	// Name is unique; it names the log file and the status entry.
	Name string
	// Args are the arguments of the weir binary itself.
	Args []string
	Env  []string
	// ReadyTimeout bounds the time to the first readiness (default 30 s),
	// StopTimeout the soft stop (default 10 s) before SIGKILL.
	ReadyTimeout time.Duration
	StopTimeout  time.Duration
	// Outlive lets the part survive the death (not the stop) of the
	// supervisor: the ingress goes on serving when all else is gone.
	Outlive bool
	// Leash gives the part a standard input that ends with the supervisor,
	// instead of having it killed: it ends by itself, in order. A log that is
	// killed has to be recovered.
	Leash bool
	// Prompt keeps the kernel's timer slack of 50 us, for a part that clients wait
	// for; the others sleep up to relaxedSlack longer than they ask for.
	Prompt bool
}

// relaxedSlack lets the kernel wake a sleeping thread later, together with
// others. The Go runtime's monitor asks for naps of 20 us while there is work,
// and at a millisecond still took 3 % of what the line takes; what comes over a
// socket wakes at once, whatever the slack.
const relaxedSlack = 3 * time.Millisecond

// State is what is known of a part.
type State struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"`
	Ready    bool      `json:"ready"`
	Detail   string    `json:"detail,omitempty"`
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since"`
	LastExit string    `json:"last_exit,omitempty"`

	everReady bool
}

// Supervisor owns the children. Use New.
type Supervisor struct {
	binary string
	logDir string
	log    *slog.Logger

	mu      sync.Mutex
	running []*child
}

type child struct {
	part Part
	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	state State
}

// New returns a supervisor that starts binary and keeps the children's output
// under logDir, one file each. It starts nothing.
func New(binary, logDir string, log *slog.Logger) *Supervisor {
	return &Supervisor{binary: binary, logDir: logDir, log: log}
}

// Start starts a part, waits for its readiness and returns its detail line. The
// part is then kept running until Stop. An error means that the part is not
// running; it carries the last lines of the part's output.
func (s *Supervisor) Start(ctx context.Context, p Part) (string, error) {
	if p.ReadyTimeout == 0 {
		p.ReadyTimeout = 30 * time.Second
	}
	if p.StopTimeout == 0 {
		p.StopTimeout = 10 * time.Second
	}
	// The child outlives ctx, which is only about starting; Stop ends it.
	life, stop := context.WithCancel(context.Background())
	c := &child{part: p, stop: stop, done: make(chan struct{}), state: State{Name: p.Name}}
	first := make(chan error, 1)
	go s.keep(life, c, first)
	var err error
	select {
	case err = <-first:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(p.ReadyTimeout):
		err = fmt.Errorf("%s did not become ready within %s; its log: %s", p.Name, p.ReadyTimeout, s.logPath(p.Name))
	}
	if err != nil {
		stop()
		<-c.done
		return "", err
	}
	s.mu.Lock()
	s.running = append(s.running, c)
	s.mu.Unlock()
	return c.snapshot().Detail, nil
}

// States lists the parts in the order they were started.
func (s *Supervisor) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]State, 0, len(s.running))
	for _, c := range s.running {
		out = append(out, c.snapshot())
	}
	return out
}

// Stop ends all parts in reverse order of their start and waits for each.
func (s *Supervisor) Stop() {
	s.mu.Lock()
	parts := s.running
	s.running = nil
	s.mu.Unlock()
	for _, c := range slices.Backward(parts) {
		c.stop()
		<-c.done
	}
}

// Signal sends sig to every running part whose name is in names, or to all.
func (s *Supervisor) Signal(sig syscall.Signal, names ...string) {
	for _, st := range s.States() {
		if st.PID == 0 || len(names) > 0 && !slices.Contains(names, st.Name) {
			continue
		}
		if err := syscall.Kill(st.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.log.Warn("signal part", "part", st.Name, "err", err)
		}
	}
}

func (c *child) snapshot() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *child) update(f func(*State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.state)
}

// keep runs the part again and again until its life ends. The goroutine stays
// on one operating system thread for ever, because the kernel sends a child's
// parent-death signal when the thread that forked it ends.
func (s *Supervisor) keep(life context.Context, c *child, first chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.done)
	backOff := minBackOff
	for {
		began := time.Now()
		err := s.once(life, c, first)
		c.update(func(st *State) { st.PID, st.Ready = 0, false })
		if life.Err() != nil {
			return
		}
		if !c.snapshot().everReady {
			first <- err // the first start failed; first is buffered
			return
		}
		if time.Since(began) > steadyAfter {
			backOff = minBackOff
		}
		c.update(func(st *State) { st.Restarts++; st.LastExit = err.Error() })
		s.log.Warn("part ended, restarting", "part", c.part.Name, "err", err, "in", backOff.String())
		select {
		case <-life.Done():
			return
		case <-time.After(backOff):
		}
		backOff = min(2*backOff, maxBackOff)
	}
}

// once runs the child process one time and returns why it ended.
func (s *Supervisor) once(life context.Context, c *child, first chan<- error) error {
	out, err := s.openLog(c.part.Name)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	notifyR, notifyW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("notify pipe for %s: %w", c.part.Name, err)
	}
	defer func() { _ = notifyR.Close() }()

	cmd := exec.Command(s.binary, c.part.Args...) //nolint:gosec,noctx // our own binary; its life ends by signal, softly first
	cmd.Env = append(append(os.Environ(), NotifyEnv+"=3"), c.part.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{notifyW}
	// An own process group keeps a terminal's Ctrl-C from reaching the children
	// before the supervisor stops them in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !c.part.Outlive && !c.part.Leash {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if c.part.Leash {
		leash, err := cmd.StdinPipe() // nothing is ever written to it
		if err != nil {
			return fmt.Errorf("leash for %s: %w", c.part.Name, err)
		}
		defer func() { _ = leash.Close() }()
	}
	if !c.part.Prompt {
		s.setSlack(relaxedSlack)
	}
	err = cmd.Start()
	s.setSlack(0)
	_ = notifyW.Close()
	if err != nil {
		return fmt.Errorf("start %s: %w", c.part.Name, err)
	}
	c.update(func(st *State) { st.PID, st.Since = cmd.Process.Pid, time.Now() })

	told := make(chan struct{})
	go func() {
		defer close(told)
		s.listen(notifyR, c, first)
	}()
	err = s.await(life, cmd, c.part)
	_ = notifyR.Close()
	<-told
	if tail := s.tail(c.part.Name); tail != "" && !signaled(err) {
		return fmt.Errorf("%s ended (%s): %s", c.part.Name, exitText(err), tail)
	}
	return fmt.Errorf("%s ended (%s)", c.part.Name, exitText(err))
}

// await waits until the child has ended, and ends it with life: softly first.
func (s *Supervisor) await(life context.Context, cmd *exec.Cmd, p Part) error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-life.Done():
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		return err
	case <-time.After(p.StopTimeout):
	}
	s.log.Warn("part did not stop in time, killing it", "part", p.Name)
	_ = cmd.Process.Kill()
	return <-ended
}

// setSlack sets the timer slack of this thread, which the next child inherits;
// 0 is the usual one (prctl(2), PR_SET_TIMERSLACK).
func (s *Supervisor) setSlack(d time.Duration) {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(d.Nanoseconds()), 0, 0, 0); err != nil {
		s.log.Warn("set timer slack; parts will use a little more CPU", "err", err)
	}
}

// listen reads "ready DETAIL" lines until the child closes the pipe.
func (s *Supervisor) listen(r io.Reader, c *child, first chan<- error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if detail, ok := strings.CutPrefix(lines.Text(), "ready"); ok {
			known := c.snapshot().everReady
			c.update(func(st *State) { st.Ready, st.everReady, st.Detail = true, true, strings.TrimSpace(detail) })
			if !known {
				first <- nil
			}
		}
	}
}

// notify is the pipe to the supervisor, nil without one. What this process starts
// is no part, and gets neither the pipe nor its name.
var notify = sync.OnceValue(func() *os.File {
	if os.Getenv(NotifyEnv) != "3" {
		return nil
	}
	_ = os.Unsetenv(NotifyEnv)
	unix.CloseOnExec(3)
	return os.NewFile(3, "notify")
})

// Ready tells the supervisor, if there is one, that this part can do its work.
// Detail is one line shown to the user, such as its addresses; a later call
// replaces it.
func Ready(detail string) {
	if f := notify(); f != nil {
		_, _ = fmt.Fprintf(f, "ready %s\n", strings.ReplaceAll(detail, "\n", " ")) // nobody listens after a kill of the supervisor
	}
}

// signaled reports whether a process was ended from outside: what it logged
// before says nothing of that.
func signaled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGKILL || status.Signal() == syscall.SIGTERM)
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

func (s *Supervisor) logPath(name string) string { return filepath.Join(s.logDir, name+".log") }

func (s *Supervisor) openLog(name string) (*os.File, error) {
	if err := os.MkdirAll(s.logDir, 0o700); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	path := s.logPath(name)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("rotate %s: %w", path, err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	return f, nil
}

// tail returns the last few lines of a part's log, for error messages.
func (s *Supervisor) tail(name string) string {
	f, err := os.Open(s.logPath(name))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	const window = 2048
	if info, err := f.Stat(); err == nil && info.Size() > window {
		if _, err := f.Seek(-window, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, window))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if why, ok := strings.CutPrefix(lines[len(lines)-1], "weir: "); ok {
		return why // what the part itself gives as the reason
	}
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}
