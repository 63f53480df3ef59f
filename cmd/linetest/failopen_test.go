package linetest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// friendly protects an application and never acts on one address: the tests'
// own person asks faster than any person does.
const friendly = `
sites: [{name: shop, hosts: ["*"], upstream: %q, flows: %q}]
enforce: {mode: enforce}
collect: {ebpf: {enabled: "off"}}
allowlists: [{name: tests, clients: [%s/32], reason: asks faster than people do}]
`

// blockedClient adds a verdict by hand and waits until the ingress acts on it.
// It returns the verdict's id.
func (w *weir) blockedClient(t *testing.T, c *client, from string) string {
	t.Helper()
	var v struct{ ID string }
	decode(t, w.ok(t, "verdicts", "add", "--client", from, "--action", "block", "--for", "1h", "--reason", "end to end test", "-o", "json"), &v)
	until(t, 30*time.Second, "the added verdict blocks", func() bool { return c.get(t, "/item/1").status == http.StatusForbidden })
	return v.ID
}

// pulse sends requests of a person and of a blocked client until stopped, and
// fails the test when the person is not answered or the blocked one passes.
type pulse struct {
	stop              context.CancelFunc
	wg                sync.WaitGroup
	answered, refused atomic.Int64
	faults            chan string
	wrong             chan string // ids of requests answered otherwise than they should
	// tolerant is set while the ingress itself is away: connection errors are
	// then no fault, wrong answers still are.
	tolerant atomic.Bool
}

