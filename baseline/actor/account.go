package actor

import "github.com/weirproject/weir/baseline/sketch"

// Familiarity says how a context (device, session, or fingerprint and network)
// relates to the history of an account.
type Familiarity uint8

// Unknown: the account has no proved history. Unfamiliar: it has, but not from
// here. Familiar: it proved itself here more than the probation ago.
const (
	Unknown Familiarity = iota
	Unfamiliar
	Familiar
)

// contexts is the number of context tags that an account remembers.
const contexts = 8

// account is where an account has proved itself: 72 bytes.
type account struct {
	tags   [contexts]uint32
	since  [contexts]uint32 // seconds
	proofs uint16
	// next and nextHome are the places in tags that are overwritten next.
	next, nextHome uint8
	created        uint32
	// places are where it proved itself last, and kinds what each is: what a verdict on
	// the account as a target must exempt. One kind of place never drives out another:
	// see shelf.
	places [6]uint64
	kinds  [6]Type
	// turns counts what came onto each shelf, four bits each.
	turns uint16
}

// shelf is a range of an account's places.
type shelf struct{ from, to uint8 }

// Addresses that the account knows or began with, devices and sessions there, and
// new places: browsers that forget their cookies bring ever new devices.
var shelves = [...]shelf{{0, 2}, {2, 4}, {4, 6}}

const (
	addresses = iota
	devices
	elsewhere
)

func (a *account) reset(now uint32) { *a = account{created: now} }

// place remembers where the account has proved itself, and says whether that is new.
func (a *account) place(on int, t Type, v uint64) bool {
	if v == 0 {
		return false
	}
	for i, have := range a.places {
		if have == v && a.kinds[i] == t {
			return false
		}
	}
	s := shelves[on]
	turn := uint8(a.turns>>(4*on)) & 15
	i := s.from + turn%(s.to-s.from)
	a.places[i], a.kinds[i] = v, t
	a.turns = a.turns&^(15<<(4*on)) | uint16((turn+1)%12)<<(4*on)
	return true
}

// probation is how long a new context must stand before it counts, in seconds.
const probation = 2 * 3600

func (a *account) knows(q *Request, now uint32) Familiarity {
	if a == nil || a.proofs == 0 {
		return Unknown
	}
	tags := q.tags()
	seen := false
	for i, t := range a.tags {
		if t == 0 || now-a.since[i] < probation {
			continue
		}
		seen = true
		for _, have := range tags {
			if t == have {
				return Familiar
			}
		}
	}
	if !seen {
		return Unknown
	}
	return Unfamiliar
}

// homes is how many of the tags are of addresses with a program, so that forgotten
// cookies never drive them out.
const homes = 3

func (a *account) learn(q *Request, now uint32) {
	t := q.tags()
	a.learnTag(t[0], now, false)
	a.learnTag(t[1], now, false)
	a.learnTag(t[2], now, true)
}

func (a *account) learnTag(t, now uint32, home bool) {
	if t == 0 {
		return
	}
	for _, have := range a.tags {
		if have == t {
			return
		}
	}
	next, from, n := &a.next, uint8(homes), uint8(contexts-homes)
	if home {
		next, from, n = &a.nextHome, 0, homes
	}
	i := from + *next%n
	a.tags[i], a.since[i] = t, now
	*next = (*next + 1) % n
}

// tags are the contexts of a request, 0 where absent: device, session, and
// fingerprint with network.
func (q *Request) tags() (t [3]uint32) {
	if q.Device != 0 {
		t[0] = uint32(sketch.Join(1, q.Device)) | 1
	}
	if q.Session != 0 && !q.SessionGuessed {
		t[1] = uint32(sketch.Join(2, q.Session)) | 1
	}
	if q.Fingerprint != 0 {
		net := q.ASN
		if net == 0 {
			net = q.Network
		}
		t[2] = uint32(sketch.Join(q.Fingerprint, net)) | 1
	}
	return t
}
