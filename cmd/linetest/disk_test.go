package linetest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mountThen mounts what the environment says, in the mount namespace that the
// process has to itself, and becomes the command that follows.
const mountThen = `set -e; eval "$WEIR_TEST_MOUNTS"; exec "$0" "$@"`

// ownMounts makes cmd run after some mount commands that nobody else sees.
func ownMounts(cmd *exec.Cmd, mounts string) {
	cmd.Args = append([]string{"sh", "-c", mountThen}, cmd.Args...)
	cmd.Path = "/bin/sh"
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "WEIR_TEST_MOUNTS="+mounts)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Unshareflags |= syscall.CLONE_NEWNS
}

// needMounts skips where a test may not mount, unless WEIR_REQUIRE says that it
// must.
func needMounts(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "true")
	ownMounts(cmd, "mount -t tmpfs -o size=1m tmpfs "+t.TempDir())
	err := cmd.Run()
	if err == nil {
		_, err = exec.LookPath("nsenter")
	}
	if err == nil {
		return
	}
	missing := "mount: no file system can be mounted here: " + err.Error()
	if slices.Contains(strings.Split(os.Getenv("WEIR_REQUIRE"), ","), "mount") {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// disk is a file system of a running weir's own.
type disk struct {
	pid  int
	path string
}

func (d disk) resize(t *testing.T, bytes uint64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nsenter", "-t", strconv.Itoa(d.pid), "-m", "mount", "-o", fmt.Sprintf("remount,size=%d", bytes), d.path)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("resize %s: %v: %s", d.path, err, text)
	}
}

// fill leaves next to no byte free; free gives plenty.
func (d disk) fill(t *testing.T) {
	t.Helper()
	var st syscall.Statfs_t
	// It is written to meanwhile: leave more room each time.
	for room := uint64(1); room <= 1<<12; room *= 2 {
		if err := syscall.Statfs(fmt.Sprintf("/proc/%d/root%s", d.pid, d.path), &st); err != nil {
			t.Fatal(err)
		}
		page := uint64(st.Bsize)
		used := (st.Blocks - st.Bfree) * page
		cmd := exec.CommandContext(t.Context(), "nsenter", "-t", strconv.Itoa(d.pid), "-m", "mount", "-o", fmt.Sprintf("remount,size=%d", used+room*page), d.path)
		if cmd.Run() == nil {
			return
		}
	}
	t.Fatalf("%s does not get full", d.path)
}

func (d disk) free(t *testing.T) { t.Helper(); d.resize(t, 2<<30) }

const onOwnDisks = `
sites: [{name: shop, hosts: ["*"], upstream: %q, flows: %q}]
enforce: {mode: enforce}
collect: {ebpf: {enabled: "off"}}
allowlists: [{name: tests, clients: [127.80.0.1/32], reason: asks faster than people do}]
process: {every: 1s}
sinks: [{name: siem, type: file, format: ocsf, path: %q}]
`

