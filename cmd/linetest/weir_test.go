package linetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/stream/broker/kafkatest"
)

// weir is one installation: a data directory and, between up and stop, a
// running line on it.
type weir struct {
	data, listen, admin string
	// mounts are shell commands that give it file systems of its own.
	mounts string

	cmd  *exec.Cmd
	out  *output
	done chan struct{}
}

var dataDirs atomic.Int64

// dataDir names a data directory that no test has had, nor an earlier run of the
// same one (-count). It is short: sockets below it have at most 107 bytes.
func dataDir(name string) string {
	return filepath.Join(root, fmt.Sprintf("%s%d", name, dataDirs.Add(1)))
}

// newWeir makes an installation with a data directory and ports of its own,
// and ends whatever runs on it when the test ends.
func newWeir(t *testing.T, name string) *weir {
	t.Helper()
	w := &weir{data: dataDir(name), listen: freePort(t), admin: freePort(t), out: &output{}}
	t.Cleanup(func() {
		if t.Failed() {
			w.tellLogs(t)
		}
		w.kill()
	})
	return w
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	ports, err := kafkatest.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", ports[0])
}

// up starts weir up with more arguments and waits until it is ready. It returns
// how long that took.
func (w *weir) up(t *testing.T, args ...string) time.Duration {
	t.Helper()
	began := time.Now()
	w.start(t, args...)
	until(t, 60*time.Second, "weir up is ready", func() bool {
		select {
		case <-w.done:
			t.Fatalf("weir up ended:\n%s", w.out)
		default:
		}
		return strings.Contains(w.out.String(), "\nready")
	})
	return time.Since(began)
}

func (w *weir) start(t *testing.T, args ...string) {
	t.Helper()
	w.out = &output{}
	args = append([]string{"up", "--data", w.data, "--listen", w.listen, "--admin", w.admin}, args...)
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = w.out, w.out
	cmd.Dir = root // no weir.yaml here
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if w.mounts != "" {
		ownMounts(cmd, w.mounts)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	w.cmd, w.done = cmd, done
	go func() { _ = cmd.Wait(); close(done) }()
}

// stop sends SIGINT, as Ctrl-C does, and checks that nothing is left.
func (w *weir) stop(t *testing.T) {
	t.Helper()
	before := processesBelow(w.data)
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.done:
	case <-time.After(45 * time.Second):
		t.Fatalf("weir up does not stop:\n%s", w.out)
	}
	if code := w.cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		t.Errorf("weir up ended with %v", w.cmd.ProcessState)
	}
	if left := processesBelow(w.data); len(left) > 0 {
		t.Errorf("processes %v are left after SIGINT", left)
	}
	for _, pid := range before {
		if alive(pid) {
			t.Errorf("process %d is left after SIGINT", pid)
		}
	}
}

// kill ends what is left, hard.
func (w *weir) kill() {
	for range 20 {
		pids := processesBelow(w.data)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-time.After(20 * time.Millisecond)
	}
	if w.done != nil {
		<-w.done
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil && !zombie(pid) }

func (w *weir) tellLogs(t *testing.T) {
	t.Helper()
	t.Logf("weir up printed:\n%s", w.out)
	files, _ := filepath.Glob(filepath.Join(w.data, "log", "*.log"))
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			t.Logf("%s:\n%s", filepath.Base(f), b[max(0, len(b)-3000):])
		}
	}
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// run runs one weir command on the installation.
func (w *weir) run(t *testing.T, args ...string) result {
	t.Helper()
	return runWeir(t, nil, append(slices.Clone(args), "--data", w.data)...)
}

// runWeir runs weir with exactly these arguments.
func runWeir(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, root
	cmd.Env = append(os.Environ(), env...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("weir %v: %v", args, err)
	}
	return result{code: cmd.ProcessState.ExitCode(), stdout: out.String(), stderr: errs.String()}
}

