package campaign

import (
	"bytes"
	"testing"

	"github.com/weirproject/weir/baseline/sketch"
)

// bot is an attack as it is: programs that take turns, from a pool of places.
type bot struct {
	programs []uint64
	library  func(program uint64) uint64
	form     uint64
	places   uint64
	acts     []uint8
	// object names what attempt n tries.
	object func(n int) uint64
	every  uint32
	spared bool
	// later: it begins a few visits after the others.
	later bool
}

func same(v uint64) func(uint64) uint64 { return func(uint64) uint64 { return v } }

func fresh(n int) uint64 { return 1e6 + uint64(n) }

// play interleaves visits of bots, three rounds of their acts each, and returns the
// names that each bot's visits ended with.
func play(t *Table, visits int, bots ...bot) [][]uint64 {
	names, now, n := make([][]uint64, len(bots)), make([]uint32, len(bots)), 0
	for v := range visits {
		for b := range bots {
			one := &bots[b]
			now[b] += one.every
			if one.later && v < 8 {
				continue
			}
			r := sketch.Mix(uint64(v)<<8 | uint64(b))
			s := Sighting{
				Site: 7, Visit: sketch.Mix(r), Place: 1 + r>>20%one.places, Program: one.programs[r>>40%uint64(len(one.programs))],
				Form: one.form, Convicted: !one.spared,
			}
			s.Library = one.library(s.Program)
			var name uint64
			for i := range 3 * len(one.acts) {
				s.Act, s.Now = one.acts[i%len(one.acts)], 1e6+now[b]+uint32(i)
				if s.Object = 0; one.object != nil {
					s.Object = one.object(n)
				}
				n++
				name, _ = t.See(&s)
			}
			names[b] = append(names[b], name)
		}
	}
	return names
}

// major is the name that most of a bot's visits have, and how many.
func major(names []uint64) (name uint64, n int) {
	count := map[uint64]int{}
	for _, v := range names {
		if count[v]++; count[v] > n && v != 0 {
			name, n = v, count[v]
		}
	}
	return name, n
}

func TestAttacks(t *testing.T) {
	three := bot{programs: []uint64{11, 12, 13}, library: same(5), places: 60, acts: []uint8{3}, object: fresh, every: 120}
	with := func(change func(*bot)) bot {
		b := three
		change(&b)
		return b
	}
	others := []uint64{21, 22, 23}
	for _, c := range []struct {
		name string
		bots []bot
		// one: the bots are one attack; none: nobody belongs to any.
		one, none bool
	}{
		{name: "programs that take turns are one attack", bots: []bot{three}, one: true},
		{name: "another act is another attack", bots: []bot{three, with(func(b *bot) { b.programs, b.acts = others, []uint8{4} })}},
		{name: "another library is another attack", bots: []bot{three, with(func(b *bot) { b.programs, b.library = others, same(6) })}},
		{name: "one script under many programs and libraries is one attack", one: true, bots: []bot{with(func(b *bot) {
			b.programs, b.library, b.form = []uint64{11, 12, 13, 14, 15, 16, 17, 18}, func(p uint64) uint64 { return p * 100 }, 9
		})}},
		{name: "the same end by another way is another attack", bots: []bot{
			with(func(b *bot) { b.acts = []uint8{12, 14, 3} }), with(func(b *bot) { b.programs, b.later = others, true }),
		}},
		{name: "accounts that come back are not those of a list", bots: []bot{
			with(func(b *bot) { b.object = func(n int) uint64 { return 1 + uint64(n/6%12) } }), with(func(b *bot) { b.programs, b.later = others, true }),
		}},
		{name: "who is not convicted belongs to nothing", bots: []bot{with(func(b *bot) { b.spared = true })}, none: true},
		{name: "who has no program of its own belongs to nothing", bots: []bot{with(func(b *bot) { b.programs = []uint64{0} })}, none: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := play(New(1<<12), 60, c.bots...)
			names := map[uint64]bool{}
			for b, all := range got {
				name, n := major(all)
				if c.none {
					if n > 0 {
						t.Errorf("bot %d: %d visits belong to an attack", b, n)
					}
					continue
				}
				if names[name] {
					t.Errorf("bot %d is part of another's attack", b)
				}
				if names[name] = true; n*10 < 7*len(all) {
					t.Errorf("bot %d: %d of %d visits are one attack", b, n, len(all))
				}
			}
		})
	}
}

