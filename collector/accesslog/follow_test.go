package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/stream/event"
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
	stop    func()
	n       int
	ticks   int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	reg := prometheus.NewRegistry()
	r := &rig{t: t, reg: reg, metrics: NewMetrics(reg)}
	r.cfg = FollowConfig{Path: filepath.Join(dir, "access.log"), PositionFile: filepath.Join(dir, "position"), FromStart: true}
	return r
}

// start runs a follower until stop; kill (a closed process) saves nothing.
func (r *rig) start() {
	r.t.Helper()
	f, err := NewFollower(r.cfg, r.metrics, func(x *flow.Exchange) {
		r.got = append(r.got, x.Target)
		r.ids = append(r.ids, x.ID)
		r.last = *x
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	r.stop = func() {
		r.t.Helper()
		cancel()
		if err := <-done; err != nil {
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

// want checks that exactly the lines up to n arrived, once and in order.
func (r *rig) want(n int) {
	r.t.Helper()
	want := make([]string, n)
	for i := range want {
		want[i] = fmt.Sprint("/", i+1)
	}
	if !slices.Equal(r.got, want) {
		r.t.Fatalf("got %d lines %v, want %d", len(r.got), brief20(r.got), n)
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

func TestAppendedLinesArriveOnceComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Site, r.cfg.Node = "shop", "n1"
		r.start() // the log does not exist yet
		r.append(3)
		r.settle()
		r.want(3)
		text := r.lines(2)
		cut := len(text) - 10
		r.write(r.cfg.Path, text[:cut])
		r.settle()
		r.want(4)
		r.write(r.cfg.Path, text[cut:])
		r.settle()
		r.want(5)
		if r.last.Site != "shop" || r.last.Node != "n1" || r.last.Source != event.SourceAccessLog || r.last.Flags != 0 {
			t.Errorf("%+v", r.last)
		}
		r.stop()
	})
}

func TestAnExistingLogIsReadFromItsEndUnlessAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.FromStart = false
		text := r.lines(3)
		r.n = 0
		half := len(text) / 3
		r.write(r.cfg.Path, strings.Repeat("old\n", 100)+text[:half-5])
		r.start()
		r.write(r.cfg.Path, text[half-5:])
		r.settle()
		r.want(3) // the line that was being written counts as new
		r.stop()
	})
}

func TestRotationByRenameLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(3)
		r.start()
		for range 3 {
			r.append(1) // unread at the moment of rotation
			r.rename(".1")
			r.write(r.cfg.Path+".1", r.lines(2)) // the server still writes there
			r.settle()
			r.write(r.cfg.Path+".1", strings.TrimSuffix(r.lines(1), "\n")) // and is cut off in a line
			r.append(2)
			r.settle()
			r.append(1)
			r.settle()
		}
		r.want(3 + 3*7)
		if r.changes("renamed") != 3 || r.changes("missed") != 0 {
			t.Errorf("renamed %v, missed %v", r.changes("renamed"), r.changes("missed"))
		}
		r.stop()
	})
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

func TestCopytruncateLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(30)
		r.start()
		r.append(2) // read from the copy
		r.copyTruncate()
		r.append(1)
		r.settle()
		r.want(33)
		// Grown beyond the old size before anybody looked: only the content shows it.
		r.copyTruncate()
		r.append(60)
		r.settle()
		r.want(93)
		if r.changes("truncated") != 2 {
			t.Errorf("truncated %v", r.changes("truncated"))
		}
		r.stop()
	})
}

func TestRestartGoesOnWhereItStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(5)
		r.start()
		r.stop()
		r.append(5)
		r.start()
		r.want(10)
		r.stop()
		// Two rotations, a compressed and an unrelated file while weir is away.
		r.append(1)
		r.rename(".2")
		r.append(2)
		r.rename(".1")
		r.append(3)
		r.write(r.cfg.Path+".3.gz", "never mind")
		r.write(filepath.Join(filepath.Dir(r.cfg.Path), "other.log"), r.lines(1))
		r.n--
		r.start()
		r.want(16)
		r.append(1)
		r.settle()
		r.want(17)
		r.stop()
		// Copytruncate while away.
		r.append(2)
		r.copyTruncate()
		r.append(1)
		r.start()
		r.want(20)
		r.stop()
		if r.changes("missed") != 0 {
			t.Errorf("missed %v", r.changes("missed"))
		}
	})
}

func TestReusedInodeIsANewFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(5)
		r.start()
		r.stop()
		// The old file is deleted and its inode given to the new one, which is
		// longer: the same as rewriting it in place.
		text := r.lines(9)
		if err := os.WriteFile(r.cfg.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.want(14)
		r.stop()
		if r.changes("missed") != 1 {
			t.Errorf("missed %v", r.changes("missed"))
		}
	})
}

func TestACrashRepeatsLinesUnderTheSameIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(3)
		r.start()
		r.stop()
		saved, err := os.ReadFile(r.cfg.PositionFile)
		if err != nil {
			t.Fatal(err)
		}
		r.append(4)
		r.start()
		r.stop()
		if err := os.WriteFile(r.cfg.PositionFile, saved, 0o600); err != nil { // as if it had crashed
			t.Fatal(err)
		}
		first := slices.Clone(r.ids)
		r.start()
		r.stop()
		if len(r.ids) != 11 || !slices.Equal(r.ids[7:], first[3:]) {
			t.Errorf("first %v, again %v", first, r.ids[7:])
		}
	})
}

func TestPositionWaitsForTheHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var flushes atomic.Int64
		var works atomic.Bool
		r.cfg.Flush = func(context.Context) error {
			flushes.Add(1)
			if !works.Load() {
				return errors.New("log is away")
			}
			return nil
		}
		r.append(3)
		r.start()
		if _, err := os.Stat(r.cfg.PositionFile); err == nil || flushes.Load() == 0 {
			t.Errorf("position saved after %d failed hand-overs", flushes.Load())
		}
		works.Store(true)
		r.settle()
		if _, err := os.Stat(r.cfg.PositionFile); err != nil {
			t.Error(err)
		}
		n := flushes.Load()
		r.settle()
		if flushes.Load() != n {
			t.Error("an idle log is saved again and again")
		}
		r.stop()
	})
}

func TestLongAndUnusableLinesAreCountedAndSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Format = FormatCombined
		dead := filepath.Join(filepath.Dir(r.cfg.Path), "dead")
		r.cfg.DeadLetter = NewDeadLetter(dead, 0)
		r.start()
		r.append(1)
		r.write(r.cfg.Path, strings.Repeat("x", 3*MaxLine)) // still being written
		r.settle()
		r.write(r.cfg.Path, strings.Repeat("y", MaxLine)+"\n\nGET /?password=hunter2&a=b no log line\n")
		r.append(1)
		r.settle()
		r.want(2)
		r.write(r.cfg.Path, strings.Repeat("z", 3*MaxLine)+"\n")
		r.append(1)
		r.settle()
		r.want(3)
		for result, want := range map[string]float64{"parsed": 3, "long": 2, "syntax": 1, "value": 0} {
			if got := r.counter("weir_accesslog_lines_total", result); got != want {
				t.Errorf("%s: %v, want %v", result, got, want)
			}
		}
		text, err := os.ReadFile(dead)
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(text, []byte("\n")); lines != 3 || bytes.Contains(text, []byte("hunter2")) ||
			!bytes.Contains(text, []byte("password=*&a=* no log line")) {
			t.Errorf("%d samples:\n%.2000s", lines, text)
		}
		r.stop()
	})
}

func TestTimesFarFromNowAreClamped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		for _, c := range []struct {
			time string
			want time.Duration
		}{{"01/Jan/1990:00:00:00 +0000", -24 * time.Hour}, {"01/Jan/2035:00:00:00 +0000", 5 * time.Minute}} {
			r.write(r.cfg.Path, fmt.Sprintf("192.0.2.1 - - [%s] \"GET / HTTP/1.1\" 200 5\n", c.time))
			before := time.Now()
			r.settle()
			if d := r.last.Time.Sub(before); r.last.Flags&event.FlagClockClamped == 0 || d < c.want || d > c.want+time.Second {
				t.Errorf("%s became %v, flags %v", c.time, d, r.last.Flags)
			}
		}
		r.stop()
	})
}

// TestAnyOrderOfWritesRotationsAndRestarts checks the whole promise: each line
// once and in order.
func TestAnyOrderOfWritesRotationsAndRestarts(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			r := newRig(t)
			r.append(1)
			r.start()
			running, total := true, 0
			toggle := func() {
				if running {
					r.stop()
				} else {
					r.start()
				}
				running = !running
			}
			for range 60 {
				switch rnd.IntN(8) {
				case 0:
					r.copyTruncate()
					r.append(1)
					r.settle()
					if !running { // only the newest copy is kept, so look before the next
						toggle()
					}
				case 1:
					total++
					r.rename(fmt.Sprintf("-%03d", total))
					r.append(1)
				case 2:
					toggle()
				case 3:
					r.settle()
				default:
					r.append(rnd.IntN(20))
				}
			}
			if !running {
				toggle()
			}
			r.settle()
			r.settle()
			r.want(r.n)
			r.stop()
		})
	}
}

func TestTextOfManyLinesStaysAsItWas(t *testing.T) {
	for _, format := range []Format{FormatExchange, FormatCombined} {
		p := NewParser(format)
		p.chunked = true
		var x flow.Exchange
		var targets []string
		want := func(i int) string { return fmt.Sprintf("/%d/%s", i, strings.Repeat("x", i*37%9000)) }
		for i := range 500 { // several chunks, and lines too long for one
			text := fmt.Sprintf(`203.0.113.7 - - [17/May/2015:10:05:03 +0000] "GET %s HTTP/1.1" 200 5 "-" "-"`, want(i))
			if format == FormatExchange {
				text = fmt.Sprintf(`{"id":"r%d","time":"2026-03-02T09:15:00Z","client":"203.0.113.7","method":"GET","target":%q,"status":200}`, i, want(i))
			}
			line := []byte(text)
			if err := p.Parse(line, []byte("log:1"), &x); err != nil {
				t.Fatal(err)
			}
			clear(line) // the reader's buffer goes on to other lines
			targets = append(targets, x.Target)
		}
		for i, got := range targets {
			if got != want(i) {
				t.Fatalf("%v: line %d became %.40q", format, i, got)
			}
		}
	}
}
