package actor

import (
	"math/bits"
	"slices"
	"unsafe"

	"github.com/weirproject/weir/baseline/sketch"
)

// Answer is what the resolver learns from after the response.
type Answer struct {
	// Success: the application accepted the attempt. Proof: it thereby proves
	// the claimed account. Refused: an enforcer answered in its place, so that
	// nothing was proved or failed.
	Success, Proof, Refused bool
	// Trusted: the actor is not under suspicion, so its conduct may teach.
	Trusted bool
}

// Settle points the request's identifiers at its actor and learns ownership
// from proof. It must follow the Resolve of the same request. It returns the
// actor, which is a new one when the answer proves another owner than that of
// the actor whom only a place or a program had suggested, and who has a browser of
// its own.
func (r *Resolver) Settle(q *Request, res Resolution, ans Answer) uint32 {
	if res.Fast {
		return res.Actor
	}
	a := r.at(res.Actor)
	if ans.Proof && ans.Success && ans.Trusted && !ans.Refused && a.Own != 0 && a.Own != q.Claimed && res.Types&strong == 0 &&
		a.Returned >= 1 && !r.toolish(q) {
		res.Actor = r.create(q)
		a = r.at(res.Actor)
	}
	repeat := r.rows[Target] != nil && r.live(&r.rows[Target].Val) == res.Actor && a.Attempts > 0
	r.forget(q, res.Actor)
	for t := range NumTypes {
		if t == Owned && (q.Account == 0 && q.Claimed == 0 || a.Own != 0 && a.Own != q.Account && a.Own != q.Claimed) {
			continue // an actor has one owner; the others' accounts do not become its own
		}
		r.point(t, res.Actor, q.Now)
	}
	if q.Attempt {
		r.countAttempt(q, a, repeat)
	}
	r.arrive(q)
	if !ans.Success {
		r.retry(q)
	}
	if !ans.Refused {
		r.prove(q, res, ans, a)
		if ans.Trusted {
			r.vouch(q, a)
			r.reside(q)
		}
	}
	r.handOut(q, res.Actor, a)
	if q.Session != 0 && !q.SessionGuessed && a.session == uint32(q.Session) && a.Returned < 255 {
		a.Returned++
	}
	a.dress(q)
	a.Last, a.bound = q.Now, q.Now
	a.client, a.finger, a.session = uint32(q.Client), uint32(q.Fingerprint), uint32(q.Session)
	a.account = uint32(q.Account)
	if limit := max(1000, r.sites[q.Site].created/4); uint64(a.Merges) > limit {
		// One actor that has swallowed a quarter of a site is a fault of the
		// evidence, not a campaign: let its identifiers find new homes.
		r.Dissolve(res.Actor)
	}
	return res.Actor
}

func (r *Resolver) countAttempt(q *Request, a *Actor, repeat bool) {
	if a.LastAttempt != 0 && q.Now-a.LastAttempt > 6*3600 {
		a.Attempts, a.Repeats = 0, 0
	}
	// Before the site is known, "nobody owns it" means nothing.
	if a.Attempts == 0 && q.Mature {
		for _, t := range []Type{Template, Fingerprint} {
			if row := r.row(t); row != nil && row.Val.unexplained < 200 {
				row.Val.unexplained++
			}
		}
	}
	if repeat {
		a.Repeats = sat(a.Repeats, 1)
	}
	a.Attempts = sat(a.Attempts, 1)
	a.Role = q.Role
	a.LastAttempt = max(1, q.Now)
}

