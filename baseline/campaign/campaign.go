package campaign

import (
	"github.com/weirproject/weir/baseline/sketch"
)

// Sighting is one request of a visit. Zero hashes are absent; all are keyed.
type Sighting struct {
	// Site is the site's key, Now event time in seconds.
	Site uint64
	Now  uint32
	// Visit is the session, 0 before there is one. Place is the address.
	Visit, Place uint64
	// Program is the software where no proved owner uses it, or what is attacked
	// where that is what gave the visit away. Library is the TLS library's hash, Form
	// the request's where no proved owner's has it.
	Program, Library, Form uint64
	// Object is what is tried, Act what is done: a role or a kind of document, 0 for
	// what everybody does on the way.
	Object uint64
	Act    uint8
	// Convicted: a verdict in force is about it.
	Convicted bool
}

// campaigns is how many attacks are remembered, acts how many acts there are, and
// largest how many visits one attack has: more are a fault of the evidence, so that
// the attack ends there and each program finds its place again.
const campaigns, acts, largest = 128, 64, 20000

// Seconds: a visit's membership stands for kept; a program, or an attack, that is
// silent for longer than pause, and than pace mean gaps between visits, starts anew.
// A request without a session within begins of another from the same place and
// program goes on with that visit.
const (
	kept   = 6 * 3600
	pause  = 1800
	pace   = 8
	begins = 300
)

// Weights in milli-nats.
const (
	// founder is the weight of the program that an attack was first seen with, and
	// the most that any can have; joins is what one that is new must have, and what one
	// must have to teach the attack's habits.
	founder, joins = 6000, 2900
	// prior is the weight of a new program that does what a running attack does:
	// attacks are rarer than new programs in one. A library says more.
	// A form that nobody else sends says most: one script under many programs.
	prior, sameLibrary, otherLibrary, sameForm = 1000, 2000, -4000, 4000
	// newAct is what an act says that the attack has never done, newMove the most that
	// one says which it has never done after the one before, newValue that of an object or
	// a place it has not been at, habit what a sighting says that has nothing new.
	newAct, newMove, newValue, habit = -3000, -2000, -1000, 100
)

// Shares in parts per million that hold for visits of another attack: of moves that
// are new to this one, and of objects and places that this one has been at.
const (
	newMoves, sameObjects, samePlaces = 500000, 50000, 150000
)

// known is after how many visits an attack's habits count.
const known = 3

// attack is one campaign. It is flat.
type attack struct {
	// Name is what it is reported as.
	Name, Site, Library uint64
	// Moves are the acts with what came before each.
	Moves sketch.Bloom
	// Acts counts sightings by act, and attempts on objects: see count.
	Acts [acts]struct{ Seen, Tried, Met uint32 }
	// First and Last sighting in seconds.
	First, Last uint32
	// Visits counts visits, Places and Back where they came from: see count. Seen counts
	// sightings, Fresh those whose move was new.
	Visits, Places, Back, Seen, Fresh, _ uint32
}

// unit is what is known of a visit, a program in an act, an object or a place.
type unit struct {
	// Name and At name the attack and its slot, 0 for none.
	Name uint64
	At   uint32
	// Weight of the membership, of visits and programs.
	Weight int32
	// Last is in seconds, First the low half of the program that was here first.
	Last, First uint32
	// Act is a visit's last one.
	Act uint64
}

// Table remembers attacks. It is not safe for concurrent use.
type Table struct {
	units   *sketch.Shelf[unit]
	attacks sketch.Flat[attack]
	// replaced counts attacks that made room for others.
	replaced uint64
}

// New makes a table with room for so many visits, programs, objects and places.
func New(units int) *Table {
	return &Table{units: sketch.NewShelf[unit](units), attacks: sketch.NewFlat[attack](campaigns)}
}

// kind tells units apart.
type kind uint64

const (
	ofVisit kind = iota + 1
	ofProgram
	ofObject
	ofPlace
	ofForm
)

func (s *Sighting) key(k kind, v uint64) uint64 {
	return sketch.Join(sketch.Join(s.Site, v), uint64(k)) | 1
}

// first names a visit before it has a session.
func (s *Sighting) first() uint64 { return sketch.Join(s.Place, s.Program) }

// program is the software in an act.
func (s *Sighting) program(act uint8) uint64 { return sketch.Join(s.Program, uint64(act)) }

// object is what is tried in an act, 0 for nothing.
func (s *Sighting) object() uint64 {
	if s.Object == 0 {
		return 0
	}
	return sketch.Join(s.Object, uint64(s.Act))
}