// TestSilence holds that a program which comes back after hours is a new attack.
func TestSilence(t *testing.T) {
	one := New(1 << 12)
	b := bot{programs: []uint64{11}, library: same(5), places: 60, acts: []uint8{3}, every: 120}
	before, _ := major(play(one, 20, b)[0])
	s := Sighting{Site: 7, Now: 1e6 + 20*120 + 7200, Visit: 99, Place: 3, Program: 11, Library: 5, Act: 3, Convicted: true}
	if after, _ := one.See(&s); after == 0 || after == before {
		t.Errorf("two hours later it is %x, before it was %x", after, before)
	}
}

// TestBounds holds that no attack grows without end, and that a flood of programs
// takes no more memory.
func TestBounds(t *testing.T) {
	one := New(1 << 10)
	size := one.Bytes()
	first, n := uint64(0), 0
	for v := range uint64(3 * largest) {
		s := Sighting{Site: 7, Now: uint32(1e6 + v), Visit: 1 + v, Place: v % 50, Program: 11, Act: 3, Convicted: true}
		name, _ := one.See(&s)
		if first == 0 {
			first = name
		}
		if name == first {
			n++
		}
		s.Visit, s.Program, s.Act = v<<32, v<<8, uint8(v)
		one.See(&s)
	}
	if n > largest+1 {
		t.Errorf("one attack has %d visits, want %d at most", n, largest)
	}
	if one.Bytes() != size {
		t.Errorf("%d bytes, %d before", one.Bytes(), size)
	}
	if one.Evicted() == 0 {
		t.Error("what made room for others is not counted")
	}
}

// TestAttacksThatMakeRoomCount holds that an attack that takes another's place shows.
func TestAttacksThatMakeRoomCount(t *testing.T) {
	one := New(1 << 14)
	for v := range uint64(campaigns + 10) {
		one.See(&Sighting{Site: 7 + v, Now: 1e6, Visit: 1 + v, Place: v, Program: 11, Act: 3, Convicted: true})
	}
	if n := one.Evicted(); n != 10 {
		t.Errorf("%d made room, want 10", n)
	}
}

// TestState holds that a restored table goes on as the one that was saved.
func TestState(t *testing.T) {
	b := bot{programs: []uint64{11, 12, 13}, library: same(5), places: 60, acts: []uint8{3}, object: fresh, every: 120}
	one, two := New(1<<12), New(1<<12)
	play(one, 30, b)
	for v := range uint64(2 * campaigns) {
		one.See(&Sighting{Site: 8 + v, Now: 1e6, Visit: 1 + v, Place: v, Program: 11, Act: 3, Convicted: true})
	}
	play(one, 5, b)
	var state bytes.Buffer
	var c sketch.Cut
	one.Cut(&c)
	if err := c.Write(&state); err != nil {
		t.Fatal(err)
	}
	r := sketch.NewReader(&state)
	if err := two.SetState(r); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if one.Evicted() == 0 || one.Evicted() != two.Evicted() {
		t.Errorf("%d made room, %d restored: want the same and some", one.Evicted(), two.Evicted())
	}
	b.every = 200
	want, got := play(one, 30, b), play(two, 30, b)
	for i := range want[0] {
		if want[0][i] != got[0][i] {
			t.Fatalf("visit %d: restored %x, want %x", i, got[0][i], want[0][i])
		}
	}
}
