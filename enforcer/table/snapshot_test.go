package table_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

var update = flag.Bool("update", false, "rewrite golden files")

func sample(tb testing.TB) *table.Table {
	tb.Helper()
	tab := newTable(tb, table.Config{})
	v := give(1, "session=1 object:card=2 !device=3 @/a", "target_account=4 request_template=5")
	v.Action, v.Limit = event.ActionRateLimit, &verdict.Limit{Per: "1m", Requests: 5, Key: "actor"}
	apply(tb, tab, v, start, table.Added)
	w := give(2, "client=9")
	w.ID, w.Threats = "manual-1", []verdict.Threat{"X-ray"}
	apply(tb, tab, w, start, table.Added)
	x := give(3, "client=9")
	x.Revision, x.Revoked = 2, true
	apply(tb, tab, x, start, table.Revoked)
	tab.SetPosition("0:17,1:4")
	return tab
}

func held(tab *table.Table) map[string]verdict.Verdict {
	m := map[string]verdict.Verdict{}
	for v := range tab.All(start) {
		m[v.ID] = v
	}
	return m
}

func TestASnapshotBringsTheTableBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verdicts.tbl")
	a := sample(t)
	for range 2 { // the second replaces the first
		if err := a.SaveFile(path); err != nil {
			t.Fatal(err)
		}
	}
	b := newTable(t, table.Config{})
	if n, err := b.LoadFile(path, start); err != nil || n != 3 {
		t.Fatalf("loaded %d: %v", n, err)
	}
	if diff := cmp.Diff(held(a), held(b)); diff != "" {
		t.Error(diff)
	}
	if b.Position() != "0:17,1:4" {
		t.Errorf("position %q", b.Position())
	}
	apply(t, b, give(3, "client=9"), start, table.Stale) // the tombstone came along
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files in the directory, want 1", len(left))
	}
	late := newTable(t, table.Config{})
	if n, err := late.LoadFile(path, start+11*minute); err != nil || n != 0 {
		t.Errorf("loaded %d expired verdicts: %v", n, err)
	}
}

func TestTheSnapshotFormatIsFixed(t *testing.T) {
	var b bytes.Buffer
	if err := sample(t).Save(&b); err != nil {
		t.Fatal(err)
	}
	got := hex.Dump(b.Bytes())
	golden := filepath.Join("testdata", "snapshot.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the layout changed: raise snapshotVersion\n%s", diff)
	}
}

func TestACorruptSnapshotIsRefusedWhole(t *testing.T) {
	var good bytes.Buffer
	if err := sample(t).Save(&good); err != nil {
		t.Fatal(err)
	}
	for i := range good.Len() {
		bad := bytes.Clone(good.Bytes())
		bad[i] ^= 0x10
		tab := newTable(t, table.Config{})
		if _, err := tab.Load(bytes.NewReader(bad), start); !errors.Is(err, table.ErrCorrupt) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if c := tab.Counts(); c.Verdicts+c.Tombstones != 0 {
			t.Fatalf("byte %d flipped: %d verdicts applied", i, c.Verdicts)
		}
	}
	for i := range good.Len() {
		if _, err := newTable(t, table.Config{}).Load(bytes.NewReader(good.Bytes()[:i]), start); !errors.Is(err, table.ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := newTable(t, table.Config{}).LoadFile(filepath.Join(t.TempDir(), "none"), start); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// FuzzLoad reseals mutated content with a right checksum, so that the walk over
// foreign records is what is tested.
func FuzzLoad(f *testing.F) {
	var b bytes.Buffer
	if err := sample(f).Save(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes()[:b.Len()-32])
	f.Add([]byte("WEIRVTBL\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		tab := newTable(t, table.Config{MaxVerdicts: 100})
		if _, err := tab.Load(bytes.NewReader(table.Seal(content)), start); err != nil {
			return
		}
		for v := range tab.All(0) {
			if v.ID == "" {
				t.Error("a verdict without id")
			}
		}
		tab.Match(request("session=1 client=9"), start, nil)
		var again bytes.Buffer
		if err := tab.Save(&again); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		tab := newTable(b, table.Config{MaxVerdicts: 1 << 21})
		v := give(0)
		for i := range n {
			v.ID = fmt.Sprintf("v_%016x%016x", uint64(i)*0x9e3779b97f4a7c15, i)
			v.Binds = []verdict.Group{{All: []verdict.Bind{{Kind: "session", Value: hash(i)}}}}
			if i%4 == 0 {
				v.Binds[0].All = append(v.Binds[0].All, verdict.Bind{Kind: "client", Value: hash(i + n)})
			}
			if o, err := tab.Apply(v, start); o != table.Added {
				b.Fatal(o, err)
			}
		}
		buf := make([]table.Match, 0, table.MaxMatches)
		ev := request("device=2 account=3 client_net=5 asn=6 fingerprint=7 client_fingerprint=8 target_account=9 request_template=10 object:card=2")
		b.Run(fmt.Sprintf("hit/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			j := 0
			for b.Loop() {
				j++
				i := int(uint64(hash(j)) % uint64(n))
				ev.Keys[event.KindSession], ev.Keys[event.KindClient] = hash(i), hash(i+n)
				if len(tab.Match(ev, start, buf)) != 1 {
					b.Fatal("no hit")
				}
			}
			b.ReportMetric(float64(tab.Counts().Bytes)/float64(n), "B/verdict")
		})
		b.Run(fmt.Sprintf("miss/%d", n), func(b *testing.B) {
			j := 0
			for b.Loop() {
				j++
				i := int(uint64(hash(j)) % uint64(n))
				ev.Keys[event.KindSession], ev.Keys[event.KindClient] = hash(i+2*n), hash(i+3*n)
				if len(tab.Match(ev, start, buf)) != 0 {
					b.Fatal("a hit")
				}
			}
		})
		b.Run(fmt.Sprintf("renew/%d", n), func(b *testing.B) {
			j, rev := 0, uint32(1)
			for b.Loop() {
				j, rev = j+1, rev+1
				i := int(uint64(hash(j)) % uint64(n))
				v.ID = fmt.Sprintf("v_%016x%016x", uint64(i)*0x9e3779b97f4a7c15, i)
				v.Revision = rev
				v.Binds[0].All[0].Value = hash(i)
				_, _ = tab.Apply(v, start)
			}
		})
		b.Run(fmt.Sprintf("save/%d", n), func(b *testing.B) {
			for b.Loop() {
				if err := tab.SaveFile(filepath.Join(b.TempDir(), "t")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func hash(i int) event.Hash {
	h := uint64(i+1) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	return event.Hash(h * 0xbf58476d1ce4e5b9)
}
