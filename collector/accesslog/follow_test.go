package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
	outlet  outlet
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
	r.outlet = outlet{r: r, taken: map[string]bool{}}
	return r
}

// outlet is a log at the other end, which takes a batch once however often it is
// delivered under one announcement.
type outlet struct {
	r      *rig
	batch  []flow.Exchange
	repeat []byte
	note   string
	notes  int
	taken  map[string]bool
	// deliver is how a batch is delivered, nil for as usual. A test may set it while
	// the follower runs.
	deliver atomic.Pointer[func(take func()) error]
}

var errKilled = errors.New("killed")

func (o *outlet) Open(_ context.Context, note []byte) error {
	o.repeat = note
	return nil
}

func (o *outlet) on(deliver func(take func()) error) { o.deliver.Store(&deliver) }

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
	if deliver := o.deliver.Load(); deliver != nil {
		return (*deliver)(take)
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

// positionFiles reads what a process that is killed now leaves.
func (r *rig) positionFiles() map[string][]byte {
	r.t.Helper()
	out := map[string][]byte{}
	for _, file := range []string{r.cfg.PositionFile, batchFile(r.cfg.PositionFile)} {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.t.Fatal(err)
		}
		out[file] = b
	}
	return out
}

func (r *rig) restore(files map[string][]byte) {
	r.t.Helper()
	for file, b := range files {
		if b == nil {
			_ = os.Remove(file) // it may not be there
		} else if err := os.WriteFile(file, b, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// kill ends the follower without its last save.
func (r *rig) kill() {
	r.t.Helper()
	left := r.positionFiles()
	r.stop()
	r.restore(left)
}

func TestAKillRepeatsNoLine(t *testing.T) {
	for name, c := range map[string]struct {
		arrives bool // before the process is killed
		move    func(r *rig)
	}{
		"before the batch arrived":              {false, func(*rig) {}},
		"after the batch arrived":               {true, func(*rig) {}},
		"after it, then rotated":                {true, func(r *rig) { r.rename(".1"); r.append(3) }},
		"after it, then copied and cut":         {true, func(r *rig) { r.copyTruncate(); r.append(3) }},
		"before it, then rotated":               {false, func(r *rig) { r.rename(".1"); r.append(3) }},
		"before it, then rotated twice":         {false, func(r *rig) { r.rename(".2"); r.append(3); r.rename(".1"); r.append(1) }},
		"after it, with more lines than before": {true, func(r *rig) { r.append(40) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.append(3)
				r.start()
				r.append(2)
				r.settle()
				r.outlet.on(func(take func()) error {
					if c.arrives {
						take()
					}
					return errKilled
				})
				r.append(17)
				r.settle()
				r.kill()
				r.outlet.deliver.Store(nil)
				c.move(r)
				r.start()
				r.append(1)
				r.settle()
				r.want(r.n)
				r.stop()
				r.start()
				r.stop()
				r.want(r.n)
				if n := r.changes("missed"); n != 0 {
					t.Errorf("missed %v", n)
				}
			})
		})
	}
}

func TestALogThatIsBornWhileAwayIsReadWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.FromStart = false
		r.start()
		r.stop()
		r.append(3)
		r.start()
		r.want(3)
		r.kill() // at once, before anything else was saved
		r.append(2)
		r.start()
		r.want(5)
		r.stop()
	})
}

// TestALogThatCannotBeOpenedIsTriedAgain: it ends nobody else's collecting.
func TestALogThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.FromStart = false
		away := r.cfg.Path + ".away"
		hide := func() {
			if err := os.Rename(r.cfg.Path, away); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := os.Symlink(r.cfg.Path, r.cfg.Path); err != nil {
				t.Fatal(err)
			}
		}
		show := func() {
			if err := errors.Join(os.Remove(r.cfg.Path), os.Rename(away, r.cfg.Path)); err != nil {
				t.Fatal(err)
			}
		}
		r.write(r.cfg.Path, "old\n")
		hide()
		r.start()
		show()
		r.settle()
		r.append(3)
		r.settle()
		r.want(3)
		hide()
		r.write(away, r.lines(2))
		r.settle()
		r.kill()
		r.start()
		show()
		r.append(1)
		r.settle()
		r.want(6)
		if n := r.changes("missed"); n != 0 {
			t.Errorf("missed %v", n)
		}
		r.stop()
	})
}

func TestAPowerLossRepeatsUnderTheSameIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(3)
		r.start()
		r.stop()
		saved := r.positionFiles()
		saved[batchFile(r.cfg.PositionFile)] = nil
		r.append(4)
		r.start()
		r.stop()
		first := slices.Clone(r.ids)
		r.restore(saved)
		r.start()
		r.stop()
		if len(r.ids) != 11 || !slices.Equal(r.ids[7:], first[3:]) {
			t.Errorf("first %v, again %v", first, r.ids[7:])
		}
	})
}

func TestABatchThatChangedIsNoRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(5) // more than identifies the file
		r.start()
		r.outlet.on(func(take func()) error { take(); return errKilled })
		r.append(4)
		r.settle()
		r.kill()
		r.outlet.deliver.Store(nil)
		// The file's rest was rewritten: what stands there now has not arrived.
		text, err := os.ReadFile(r.cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(string(text), "\n")
		head := strings.Join(lines[:5], "")
		other := head + strings.Repeat("-", len(text)-len(head)-len(lines[0])-1) + "\n" + lines[0]
		if err := os.WriteFile(r.cfg.Path, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.stop()
		if n := len(r.got); n != 10 || r.got[9] != "/1" {
			t.Errorf("got %v", r.got)
		}
	})
}

func TestPositionOfTheLastVersionIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(5)
		r.start()
		r.stop()
		var now struct {
			Files []map[string]any `json:"files"`
		}
		if err := json.Unmarshal(r.positionFiles()[r.cfg.PositionFile], &now); err != nil || len(now.Files) != 1 {
			t.Fatal(now, err)
		}
		one := now.Files[0]
		one["version"], one["path"] = 1, r.cfg.Path
		b, err := json.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		r.restore(map[string][]byte{r.cfg.PositionFile: b, batchFile(r.cfg.PositionFile): nil})
		r.append(2)
		r.start()
		r.want(7)
		r.stop()
		for _, bad := range []string{
			"", "{", `{"version":3}`, `{"version":2,"path":"x","files":[{"offset":-1}]}`,
			`{"version":2,"path":"x","files":[],"announced":{"file":0}}`,
		} {
			r.restore(map[string][]byte{r.cfg.PositionFile: []byte(bad)})
			f, err := NewFollower(r.cfg, nil, &r.outlet)
			if err == nil {
				err = f.Run(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), "remove it to start at the log's end") {
				t.Errorf("%q: %v", bad, err)
			}
		}
	})
}

func TestPositionWaitsForTheHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var works atomic.Bool
		tries := 0
		r.outlet.on(func(take func()) error {
			for tries++; !works.Load(); {
				time.Sleep(time.Second) //nolint:forbidigo // fake time inside a synctest bubble
			}
			take()
			return nil
		})
		r.append(3)
		r.start()
		offset := func() int64 {
			p, known, err := loadPositions(r.cfg.PositionFile, r.cfg.Path)
			if err != nil || !known || len(p.Files) != 1 {
				t.Fatal(p, known, err)
			}
			return p.Files[0].Offset
		}
		if offset() != 0 || tries != 1 {
			t.Errorf("position %d while the log is away, %d deliveries", offset(), tries)
		}
		works.Store(true)
		r.settle()
		if offset() == 0 || len(r.got) != 3 {
			t.Errorf("position %d, lines %v", offset(), r.got)
		}
		saved := r.positionFiles()
		r.settle()
		if !maps.EqualFunc(saved, r.positionFiles(), bytes.Equal) {
			t.Error("an idle log is saved again and again")
		}
		r.stop()
	})
}

// TestAFileIsReadWhileTheOldOneIsDrained: the new file is cut off, and its copy
// overwritten, before the old one's time is over.
func TestAFileIsReadWhileTheOldOneIsDrained(t *testing.T) {
	look := func() {
		time.Sleep(300 * time.Millisecond) //nolint:forbidigo // fake time inside a synctest bubble
		synctest.Wait()
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(3)
		r.start()
		r.rename("-1")
		r.append(2)
		look()
		r.copyTruncate()
		r.append(2)
		look()
		r.write(r.cfg.Path+"-1", r.lines(1))                                        // its server has not let go yet
		if err := os.WriteFile(r.cfg.Path, []byte(r.lines(2)), 0o600); err != nil { // cut without a copy
			t.Fatal(err)
		}
		look()
		if err := os.Remove(r.cfg.Path + "-1"); err != nil {
			t.Fatal(err)
		}
		r.kill()
		r.start()
		r.append(1)
		r.settle()
		r.want(11)
		if r.changes("missed") == 0 {
			t.Error("nobody said that a file was cut off without a copy")
		}
		r.stop()
	})
}

func TestFilesBesideTheLogAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(3)
		r.start()
		text, err := os.ReadFile(r.cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		r.write(r.cfg.Path+".2026-01-01", string(text)) // somebody's copy
		other := strings.ReplaceAll(r.lines(2), "/", "/other")
		r.n -= 2
		r.write(r.cfg.Path+".json", other) // another log
		r.write(r.cfg.Path+"2", "")
		r.rename(".1")
		r.touch("2")
		r.write(r.cfg.Path, "")
		r.settle()
		r.append(2)
		r.settle()
		r.want(5)
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
	for seed := range uint64(16) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			r := newRig(t)
			r.append(1)
			r.start()
			running, dead, total := true, false, 0
			toggle := func() {
				switch {
				case !running:
					r.outlet.deliver.Store(nil)
					dead = false
					r.start()
				case rnd.IntN(2) == 0:
					r.stop()
				default:
					r.kill()
				}
				running = !running
			}
			for range 60 {
				switch rnd.IntN(9) {
				case 0:
					r.copyTruncate()
					r.append(1)
					r.settle()
					if dead {
						toggle()
					}
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
				case 4: // the next batch is the last, whether it arrives or not
					arrives := rnd.IntN(2) == 0
					r.outlet.on(func(take func()) error {
						if arrives {
							take()
						}
						dead = true
						return errKilled
					})
				default:
					r.append(rnd.IntN(20))
				}
			}
			if running {
				toggle()
			}
			toggle()
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
