package linetest_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/admin"
)

// part is one role by itself, beside a line.
type part struct {
	role string
	file string
	data string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
}

func (p *part) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(p.file, []byte("apiVersion: weir/v1\nkind: Config\nadmin: {listen: \"\"}\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startPart writes its configuration and starts it.
func startPart(t *testing.T, role, data, text string) *part {
	t.Helper()
	p := &part{role: role, file: filepath.Join(t.TempDir(), "weir.yaml"), data: data, out: &output{}}
	p.write(t, text)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("weir %s printed:\n%s", role, p.out)
		}
	})
	p.begin(t)
	return p
}

// begin starts it, again after an end, and waits until it answers.
func (p *part) begin(t *testing.T) {
	t.Helper()
	cmd := exec.Command(binary, p.role, "--config", p.file, "--data", p.data)
	cmd.Stdout, cmd.Stderr, cmd.Dir = p.out, p.out, root
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() { _ = cmd.Wait(); close(done) }()
	until(t, 20*time.Second, "weir "+p.role+" answers", func() bool {
		var rep admin.Report
		return admin.NewClient(admin.Socket(p.data, p.role)).Get(t.Context(), "/status", &rep) == nil
	})
}

func (p *part) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(45 * time.Second):
		t.Fatalf("weir %s does not stop", p.role)
	}
}

// hangUp reloads and waits for what the role says of it.
func (p *part) hangUp(t *testing.T, text, want string) {
	t.Helper()
	p.write(t, text)
	before := len(p.out.String())
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, 20*time.Second, "weir "+p.role+" says "+want, func() bool { return strings.Contains(p.out.String()[before:], want) })
}

// problem returns the role's first problem.
func (p *part) problem(t *testing.T) string {
	t.Helper()
	var rep admin.Report
	if err := admin.NewClient(admin.Socket(p.data, p.role)).Get(t.Context(), "/status", &rep); err != nil {
		return err.Error()
	}
	return strings.Join(rep.Problems, "; ")
}

// refusesFaults reloads a faulty configuration and a good one again.
func (p *part) refusesFaults(t *testing.T, good string) {
	t.Helper()
	p.hangUp(t, good+"nosuch: 1\n", "reload refused")
	if why := p.problem(t); !strings.Contains(why, "reload refused") || !strings.Contains(why, "nosuch") {
		t.Errorf("weir %s has the problem %q", p.role, why)
	}
	p.hangUp(t, good, `"msg":"reloaded"`)
	if why := p.problem(t); strings.Contains(why, "reload refused") {
		t.Errorf("weir %s still has the problem %q", p.role, why)
	}
}

// TestRolesByThemselvesReload runs an ingress and a sink beside a line that has
// none, as on machines of their own.
func TestRolesByThemselvesReload(t *testing.T) {
	t.Parallel()
	needEngine(t)
	a, w := newApp(t), newWeir(t, "ro")
	w.up(t, "--access-log", filepath.Join(t.TempDir(), "other.log"), "--ebpf", "off")
	st, _ := w.status(t)
	for _, p := range st.Parts {
		if p.Name == "enforce" || p.Name == "sink" {
			t.Fatalf("the line has a part %s of its own", p.Name)
		}
	}

	listen := freePort(t)
	site := fmt.Sprintf("sites: [{name: shop, hosts: [\"*\"], upstream: %q, flows: %q}]\nenforce: {listen: %q, mode: %%s}\n", a.url, flowMap(t), listen)
	enforce := startPart(t, "enforce", w.data, fmt.Sprintf(site, "enforce"))
	c := newClient(t, listen, "127.64.7.1")
	if r := c.get(t, "/item/1"); r.status != http.StatusOK {
		t.Fatalf("status %d", r.status)
	}
	enforce.refusesFaults(t, fmt.Sprintf(site, "enforce"))
	enforce.hangUp(t, fmt.Sprintf(site, "shadow"), "reloaded: enforce.mode")
	var rep admin.Report
	if err := admin.NewClient(admin.Socket(w.data, "enforce")).Get(t.Context(), "/status", &rep); err != nil || len(rep.Sites) != 1 || rep.Sites[0].Mode != "shadow" {
		t.Errorf("%v: the ingress says %+v", err, rep.Sites)
	}

	dir := t.TempDir()
	sink := func(name string) string {
		return fmt.Sprintf("sinks: [{name: %s, type: file, path: %q}]\n", name, filepath.Join(dir, name))
	}
	s := startPart(t, "sink", w.data, sink("one"))
	s.refusesFaults(t, sink("one"))
	s.hangUp(t, sink("two"), "reloaded: sinks")
	until(t, 20*time.Second, "the second destination takes a test", func() bool {
		r := runWeir(t, nil, "sinks", "test", "--config", s.file, "--data", w.data)
		return r.code == 0 && strings.Contains(r.stdout, "delivered")
	})
	if b, err := os.ReadFile(filepath.Join(dir, "two")); err != nil || !strings.Contains(string(b), "Test of the sink") {
		t.Errorf("%v: %s", err, b)
	}
	enforce.end(t)
	s.end(t)
	w.stop(t)
}
