package actor

import (
	"errors"

	"github.com/weirproject/weir/baseline/sketch"
)

// Config sizes the tables; memory is fixed by it.
type Config struct {
	// Identifiers, Actors and Accounts are the rows of each table.
	Identifiers, Actors, Accounts int
	// Popular is the number of values with a large owner counter (268 bytes).
	Popular int
}

// Validate reports sizes that cannot work.
func (c Config) Validate() error {
	if c.Identifiers < 64 || c.Actors < 16 || c.Accounts < 64 || c.Popular < 1 {
		return errors.New("actor tables: identifiers and accounts need 64 rows, actors 16, popular 1 at least")
	}
	return nil
}

// Thresholds in milli-nats of posterior odds: attach an event to an actor at
// 10:1, merge two existing actors at 100:1.
const (
	attachAt = 2300
	mergeAt  = 4600
)

// Request is what the resolver needs of one event. Zero hashes are absent.
type Request struct {
	// Site indexes AddSite's result; Now is event time in seconds; Nano breaks
	// ties of actor ids.
	Site uint16
	Now  uint32
	Nano int64

	Session, Device, Client, Network, Joint, Fingerprint, Template uint64
	ASN                                                            uint64
	// Account is the proved account, Claimed the one an attempt claims, Object
	// the hashed object of an attempt.
	Account, Claimed, Object uint64
	// NewSession and NewDevice are what the response set.
	NewSession, NewDevice uint64
	// SessionGuessed: there is no cookie; Session stands for address and
	// fingerprint.
	SessionGuessed bool
	// Role is any number that tells kinds of attempts apart.
	Role uint8
	// Attempt: the event tries something (log-in, payment, sign-up ...).
	Attempt bool
	// Common: the attempt is of a kind that owners of accounts need not have made
	// in this form before (a sign-up, a hold, a payment), so that a form without
	// owners links nobody whose program has some.
	Common bool
	// Asset: a sub-resource of a page is fetched.
	Asset bool
	// Mature: the site is known well enough that "nobody owns this" is evidence.
	Mature bool
}

// Value is the identifier of a type, 0 where the event has none. A guessed session
// stands for no value that anybody could look up.
func (q *Request) Value(t Type) uint64 {
	if t == Session && q.SessionGuessed {
		return 0
	}
	return [NumTypes]uint64{q.Session, q.Device, q.Client, q.Joint, q.Fingerprint, q.Template, q.Account, q.Claimed, q.Object}[t]
}

// Resolution is the answer.
type Resolution struct {
	// Actor is an index, valid until the next Resolve.
	Actor       uint32
	New         bool
	Familiarity Familiarity
	// OwnersOfJoint is how many proved owners share address and fingerprint.
	OwnersOfJoint uint32
	// Types has a bit per identifier type that pointed to the actor.
	Types uint16
	// Fast: nothing about the identity has changed since the last event.
	Fast bool
}

// Actor is one slot of the arena, 96 bytes, no padding.
type Actor struct {
	ID  uint64
	Own uint64
	// First, Last and LastAttempt are in seconds; LastAttempt 0: none yet.
	First, Last, LastAttempt uint32
	// forward is the actor that this one has become part of, heir its generation.
	forward                 uint32
	session, client, finger uint32
	account                 uint32
	bound                   uint32 // when the identifiers were last pointed here
	// Home is when an account that knows the context was last seen here, in
	// seconds; 0 never.
	Home              uint32
	generation        uint16
	Site              uint16
	Attempts, Repeats uint16
	Merges, heir      uint16
	// Returned counts requests that brought back the session they were given.
	Returned uint8
	// Role is that of the last attempt.
	Role uint8
	// Links counts how often each type carried a link; Weights is the last
	// weight of each, in 1/8 nat.
	Links   [NumTypes]uint8
	Weights [NumTypes]uint8
	// Dressed counts sub-resources that it fetched.
	Dressed uint8
	_       [7]uint8
}

type pair struct {
	key         uint64
	sum         int32
	at          uint32
	seen, seen2 uint32
}

// siteState is one site's owners.
type siteState struct {
	owners, before [2048]uint64 // 131072-bit linear counters
	n              uint64
	key            uint64
	created        uint64
	// proved is n without its floor. tide is how many newcomers an owner may have
	// brought so far, in 1/perOwner and modulo 2^32, counted up to tideAt seconds.
	proved       uint64
	tide, tideAt uint32
	// commons are places where several accounts have proved themselves, the latest
	// first.
	commons [8]uint64
	// began is when the first request came, in seconds.
	began uint32
	epoch uint8
	_     [3]uint8
}

// ownersFloor keeps a young site from taking everybody for one actor.
const ownersFloor = 5000

