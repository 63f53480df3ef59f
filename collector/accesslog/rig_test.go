package accesslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/stream/flow"
)

// rig is a log and a follower of it, run under a fake clock.

type rig struct {
	t       *testing.T
	cfg     FollowConfig
	metrics *Metrics
	reg     *prometheus.Registry
	got     []string // targets
	ids     []string
	last    flow.Exchange
	outlet  outlet
	// follower is the one that runs.
	follower *Follower
	stop     func()
	n        int
	ticks    int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	reg := prometheus.NewRegistry()
	r := &rig{t: t, reg: reg, metrics: NewMetrics(reg)}
	r.cfg = FollowConfig{Path: filepath.Join(dir, "access.log"), PositionFile: filepath.Join(dir, "position"), FromStart: true}
	r.outlet.r, r.outlet.taken = r, map[string]bool{}
	return r
}

// outlet is a log at the other end, which takes a batch once however often it is

// delivered under one announcement.

type outlet struct {
	r       *rig
	batch   []flow.Exchange
	repeat  []byte
	note    string
	notes   int
	taken   map[string]bool
	deliver atomic.Pointer[func(take func()) error]
}

// onDeliver makes what becomes of a batch up to fn; nil lets it arrive.

func (o *outlet) onDeliver(fn func(take func()) error) {
	if fn == nil {
		o.deliver.Store(nil)
		return
	}
	o.deliver.Store(&fn)
}

var errKilled = errors.New("killed")

func (o *outlet) Open(_ context.Context, note []byte) error {
	o.repeat = note
	return nil
}

func (o *outlet) Take(x *flow.Exchange) bool {
	o.batch = append(o.batch, *x)
	return len(o.batch) == 7
}

func (o *outlet) Announce() ([]byte, error) {
	var old struct{ N, Count int }
	if json.Unmarshal(o.repeat, &old) == nil && old.Count == len(o.batch) {
		o.note = string(o.repeat)
	} else {
		o.notes++
		o.note = fmt.Sprintf(`{"N":%d,"Count":%d}`, o.notes, len(o.batch))
	}
	o.repeat = nil
	return []byte(o.note), nil
}

func (o *outlet) Deliver(context.Context) error {
	take := func() {
		for _, x := range o.batch {
			if !o.taken[o.note] {
				o.r.got = append(o.r.got, x.Target)
				o.r.ids = append(o.r.ids, x.ID)
				o.r.last = x
			}
		}
		o.taken[o.note] = true
		o.batch = nil
	}
	if fn := o.deliver.Load(); fn != nil {
		return (*fn)(take)
	}
	take()
	return nil
}

// start runs a follower until stop.

func (r *rig) start() {
	r.t.Helper()
	r.outlet.batch = nil
	f, err := NewFollower(r.cfg, r.metrics, &r.outlet)
	if err != nil {
		r.t.Fatal(err)
	}
	r.follower = f
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	r.stop = func() {
		r.t.Helper()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errKilled) {
			r.t.Errorf("run: %v", err)
		}
	}
	r.settle()
}

// settle lets the follower look at the log often enough to see any change.

func (r *rig) settle() {
	time.Sleep(4 * time.Second) //nolint:forbidigo // fake time inside a synctest bubble
	synctest.Wait()
}

// lines makes n log lines with running numbers as targets.

func (r *rig) lines(n int) string {
	var b strings.Builder
	for range n {
		r.n++
		fmt.Fprintf(&b, "192.0.2.1 - - [%s] \"GET /%d HTTP/1.1\" 200 5 \"-\" \"agent\"\n", time.Now().Format("02/Jan/2006:15:04:05 -0700"), r.n)
	}
	return b.String()
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) append(n int) { r.t.Helper(); r.write(r.cfg.Path, r.lines(n)) }

func (r *rig) rename(to string) {
	r.t.Helper()
	if err := os.Rename(r.cfg.Path, r.cfg.Path+to); err != nil {
		r.t.Fatal(err)
	}
	r.touch(to)
}

// touch gives a rotated file a time of its own; here all happens within one tick

// of the kernel's clock, by which rotated files are told apart.

func (r *rig) touch(suffix string) {
	r.t.Helper()
	r.ticks++
	at := time.Unix(1_700_000_000+r.ticks, 0)
	if err := os.Chtimes(r.cfg.Path+suffix, at, at); err != nil {
		r.t.Fatal(err)
	}
}

// want checks that exactly the lines up to n arrived, once; those of one file do

// so in order.

func (r *rig) want(n int) {
	r.t.Helper()
	counts := make([]int, n+1)
	for _, target := range r.got {
		var i int
		if _, err := fmt.Sscanf(target, "/%d", &i); err != nil || i < 1 || i > n {
			r.t.Fatalf("got %q, want /1 to /%d", target, n)
		}
		counts[i]++
	}
	for i, times := range counts[1:] {
		if times != 1 {
			r.t.Fatalf("line %d came %d times; got %d lines %v, want %d", i+1, times, len(r.got), brief20(r.got), n)
		}
	}
	ids := slices.Clone(r.ids)
	slices.Sort(ids)
	if len(slices.Compact(ids)) != n {
		r.t.Fatalf("ids repeat: %v", brief20(r.ids))
	}
}

func brief20(s []string) []string { return s[max(0, len(s)-20):] }

// counter reads a counter by its one label's value.

func (r *rig) counter(name, label string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	r.t.Fatalf("no %s{%s}", name, label)
	return 0
}

func (r *rig) changes(kind string) float64 {
	r.t.Helper()
	return r.counter("weir_accesslog_file_changes_total", kind)
}

func (r *rig) copyTruncate() {
	r.t.Helper()
	text, err := os.ReadFile(r.cfg.Path)
	if err == nil {
		err = errors.Join(os.WriteFile(r.cfg.Path+".1", text, 0o600), os.Truncate(r.cfg.Path, 0))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.touch(".1")
}

// positionFiles reads what a process that is killed now leaves.

// kill ends the follower without its last save.

// TestALogThatCannotBeOpenedIsTriedAgain: it ends nobody else's collecting.

// TestAFileIsReadWhileTheOldOneIsDrained: the new file is cut off, and its copy

// overwritten, before the old one's time is over.

// TestAnyOrderOfWritesRotationsAndRestarts checks the whole promise: each line

// once and in order.