// prove learns owners and contexts.
func (r *Resolver) prove(q *Request, res Resolution, ans Answer, a *Actor) {
	account := q.Account
	if ans.Proof && ans.Success {
		account = q.Claimed
	}
	if account == 0 {
		if ans.Success && ans.Trusted && r.row(Object) != nil {
			r.own(&r.row(Object).Val, q.Session|q.Joint|1, epochOf(q.Now))
		}
		return
	}
	if !ans.Trusted {
		return
	}
	rec, fresh := r.accounts.Get(typed(q.Site, Owned, account), q.Now)
	if fresh {
		rec.reset(q.Now)
	}
	known := rec.knows(q, q.Now)
	if ans.Proof && ans.Success {
		rec.proofs = sat(rec.proofs, 1)
	} else if rec.proofs == 0 {
		rec.proofs = 1
	}
	rec.learn(q, q.Now)
	r.place(q, rec, known != Unfamiliar)
	if ans.Proof && ans.Success {
		r.meet(q, account)
	}
	if q.NewSession != 0 {
		rec.learnTag(uint32(sketch.Join(2, q.NewSession))|1, q.Now, false)
	}
	if q.NewDevice != 0 {
		rec.learnTag(uint32(sketch.Join(1, q.NewDevice))|1, q.Now, false)
	}
	if a.Own == 0 {
		a.Own = account
	}
	epoch := epochOf(q.Now)
	if known == Unfamiliar && rec.proofs >= 3 && ans.Proof {
		// An established account succeeding in a new place says that the place is
		// shared, not that it lives here.
		r.ownAll(account, epoch, Session, Client, Joint)
	}
	if known == Familiar {
		a.Home = max(1, q.Now)
	}
	if known == Familiar || !q.Mature && known == Unknown {
		r.ownAll(account, epoch, Session, Device, Client, Joint, Object)
		r.teach(q, account, rec.created, Fingerprint, Template)
		r.countOwner(q, account)
	}
	if t := r.row(Target); t != nil && ans.Proof && ans.Success && known != Unfamiliar && a.Own == account {
		t.Val.actor = 0
		k := typed(q.Site, Owned, account)
		row, _ := r.ids.Get(k, q.Now)
		r.rows[Owned], r.keys[Owned] = row, k
		r.point(Owned, res.Actor, q.Now)
	}
}

// private is how many owners may share an address that exempts by itself.
const private = 3

// place remembers the context of a proof. In a new one that is the address with the
// program only: who has the password needs no more guesses.
func (r *Resolver) place(q *Request, rec *account, known bool) {
	if !known {
		rec.place(elsewhere, Joint, q.Joint)
		return
	}
	rec.place(devices, Device, q.Device)
	if q.Device == 0 && !q.SessionGuessed {
		rec.place(devices, Session, q.Session)
	}
	if c := r.row(Client); c != nil && r.ownersOf(&c.Val, epochOf(q.Now))+uint32(c.Val.flips)/2 <= private {
		rec.place(addresses, Client, q.Client)
		return
	}
	rec.place(addresses, Joint, q.Joint)
}

// old is how long a device, or an address with a program, must have been on the site to
// be a customer's, in seconds.
const old = 86400

// retries is how many accounts' owners may have failed at one old place since somebody
// proved to live there; a proof makes up for three.
const retries = 4

// retry remembers an old place that an account was tried from in vain: its owner's
// who mistypes, or was refused, rather than an attacker's who came for it. Only who has
// proved an account has a place to remember it in, so that invented names take none,
// and a place that goes from account to account is not spared.
func (r *Resolver) retry(q *Request) {
	j := r.row(Joint)
	if j == nil || q.Claimed == 0 || q.Now-min(q.Now, j.First) < old || j.Val.unexplained >= retries {
		return
	}
	if rec := r.accounts.Find(typed(q.Site, Owned, q.Claimed)); rec != nil && rec.place(elsewhere, Joint, q.Joint) {
		j.Val.unexplained++
	}
}

// several accounts, of eight that are told apart, that have proved themselves from one
// address with one program make a common place: a public terminal, an office.
const several = 4

// meet counts an account that has proved itself at the request's place.
func (r *Resolver) meet(q *Request, account uint64) {
	j := r.row(Joint)
	if j == nil {
		return
	}
	r.roll(&j.Val, epochOf(q.Now))
	j.Val.crowd |= 1 << (sketch.Mix(account) & 7)
	if bits.OnesCount8(j.Val.crowd) < several {
		return
	}
	list := r.sites[q.Site].commons[:]
	i := slices.Index(list, q.Joint)
	if i < 0 {
		i = len(list) - 1
	}
	copy(list[1:i+1], list[:i])
	list[0] = q.Joint
}

// Commons calls f for the common places of a site where an account has proved itself
// last: each an address with a program.
func (r *Resolver) Commons(site uint16, f func(joint uint64)) {
	for _, v := range r.sites[site].commons {
		if v != 0 {
			f(v)
		}
	}
}

