// Package linetest_test runs the real weir binary end to end: weir up with all
// its processes on loopback ports and data directories of its own, real
// requests through the ingress, real kills. It holds no code of the product.
package linetest_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirproject/weir/store/embedded"
)

// reaperEnv makes this test binary the reaper of an earlier one.
const reaperEnv = "WEIR_LINETEST_REAP"

var (
	// binary is the weir that is tested, root the directory of all data.
	binary string
	root   string
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(reaperEnv); dir != "" {
		reap(dir)
		return
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	flag.Parse()
	var err error
	// The directory's name is short: unix sockets have at most 107 bytes.
	if root, err = os.MkdirTemp("", "weir-lt-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	end, err := startReaper(root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "reaper:", err)
		return 1
	}
	defer end()
	if binary = os.Getenv("WEIR_BINARY"); binary == "" {
		binary = filepath.Join(root, "weir")
		cmd := exec.CommandContext(context.Background(), "go", "build", "-o", binary, "../weir")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build weir: %v\n%s", err, text)
			return 1
		}
	}
	return m.Run()
}

// startReaper starts a process that ends everything below dir once this one is
// gone, however it went: a test that panics or times out runs no clean-up.
func startReaper(dir string) (end func(), err error) {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), reaperEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() { _ = stdin.Close(); _ = cmd.Wait() }, nil
}

// reap waits for the end of standard input, then kills what runs below dir and
// removes it.
func reap(dir string) {
	_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
	for range 20 { // a supervisor may have restarted a part meanwhile
		pids := processesBelow(dir)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-time.After(50 * time.Millisecond)
	}
	_ = os.RemoveAll(dir)
}

// processesBelow lists the processes whose command line names dir. The
// directory is a fresh one of ours, so they are all ours.
func processesBelow(dir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		named := strings.Contains(string(line), dir+"/") || strings.Contains(string(line), dir+"\x00")
		if err == nil && named && !zombie(pid) {
			out = append(out, pid)
		}
	}
	return out
}

// zombie reports whether a process has ended and only waits for its parent.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// needEngine skips where there is no ClickHouse engine, unless WEIR_REQUIRE
// says that there must be one.
func needEngine(t *testing.T) {
	t.Helper()
	for _, name := range []string{"WEIR_CLICKHOUSE", "WEIR_CHDB"} {
		if os.Getenv(name) != "" {
			return
		}
	}
	if dir, err := embedded.CacheDir(); err == nil {
		if _, err := os.Stat(filepath.Join(dir, "libchdb.so")); err == nil {
			return
		}
	}
	if _, err := exec.LookPath("clickhouse"); err == nil {
		return
	}
	const missing = "clickhouse: no embedded engine here (weir doctor --fetch obtains it)"
	for name := range strings.SplitSeq(os.Getenv("WEIR_REQUIRE"), ",") {
		if name == "clickhouse" {
			t.Fatal(missing)
		}
	}
	t.Skip(missing)
}
