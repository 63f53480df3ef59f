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
	tags    [contexts]uint32
	since   [contexts]uint32 // seconds
	proofs  uint16
	next    uint8
	_       uint8
	created uint32
	// places are the last session, device and address-fingerprint hashes that it
	// proved itself from, and kinds what each is: what a verdict on the account
	// as a target must exempt.
	places [6]uint64
	kinds  [6]Type
	turn   uint8
	_      uint8
}

func (a *account) reset(now uint32) { *a = account{created: now} }

func (a *account) place(t Type, v uint64) {
	if v == 0 {
		return
	}
	for i, have := range a.places {
		if have == v && a.kinds[i] == t {
			return
		}
	}
	a.places[a.turn%6], a.kinds[a.turn%6] = v, t
	a.turn++
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

func (a *account) learn(q *Request, now uint32) {
	for _, t := range q.tags() {
		a.learnTag(t, now)
	}
}

func (a *account) learnTag(t, now uint32) {
	if t == 0 {
		return
	}
	for _, have := range a.tags {
		if have == t {
			return
		}
	}
	a.tags[a.next%contexts], a.since[a.next%contexts] = t, now
	a.next++
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