// find returns the unit of a value, an empty one when there is none.
func (t *Table) find(s *Sighting, k kind, v uint64) unit {
	if v != 0 {
		if u := t.units.Find(s.key(k, v)); u != nil {
			return *u
		}
	}
	return unit{}
}

// of returns the attack that a unit belongs to, nil for none or one that is over.
func (t *Table) of(u *unit, now uint32) *attack {
	if u.Name == 0 || now-min(now, u.Last) > kept {
		return nil
	}
	if a := t.attacks.At(int(u.At)); a.Name == u.Name && a.Visits < largest {
		return a
	}
	return nil
}

// running says that something of it was seen so lately that it goes on.
func (a *attack) running(last, now uint32) bool {
	if a.Visits >= largest {
		return false
	}
	gap := (a.Last - a.First) / max(1, a.Visits)
	return now-min(now, last) <= max(pause, pace*gap)
}

// put writes a unit.
func (t *Table) put(s *Sighting, k kind, v uint64, u unit) {
	if v == 0 {
		return
	}
	have, fresh := t.units.Get(s.key(k, v), s.Now)
	u.Last, u.First = s.Now, uint32(s.Program)
	if !fresh && have.Name == u.Name && have.First != 0 {
		u.First = have.First
	}
	*have = u
}

// See folds one request in and returns the name of the attack that its visit belongs
// to, 0 for none, and the weight of that.
func (t *Table) See(s *Sighting) (name uint64, weight int32) {
	visit := t.find(s, ofVisit, s.Visit)
	if visit.Last == 0 && s.Program != 0 {
		// A visit has no session when it begins.
		if visit = t.find(s, ofVisit, s.first()); s.Now-min(s.Now, visit.Last) > begins {
			visit = unit{}
		}
	}
	if s.Visit == 0 {
		s.Visit = s.first()
	}
	a := t.of(&visit, s.Now)
	if a == nil {
		visit.Name, visit.Weight = 0, 0
	}
	if s.Program == 0 {
		return visit.Name, visit.Weight
	}
	if s.Act != 0 {
		if s.Convicted {
			t.assign(s, a, &visit)
		}
		visit.Act = uint64(s.Act)
	}
	t.put(s, ofVisit, s.Visit, visit)
	return visit.Name, visit.Weight
}

// assign finds the attack of a convicted sighting, a so far, and writes it into the
// visit.
func (t *Table) assign(s *Sighting, a *attack, visit *unit) {
	move := visit.Act<<8 | uint64(s.Act)
	at, w, began := visit.At, visit.Weight, a == nil
	program := t.find(s, ofProgram, s.program(s.Act))
	if b := t.of(&program, s.Now); b != nil && b != a && b.running(program.Last, s.Now) && (a == nil || !a.Moves.Has(move)) {
		a, at, w = b, program.At, program.Weight
	} else if a != nil && b == a {
		w = program.Weight
	}
	if a == nil {
		at, w = t.join(s, move, 0)
	} else if w = t.weigh(s, a, w, move, began); w < 0 {
		// It was another attack's after all: what the program did before goes with it.
		at, w = t.join(s, move, a.Name)
		if visit.Act != 0 {
			t.put(s, ofProgram, s.program(uint8(visit.Act)), unit{Name: t.attacks.At(int(at)).Name, At: at, Weight: w})
		}
	}
	t.note(s, at, w, move, began)
	visit.Name, visit.At, visit.Weight = t.attacks.At(int(at)).Name, at, w
}

// weigh adds a sighting to the weight of a membership. One that goes on as before
// makes up for what was odd, but for no more.
func (t *Table) weigh(s *Sighting, a *attack, w int32, move uint64, began bool) int32 {
	e := t.evidence(s, a, move, began)
	if e == 0 && w < founder/2 {
		e = habit
	}
	return min(founder, w+e)
}

// evidence is what a sighting says for its belonging to an attack, in milli-nats, as
// far as the attack's habits are known.
func (t *Table) evidence(s *Sighting, a *attack, move uint64, began bool) (w int32) {
	if a.Visits >= known {
		w = newAct
		if a.Acts[s.Act%acts].Seen > 0 {
			w = max(newMove, min(0, again(!a.Moves.Has(move), a.Fresh, a.Seen, newMoves)))
		}
		if began {
			w += t.shared(s, ofPlace, s.Place, a, a.Back, a.Places, samePlaces)
		}
	}
	if act := &a.Acts[s.Act%acts]; s.Object != 0 && act.Tried >= known {
		w += t.shared(s, ofObject, s.object(), a, act.Met, act.Tried, sameObjects)
	}
	return w
}

