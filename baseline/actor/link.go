package actor

import (
	"math/bits"

	"github.com/weirproject/weir/baseline/sketch"
)

// consider adds one identifier's weight to the actor it points to.
func (r *Resolver) consider(q *Request, t Type, epoch uint8, n uint64) {
	row := r.rows[t]
	i := r.live(&row.Val)
	if i == 0 {
		return
	}
	a := r.at(i)
	dt := q.Now - min(q.Now, row.Seen)
	switch {
	case t == Target && a.Own != 0 && a.Own == q.Claimed:
		return // the proved owner of an account is not its attacker
	case t == Owned && r.drops:
		return // a tool that goes through accounts is not the owner of each
	case t == Session && q.SessionGuessed && dt > q.gap():
		return
	case !q.Mature && (t == Client || t == Fingerprint || t == Template):
		// On a young site everything is unowned: that nobody is known to share a
		// value says nothing yet.
		return
	case t == Template && q.Common && r.popular(epoch):
		// A request of a new shape by software that people use tells of the
		// application (a sale's form, a release), not of the client.
		return
	}
	w := r.weight(t, &row.Val, dt, epoch, n)
	if t == Target {
		// How often does this very actor come back to an account? Campaigns of
		// one attempt per account do not, and must not swallow their victims.
		w += sketch.LnRatio((uint64(a.Repeats)*10+10)*10, (uint64(a.Attempts)*10+23)*3)
	}
	if a.Weights[t] = uint8(max(0, min(255, w/125))); w <= 0 {
		return
	}
	soft := t == Fingerprint || t == Template
	for k := range r.candidates[:r.count] {
		c := &r.candidates[k]
		if c.actor != i {
			continue
		}
		switch {
		case (t == Fingerprint || t == Client) && c.types&(1<<Joint) != 0:
			return // the joint identifier counts both already
		case t == Joint && c.types&(1<<Client) != 0:
			// Client was added first: the joint value replaces it.
			c.weight += max(0, w-int32(a.Weights[Client])*125)
		case soft && w > c.software:
			// Tools share fingerprint and template: the larger counts, and 0.3
			// of the smaller.
			c.weight += w - c.software + c.software*3/10
			c.software = w
		case soft:
			c.weight += w * 3 / 10
		case t == Device && c.types&(1<<Session) != 0:
			c.weight += w * 3 / 10
		case t == Target || t == Object:
			c.tried += w
			c.weight += w
		default:
			c.weight += w
		}
		c.types |= 1 << t
		return
	}
	c := candidate{actor: i, weight: w, types: 1 << t}
	if soft {
		c.software = w
	}
	if t == Target || t == Object {
		c.tried = w
	}
	r.candidates[r.count] = c
	r.count++
}

// company is what else must link two attempts on one target, in milli-nats.
const company = 3000

const strong = 1<<Session | 1<<Device | 1<<Owned

// choose picks the actor, merging where two are shown to be one.
func (r *Resolver) choose(q *Request, fam Familiarity, n uint64) (actor uint32, fresh bool, types uint16) {
	prior := -sketch.Ln(n)
	best := -1
	for k := range r.candidates[:r.count] {
		c := &r.candidates[k]
		a := r.at(c.actor)
		if q.Account != 0 && a.Own != 0 && a.Own != q.Account && c.types&(1<<Owned) == 0 && (a.Returned > 0 || q.Session != 0 || !q.Attempt) && !r.toolish(q) && !r.drops {
			// An actor never spans two proved owners, unless nothing there ever returns
			// a session or nobody owns the program, or nothing is kept: a tool that goes through accounts.
			c.weight -= 6000
		}
		if c.types&^(1<<Fingerprint|1<<Template) == 0 && (!q.Attempt || a.Role != q.Role) {
			// The same program in another role is another campaign.
			continue
		}
		if c.tried > 0 && c.types&strong == 0 && c.weight-c.tried < company {
			// Victims come back to the accounts that were attacked: the same target
			// links only in company of a place or a program.
			continue
		}
		if c.types&strong == 0 && (!q.Attempt || !q.Mature) && q.Session != 0 && !q.SessionGuessed && a.Returned >= 2 {
			// Another browser at the same place, not the same person again.
			continue
		}
		if best < 0 || c.weight > r.candidates[best].weight {
			best = k
		}
	}
	if best < 0 || r.candidates[best].weight+prior < attachAt {
		return r.create(q), true, 0
	}
	i := r.candidates[best].actor
	a := r.at(i)
	for t := range NumTypes {
		if r.candidates[best].types&(1<<t) != 0 && a.Links[t] < 255 {
			a.Links[t]++
		}
	}
	if q.Attempt {
		i = r.mergeOthers(q, fam, best, prior, i)
	}
	return i, false, r.candidates[best].types
}

// toolish says that a program tries something for which no proved owner vouches.
func (r *Resolver) toolish(q *Request) bool {
	return q.Mature && q.Attempt && r.rows[Fingerprint] != nil && !r.popular(epochOf(q.Now))
}

// Strong says that a resolution rests on a session, a device or an owned
// account, not on places and programs.
func (r Resolution) Strong() bool {
	return r.New || r.Types&(1<<Session|1<<Device) != 0 || r.Types&(1<<Owned) != 0 && r.Types&(1<<Joint) != 0
}