// ok runs a command that must succeed and returns its standard output.
func (w *weir) ok(t *testing.T, args ...string) string {
	t.Helper()
	r := w.run(t, args...)
	if r.code != 0 {
		t.Fatalf("weir %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// sql runs a query that must succeed.
func (w *weir) sql(t *testing.T, query string) []map[string]any {
	t.Helper()
	var rows []map[string]any
	decode(t, w.ok(t, "sql", query, "-o", "json"), &rows)
	return rows
}

// number runs a query with one number as its answer.
func (w *weir) number(t *testing.T, query string) int64 {
	t.Helper()
	rows := w.sql(t, query)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s gave %v", query, rows)
	}
	for _, v := range rows[0] {
		n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
		if err != nil {
			t.Fatalf("%s gave %v", query, v)
		}
		return n
	}
	return 0
}

// status asks the running line; ok is false while it does not answer.
func (w *weir) status(t *testing.T) (st admin.Status, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := admin.NewClient(admin.Socket(w.data, "weir")).Get(ctx, "/v1/status", &st)
	return st, err == nil
}

// pid returns the process of a part, 0 while it does not run.
func (w *weir) pid(t *testing.T, part string) int {
	t.Helper()
	st, _ := w.status(t)
	for _, p := range st.Parts {
		if p.Name == part {
			return p.PID
		}
	}
	return 0
}

// killPart kills a part and waits until another process has taken its place.
func (w *weir) killPart(t *testing.T, part string) {
	t.Helper()
	w.endPart(t, part, syscall.SIGKILL)
}

func (w *weir) endPart(t *testing.T, part string, by syscall.Signal) {
	t.Helper()
	pid := w.pid(t, part)
	if pid == 0 {
		t.Fatalf("%s does not run", part)
	}
	if err := syscall.Kill(pid, by); err != nil {
		t.Fatal(err)
	}
	until(t, 30*time.Second, part+" is back", func() bool {
		st, _ := w.status(t)
		return slices.ContainsFunc(st.Parts, func(p partState) bool {
			return p.Name == part && p.Ready && p.PID != pid && p.PID != 0
		})
	})
}

// healthy waits until all is well.
func (w *weir) healthy(t *testing.T) (st admin.Status) {
	t.Helper()
	until(t, 3*time.Minute, "the line is healthy", func() bool {
		var ok bool
		st, ok = w.status(t)
		return ok && st.Healthy
	})
	return st
}

// settled waits until all is well and everything is stored, which it is only
// where no requests go on.
func (w *weir) settled(t *testing.T) (st admin.Status) {
	t.Helper()
	left := "no status"
	defer func() {
		if left != "" {
			t.Logf("left over: %s", left)
		}
	}()
	until(t, 3*time.Minute, "the line is healthy and has stored everything", func() bool {
		var ok bool
		if st, ok = w.status(t); ok {
			left = unsettled(&st)
		}
		return ok && left == ""
	})
	return st
}

// unsettled says what a line still has to do, or what ails it.
func unsettled(st *admin.Status) string {
	if !st.Healthy {
		return fmt.Sprintf("problems %+v", st.Problems)
	}
	for _, r := range st.Reports {
		for _, l := range r.Lag {
			if l.Records > 0 {
				return fmt.Sprintf("%s lags: %+v", r.Part, l)
			}
		}
		for _, s := range r.Sources {
			if s.Queued > 0 {
				return fmt.Sprintf("%s has queued: %+v", r.Part, s)
			}
		}
	}
	return ""
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %.2000s", err, text)
	}
}

// until polls cond and fails the test when it does not hold in time.
func until(t *testing.T, d time.Duration, what string, cond func() bool) {
	t.Helper()
	untilEvery(t, 20*time.Millisecond, d, what, cond)
}

// untilEvery is until with another pace.
func untilEvery(t *testing.T, pace, d time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(d)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", d, what)
		}
	}
}

// startRole starts one role by itself, from the effective configuration that
// weir up left.
func (w *weir) startRole(t *testing.T, role string) {
	t.Helper()
	cmd := exec.Command(binary, role, "--config", filepath.Join(w.data, "run", "weir.yaml"), "--data", w.data)
	w.out = &output{}
	cmd.Stdout, cmd.Stderr, cmd.Dir = w.out, w.out, root
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	w.cmd, w.done = cmd, done
	go func() { _ = cmd.Wait(); close(done) }()
}

// config writes a configuration file and returns its path.
func (w *weir) config(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: weir/v1\nkind: Config\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// background runs a command until end is called.
func (w *weir) background(t *testing.T, out *output, args ...string) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, binary, append(args, "--data", w.data)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, root
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() { cancel(); _ = cmd.Wait() }
}