// shared is what a value says that the attack has been at before, or not, given that
// it did so n times of so many; nothing where the program itself was there first.
func (t *Table) shared(s *Sighting, k kind, v uint64, a *attack, n, of, others uint32) int32 {
	switch met, own := t.met(s, k, v, a); {
	case own:
		return 0
	case met:
		return max(0, again(true, n, of, others))
	}
	return max(newValue, min(0, again(false, n, of, others)))
}

// met says that another program of the attack was at a value first, or this one.
func (t *Table) met(s *Sighting, k kind, v uint64, a *attack) (other, own bool) {
	u := t.find(s, k, v)
	same := u.First == uint32(s.Program)
	return u.Name == a.Name && !same, u.Name == a.Name && same
}

// again is the ratio for something that happened, or not, and did so k times of n in
// the attack, against how often it does in visits of others.
func again(yes bool, k, n, others uint32) int32 {
	share := uint32((uint64(k)*1000 + 500) * 1000000 / (uint64(n)*1000 + 2000))
	return sketch.LogLikelihood(yes, max(5000, min(950000, share)), others)
}

// join finds the running attack that a program new to its act belongs to, but for the
// one that it has just left, or founds one.
func (t *Table) join(s *Sighting, move, left uint64) (at uint32, weight int32) {
	best := int32(joins - 1)
	form := t.find(s, ofForm, s.Form)
	for i := range campaigns {
		a := &t.attacks.Look(i, 1)[0]
		if a.Name == 0 || a.Name == left || a.Site != s.Site || a.Acts[s.Act%acts].Seen == 0 || !a.running(a.Last, s.Now) {
			continue
		}
		w := int32(prior)
		switch {
		case s.Form != 0 && form.Name == a.Name:
			w += sameForm
		case s.Library == 0 || a.Library == 0:
		case s.Library == a.Library:
			w += sameLibrary
		default:
			w += otherLibrary
		}
		if w += t.evidence(s, a, move, true); w > best {
			at, best = uint32(i), w
		}
	}
	if best < joins {
		return t.found(s), founder
	}
	return at, min(best, founder/2)
}

// found starts an attack in the place of the one that has been silent for longest.
func (t *Table) found(s *Sighting) (at uint32) {
	for i := range uint32(campaigns) {
		if t.attacks.At(int(i)).Last < t.attacks.At(int(at)).Last {
			at = i
		}
	}
	a := t.attacks.At(int(at))
	if a.Name != 0 {
		t.replaced++
	}
	*a = attack{
		Name: sketch.Join(sketch.Join(s.Site, s.Visit), sketch.Join(s.Program, uint64(s.Now))) | 1, Site: s.Site, Library: s.Library, First: s.Now, Last: s.Now,
	}
	return at
}

// note remembers where the attack has been.
func (t *Table) note(s *Sighting, at uint32, w int32, move uint64, began bool) {
	a := t.attacks.At(int(at))
	u := unit{Name: a.Name, At: at, Weight: w}
	t.put(s, ofProgram, s.program(s.Act), u)
	if w < joins {
		return
	}
	act := &a.Acts[s.Act%acts]
	if began {
		a.Visits++
		count(&a.Back, &a.Places, t, s, ofPlace, s.Place, a)
	}
	if s.Object != 0 {
		count(&act.Met, &act.Tried, t, s, ofObject, s.object(), a)
	}
	act.Seen++
	a.Seen++
	if a.Moves.Add(move) {
		a.Fresh++
	}
	a.Last = s.Now
	t.put(s, ofObject, s.object(), u)
	t.put(s, ofPlace, s.Place, u)
	t.put(s, ofForm, s.Form, u)
}

// count counts a value that the program was not at first itself, and whether another
// one was.
func count(n, of *uint32, t *Table, s *Sighting, k kind, v uint64, a *attack) {
	other, own := t.met(s, k, v, a)
	if !own {
		*of++
	}
	if other {
		*n++
	}
}

// Evicted counts visits, programs, objects, places, forms and attacks that made room
// for others.
func (t *Table) Evicted() uint64 { return t.units.Evicted() + t.replaced }

// Bytes is the memory of the table.
func (t *Table) Bytes() int { return t.units.Bytes() + t.attacks.Bytes() }

// Cut adds the table to a cut.
func (t *Table) Cut(c *sketch.Cut) {
	sketch.Value(c, t.replaced)
	t.units.Cut(c)
	sketch.Freeze(c, &t.attacks)
}

// SetState restores what Cut has written.
func (t *Table) SetState(r *sketch.Reader) error {
	var replaced [1]uint64
	if err := sketch.Take(r, replaced[:]); err != nil {
		return err
	}
	t.replaced = replaced[0]
	if err := t.units.SetState(r); err != nil {
		return err
	}
	return t.attacks.Take(r)
}
