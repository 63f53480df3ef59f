package line

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/collector/accesslog"
	"github.com/weirproject/weir/stream/flow"
)

// noLines is an outlet that no line comes to.
type noLines struct{}

func (noLines) Open(context.Context, []byte) error { return nil }
func (noLines) Take(*flow.Exchange) bool           { return false }
func (noLines) Announce() ([]byte, error)          { return []byte("{}"), nil }
func (noLines) Deliver(context.Context) error      { return nil }

// TestStatusSaysWhatBecomesOfALog: a path that is mistyped must not look like a
// site without visitors.
func TestStatusSaysWhatBecomesOfALog(t *testing.T) {
	dir := t.TempDir()
	log, dead := filepath.Join(dir, "access.log"), filepath.Join(dir, "dead")
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil { // root may read all but this
		t.Fatal(err)
	}
	follow := func(path string) *follower {
		f, err := accesslog.NewFollower(accesslog.FollowConfig{Path: path, PositionFile: path + ".position", PollEvery: time.Millisecond}, nil, noLines{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return &follower{Follower: f, path: path, dead: dead}
	}
	says := func(f *follower, want string) {
		t.Helper()
		var text string
		var err error
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(time.Millisecond) {
			if text, err = f.describe(); strings.Contains(fmt.Sprint(text, err), want) {
				return
			}
		}
		t.Errorf("%q, %v, want %q", text, err, want)
	}
	f := follow(log)
	says(f, "waits for "+log)
	writeFile(t, log, nil)
	says(f, "follows "+log)
	writeFile(t, dead, []byte("x"))
	says(f, "sampled in "+dead)
	says(follow(dir), "is a directory")
	says(follow(loop), "cannot be read")
}
