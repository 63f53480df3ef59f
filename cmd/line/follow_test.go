package line

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirproject/weir/collector/accesslog"
)

// TestStatusSaysWhatBecomesOfALog: a path that is mistyped must not look like a
// site without visitors.
func TestStatusSaysWhatBecomesOfALog(t *testing.T) {
	dir := t.TempDir()
	log, dead := filepath.Join(dir, "access.log"), filepath.Join(dir, "dead")
	f := &follower{Follower: &accesslog.Follower{}, path: log, dead: dead}
	if text, err := f.describe(); err != nil || !strings.HasPrefix(text, "waits for "+log) {
		t.Errorf("no file: %q, %v", text, err)
	}
	writeFile(t, log, nil)
	if text, err := f.describe(); err != nil || text != "follows "+log {
		t.Errorf("a log: %q, %v", text, err)
	}
	writeFile(t, dead, []byte("x"))
	if text, _ := f.describe(); !strings.Contains(text, "sampled in "+dead) {
		t.Errorf("with rejected lines: %q", text)
	}
	if text, err := (&follower{Follower: &accesslog.Follower{}, path: dir}).describe(); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %q, %v", text, err)
	}
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(log, log); err != nil { // root may read all but this
		t.Fatal(err)
	}
	if text, err := f.describe(); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a log that cannot be opened: %q, %v", text, err)
	}
}
