package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func sampleFold() *fold {
	f := newFold("t", 3, newCountEngine(3))
	f.lineage, f.next, f.events = "id.1", 77, 1234
	for i := range 40 {
		_, _ = f.marks.take(fmt.Sprintf("p%d", i%5), uint64(10*(i/5)+1), 10, int64(i))
		ev := testEvent("shop", i)
		f.prefer.shadowed(ev)
		f.engine.(*countEngine).Counts[ev.Path]++
	}
	ev := testEvent("shop", 1)
	ev.Source = 3 // accesslog
	f.prefer.shadowed(ev)
	return f
}

func sampleSnapshot(tb testing.TB) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := sampleFold().snapshot(&b, 70); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotRoundTrip(t *testing.T) {
	b := sampleSnapshot(t)
	if err := checkSnapshot(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	f, m, err := restoreFold(bytes.NewReader(b), "t", 3, newCountEngine(3))
	if err != nil {
		t.Fatal(err)
	}
	if m.stored != 70 || f.next != 77 || f.events != 1234 || f.lineage != "id.1" || len(f.marks.byProducer) != 5 || len(f.prefer.fed) != 1 {
		t.Errorf("restored %+v, meta %+v", f, m)
	}
	var again bytes.Buffer
	if err := f.snapshot(&again, 70); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, again.Bytes()) {
		t.Error("a restored state is written differently")
	}
	if _, _, err := restoreFold(bytes.NewReader(b), "t", 4, newCountEngine(4)); !errors.Is(err, ErrSnapshotCorrupt) {
		t.Errorf("another partition's snapshot: %v", err)
	}
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	good := sampleSnapshot(t)
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x40
		if err := checkSnapshot(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshotCorrupt) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
	}
	for n := range good {
		if err := checkSnapshot(bytes.NewReader(good[:n])); !errors.Is(err, ErrSnapshotCorrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

// FuzzSnapshotMeta reads hostile bytes as if their checksum had held.
func FuzzSnapshotMeta(f *testing.F) {
	f.Add(sampleSnapshot(f))
	f.Add([]byte(snapshotMagic + "\x00\x00\x00\x01\x00\x00\x00\x02ab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readSnapshotMeta(bytes.NewReader(b))
		if err == nil && (len(m.marks.byProducer) > maxProducers || len(m.prefer.sites) > maxSites || len(m.prefer.fed) > maxRecentIDs) {
			t.Errorf("bounds are passed: %d producers, %d sites, %d ids", len(m.marks.byProducer), len(m.prefer.sites), len(m.prefer.fed))
		}
	})
}

func TestTrailingSumHidesTheChecksum(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32, 33, 4095, 4096, 4097, 100_000} {
		body := bytes.Repeat([]byte("x"), n)
		for _, size := range []int{64, 4096, 256 << 10} {
			r := &trailingSum{r: bufio.NewReaderSize(bytes.NewReader(append(slices.Clone(body), make([]byte, 32)...)), size)}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes through a buffer of %d: %d bytes, %v", n, size, len(got), err)
			}
		}
	}
}

func TestCorruptSnapshotFallsBackToTheOneBefore(t *testing.T) {
	c, _ := cluster(t, 1)
	store, dir := newMemStore(), t.TempDir()
	for round := range 3 {
		put(t, c, "p", round*400+1, 20, events("shop", round*400, round*400+400)...)
		_, stop := startGroup(t, groupConfig(t, c, store, dir), nil)
		waitFor(t, "rows", func() bool { return store.count() >= round*400+400 })
		stop()
		files, _ := filepath.Glob(filepath.Join(dir, TopicEvents, "0", "*"+snapSuffix))
		if len(files) == 0 {
			t.Fatal("no snapshot was written")
		}
		newest := slices.Max(files)
		b, err := os.ReadFile(newest)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(newest, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g, stop := startGroup(t, groupConfig(t, c, store, dir), nil)
	waitFor(t, "level", func() bool { s := g.Status(); return len(s) == 1 && s[0].Stored == s[0].LogEnd })
	stop()
	checkRows(t, store.rows, 1200)
}

func TestSnapshotsKept(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 3, n, 12, 0, 0, 0, time.UTC) }
	at := func(offset int64, when time.Time) SnapshotID { return SnapshotID{Offset: offset, Saved: when} }
	ids := []SnapshotID{
		at(10, day(1)), at(20, day(2)), at(30, day(2).Add(time.Hour)), at(40, day(8)), at(50, day(8).Add(time.Hour)),
		at(60, day(9)), at(70, day(9).Add(1)), at(80, day(9).Add(2)), at(90, day(9).Add(3)),
	}
	offsets := func(ids []SnapshotID) (out []int64) {
		for _, id := range ids {
			out = append(out, id.Offset)
		}
		slices.Sort(out)
		return out
	}
	for _, c := range []struct {
		name   string
		stored int64
		want   []int64
	}{
		{"the newest three, one per day for a week", 95, []int64{10, 20, 40, 60}},
		{"and two that the store cursor still needs", 45, []int64{10, 20, 60}},
	} {
		if got := offsets(superfluous(ids, c.stored, 3, 7*24*time.Hour, day(9).Add(4))); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v go, want %v", c.name, got, c.want)
		}
	}
}

func TestDirectoryIsAtomicAndPrivate(t *testing.T) {
	d := NewDirectory(filepath.Join(t.TempDir(), "s"))
	ctx := context.Background()
	id := SnapshotID{Topic: "t", Partition: 2, Offset: 5, Saved: time.Unix(100, 0).UTC()}
	if ids, err := d.List(ctx, "t", 2); err != nil || len(ids) != 0 {
		t.Fatalf("an absent directory lists %v, %v", ids, err)
	}
	w, err := d.Create(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if ids, _ := d.List(ctx, "t", 2); len(ids) != 0 {
		t.Errorf("an uncommitted snapshot is listed: %v", ids)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if ids, _ := d.List(ctx, "t", 2); !slices.Equal(ids, []SnapshotID{id}) {
		t.Errorf("listed %v, want %v", ids, id)
	}
	info, err := os.Stat(d.file(id))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file mode %v, %v, want 0600", info.Mode(), err)
	}
	aborted, err := d.Create(ctx, SnapshotID{Topic: "t", Partition: 2, Offset: 6})
	if err != nil {
		t.Fatal(err)
	}
	if err := aborted.Abort(); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(filepath.Dir(d.file(id)))
	if len(entries) != 1 {
		t.Errorf("%d files remain, want 1", len(entries))
	}
	if err := errors.Join(d.Remove(ctx, id), d.Remove(ctx, id)); err != nil {
		t.Errorf("removing twice: %v", err)
	}
}
