package collector

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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirproject/weir/collector/probe"
	"github.com/weirproject/weir/stream/flow"
)

const requests = 10_000

// TestMain lets the test binary play an unmodified Go server.
func TestMain(m *testing.M) {
	if addr := os.Getenv("WEIR_TEST_SERVER"); addr != "" {
		serveGo(addr, os.Getenv("WEIR_TEST_LOG"))
	}
	os.Exit(m.Run())
}

func serveGo(addr, path string) {
	log, err := os.Create(path)
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	srv := &http.Server{Addr: addr, ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		_, _ = fmt.Fprintf(log, "%s %s 200\n", r.Method, r.RequestURI)
		mu.Unlock()
		_, _ = w.Write([]byte("fine"))
	})}
	panic(srv.ListenAndServe())
}

func startGo(t *testing.T, port int) func() []string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "access.log")
	cmd := exec.Command(os.Args[0]) //nolint:gosec // the test binary itself
	cmd.Env = append(os.Environ(), fmt.Sprintf("WEIR_TEST_SERVER=127.0.0.1:%d", port), "WEIR_TEST_LOG="+log)
	startServer(t, port, cmd)
	return func() []string { return lines(t, log) }
}

// TestKernelSeesEveryRequestOfUnmodifiedServers compares what the kernel source
// captured with the servers' own access logs: every path is unique, so that a
// miss, a repeat or a wrong pairing shows. At least 99.9 % must be there and
// what is not must be accounted for.
func TestKernelSeesEveryRequestOfUnmodifiedServers(t *testing.T) {
	servers := []struct {
		name  string
		n     int
		start func(t *testing.T, port int) (accessLog func() []string)
	}{
		{"nginx", requests, startNginx},
		{"go", requests, startGo},
		{"python", requests / 5, startPython},
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			port := freePort(t)
			seen, stop := capture(t, port)
			log := s.start(t, port)
			drive(t, port, s.n)
			compare(t, s.name, s.n, log, seen, stop)
		})
	}
}

// TestKernelNeverWatchesItself holds the rule that a collector's own traffic is
// no evidence; the Go server of this very process stays unseen.
func TestKernelNeverWatchesItself(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(ln) }()
	defer func() { _ = srv.Close() }()
	port := ln.Addr().(*net.TCPAddr).Port
	seen, stop := capture(t, port)
	drive(t, port, 10)
	stop()
	if got := seen(); len(got) != 0 {
		t.Fatalf("saw %d requests of its own process", len(got))
	}
}

// capture starts a kernel source on one port. seen returns "METHOD TARGET
// STATUS" of each exchange so far; stop ends the source.
func capture(t *testing.T, port int) (seen func() []string, stop func() Counters) {
	t.Helper()
	k, err := OpenKernel(KernelConfig{Probe: probe.Config{Ports: []uint16{uint16(port)}}, Node: "test"})
	if errors.Is(err, ErrNotSupported) && !required("bpf") {
		t.Skipf("bpf: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- k.Run(ctx, func(x *flow.Exchange) {
			if !x.Client.Addr().IsLoopback() || x.Time.Before(time.Now().Add(-time.Minute)) || x.Host != "weir.test" {
				t.Errorf("exchange without its client, time or host: %+v", x)
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf("%s %s %d", x.Method, x.Target, x.Status))
		})
	}()
	var once sync.Once
	var last Counters
	stop = func() Counters {
		once.Do(func() {
			last, _ = k.Counters()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return last
	}
	t.Cleanup(func() { stop() })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}, stop
}

func required(name string) bool {
	return slices.Contains(strings.Split(os.Getenv("WEIR_REQUIRE"), ","), name)
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port
}

// drive sends n requests with unique paths over eight keep-alive connections,
// every fifth with a body.
func drive(t *testing.T, port, n int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				method, body := http.MethodGet, []byte(nil)
				if i%5 == 0 {
					method, body = http.MethodPost, bytes.Repeat([]byte("b"), i%3000)
				}
				req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d/r/%d", port, i), bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Host = "weir.test"
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
}

func compare(t *testing.T, name string, n int, log func() []string, seen func() []string, stop func() Counters) {
	t.Helper()
	var want []string
	// A server logs a request after its answer: the last ones may be to come.
	await(t, func() bool { want = log(); return len(want) >= n })
	if len(want) < n {
		t.Fatalf("the server's own log has %d of %d requests", len(want), n)
	}
	await(t, func() bool { return len(seen()) >= len(want) })
	counters := stop()
	got := seen()
	slices.Sort(got)
	slices.Sort(want)
	unique := slices.Compact(slices.Clone(got))
	missing := 0
	for _, w := range want {
		if _, ok := slices.BinarySearch(unique, w); !ok {
			missing++
		}
	}
	t.Logf("%s: %d in the server's log, %d captured, %d missing, %d repeated, lost %v", name, len(want), len(got), missing, len(got)-len(unique), counters.Lost())
	if len(got) != len(unique) {
		t.Errorf("%d exchanges repeated", len(got)-len(unique))
	}
	if missing*1000 > len(want) {
		t.Errorf("%d of %d missing, want at most 0.1 %%", missing, len(want))
	}
	var lost uint64
	for _, v := range counters.Lost() {
		lost += v
	}
	if uint64(missing) > lost {
		t.Errorf("%d missing, but only %d accounted for", missing, lost)
	}
}

// await polls until f holds or half a minute is over; the caller checks what
// there is then.
func await(t *testing.T, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			return
		}
	}
}

func startNginx(t *testing.T, port int) func() []string {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		if nginx = "/usr/sbin/nginx"; !exists(nginx) {
			if required("nginx") {
				t.Fatal("nginx is required and not installed (make deps)")
			}
			t.Skip("nginx: not installed (make deps)")
		}
	}
	dir := t.TempDir()
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 256; }
http { log_format t '$request_method $request_uri $status'; access_log %[1]s/access.log t;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  keepalive_requests 100000;
  server { listen 127.0.0.1:%[2]d; location / { return 200 'fine'; } } }`, dir, port)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	startServer(t, port, exec.Command(nginx, "-p", dir, "-c", path))
	return func() []string { return lines(t, filepath.Join(dir, "access.log")) }
}

// startPython runs the standard library's server, which logs to stderr.
func startPython(t *testing.T, port int) func() []string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		if required("python") {
			t.Fatal("python3 is required and not installed (make deps)")
		}
		t.Skip("python: python3 is not installed (make deps)")
	}
	log := filepath.Join(t.TempDir(), "access.log")
	const program = `
import sys
from http.server import ThreadingHTTPServer, BaseHTTPRequestHandler
log = open(sys.argv[2], "w")
class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200); self.send_header("Content-Length", "4"); self.end_headers(); self.wfile.write(b"fine")
    do_GET = do_POST = answer
    def log_message(self, *a):
        log.write("%s %s 200\n" % (self.command, self.path)); log.flush()
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()`
	startServer(t, port, exec.Command(python, "-c", program, strconv.Itoa(port), log))
	return func() []string { return lines(t, log) }
}

func startServer(t *testing.T, port int, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	up := false
	await(t, func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
			up = true
		}
		return up
	})
	if !up {
		t.Fatalf("%s did not listen: %s", cmd.Path, out.String())
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}
