package broker

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRecordsBehindADamagedOneAreGivenUpForGood: a damaged segment of a log that
// was closed in order ends before the damage, and what is written then is read
// again.
func TestRecordsBehindADamagedOneAreGivenUpForGood(t *testing.T) {
	dir := t.TempDir()
	p := launch(t, childConfig{Dir: dir})
	cl := p.client(t, kgo.Dialer(Dial(dir)))
	ensure(t, cl, TopicsConfig{Manage: true})
	for i := range 10 { // a batch each
		produce(t, cl, i, 1, 1000)
	}
	if err := errors.Join(p.stdin.Close(), p.wait(t)); err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join(dir, dirLog, "partitions", "weir.events-0", "0.dat")
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("record 5 "))
	if at < 0 {
		t.Fatal("record 5 is not in the segment")
	}
	copy(b[at:], "damaged!")
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	p = launch(t, childConfig{Dir: dir})
	if start, end := offsets(t, cl); start != 0 || end != 5 {
		t.Fatalf("offsets %d to %d, want 0 to 5\n%s", start, end, p.stderr)
	}
	produce(t, cl, 5, 5, 1000)
	for i, r := range consume(t, p, 0, 10) {
		if want := "record " + string(rune('0'+i)) + " "; !strings.HasPrefix(string(r.Value), want) || r.Offset != int64(i) {
			t.Errorf("record %d at %d is %.20q", i, r.Offset, r.Value)
		}
	}
}

func TestDamagedFileNamesItsRemedy(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{fileCredentials, fileIncarnation} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("\x00damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, first := credentials(dir)
	_, second := openIncarnation(dir)
	for name, err := range map[string]error{fileCredentials: first, fileIncarnation: second} {
		if err == nil || !strings.Contains(err.Error(), name+" is damaged") || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := credentials(dir); err != nil {
		t.Error(err)
	}
	if i, err := openIncarnation(dir); err != nil || i.ID == "" {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestIncarnationChangesWhenRecordsMayBeGone(t *testing.T) {
	dir := t.TempDir()
	meta := filepath.Join(dir, dirLog, "meta.json")
	open := func() incarnation {
		t.Helper()
		i, err := openIncarnation(dir)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	first := open()
	if open().ID == first.ID {
		t.Error("a log that never came to be keeps its name")
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(meta), 0o700), os.WriteFile(meta, []byte(`{"version":1,"cluster_id":"old"}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	first = open()
	if again := open(); again.ID != first.ID {
		t.Error("kill -9 changed the incarnation")
	}
	reboot := first
	reboot.Boot = "another-boot"
	if err := writeJSON(filepath.Join(dir, fileIncarnation), reboot); err != nil {
		t.Fatal(err)
	}
	crashed := open()
	if crashed.ID == first.ID {
		t.Error("a crash of the machine kept the incarnation")
	}
	crashed.Boot = "another-boot"
	if err := closeIncarnation(dir, crashed); err != nil {
		t.Fatal(err)
	}
	if open().ID != crashed.ID {
		t.Error("a clean close and a reboot changed the incarnation")
	}
	if err := prepareLog(dir, "new"); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(meta); err != nil || !strings.Contains(string(b), `"cluster_id":"new"`) {
		t.Errorf("%s %v", b, err)
	}
}
