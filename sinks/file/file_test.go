package file_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/sinks/file"
)

func deliver(t *testing.T, d *file.Destination, docs ...string) {
	t.Helper()
	var raw [][]byte
	for _, s := range docs {
		raw = append(raw, []byte(s))
	}
	if err := d.Deliver(t.Context(), nil, raw); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, cfg file.Config) *file.Destination {
	t.Helper()
	d, err := file.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestATornLineIsCutOff(t *testing.T) {
	for name, c := range map[string]struct{ before, want string }{
		"nothing":                   {"", ""},
		"whole lines":               {"a\nb\n", "a\nb\n"},
		"half a line":               {"a\nb\nhal", "a\nb\n"},
		"only half a line":          {"half", ""},
		"half a line beyond a page": {"a\n" + strings.Repeat("x", 200_000), "a\n"},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
			t.Fatal(err)
		}
		deliver(t, open(t, file.Config{Path: path}), "new")
		if got := content(t, path); got != c.want+"new\n" {
			t.Errorf("%s: %.40q", name, got)
		}
	}
}

func TestRotationKeepsTheNewest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	d := open(t, file.Config{Path: path, MaxBytes: 10, Keep: 2, SyncEach: true})
	for i := range 5 {
		deliver(t, d, fmt.Sprintf("line%d", i)) // 6 bytes: one per file
	}
	got := map[string]string{}
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		got[strings.TrimPrefix(n, path)] = content(t, n)
	}
	if diff := cmp.Diff(map[string]string{"": "line4\n", ".1": "line3\n", ".2": "line2\n"}, got); diff != "" {
		t.Error(diff)
	}
	deliver(t, d, strings.Repeat("x", 50)) // larger than a file may be: alone in one
	if got := content(t, path); len(got) != 51 {
		t.Errorf("%q", got)
	}
}

func TestAFileThatWasRotatedAwayIsOpenedAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	d := open(t, file.Config{Path: path})
	deliver(t, d, "a")
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	deliver(t, d, "b")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	deliver(t, d, "c")
	if content(t, path+".old") != "a\n" || content(t, path) != "c\n" {
		t.Errorf("%q, %q", content(t, path+".old"), content(t, path))
	}
}

func TestFailuresLeaveWholeLines(t *testing.T) {
	dir := t.TempDir()
	d := open(t, file.Config{Path: filepath.Join(dir, "sub", "f")})
	if err := os.WriteFile(filepath.Join(dir, "sub"), nil, 0o600); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	if err := d.Deliver(t.Context(), nil, [][]byte{[]byte("a")}); err == nil {
		t.Error("no error")
	}
	if err := os.Remove(filepath.Join(dir, "sub")); err != nil {
		t.Fatal(err)
	}
	deliver(t, d, "a")
	if err := d.Sync(); err != nil {
		t.Error(err)
	}
	if err := open(t, file.Config{Path: "/dev/full"}).Deliver(t.Context(), nil, [][]byte{bytes.Repeat([]byte("x"), 100)}); err == nil {
		t.Error("a full disk gave no error")
	}
}

func TestFaultyConfigurationIsRefused(t *testing.T) {
	for _, c := range []file.Config{{}, {Path: "f", MaxBytes: -1}, {Path: "f", Keep: -1}} {
		if _, err := file.New(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