// vouch counts a browser that came back with its cookie on a later day among
// the owners of its program: rare software that nobody logs in with is no tool. The
// browser of an account's owner counts as that owner, not once more.
func (r *Resolver) vouch(q *Request, a *Actor) {
	for _, t := range [...]Type{Device, Session} {
		if row := r.row(t); row != nil && (t == Device || !q.SessionGuessed) && q.Now-min(q.Now, row.First) > old {
			owner, since := a.Own, row.First
			if owner == 0 {
				owner = row.Key
			} else if rec := r.accounts.Find(typed(q.Site, Owned, owner)); rec != nil {
				since = rec.created
			}
			r.teach(q, owner, since, Fingerprint)
			return
		}
	}
}

// An owner vouches for software independently who came to the site long enough
// before or after it: a week, or a part of the site's age when the software came.
const (
	week = 7 * 86400
	part = 4
)

// teach counts an owner of software, who came to the site at a time. All who came
// when the software came count as one: an attacker's aged accounts do.
func (r *Resolver) teach(q *Request, owner uint64, since uint32, types ...Type) {
	for _, t := range types {
		row := r.row(t)
		if row == nil {
			continue
		}
		one := owner
		if !r.independent(q.Site, since, row.First) {
			one = row.Key
		}
		r.own(&row.Val, one, epochOf(q.Now))
	}
}

// independent says that who came to the site at one time did not come with software
// that came at another.
func (r *Resolver) independent(site uint16, since, software uint32) bool {
	age := software - min(software, r.sites[site].began)
	return max(since, software)-min(since, software) >= min(week, age/part)
}

// Independent says that a proved account did not come to the site with software that
// came at a time, in seconds.
func (r *Resolver) Independent(site uint16, owner uint64, software uint32) bool {
	row := r.accounts.Find(typed(site, Owned, owner))
	return row != nil && r.independent(site, row.created, software)
}

func (r *Resolver) ownAll(account uint64, epoch uint8, types ...Type) {
	for _, t := range types {
		if row := r.row(t); row != nil {
			r.own(&row.Val, account, epoch)
		}
	}
}

func (r *Resolver) countOwner(q *Request, account uint64) {
	s := r.sites[q.Site]
	h := sketch.Mix(account^0xabcdef) & 131071
	was := s.owners[h>>6]
	s.owners[h>>6] |= 1 << (h & 63)
	if s.owners[h>>6] != was && h&63 == 0 {
		r.refreshOwners(s)
	}
}

// handOut remembers the session and device that the response has set, unless
// the actor already returns another, or returns none: then this was somebody else's
// browser at the same place, whom its own next request will show.
func (r *Resolver) handOut(q *Request, i uint32, a *Actor) {
	if j := r.row(Joint); a.Returned >= 2 && q.Session == 0 || j != nil && j.Val.forgetful() {
		return
	}
	for _, n := range []struct {
		t Type
		v uint64
	}{{Session, q.NewSession}, {Device, q.NewDevice}} {
		if n.v != 0 {
			row, _ := r.ids.Get(typed(q.Site, n.t, n.v), q.Now)
			row.Val.actor, row.Val.gen = i, a.generation
		}
	}
}

// row returns the scratch row of a type unless another key has taken its place
// since.
func (r *Resolver) row(t Type) *row {
	if row := r.rows[t]; row != nil && row.Key == r.keys[t] {
		return row
	}
	return nil
}

func (r *Resolver) point(t Type, i uint32, now uint32) {
	row := r.row(t)
	if row == nil {
		return
	}
	id := &row.Val
	if id.actor != 0 && now-min(now, row.Seen) < 1800 && id.flips < 40 {
		if was := r.live(id); was != 0 && was != i {
			id.flips++
		}
	}
	id.actor, id.gen, row.Seen = i, r.at(i).generation, now
}

// Shared says how many proved owners use a value, for the caps of verdicts.
func (r *Resolver) Shared(site uint16, t Type, v uint64, now uint32) uint32 {
	row := r.ids.Find(typed(site, t, v))
	if row == nil {
		return 0
	}
	if t == Joint && row.Val.forgetful() {
		return 0
	}
	n := r.ownersOf(&row.Val, epochOf(now))
	if t != Fingerprint && t != Template {
		// A place or a device that changes hands within the half hour is shared.
		// Software always is: what matters there is who owns it.
		n += uint32(row.Val.flips) / 2
	}
	return n
}