// Stats are counters of the resolver's life.
type Stats struct {
	Created, Merged, Refused, Recycled, Dissolved, Fast, Slow uint64
}

type candidate struct {
	actor    uint32
	weight   int32
	software int32
	// tried is the part of the weight that comes from targets and objects.
	tried int32
	types uint16
}

// Resolver links events to actors. It is not safe for concurrent use.
type Resolver struct {
	ids      *sketch.Table[identifier]
	accounts *sketch.Shelf[account]
	// homes are the residents of programs.
	homes     *sketch.Table[residents]
	arena     sketch.Flat[Actor]
	pairs     sketch.Flat[pair]
	large     sketch.Flat[large]
	largeUsed uint32
	free      uint32
	hand      uint32
	sites     []*siteState
	stats     Stats

	// OnMerge is told that actor from has become part of into; OnRecycle that a
	// slot starts a new actor. Set once before use.
	OnMerge   func(into, from uint32)
	OnRecycle func(actor uint32)

	// scratch of the running event
	rows       [NumTypes]*row
	keys       [NumTypes]uint64
	candidates [NumTypes]candidate
	count      int
	acct       *account
	drops      bool
}

// New makes the tables.
func New(c Config) (*Resolver, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Resolver{
		ids: sketch.NewTable[identifier](c.Identifiers), accounts: sketch.NewShelf[account](c.Accounts),
		homes: sketch.NewTable[residents](max(64, c.Identifiers/256)),
		arena: sketch.NewFlat[Actor](c.Actors + 1), pairs: sketch.NewFlat[pair](1 << 14), large: sketch.NewFlat[large](c.Popular), free: 1,
		OnMerge: func(_, _ uint32) {}, OnRecycle: func(uint32) {},
	}, nil
}

// AddSite registers a site and returns its index.
func (r *Resolver) AddSite(key uint64) uint16 {
	r.sites = append(r.sites, &siteState{n: ownersFloor, key: key})
	return uint16(len(r.sites) - 1)
}

// Get returns the actor at an index.
func (r *Resolver) Get(i uint32) *Actor { return r.at(i) }

// Slots is the length of the arena, index 0 being unused.
func (r *Resolver) Slots() int { return r.arena.Len() }

func (r *Resolver) at(i uint32) *Actor { return r.arena.At(int(i)) }

// Stats returns the counters; Owners the estimated proved owners of a site.
func (r *Resolver) Stats() Stats { return r.stats }

// Owners is the number of proved owners of the site, at least the floor.
func (r *Resolver) Owners(site uint16) uint64 { return r.sites[site].n }

// Generation tells slots of one index apart.
func (a *Actor) Generation() uint16 { return a.generation }

// find follows an actor to the one that it is part of now, 0 when that is gone: its
// place may be another's by now.
func (r *Resolver) find(i uint32) uint32 {
	a := r.at(i)
	for a.forward != 0 {
		switch to := r.at(a.forward); {
		case to.generation != a.heir:
			return 0
		case to.forward == 0:
			return a.forward
		default:
			a.forward, a.heir = to.forward, to.heir
		}
	}
	return i
}

// live follows an identifier to its actor, 0 when that is gone.
func (r *Resolver) live(id *identifier) uint32 {
	if id.actor == 0 {
		return 0
	}
	if r.at(id.actor).generation != id.gen {
		id.actor = 0
		return 0
	}
	if i := r.find(id.actor); i != id.actor {
		id.actor, id.gen = i, r.at(i).generation
	}
	return id.actor
}

func (r *Resolver) create(q *Request) uint32 {
	r.stats.Created++
	s := r.sites[q.Site]
	s.created++
	fresh := Actor{
		ID: sketch.Join(s.key, sketch.Join(uint64(q.Nano), s.created)), First: q.Now, Last: q.Now, Site: q.Site, generation: 1,
	}
	if int(r.free) < r.arena.Len() {
		r.free++
		*r.at(r.free - 1) = fresh
		r.OnRecycle(r.free - 1)
		return r.free - 1
	}
	// The arena is full: a clock hand recycles the first slot that was idle for
	// long enough; the new generation disowns every identifier that points here.
	idle := uint32(6 * 3600)
	for n := 0; ; n++ {
		if r.hand++; int(r.hand) >= r.arena.Len() {
			r.hand = 1
		}
		if n >= 64 {
			n, idle = 0, idle/2
		}
		if a := r.at(r.hand); q.Now-a.Last >= idle || idle == 0 {
			fresh.generation = a.generation + 1
			*a = fresh
			r.stats.Recycled++
			r.OnRecycle(r.hand)
			return r.hand
		}
	}
}