// TestFullDisk fills the file system below each part in turn while requests
// flow: status names it, the ingress answers throughout, and when there is space
// again everything goes on with nothing lost that is not counted.
func TestFullDisk(t *testing.T) {
	needEngine(t)
	needMounts(t)
	t.Parallel()
	a, w := newApp(t), newWeir(t, "full")
	siem := filepath.Join(w.data, "sinks", "siem.ndjson")
	cfg := w.config(t, fmt.Sprintf(onOwnDisks, a.url, flowMap(t), siem))
	dirs := map[string]string{
		"kafka":      "nearly full: records are refused",
		"clickhouse": "the store does not take",
		"snapshots":  "the last snapshot",
		"sinks":      "sink siem cannot deliver",
		"enforce":    "verdicts are not saved",
	}
	var mounts strings.Builder
	for dir := range dirs {
		path := filepath.Join(w.data, dir)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(&mounts, "mount -t tmpfs -o size=2g,mode=700 tmpfs %s\n", path)
	}
	w.mounts = mounts.String()
	w.up(t, "-c", cfg)
	person, blocked := newClient(t, w.listen, "127.80.0.1"), newClient(t, w.listen, "127.80.0.2")
	w.blockedClient(t, blocked, "127.80.0.2")
	p := startPulse(t, person, blocked)
	p.more(t, 100)
	w.healthy(t)
	for dir, want := range dirs {
		d := disk{w.cmd.Process.Pid, filepath.Join(w.data, dir)}
		untilEvery(t, 500*time.Millisecond, 40*time.Second, "status tells of the full disk of "+dir, func() bool {
			d.fill(t)             // again, where old files have made room
			if dir == "enforce" { // a table that has not changed is not saved
				w.run(t, "verdicts", "add", "--client", "127.80.0.3", "--action", "observe", "--reason", "full disk test")
			}
			st, ok := w.status(t)
			return ok && !st.Healthy && strings.Contains(strings.Join(st.Problems, "\n"), want)
		})
		p.more(t, 200)
		d.free(t)
		w.healthy(t)
		p.more(t, 50)
	}
	p.end(t)
	st := w.settled(t)
	for _, r := range st.Reports {
		for _, s := range r.Sources {
			if s.Produced != s.Delivered+sumOf(s.Lost) {
				t.Errorf("%s: produced %d, delivered %d, lost %v", s.Name, s.Produced, s.Delivered, s.Lost)
			}
			if rows := w.number(t, "SELECT uniqExact(id) FROM requests"); rows != s.Delivered {
				t.Errorf("%d rows, %d delivered", rows, s.Delivered)
			}
			t.Logf("%s: produced %d = delivered %d + lost %v", s.Name, s.Produced, s.Delivered, s.Lost)
		}
	}
	if rows, ids := w.number(t, "SELECT count() FROM requests"), w.number(t, "SELECT uniqExact(id) FROM requests"); rows != ids {
		t.Errorf("%d rows of %d requests", rows, ids)
	}
	sunk(t, w, fmt.Sprintf("/proc/%d/root%s", w.cmd.Process.Pid, siem))
	w.stop(t)
}

// sunk checks that every decision that was stored is in the sink's file, and
// that no line of it was cut by the full disk.
func sunk(t *testing.T, w *weir, path string) {
	t.Helper()
	want := w.number(t, "SELECT uniqExact(id) FROM decisions")
	var got int64
	until(t, 60*time.Second, fmt.Sprintf("all %d decisions are in the sink's file", want), func() bool {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		lines := bufio.NewScanner(bytes.NewReader(text))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var doc struct {
				ClassUID int `json:"class_uid"`
				Metadata struct{ UID string }
			}
			if err := json.Unmarshal(lines.Bytes(), &doc); err != nil {
				t.Fatalf("%v in %.200s", err, lines.Text())
			}
			if doc.ClassUID == 4002 {
				seen[doc.Metadata.UID] = true
			}
		}
		got = int64(len(seen))
		return got >= want
	})
	t.Logf("%d decisions stored, %d in the sink's file", want, got)
}

// TestNoSpaceNoStart: weir up says what is wrong with the place it was given.
func TestNoSpaceNoStart(t *testing.T) {
	needEngine(t)
	needMounts(t)
	t.Parallel()
	for name, c := range map[string]struct {
		mount string
		want  []string
	}{
		"the disk is full":                {"mount -t tmpfs -o size=64m tmpfs DATA", []string{"MB free", "at least", "--data"}},
		"the data directory is read-only": {"mount -t tmpfs -o size=2g tmpfs DATA; mount -o remount,ro DATA", []string{"read-only", "--data"}},
		"its file system was made read-only after a start": {
			"mount -t tmpfs -o size=2g tmpfs DATA; mkdir DATA/run DATA/log; mount -o remount,ro DATA",
			[]string{"read-only", "--data"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := dataDir("nospace")
			if err := os.MkdirAll(data, 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), binary, "up", "--data", data, "--listen", freePort(t), "--admin", freePort(t), "--upstream", "http://127.0.0.1:1")
			ownMounts(cmd, strings.ReplaceAll(c.mount, "DATA", data))
			var errs bytes.Buffer
			cmd.Stderr = &errs
			var exit *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("%v, want exit status 1", err)
			}
			for _, want := range c.want {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("no %q in: %s", want, errs.String())
				}
			}
			t.Logf("%s", strings.TrimSpace(errs.String()))
		})
	}
}
