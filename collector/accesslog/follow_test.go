package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

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

// A damaged position is the operator's to remove: to start anew would repeat lines
// or skip them, and they stand in the file until then.
func TestADamagedPositionWaitsForTheOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.append(3)
		r.start()
		r.stop()
		r.cfg.FromStart = false
		if err := errors.Join(os.WriteFile(r.cfg.PositionFile, []byte("{"), 0o600), os.RemoveAll(batchFile(r.cfg.PositionFile))); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.append(2)
		r.settle()
		if err := r.follower.Fault(); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("fault %v", err)
		}
		r.want(3)
		if err := os.Remove(r.cfg.PositionFile); err != nil {
			t.Fatal(err)
		}
		r.settle()
		if err := r.follower.Fault(); err != nil {
			t.Errorf("fault %v after the file was removed", err)
		}
		r.n = 3 // the two lines before were given up
		r.append(1)
		r.settle()
		r.want(4)
		r.stop()
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
