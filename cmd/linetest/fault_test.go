package linetest_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hold stops a process without ending it; release lets it go on.
func (w *weir) hold(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

func (w *weir) release(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestBadStart: weir up says what is wrong and how to mend it.
func TestBadStart(t *testing.T) {
	needEngine(t)
	t.Parallel()
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	port := taken.Addr().String()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("a-file", "")
	badFlows := write("flows.yaml", "apiVersion: weir/v1\nkind: FlowMap\nsite: shop\nroutes:\n  - match: {method: POST, path: /x}\n    role: logn\n")
	badCfg := write("weir.yaml", "apiVersion: weir/v1\nkind: Config\nsites: [{name: shop, upstraem: http://127.0.0.1:1}]\n")
	badCH := write("ch.yaml", "apiVersion: weir/v1\nkind: Config\nsites: [{name: shop, hosts: ['*'], upstream: 'http://127.0.0.1:1'}]\nenforce: {mode: enforced}\n")
	tests := map[string]struct {
		env  []string
		args []string
		code int
		want []string
	}{
		"the ingress port is taken":          {nil, []string{"--listen", port}, 1, []string{port, "in use", "--listen"}},
		"the admin port is taken":            {nil, []string{"--admin", port}, 1, []string{port, "in use", "--admin"}},
		"the data directory is no directory": {nil, []string{"--data", file}, 1, []string{file, "--data"}},
		"the data directory cannot be made":  {nil, []string{"--data", "/proc/weir"}, 1, []string{"/proc/weir", "--data"}},
		"the engine is missing": {
			[]string{"XDG_CACHE_HOME=" + dir, "HOME=" + dir, "PATH=/nonexistent", "WEIR_CHDB=", "WEIR_CLICKHOUSE="},
			nil, 1,
			[]string{"npm", "clickhouse"},
		},
		"the engine is not where it is said": {[]string{"WEIR_CLICKHOUSE=/nonexistent/clickhouse"}, nil, 1, []string{"/nonexistent/clickhouse", "unset it"}},
		"an unknown key":                     {nil, []string{"-c", badCfg}, 1, []string{"weir.yaml:3", "upstream"}},
		"an unknown mode":                    {nil, []string{"-c", badCH}, 1, []string{"enforce.mode", "shadow"}},
		"an unknown role":                    {nil, []string{"--flows", badFlows}, 1, []string{"flows.yaml:6", "login"}},
		"no such flow map":                   {nil, []string{"--flows", filepath.Join(dir, "none.yaml")}, 1, []string{"none.yaml"}},
		"an address that is none":            {nil, []string{"--listen", "localhost"}, 2, []string{"localhost"}},
		"an upstream that is none":           {nil, []string{"--upstream", "127.0.0.1:9000"}, 2, []string{"upstream", "http://"}},
	}
	n := 0
	for name, tt := range tests {
		n++
		data := dataDir("bad")
		t.Run(name, func(t *testing.T) {
			args := []string{"up", "--data", data, "--listen", freePort(t), "--admin", freePort(t), "--ebpf", "off"}
			if !strings.Contains(strings.Join(tt.args, " "), "--upstream") && !strings.Contains(strings.Join(tt.args, " "), "-c ") {
				args = append(args, "--upstream", "http://127.0.0.1:1", "--site", "shop")
			}
			began := time.Now()
			r := runWeir(t, tt.env, append(args, tt.args...)...)
			if r.code != tt.code {
				t.Errorf("exit %d, want %d", r.code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("no %q in: %s", want, r.stderr)
				}
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("took %s to say so", took)
			}
			if left := processesBelow(data); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
			t.Logf("%s", strings.TrimSpace(r.stderr))
		})
	}
}

// TestSecondUp: two lines never share a data directory.
func TestSecondUp(t *testing.T) {
	t.Parallel()
	a, w := protected(t, "two", "shadow")
	r := runWeir(t, nil, "up", "--data", w.data, "--listen", freePort(t), "--admin", freePort(t), "--upstream", a.url)
	if r.code != 1 || !strings.Contains(r.stderr, "another weir up") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	if r := newClient(t, w.listen, "127.68.0.1").get(t, "/"); r.status != 200 {
		t.Errorf("the first one: status %d", r.status)
	}
	idle(t, w)
	w.stop(t)
}

// TestReload: SIGHUP puts a changed configuration in force, refuses a faulty
// one, and ends nothing.
func TestReload(t *testing.T) {
	needEngine(t)
	t.Parallel()
	a, w := newApp(t), newWeir(t, "hup")
	cfg, flows := w.config(t, ""), flowMap(t)
	write := func(allowed, more string) {
		text := "apiVersion: weir/v1\nkind: Config\n" + fmt.Sprintf(friendly, a.url, flows, allowed) + more
		if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hangUp := func(want string) {
		t.Helper()
		if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		until(t, 30*time.Second, "weir up says "+want, func() bool { return strings.Contains(w.out.String(), want) })
	}
	write("127.70.0.9", "")
	w.up(t, "-c", cfg)
	c := newClient(t, w.listen, "127.70.0.1")
	w.blockedClient(t, c, "127.70.0.1")
	write("127.70.0.1", "retention: {events: 20d}\n")
	hangUp("reloaded: allowlists; only a restart changes retention.events")
	until(t, 30*time.Second, "the allowlist is in force", func() bool { return c.get(t, "/item/1").status == http.StatusOK })
	write("127.70.0.9", "nosuch: 1\n")
	hangUp("reload refused")
	if r := c.get(t, "/item/1"); r.status != http.StatusOK {
		t.Errorf("status %d after a refused reload, want 200", r.status)
	}
	write("127.70.0.1", "retention: {events: 21d}\n")
	hangUp("reloaded; only a restart changes retention.events")
	// A collector that did not run yet begins with the log that it is for.
	b, err := os.ReadFile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	followed := fmt.Sprintf(`enabled: "off"}, accessLogs: [{path: %q}]}`, filepath.Join(t.TempDir(), "access.log"))
	if err := os.WriteFile(cfg, []byte(strings.Replace(string(b), `enabled: "off"}}`, followed, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp("reloaded: collect.accessLogs")
	w.healthy(t)
	w.stop(t)
}

// idle prints what a line takes that has nothing to do.
func idle(t *testing.T, w *weir) {
	t.Helper()
	w.settled(t)
	settle, span := time.After(4*time.Second), 20*time.Second
	<-settle
	before, began := usage(t, w), time.Now()
	<-time.After(span)
	after, took := usage(t, w), time.Since(began)
	var rss, ticks int64
	for pid, u := range after {
		cpu := u.ticks - before[pid].ticks
		rss, ticks = rss+u.rss, ticks+cpu
		t.Logf("%-10s %4d MB  %5.2f %%", u.name, u.rss>>20, 100*float64(cpu)/100/took.Seconds())
	}
	t.Logf("idle: %d MB resident (target 700), %.2f %% of a core (target 3)", rss>>20, float64(ticks)/took.Seconds())
	if rss > 1400<<20 {
		t.Errorf("%d MB resident, twice the target", rss>>20)
	}
}

type used struct {
	name       string
	rss, ticks int64
}

// usage reads resident memory and CPU time (in 1/100 s) of the line's
// processes.
func usage(t *testing.T, w *weir) map[int]used {
	t.Helper()
	out := map[int]used{}
	for _, pid := range processesBelow(w.data) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		f := strings.Fields(rest)
		var u used
		var utime, stime, pages int64
		_, _ = fmt.Sscan(f[11], &utime)
		_, _ = fmt.Sscan(f[12], &stime)
		_, _ = fmt.Sscan(f[21], &pages)
		u.ticks, u.rss = utime+stime, pages*int64(os.Getpagesize())
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(string(line), "\x00")
		u.name = args[1]
		if u.name == "child" {
			u.name = args[2]
		}
		out[pid] = u
	}
	return out
}
