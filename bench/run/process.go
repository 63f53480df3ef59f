package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spent is what a process that has ended took.
type spent struct {
	CPU, Wall time.Duration
	PeakBytes int64
	Output    string
}

// measure runs a program to its end. Time and memory come from its own rusage,
// its waited-for children included.
func measure(ctx context.Context, name string, args ...string) (spent, error) {
	return measureEnv(ctx, nil, name, args...)
}

func measureEnv(ctx context.Context, env []string, name string, args ...string) (spent, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return spent{}, fmt.Errorf("%s: %w: %s", filepath.Base(name), err, tail(diag.String(), 400))
	}
	s := spent{Wall: time.Since(began), CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), Output: out.String()}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.PeakBytes = ru.Maxrss << 10
	}
	return s, nil
}

func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		s = "..." + s[len(s)-n:]
	}
	return s
}

// server is a process that runs until stop.
type server struct {
	name string
	cmd  *exec.Cmd
	log  *syncBuffer
	done chan struct{}
}

// syncBuffer keeps the end of what a server says.
type syncBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, p...)
	if len(s.b) > 1<<17 {
		s.b = append(s.b[:0], s.b[len(s.b)-1<<16:]...)
	}
	return len(p), nil
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.b)
}

// serve starts a process; it dies with this one.
func serve(name, program string, args ...string) (*server, error) {
	return serveEnv(name, nil, program, args...)
}

func serveEnv(name string, env []string, program string, args ...string) (*server, error) {
	s := &server{name: name, cmd: exec.Command(program, args...), log: &syncBuffer{}, done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	return s, nil
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop asks the process to end and waits; after 20 s it is killed.
func (s *server) stop() {
	if s == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// until polls ok until it holds, the process ends or the time is up.
func (s *server) until(ctx context.Context, limit time.Duration, what string, ok func() bool) error {
	return poll(ctx, limit, func() (bool, error) {
		select {
		case <-s.done:
			return false, fmt.Errorf("%s ended: %s", s.name, tail(s.log.String(), 600))
		default:
		}
		return ok(), nil
	}, s.name+": "+what)
}

func poll(ctx context.Context, limit time.Duration, ok func() (bool, error), what string) error {
	deadline := time.Now().Add(limit)
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not after %s", what, limit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// usage is the CPU time so far and the resident memory of living processes.
type usage struct {
	CPU time.Duration
	RSS int64
}

// clockTick is the unit of /proc/PID/stat; Linux fixes USER_HZ at 100.
const clockTick = 10 * time.Millisecond

// usageOf reads one process.
func usageOf(pid int) (u usage, parent int, name string, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return u, 0, "", err
	}
	text := string(b)
	end := strings.LastIndexByte(text, ')')
	f := strings.Fields(text[end+1:])
	if end < 0 || len(f) < 22 {
		return u, 0, "", errors.New("unusable /proc/PID/stat")
	}
	num := func(i int) int64 {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		return n
	}
	u.CPU = time.Duration(num(11)+num(12)) * clockTick
	u.RSS = num(21) * int64(os.Getpagesize())
	cmdline, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return u, int(num(1)), string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})), nil
}

// tree returns the processes below pid, itself included, by their part of weir
// up ("up", "log", "store", "process", "enforce", "collect"); other programs go
// under "other".
func tree(pid int) map[string]usage {
	entries, _ := os.ReadDir("/proc")
	type info struct {
		u      usage
		parent int
		name   string
	}
	all := map[int]info{}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if u, parent, name, err := usageOf(n); err == nil {
			all[n] = info{u, parent, name}
		}
	}
	below := func(n int) bool {
		for n > 1 {
			if n == pid {
				return true
			}
			n = all[n].parent
		}
		return false
	}
	out := map[string]usage{}
	for n, p := range all {
		if !below(n) {
			continue
		}
		part := partOf(p.name)
		sum := out[part]
		sum.CPU += p.u.CPU
		sum.RSS += p.u.RSS
		out[part] = sum
	}
	return out
}

func partOf(cmdline string) string {
	for _, p := range [...]struct{ mark, part string }{
		{" child log ", "log"},
		{" child clickhouse ", "store"},
		{"libchdb", "store"},
		{" process ", "process"},
		{" enforce ", "enforce"},
		{" collect ", "collect"},
		{" up ", "up"},
	} {
		if strings.Contains(cmdline, p.mark) {
			return p.part
		}
	}
	return "other"
}

// total adds parts up.
func total(parts map[string]usage) (sum usage) {
	for _, u := range parts {
		sum.CPU += u.CPU
		sum.RSS += u.RSS
	}
	return sum
}

// freePort returns a loopback port that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// answers reports whether a GET of url gives the status.
func answers(url string, status int) bool {
	c := http.Client{Timeout: time.Second}
	resp, err := c.Get(url)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode == status
}

// need finds a program or installs its Debian package, when allowed to.
func need(ctx context.Context, program, pkg string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		p := filepath.Join(dir, program)
		if st, err := os.Stat(p); err == nil && st.Mode()&0o111 != 0 && !st.IsDir() {
			return p, nil
		}
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("%s is not installed: apt-get install %s", program, pkg)
	}
	cmd := exec.CommandContext(ctx, "apt-get", "install", "-y", "--no-install-recommends", pkg)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install %s: %w: %s", pkg, err, tail(string(out), 300))
	}
	return exec.LookPath(program)
}
