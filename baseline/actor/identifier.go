package actor

import (
	"math/bits"

	"github.com/weirproject/weir/baseline/sketch"
)

// Type is a kind of identifier that links events to actors.
type Type uint8

// The types. Joint is address and fingerprint together, because the two are not
// independent (an office with one image); Owned is an account that the actor
// has proved, Target one that it merely tried; Object is a hashed object of an
// attempt (a card, a coupon, a payee).
const (
	Session Type = iota
	Device
	Client
	Joint
	Fingerprint
	Template
	Owned
	Target
	Object
	NumTypes
)

var typeNames = [NumTypes]string{
	"session", "device", "client", "client_fingerprint", "fingerprint", "request_template", "account", "target_account", "object",
}

func (t Type) String() string { return typeNames[t] }

// identifier is what is known of one value: who was last seen with it and how
// many proved owners use it. 24 bytes beside the row's key and time.
type identifier struct {
	// owners counts the proved owners of this epoch, or is an index into the
	// large counters when big is set.
	owners sketch.Distinct
	actor  uint32
	// mark is the site's tide when the crowd was last counted. Of an address with a
	// program it is how many sessions in a row were not brought back: see forget.
	mark  uint32
	gen   uint16
	epoch uint8
	// previous is the owner count of the epoch before, saturating.
	previous uint8
	// unexplained counts attempts by new actors that no proved owner explains; of an
	// address with a program, the accounts that it was tried for in vain: see retry.
	unexplained uint8
	// flips counts how often two live actors alternated on the value: shared by
	// demonstration.
	flips uint8
	big   uint8
	// crowd is by how many newcomers, in eighths, a program exceeds what its
	// owners explain; overrun when they do not vouch for it. Of an address with a
	// program it has a bit per account, of eight, that proved itself there.
	crowd uint8
}

// epochSeconds is how long an owner counts, once again as long in previous.
const epochSeconds = 3*86400 + 43200

// large is a 2048-bit linear counter for the few popular values.
type large struct {
	bits     [32]uint64
	previous uint32
	set      uint32 // how many bits are
}

func (l *large) add(account uint64) {
	h := sketch.Mix(account) & 2047
	if bit := uint64(1) << (h & 63); l.bits[h>>6]&bit == 0 {
		l.bits[h>>6] |= bit
		l.set++
	}
}

// recount finds set again: versions before kept something else in its place.
func (l *large) recount() {
	l.set = 0
	for _, w := range l.bits {
		l.set += uint32(bits.OnesCount64(w))
	}
}

func (l *large) count() uint32 {
	if l.set >= 2040 {
		return 12000
	}
	return uint32(2048 * int64(sketch.LnRatio(2048, 2048-uint64(l.set))) / 1000)
}

type row = sketch.Row[identifier]

// roll starts a new epoch of owner counts where one is due.
func (r *Resolver) roll(id *identifier, epoch uint8) {
	if id.epoch == epoch {
		return
	}
	stale := epoch-id.epoch > 1
	id.flips /= 2
	id.crowd = 0
	if id.big != 0 {
		l := r.large.At(int(id.owners))
		l.previous = l.count()
		if stale {
			l.previous = 0
		}
		l.bits, l.set = [32]uint64{}, 0
	} else {
		id.previous = uint8(min(255, id.owners.Count()))
		if stale {
			id.previous = 0
		}
		id.owners = 0
	}
	id.epoch = epoch
}

// own records that an account has proved itself on the value.
func (r *Resolver) own(id *identifier, account uint64, epoch uint8) {
	r.roll(id, epoch)
	// One proved owner explains about three attempts, not hundreds.
	id.unexplained -= min(id.unexplained, 3)
	if id.big != 0 {
		r.large.At(int(id.owners)).add(account)
		return
	}
	id.owners.Add(account)
	if id.crowd == overrun && id.owners.Count() >= many {
		id.crowd = 0
	}
	if id.owners.Bits() < 48 || r.largeUsed >= uint32(r.large.Len()) {
		return
	}
	l := r.large.At(int(r.largeUsed))
	*l = large{previous: uint32(id.previous)}
	for i := range uint64(id.owners.Count()) {
		l.add(sketch.Mix(i + uint64(id.owners)))
	}
	id.owners, id.big = sketch.Distinct(r.largeUsed), 1
	r.largeUsed++
}

// ownersOf is the number of proved owners of the running and last epoch.
func (r *Resolver) ownersOf(id *identifier, epoch uint8) uint32 {
	r.roll(id, epoch)
	if id.big != 0 {
		l := r.large.At(int(id.owners))
		return max(l.count(), l.previous)
	}
	return max(id.owners.Count(), uint32(id.previous))
}

// unowned is the smoothing, in thousandths, for owners that are not seen yet: a
// value that many attempts carried and no proved owner ever did is a tool, not
// a release. 200 * 0.7^k.
func unowned(id *identifier) uint32 {
	return unownedTable[min(int(id.unexplained), len(unownedTable)-1)]
}

var unownedTable = [...]uint32{200, 140, 98, 68, 48, 33, 23, 20, 20, 20, 20, 20, 20}

// weight is ln(P(share | same actor) / P(share | two unrelated actors)) in
// milli-nats, for agreeing on a value that the candidate used dt seconds ago;
// n is the site's number of owners.
func (r *Resolver) weight(t Type, id *identifier, dt uint32, epoch uint8, n uint64) int32 {
	rho := uint64(max(20, min(1000, dt/43))) // share of owners active in the gap, thousandths
	owners := uint64(r.ownersOf(id, epoch))
	if t == Fingerprint && !r.popular(epoch) {
		owners = 0
	}
	wait := uint64(dt)
	switch t {
	case Session, Device:
		if owners > 1 {
			return sketch.LnRatio(980*n, (owners-1)*rho+1)
		}
		return sketch.LnRatio(980*n, 1)
	case Owned:
		return sketch.LnRatio(950*n, 10)
	case Target, Object:
		return sketch.LnRatio(uint64(sketch.Decay(300, dt, 7200))*n, 20+30*wait/86400)
	case Client:
		// An address alone is shared more often than address and browser.
		return sketch.LnRatio(500*n, owners*rho+500*uint64(id.flips)+130+wait*10/1728)
	case Joint:
		if r.drops {
			return sketch.LnRatio(500*n, 30)
		}
		return sketch.LnRatio(500*n, owners*rho+500*uint64(id.flips)+30+wait*10/1728)
	case Fingerprint:
		return sketch.LnRatio(500*n, 1000*owners+uint64(unowned(id))+wait*10/864)
	case Template:
		if owners < many && !r.popular(epoch) {
			owners = 0
		}
		explained := owners * 1000 / (1 + uint64(id.unexplained)/(3*owners+3))
		return sketch.LnRatio(700*n, max(owners*250, explained)+uint64(unowned(id))+wait*10/864)
	default:
	}
	return 0
}
