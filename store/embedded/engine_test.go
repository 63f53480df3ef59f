package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirproject/weir/store/embedded"
)

const (
	childArg  = "test-child-clickhouse"
	parentArg = "test-parent-of-clickhouse"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childArg {
		if err := embedded.ChildMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 2 && os.Args[1] == parentArg {
		parentMain(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// library returns the engine library, or skips the test.
func library(t *testing.T) embedded.Binary {
	t.Helper()
	path := os.Getenv("WEIR_CHDB")
	if path == "" {
		dir, err := embedded.CacheDir()
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, "libchdb.so")
	}
	if _, err := os.Stat(path); err != nil { //nolint:gosec // G703: the tester's own environment
		if slices.Contains(strings.Split(os.Getenv("WEIR_REQUIRE"), ","), "clickhouse") {
			t.Fatalf("clickhouse engine library required: %v", err)
		}
		t.Skipf("clickhouse engine library missing: %v (make run fetches it)", err)
	}
	return embedded.Binary{Path: path, Kind: embedded.KindLibrary}
}

func newEngine(t *testing.T, dir string, change func(*embedded.Config)) *embedded.Engine {
	t.Helper()
	cfg := embedded.Config{Dir: dir, Engine: library(t), Command: []string{"/proc/self/exe", childArg}, MemoryBytes: 512 << 20}
	if change != nil {
		change(&cfg)
	}
	e, err := embedded.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Kill)
	return e
}

func start(t *testing.T, e *embedded.Engine) {
	t.Helper()
	begin := time.Now()
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v, pid %d, RSS %d MB", time.Since(begin).Round(time.Millisecond), e.PID(), residentMB(t, e.PID()))
}

// query asks over HTTP and returns the answer or the engine's error code.
func query(t *testing.T, e *embedded.Engine, user, sql string, settings ...string) (answer string, code int) {
	t.Helper()
	values := url.Values{}
	for i := 0; i < len(settings); i += 2 {
		values.Set(settings[i], settings[i+1])
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.Endpoint().HTTP+"/?"+values.Encode(), strings.NewReader(sql))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, e.Endpoint().Users[user])
	req.Close = true // an idle connection would hold up the engine's clean stop
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	code, _ = strconv.Atoi(res.Header.Get("X-Clickhouse-Exception-Code"))
	return strings.TrimSpace(string(body)), code
}

func mustQuery(t *testing.T, e *embedded.Engine, user, sql string) string {
	t.Helper()
	answer, code := query(t, e, user, sql)
	if code != 0 {
		t.Fatalf("%s: %s", sql, answer)
	}
	return answer
}

func residentMB(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(v)[0])
			return kb / 1024
		}
	}
	return 0
}

func stop(t *testing.T, e *embedded.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begin := time.Now()
	if err := e.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped after %v", time.Since(begin).Round(time.Millisecond))
}

func TestEngineKeepsDataOverStopAndKill(t *testing.T) {
	dir := t.TempDir()
	e := newEngine(t, dir, nil)
	start(t, e)
	mustQuery(t, e, embedded.Writer, "CREATE DATABASE weir")
	mustQuery(t, e, embedded.Writer, "CREATE TABLE weir.t (n UInt64) ENGINE = MergeTree ORDER BY n")
	mustQuery(t, e, embedded.Writer, "INSERT INTO weir.t SELECT number FROM numbers(1000)")
	stop(t, e)
	if err := e.Err(); err != nil {
		t.Errorf("a clean stop left the error %v", err)
	}
	before := e.Endpoint().Users
	start(t, e)
	if got := mustQuery(t, e, embedded.Analyst, "SELECT count() FROM weir.t"); got != "1000" {
		t.Errorf("after a clean stop: %s rows, want 1000", got)
	}
	if after := e.Endpoint().Users; after[embedded.Writer] != before[embedded.Writer] {
		t.Error("the password changed over a restart")
	}
	mustQuery(t, e, embedded.Writer, "INSERT INTO weir.t SELECT number FROM numbers(500)")
	e.Kill()
	if e.Err() == nil {
		t.Error("a killed engine reported no error")
	}
	start(t, e)
	if got := mustQuery(t, e, embedded.Analyst, "SELECT count() FROM weir.t"); got != "1500" {
		t.Errorf("after kill -9: %s rows, want 1500", got)
	}
	stop(t, e)
}

func TestFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	e := newEngine(t, dir, func(c *embedded.Config) { c.GrafanaDir = filepath.Join(dir, "grafana") })
	start(t, e)
	files := []string{"config.xml", "users.xml", "credentials.json", "engine.log", "grafana/datasource.yaml"}
	for _, name := range files {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, info.Mode().Perm())
		}
	}
	users, err := os.ReadFile(filepath.Join(dir, "users.xml"))
	if err != nil {
		t.Fatal(err)
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", e.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for name, password := range e.Endpoint().Users {
		if strings.Contains(string(users)+string(cmdline), password) {
			t.Errorf("the password of %s stands in users.xml or on the command line", name)
		}
	}
	source, err := os.ReadFile(filepath.Join(dir, "grafana/datasource.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(e.Endpoint().HTTP)
	for _, want := range []string{"port: " + port, e.Endpoint().Users[embedded.Analyst], "grafana-clickhouse-datasource"} {
		if !strings.Contains(string(source), want) {
			t.Errorf("datasource.yaml lacks %q", want)
		}
	}
	stop(t, e)
}

func TestUsersAndTheirLimits(t *testing.T) {
	e := newEngine(t, t.TempDir(), nil)
	start(t, e)
	mustQuery(t, e, embedded.Writer, "CREATE DATABASE weir")
	mustQuery(t, e, embedded.Writer, "CREATE TABLE weir.t (n UInt64) ENGINE = MergeTree ORDER BY n")
	mustQuery(t, e, embedded.Writer, "INSERT INTO weir.t SELECT number FROM numbers(10)")
	cases := []struct {
		name, user, sql string
		settings        []string
		code            int
	}{
		{"the analyst reads weir", "analyst", "SELECT count() FROM weir.t", nil, 0},
		{"the analyst may ask for less time", "analyst", "SELECT 1", []string{"max_execution_time", "5"}, 0},
		{"the analyst may ask for some more time", "analyst", "SELECT 1", []string{"max_execution_time", "25"}, 0},
		{"but not for much more", "analyst", "SELECT 1", []string{"max_execution_time", "3600"}, 452},
		{"nor for unlimited time", "analyst", "SELECT 1", []string{"max_execution_time", "0"}, 452},
		{"nor inside the query", "analyst", "SELECT 1 SETTINGS max_execution_time = 3600", nil, 452},
		{"the analyst cannot raise the row limit", "analyst", "SELECT 1 SETTINGS max_rows_to_read = 0", nil, 164},
		{"nor leave read-only", "analyst", "SELECT 1", []string{"readonly", "0"}, 164},
		{"nor raise the memory", "analyst", "SELECT 1", []string{"max_memory_usage", "0"}, 164},
		{"a long query ends", "analyst", "SELECT sum(sleepEachRow(0.5)) FROM numbers(40) SETTINGS max_execution_time = 1, max_block_size = 1", nil, 164},
		{"a query ends at its deadline", "analyst", "SELECT count() FROM numbers(400000000) WHERE NOT ignore(sipHash64(repeat(toString(number), 50))) SETTINGS max_execution_time = 1", nil, 159},
		{"too many rows", "analyst", "SELECT count() FROM numbers(600000000) WHERE NOT ignore(number)", nil, 158},
		{"too many result rows", "analyst", "SELECT number FROM numbers(200000)", nil, 396},
		{"too much memory", "analyst", "SELECT groupArray(number) FROM numbers(100000000)", nil, 241},
		{"the analyst writes nothing", "analyst", "INSERT INTO weir.t VALUES (1)", nil, 497},
		{"and creates nothing", "analyst", "CREATE TABLE weir.x (n UInt8) ENGINE = Memory", nil, 497},
		{"and drops nothing", "analyst", "DROP TABLE weir.t", nil, 497},
		{"no files", "analyst", "SELECT * FROM file('users.xml', LineAsString)", nil, 497},
		{"no network", "analyst", "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)", nil, 497},
		{"no other server", "analyst", "SELECT * FROM remote('127.0.0.1:1', 'system', 'one')", nil, 497},
		{"no programs", "analyst", "SELECT * FROM executable('x', TSV, 'a String')", nil, 497},
		{"no users", "analyst", "SELECT * FROM system.users", nil, 497},
		{"no processes of others", "analyst", "SELECT * FROM system.processes", nil, 497},
		{"no environment", "analyst", "SELECT getOSKernelVersion()", nil, 0},
		{"the analyst ends nobody's query", "analyst", "KILL QUERY WHERE 1 SYNC", nil, 497},
		{"nor the engine", "analyst", "SYSTEM SHUTDOWN", nil, 497},
		{"nor does the writer end the engine", "weir", "SYSTEM SHUTDOWN", nil, 497},
		{"the writer stays in weir", "weir", "CREATE DATABASE other", nil, 497},
		{"the writer reads no files", "weir", "SELECT * FROM file('users.xml', LineAsString)", nil, 497},
		{"the auditor sees the users", "auditor", "SELECT count() FROM system.users", nil, 0},
		{"and reads weir", "auditor", "SELECT count() FROM weir.t", nil, 0},
		{"but writes nothing", "auditor", "INSERT INTO weir.t VALUES (1)", nil, 497},
		{"the default user's only session is taken", "default", "SELECT 1", nil, 700},
		{"an unknown user", "nobody", "SELECT 1", nil, 516},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if answer, code := query(t, e, c.user, c.sql, c.settings...); code != c.code {
				t.Errorf("%s as %s %v: code %d, want %d: %s", c.sql, c.user, c.settings, code, c.code, answer)
			}
		})
	}
	if got := mustQuery(t, e, embedded.Analyst, "SELECT count() FROM weir.t"); got != "10" {
		t.Errorf("after all attempts: %s rows, want 10", got)
	}
	stop(t, e)
}