// mergeOthers weighs whether the other candidates are the same actor.
func (r *Resolver) mergeOthers(q *Request, fam Familiarity, best int, prior int32, i uint32) uint32 {
	for k := range r.candidates[:r.count] {
		c := r.candidates[k]
		if k == best || c.actor == i || r.at(c.actor).forward != 0 || r.at(i).forward != 0 {
			continue
		}
		a, b := r.at(i), r.at(c.actor)
		post := c.weight + prior
		if c.weight >= 6000 && b.Own == 0 && b.LastAttempt != 0 && q.Now-b.LastAttempt < 600 {
			// Who has just made many attempts is likelier to make the next one.
			post += min(3000, sketch.Ln(1+uint64(b.Attempts)))
		}
		if c.tried > 0 && c.types&strong == 0 && c.weight-c.tried < company {
			continue
		}
		if c.types&^(1<<Fingerprint|1<<Template) == 0 && a.Dressed > 0 {
			// A browser at its pages is somebody, however rare the browser: that
			// a tool does the same at the same time does not make them one.
			r.stats.Refused++
			continue
		}
		if fam != Familiar && a.Own == 0 && a.Attempts == 0 && post >= attachAt {
			// A fresh actor that has only looked at the form has no identity to
			// defend: the attempt decides where it belongs.
			if r.merge(c.actor, i) {
				i = c.actor
			}
			continue
		}
		if (a.Own != 0 || b.Own != 0) && c.types&strong == 0 {
			// What has proved an owner is not merged because of places, programs or
			// targets: victims of a campaign would become part of it.
			r.stats.Refused++
			continue
		}
		tag := uint32(sketch.Join(q.Joint, sketch.Join(q.Claimed, uint64(c.types))))
		if c.types&strong == 0 && (a.Settled(q.Now) || b.Settled(q.Now)) {
			r.stats.Refused++
			continue
		}
		if post >= attachAt-1000 && r.accumulate(i, c.actor, post, q.Now, tag) {
			r.merge(i, c.actor)
		}
	}
	return i
}

// Settled says that a visitor came back on a later day with its own cookie and
// was never joined with another: it has an identity to defend as an owner has,
// though it never logged in.
func (a *Actor) Settled(now uint32) bool {
	return a.Merges == 0 && a.Returned >= 2 && now-min(now, a.First) > 86400
}

// accumulate adds evidence that two actors are one; repeating the same evidence
// adds nothing.
func (r *Resolver) accumulate(a, b uint32, w int32, now, tag uint32) bool {
	if a > b {
		a, b = b, a
	}
	gens := uint64(r.at(a).generation)<<16 | uint64(r.at(b).generation)
	k := sketch.Join(uint64(a)<<32|uint64(b), gens) | 1
	p := r.pairs.At(int(k >> 20 & uint64(r.pairs.Len()-1)))
	if p.key != k {
		if p.key != 0 && now-p.at < 600 && p.sum > w {
			p.sum = p.sum * 9 / 10 // a contested slot: the newcomer ages the holder
			return false
		}
		*p = pair{key: k, at: now}
	}
	p.at = now
	if p.seen == tag || p.seen2 == tag {
		return false
	}
	p.seen, p.seen2 = tag, p.seen
	p.sum += w
	return p.sum >= mergeAt
}

// merge makes from a part of into, unless both have proved different owners.
func (r *Resolver) merge(into, from uint32) bool {
	a, b := r.at(into), r.at(from)
	if a.Own != 0 && b.Own != 0 && a.Own != b.Own {
		r.stats.Refused++
		return false
	}
	if a.Merges >= maxMerges {
		r.stats.Refused++
		return false
	}
	r.stats.Merged++
	a.Attempts, a.Repeats = sat(a.Attempts, b.Attempts), sat(a.Repeats, b.Repeats)
	a.Merges = sat(a.Merges, b.Merges+1)
	a.First = min(a.First, b.First)
	a.LastAttempt = max(a.LastAttempt, b.LastAttempt)
	if a.Own == 0 {
		a.Own = b.Own
	}
	for t := range a.Links {
		a.Links[t] = uint8(min(255, int(a.Links[t])+int(b.Links[t])))
	}
	r.OnMerge(into, from)
	b.forward, b.heir = into, a.generation
	return true
}

// maxMerges is the invariant on an actor's size: one that would swallow more
// is a fault of the evidence, not a campaign, and stays apart.
const maxMerges = 20000

func sat(a, b uint16) uint16 { return uint16(min(65535, uint32(a)+uint32(b))) }

// Dissolve splits an actor whose evidence has turned out wrong: every
// identifier loses it and finds a new home by itself.
func (r *Resolver) Dissolve(i uint32) {
	a := r.at(i)
	r.stats.Dissolved++
	*a = Actor{generation: a.generation + 1, Site: a.Site, First: a.Last, Last: a.Last, ID: sketch.Mix(a.ID)}
	r.OnRecycle(i)
}

func (r *Resolver) refreshOwners(s *siteState) {
	set := uint64(0)
	for i := range s.owners {
		set += uint64(bits.OnesCount64(s.owners[i] | s.before[i]))
	}
	set = min(set, 131000)
	s.proved = uint64(131072 * int64(sketch.LnRatio(131072, 131072-set)) / 1000)
	s.n = max(ownersFloor, s.proved)
}