// Since is when a value was first seen, in seconds; 0 when it is not known.
func (r *Resolver) Since(site uint16, t Type, v uint64) uint32 {
	if row := r.ids.Find(typed(site, t, v)); v != 0 && row != nil {
		return row.First
	}
	return 0
}

// Unexplained is how many attempts carried a value that no proved owner
// explains.
func (r *Resolver) Unexplained(site uint16, t Type, v uint64) uint32 {
	row := r.ids.Find(typed(site, t, v))
	if row == nil {
		return 0
	}
	return uint32(row.Val.unexplained)
}

// Evicted counts identifiers, accounts and homes of programs that made room for others.
func (r *Resolver) Evicted() uint64 {
	return r.ids.Evicted() + r.accounts.Evicted() + r.homes.Evicted()
}

// Used is how many identifiers and accounts are in the tables.
func (r *Resolver) Used() (identifiers, accounts uint64) { return r.ids.Used(), r.accounts.Used() }

// Largest is the most merges of an actor among n slots from i.
func (r *Resolver) Largest(i, n int) (merges uint16) {
	for _, a := range r.arena.Look(i, n) {
		if a.forward == 0 {
			merges = max(merges, a.Merges)
		}
	}
	return merges
}

// Population is how many actors a site has created in all, and its proved
// owners, at least the floor.
func (r *Resolver) Population(site uint16) (actors, owners uint64) {
	return r.sites[site].created, r.sites[site].n
}

// Bytes is the memory of the tables.
func (r *Resolver) Bytes() int {
	return r.ids.Bytes() + r.accounts.Bytes() + r.homes.Bytes() + r.arena.Bytes() + r.large.Bytes() + len(r.sites)*int(unsafe.Sizeof(siteState{}))
}

// Cut adds the resolver to a cut, but for its sites.
func (r *Resolver) Cut(c *sketch.Cut) {
	r.ids.Cut(c)
	r.accounts.Cut(c)
	r.homes.Cut(c)
	sketch.Freeze(c, &r.arena)
	sketch.Freeze(c, &r.pairs)
	sketch.Freeze(c, &r.large)
	sketch.Value(c, r.largeUsed, r.free, r.hand)
	sketch.Value(c, r.stats)
}

// SetState restores what Cut has written.
func (r *Resolver) SetState(rd *sketch.Reader) error {
	var heads [3]uint32
	stats := make([]Stats, 1)
	for _, f := range []func() error{
		func() error { return r.ids.SetState(rd) },
		func() error { return r.accounts.SetState(rd) },
		func() error { return r.homes.SetState(rd) },
		func() error { return r.arena.Take(rd) },
		func() error { return r.pairs.Take(rd) },
		func() error { return r.large.Take(rd) },
		func() error { return sketch.Take(rd, heads[:]) },
		func() error { return sketch.Take(rd, stats) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	r.largeUsed, r.free, r.hand, r.stats = heads[0], heads[1], heads[2], stats[0]
	for i := range r.large.Len() {
		r.large.At(i).recount()
	}
	return nil
}

// PutSite writes what is known of one site, TakeSite reads it.
func (r *Resolver) PutSite(w *sketch.Writer, site uint16) { sketch.Put(w, []siteState{*r.sites[site]}) }

// TakeSite reads what PutSite wrote.
func (r *Resolver) TakeSite(rd *sketch.Reader, site uint16) error {
	one := make([]siteState, 1)
	if err := sketch.Take(rd, one); err != nil {
		return err
	}
	r.sites[site] = &one[0]
	return nil
}

// Places calls f for each place from which an account has proved itself.
func (r *Resolver) Places(site uint16, owner uint64, f func(Type, uint64)) {
	row := r.accounts.Find(typed(site, Owned, owner))
	if row == nil {
		return
	}
	for i, v := range row.places {
		if v != 0 {
			f(row.kinds[i], v)
		}
	}
}

// Newcomer says that an account was not seen to prove itself before a time in seconds.
func (r *Resolver) Newcomer(site uint16, owner uint64, since uint32) bool {
	row := r.accounts.Find(typed(site, Owned, owner))
	return row == nil || row.created >= since
}

// Known says that an account has a proved history.
func (r *Resolver) Known(site uint16, owner uint64) bool {
	row := r.accounts.Find(typed(site, Owned, owner))
	return row != nil && row.proofs > 0
}
