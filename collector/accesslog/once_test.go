package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

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
				r.outlet.onDeliver(func(take func()) error {
					if c.arrives {
						take()
					}
					return errKilled
				})
				r.append(17)
				r.settle()
				r.kill()
				r.outlet.onDeliver(nil)
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
		r.outlet.onDeliver(func(take func()) error { take(); return errKilled })
		r.append(4)
		r.settle()
		r.kill()
		r.outlet.onDeliver(nil)
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
			"", "{", `{"version":3}`, `{"version":1,"offset":-1}`, `{"version":2,"path":"x","files":[{"offset":-1}]}`,
			`{"version":2,"path":"x","files":[],"announced":{"file":0}}`,
		} {
			r.restore(map[string][]byte{r.cfg.PositionFile: []byte(bad)})
			r.start()
			err := r.follower.Fault()
			r.stop()
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
		r.outlet.onDeliver(func(take func()) error {
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
		if wait := r.follower.Waiting(); wait < time.Second {
			t.Errorf("waits for %v", wait)
		}
		if offset() != 0 || tries != 1 {
			t.Errorf("position %d while the log is away, %d deliveries", offset(), tries)
		}
		works.Store(true)
		r.settle()
		if offset() == 0 || len(r.got) != 3 || r.follower.Waiting() != 0 {
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
					r.outlet.onDeliver(nil)
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
					r.outlet.onDeliver(func(take func()) error {
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