func startPulse(t *testing.T, person, blocked *client) *pulse {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &pulse{stop: cancel, faults: make(chan string, 100), wrong: make(chan string, 3)}
	loop := func(c *client, want int, count *atomic.Int64) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			// What began while the ingress was away may end when it is back.
			tolerant := p.tolerant.Load()
			r, err := c.do(ctx, http.MethodGet, fmt.Sprintf("/item/%d", i%50), "", nil)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil && r.status == want:
				count.Add(1)
			case err != nil && (tolerant || p.tolerant.Load()):
			default:
				what := fmt.Sprint(err)
				if err == nil {
					what = fmt.Sprint("status ", r.status, ", request ", r.id())
					select {
					case p.wrong <- r.id():
					default:
					}
				}
				select {
				case p.faults <- fmt.Sprintf("%s: want %d, got %s", time.Now().Format(time.StampMilli), want, what):
				default:
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
	p.wg.Go(func() { loop(person, http.StatusOK, &p.answered) })
	p.wg.Go(func() { loop(blocked, http.StatusForbidden, &p.refused) })
	return p
}

// more waits until both clients had n further answers.
func (p *pulse) more(t *testing.T, n int64) {
	t.Helper()
	a, r := p.answered.Load()+n, p.refused.Load()+n
	until(t, 30*time.Second, "requests go on", func() bool { return p.answered.Load() >= a && p.refused.Load() >= r })
}

func (p *pulse) end(t *testing.T) {
	t.Helper()
	p.stop()
	p.wg.Wait()
	close(p.faults)
	for f := range p.faults {
		t.Error(f)
	}
	t.Logf("%d answered, %d refused", p.answered.Load(), p.refused.Load())
}

// TestFailOpen kills everything but the ingress, then the supervisor, then the
// ingress, while requests flow.
func TestFailOpen(t *testing.T) {
	needEngine(t)
	t.Parallel()
	a, w := newApp(t), newWeir(t, "fo")
	args := []string{"-c", w.config(t, fmt.Sprintf(friendly, a.url, flowMap(t), "127.61.0.1"))}
	w.up(t, args...)
	person, bad := newClient(t, w.listen, "127.61.0.1"), newClient(t, w.listen, "127.61.0.2")
	w.blockedClient(t, bad, "127.61.0.2")
	p := startPulse(t, person, bad)
	p.more(t, 20)

	for _, part := range []string{"log", "store", "process"} {
		w.killPart(t, part)
		p.more(t, 20)
	}
	// All of them at once, and the supervisor with them.
	ingress := w.pid(t, "enforce")
	pids := []int{w.cmd.Process.Pid, w.pid(t, "log"), w.pid(t, "store"), w.pid(t, "process")}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range pids {
		until(t, 30*time.Second, fmt.Sprintf("process %d is gone", pid), func() bool { return !alive(pid) })
	}
	<-w.done
	p.more(t, 100)
	until(t, 30*time.Second, "only the ingress is left", func() bool {
		left := processesBelow(w.data)
		return len(left) == 1 && left[0] == ingress
	})

	// The next weir up takes over: the old ingress drains, a new one serves.
	p.tolerant.Store(true)
	took := w.up(t, args...)
	until(t, 30*time.Second, "the old ingress has ended", func() bool { return !alive(ingress) })
	p.tolerant.Store(false)
	p.more(t, 20)
	t.Logf("took over in %s", took.Round(time.Millisecond))

	// The ingress's own restart: killed, it comes back with what it had saved.
	p.tolerant.Store(true)
	w.killPart(t, "enforce")
	until(t, 30*time.Second, "the restarted ingress serves", func() bool {
		_, err := person.do(t.Context(), http.MethodGet, "/item/1", "", nil)
		return err == nil
	})
	p.tolerant.Store(false)
	p.more(t, 20)
	p.end(t)
	w.settled(t)
	close(p.wrong)
	for id := range p.wrong { // what weir itself has on record about it
		t.Logf("%+v", w.run(t, "explain", id))
	}
	w.stop(t)
}

// TestSavedTable starts the ingress alone, without log, store or processor:
// what it saved is in force.
func TestSavedTable(t *testing.T) {
	needEngine(t)
	t.Parallel()
	a, w := newApp(t), newWeir(t, "st")
	w.up(t, "--upstream", a.url, "--site", "shop", "--flows", flowMap(t), "--mode", "enforce", "--ebpf", "off")
	person, bad := newClient(t, w.listen, "127.62.0.1"), newClient(t, w.listen, "127.62.0.2")
	w.blockedClient(t, bad, "127.62.0.2")
	w.stop(t)

	w.startRole(t, "enforce")
	until(t, 20*time.Second, "the lone ingress serves", func() bool {
		r, err := person.do(t.Context(), http.MethodGet, "/item/1", "", nil)
		return err == nil && r.status == http.StatusOK
	})
	r := bad.get(t, "/item/1")
	if r.status != http.StatusForbidden {
		t.Errorf("status %d, want 403 from the saved table", r.status)
	}
	if strings.Contains(string(r.body), "end to end test") || !strings.Contains(string(r.body), r.id()) {
		t.Errorf("the page must carry the id and nothing about the reason: %s", r.body)
	}
}

// refused reports whether weir itself answered in the application's place.
func refused(status int) bool {
	return status == http.StatusForbidden || status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// TestFailClosed: a route that fails closed is refused once the feed is older
// than staleAfter; the others go on.
func TestFailClosed(t *testing.T) {
	needEngine(t)
	t.Parallel()
	a, w := newApp(t), newWeir(t, "fc")
	cfg := w.config(t, fmt.Sprintf(`
sites:
  - name: shop
    hosts: ["*"]
    upstream: %s
    flows: %s
    routes: [{match: {path: "/api/login"}, fail: closed}]
enforce: {mode: enforce, staleAfter: 2s}
collect: {ebpf: {enabled: "off"}}
`, a.url, flowMap(t)))
	w.up(t, "-c", cfg)
	c := newClient(t, w.listen, "127.63.0.1")
	if r := c.post(t, "/api/login", guess(1)); r.status != http.StatusUnauthorized {
		t.Fatalf("login: status %d with a fresh feed, want the application's 401", r.status)
	}
	pids := []int{w.cmd.Process.Pid, w.pid(t, "log")}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	until(t, 20*time.Second, "the closed route refuses", func() bool { return refused(c.post(t, "/api/login", guess(2)).status) })
	before := a.served.Load()
	r := c.post(t, "/api/login", guess(3))
	if !refused(r.status) || r.header.Get("Cache-Control") != "no-store" || r.id() == "" {
		t.Errorf("status %d, header %v", r.status, r.header)
	}
	if a.served.Load() != before {
		t.Error("a refused request reached the application")
	}
	if r := c.get(t, "/item/1"); r.status != http.StatusOK {
		t.Errorf("open route: status %d, want 200", r.status)
	}
}
