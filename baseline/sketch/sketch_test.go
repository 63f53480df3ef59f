package sketch

import (
	"bytes"
	"math"
	"testing"
)

func TestLnIsWithinAMilliNat(t *testing.T) {
	for x := uint64(1); x < 1<<62; x += x/4 + 1 {
		want := math.Log(float64(x)) * 1000
		if got := float64(Ln(x)); math.Abs(got-want) > 1 {
			t.Fatalf("Ln(%d) = %v, want %.2f", x, got, want)
		}
	}
}

func TestDecayHalvesAndNeverGrows(t *testing.T) {
	for _, c := range []struct {
		v        int32
		dt, half uint32
		want     int32
	}{
		{10000, 0, 10, 10000}, {10000, 10, 10, 5000}, {10000, 25, 10, 1767}, {-10000, 10, 10, -5000}, {10000, 4000, 10, 0},
	} {
		if got := Decay(c.v, c.dt, c.half); got < c.want-40 || got > c.want+40 {
			t.Errorf("Decay(%d,%d,%d) = %d, want about %d", c.v, c.dt, c.half, got, c.want)
		}
	}
	last := int32(1 << 30)
	for dt := range uint32(100000) {
		v := Decay(1<<30, dt, 21600)
		if v > last {
			t.Fatalf("Decay grew at %d", dt)
		}
		last = v
	}
}

func TestDistinctIsRoughlyRight(t *testing.T) {
	var d Distinct
	for i := range uint64(40) {
		d.Add(i)
		d.Add(i)
	}
	if n := d.Count(); n < 32 || n > 50 {
		t.Errorf("40 values counted as %d", n)
	}
}

func TestUrnLearnsHeavyTails(t *testing.T) {
	u := NewUrn(9, 50)
	before := u.Share(5, 5)
	for range 1000 {
		u.Learn(5, 5, true)
	}
	if after := u.Share(5, 5); after <= before || after < 980000 {
		t.Errorf("share went from %d to %d", before, after)
	}
}

func TestTableIsBoundedAndKeepsTheRecent(t *testing.T) {
	tb := NewTable[uint64](64)
	for i := uint64(1); i <= 10000; i++ {
		r, fresh := tb.Get(Mix(i), uint32(i))
		if !fresh || r.Val != 0 {
			t.Fatal("new row is not new")
		}
		r.Val = i
	}
	if r := tb.Find(Mix(10000)); r == nil || r.Val != 10000 {
		t.Error("the last key is gone")
	}
	if tb.Used() > 64 || tb.Used()+tb.Evicted() != 10000 {
		t.Errorf("used %d, evicted %d", tb.Used(), tb.Evicted())
	}
}

func TestStateRoundTripAndChecksum(t *testing.T) {
	tb := NewTable[uint64](1 << 14)
	for i := uint64(1); i < 25; i++ {
		r, _ := tb.Get(i, 1)
		r.Val = i
	}
	var buf bytes.Buffer
	var cut Cut
	tb.Cut(&cut)
	cut.Bytes(func() ([]byte, error) { return []byte("tail"), nil })
	if err := cut.Write(&buf); err != nil {
		t.Fatal(err)
	}
	if buf.Len() > tb.Bytes()*2/3 {
		t.Errorf("zero blocks were written: %d of %d bytes", buf.Len(), tb.Bytes())
	}
	back := NewTable[uint64](1 << 14)
	r := NewReader(bytes.NewReader(buf.Bytes()))
	if err := back.SetState(r); err != nil {
		t.Fatal(err)
	}
	if s, err := r.Bytes(10); err != nil || string(s) != "tail" {
		t.Fatal(s, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i < 25; i++ {
		if row := back.Find(i); row == nil || row.Val != i {
			t.Fatalf("key %d is lost", i)
		}
	}
	for _, at := range []int{1, buf.Len() / 2, buf.Len() - 3} {
		bad := bytes.Clone(buf.Bytes())
		bad[at] ^= 4
		r := NewReader(bytes.NewReader(bad))
		err := back.SetState(r)
		if err == nil {
			_, err = r.Bytes(10)
		}
		if err == nil {
			err = r.Close()
		}
		if err == nil {
			t.Errorf("a flipped bit at %d went unseen", at)
		}
	}
}

// TestRegression10OddKeysUseTheWholeTable: keys that end in one (hash|1) used
// half of a table that was indexed by low bits: 8 million needless evictions.
func TestRegression10OddKeysUseTheWholeTable(t *testing.T) {
	tab := NewTable[uint64](1 << 14)
	n := tab.Len() / 2
	for i := range n {
		tab.Get(Mix(uint64(i))|1, 1)
	}
	if got := tab.Evicted(); got > uint64(n/20) {
		t.Errorf("%d of %d rows evicted from a half-full table", got, n)
	}
	sets, used := tab.Len()/ways, 0
	for s := range sets {
		for _, r := range tab.rows.Look(s*ways, ways) {
			if r.Key != 0 {
				used++
				break
			}
		}
	}
	if used*100 < sets*80 {
		t.Errorf("odd keys reach %d of %d sets", used, sets)
	}
}