func typed(site uint16, t Type, v uint64) uint64 {
	return sketch.Mix(v+uint64(t+1)*0x9e3779b97f4a7c15+uint64(site)*0xd6e8feb86659fd93) | 1
}

// load loads the identifier of a type into the scratch.
func (r *Resolver) load(q *Request, t Type, v uint64) {
	r.rows[t], r.keys[t] = nil, 0
	if v == 0 {
		return
	}
	k := typed(q.Site, t, v)
	// Seen is when the value was last used, which the weights need: Get would
	// overwrite it, so it is set when the event is settled.
	row := r.ids.Find(k)
	if row == nil {
		row, _ = r.ids.Get(k, q.Now)
	}
	r.rows[t], r.keys[t] = row, k
}

func epochOf(now uint32) uint8 { return uint8(now / epochSeconds) }

// Resolve finds or makes the actor of a request. It uses nothing that is known
// only from the answer; call Settle with the answer next.
func (r *Resolver) Resolve(q *Request) Resolution {
	if a := r.fast(q); a != 0 {
		r.stats.Fast++
		return Resolution{Actor: a, Fast: true, Types: 1 << Session}
	}
	r.stats.Slow++
	epoch := epochOf(q.Now)
	s := r.sites[q.Site]
	if s.began == 0 {
		s.began = q.Now
	}
	if s.epoch != epoch {
		s.epoch, s.before, s.owners = epoch, s.owners, [2048]uint64{}
	}
	r.load(q, Session, q.Session)
	r.load(q, Device, q.Device)
	r.load(q, Client, q.Client)
	r.load(q, Joint, q.Joint)
	r.load(q, Fingerprint, q.Fingerprint)
	r.load(q, Template, q.Template)
	fam := r.loadAccount(q)
	r.load(q, Object, q.Object)

	r.count = 0
	r.drops = r.dropping(q)
	for t := range NumTypes {
		if r.rows[t] != nil {
			r.consider(q, t, epoch, s.n)
		}
	}
	a, fresh, types := r.choose(q, fam, s.n)
	return Resolution{Actor: a, New: fresh, Types: types, Familiarity: fam, OwnersOfJoint: r.jointOwners(epoch)}
}

func (r *Resolver) jointOwners(epoch uint8) uint32 {
	if r.rows[Joint] == nil || r.rows[Joint].Val.forgetful() {
		return 0
	}
	return r.ownersOf(&r.rows[Joint].Val, epoch)
}

// fast recognises the next request of a known session from the same place.
func (r *Resolver) fast(q *Request) uint32 {
	if q.Attempt || q.Session == 0 || q.NewSession != 0 {
		return 0
	}
	row := r.ids.Find(typed(q.Site, Session, q.Session))
	if row == nil || q.SessionGuessed && q.Now-row.Seen > sessionGap {
		return 0
	}
	i := r.live(&row.Val)
	if i == 0 {
		return 0
	}
	a := r.at(i)
	if a.client != uint32(q.Client) || a.finger != uint32(q.Fingerprint) || a.account != uint32(q.Account) || a.session != uint32(q.Session) {
		return 0
	}
	// Once an hour the slow path refreshes the other identifiers.
	if q.Now-a.bound > 3600 {
		return 0
	}
	row.Seen, a.Last = q.Now, q.Now
	a.dress(q)
	if a.Returned < 255 && !q.SessionGuessed {
		a.Returned++
	}
	return i
}

// dress counts a sub-resource.
func (a *Actor) dress(q *Request) {
	if q.Asset && a.Dressed < 255 {
		a.Dressed++
	}
}

// sessionGap ends a session that is known by address and fingerprint only,
// attemptGap one in which something is tried again: campaigns on a log come back
// to their addresses after hours. Both in seconds.
const (
	sessionGap = 1800
	attemptGap = 6 * 3600
)

func (q *Request) gap() uint32 {
	if q.Attempt {
		return attemptGap
	}
	return sessionGap
}

// loadAccount loads the account as Owned or Target, and its history.
func (r *Resolver) loadAccount(q *Request) Familiarity {
	r.rows[Owned], r.rows[Target], r.acct = nil, nil, nil
	r.keys[Owned], r.keys[Target] = 0, 0
	claimed := q.Claimed
	if claimed == 0 {
		claimed = q.Account
	}
	if claimed == 0 {
		return Unknown
	}
	r.acct = r.accounts.Find(typed(q.Site, Owned, claimed))
	fam := r.acct.knows(q, q.Now)
	switch {
	case q.Claimed == 0 && fam == Unfamiliar:
		// Logged in somewhere new: it may be the owner or a thief.
	case q.Claimed == 0 || q.Claimed == q.Account || fam == Familiar:
		r.load(q, Owned, claimed)
	default:
		r.load(q, Target, claimed)
	}
	return fam
}