func TestFixedPort(t *testing.T) {
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := busy.Addr().(*net.TCPAddr).Port
	e := newEngine(t, t.TempDir(), func(c *embedded.Config) { c.HTTPPort = port })
	if err := e.Start(t.Context()); !errors.Is(err, embedded.ErrPortInUse) {
		t.Errorf("a taken port gave %v, want ErrPortInUse", err)
	}
	if err := busy.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, e)
	if want := "127.0.0.1:" + strconv.Itoa(port); e.Endpoint().HTTP != want {
		t.Errorf("HTTP port %s, want %s", e.Endpoint().HTTP, want)
	}
	stop(t, e)
}

func TestRestartKeepsPortsThatAreFree(t *testing.T) {
	e := newEngine(t, t.TempDir(), nil)
	start(t, e)
	first := e.Endpoint()
	kept := false
	for range 3 { // another process may take a port while it is free
		e.Kill()
		start(t, e)
		kept = kept || e.Endpoint().TCP == first.TCP && e.Endpoint().HTTP == first.HTTP
		first = e.Endpoint()
	}
	if !kept {
		t.Error("no restart kept the ports")
	}
	e.Kill()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", first.HTTP)
	if err != nil {
		t.Skipf("port taken by someone else: %v", err)
	}
	defer func() { _ = taken.Close() }()
	start(t, e)
	if e.Endpoint().HTTP == first.HTTP {
		t.Errorf("the engine claims the taken port %s", first.HTTP)
	}
	stop(t, e)
}

func TestSecondEngineOnSameDirectory(t *testing.T) {
	dir := t.TempDir()
	first := newEngine(t, dir, nil)
	start(t, first)
	second := newEngine(t, dir, nil)
	err := second.Start(t.Context())
	if !errors.Is(err, embedded.ErrDirectoryInUse) {
		t.Errorf("second engine: %v, want ErrDirectoryInUse", err)
	}
	if got := mustQuery(t, first, embedded.Analyst, "SELECT 1"); got != "1" {
		t.Errorf("the first engine answered %q", got)
	}
	stop(t, first)
}

func TestStopWithIdleClient(t *testing.T) {
	e := newEngine(t, t.TempDir(), func(c *embedded.Config) { c.StopTimeout = 500 * time.Millisecond })
	start(t, e)
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", e.Endpoint().HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := io.WriteString(client, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	stop(t, e)
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("an idle client held up the stop for %v", took)
	}
}

func TestRunEndsWithContextAndReportsDeath(t *testing.T) {
	e := newEngine(t, t.TempDir(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ready := make(chan embedded.Endpoint, 2)
	go func() { done <- e.Run(ctx, func(p embedded.Endpoint) { ready <- p }) }()
	<-ready
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run after cancel: %v", err)
	}
	go func() { done <- e.Run(t.Context(), func(p embedded.Endpoint) { ready <- p }) }()
	<-ready
	if err := syscall.Kill(e.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("Run returned nil after the child was killed")
	}
}

// parentMain is a parent that can be killed: it prints the child's pid.
func parentMain(dir string) {
	e, err := embedded.New(embedded.Config{
		Dir: dir, Engine: embedded.Binary{Path: os.Getenv("TEST_LIBRARY")}, Command: []string{"/proc/self/exe", childArg},
	}, nil)
	if err == nil {
		err = e.Start(context.Background())
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stdout, err)
		os.Exit(1)
	}
	_, _ = fmt.Fprintln(os.Stdout, e.PID())
	select {}
}

// processState returns the state letter of /proc/PID/stat, "" when it is gone.
func processState(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return rest[:1]
}

func TestParentDeathEndsChild(t *testing.T) {
	dir := t.TempDir()
	parent := exec.CommandContext(t.Context(), "/proc/self/exe", parentArg, dir) //nolint:gosec // G204: this test
	parent.Env = append(os.Environ(), "TEST_LIBRARY="+library(t).Path)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatalf("the parent did not start its engine: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	// At once, as weir's own restart does: Start itself must wait for the lock.
	e := newEngine(t, dir, nil)
	begin := time.Now()
	start(t, e)
	if state := processState(pid); state != "" && state != "Z" { // whoever adopts it may be slow to reap it
		t.Errorf("the orphan %d is still there in state %s", pid, state)
	}
	t.Logf("a new engine on the directory was ready %v after the parent's death", time.Since(begin).Round(time.Millisecond))
	stop(t, e)
}
