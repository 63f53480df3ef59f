package feature

import (
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// UrnName names a learned predictive distribution; detectors of one family
// share those of their role.
type UrnName uint8

// The urns: failure given k of n failures; a visitor of whom nothing is known
// (Input.Fresh) given k of the last n on an object, on a group; change of object;
// move of address and fingerprint; strange context; for objects: failure; quick
// succession; changed secret.
const (
	UrnFail UrnName = iota
	UrnObjectFresh
	UrnSwitch
	UrnMove
	UrnStrange
	UrnObjectFail
	UrnQuick
	UrnSecret
	UrnGroupFresh
	// UrnReused: the secret failed with another account before.
	UrnReused
	// UrnChain: the actor's request before was less than 2 s earlier.
	// UrnEdge: at the edge of the object's time (Input.Edge). UrnDirect: the
	// actor has never fetched a page. UrnUnowned: software that no proved owner
	// uses. UrnHold: another hold although nothing was bought.
	UrnChain
	UrnEdge
	UrnDirect
	UrnUnowned
	UrnHold
	NumUrns
)

// priors are Beta(a/10, b/10) of each urn, the cold-start expectation.
var priors = [NumUrns][2]uint32{
	UrnFail: {9, 50}, UrnObjectFresh: {6, 114}, UrnSwitch: {2, 100}, UrnMove: {4, 100}, UrnStrange: {30, 100},
	UrnObjectFail: {9, 50}, UrnQuick: {5, 50}, UrnSecret: {50, 50}, UrnGroupFresh: {6, 114}, UrnReused: {2, 100},
	UrnChain: {10, 40}, UrnEdge: {5, 100}, UrnDirect: {5, 100}, UrnUnowned: {10, 100}, UrnHold: {20, 40},
}

// The urns of role "none" speak of document requests: missing, quick after the
// one before, a path not asked for before, no sub-resource since the one before,
// the same route again, the next number.
const (
	PageMissing = UrnFail
	PageQuick   = UrnQuick
	PageNew     = UrnSwitch
	PageBare    = UrnMove
	PageSame    = UrnStrange
	PageOrdered = UrnSecret
	PageSlow    = UrnObjectFail
	PageUnowned = UrnUnowned
)

var pagePriors = [NumUrns][2]uint32{
	PageMissing: {3, 100}, PageQuick: {10, 40}, PageNew: {70, 30}, PageBare: {30, 30}, PageSame: {40, 40}, PageOrdered: {5, 60},
	PageSlow: {5, 50}, PageUnowned: {10, 100},
}

// Site is what one site has taught. It is flat.
type Site struct {
	Key uint64
	// Clock is the site's monotone event time, Pending a far jump that is not
	// confirmed yet, nanoseconds.
	Clock, Pending int64
	// First is the first event's time in seconds; Events counts them.
	First        uint32
	PendingCount uint32
	Events       uint64
	// Declared: events of this site carry roles, so there is a flow map.
	// Headers: header order is known.
	Declared, Headers uint32
	// Late counts events older than the clock by more than a minute.
	Late, _ uint32
	// Urns are the learned distributions per role.
	Urns [event.NumRoles][NumUrns]sketch.Urn
	// Reach[role][n] is how many actors that made n+1 attempts in an episode made
	// another; Unowned[role][n] how many attempts from a new session, by a program
	// with n sessions before, were made with a program that has no proved owner.
	// Spread[role][n] is how many objects that n+1 users acted on saw another.
	Reach, Spread [event.NumRoles]Reach
	// Fashion[role][n] is Spread for groups that are new on the site.
	Fashion [event.NumRoles]Reach
	Unowned [event.NumRoles][8]sketch.Cell
	// GroupFail is the failure urn of object groups (card BINs, phone prefixes).
	GroupFail [event.NumRoles]sketch.Urn
	// Clean counts actor-episodes whose owner proved itself again at home, and
	// Peaks[detector][b] those whose score for that detector had reached 7+b nats:
	// what the conformal bars and the empirical bounds rest on.
	Clean, _ uint32
	Peaks    [32][16]uint32
	// FamiliarFail is the running failure share of familiar contexts, by role:
	// the outage guard.
	FamiliarFail [event.NumRoles]Share
	// Tried holds templates with which accounts were attacked lately, the newest at
	// TriedAt-1: what several accounts meet is one campaign's set of browsers.
	Tried   [12]uint64
	TriedAt uint64
	// Suspects are the accounts that were targets under suspicion in the running half
	// day and in the one before, SuspectsAt which that is, and Usual how many there are
	// in one, in thousandths.
	Suspects              [2]sketch.Distinct
	SuspectsAt, Suspected uint32
	// Newcomers is the running share of first attempts by visitors of whom nothing
	// is known, by role: a crowd of new people is not one object's.
	Newcomers [event.NumRoles]Share
	// Role counts per role.
	Roles [event.NumRoles]uint64
	// Duration is the mean server time of document requests in microseconds.
	Duration uint32
	// Refuses: log-ins guessed from paths are refused by status here, so that 200
	// is a success.
	Refuses uint32
	// Arrivals is the share of visits that go each Way, Crowds who goes it now.
	Arrivals [NumWays]sketch.Cell
	Crowds   [NumWays][crowds]Crowd
	// Queue is a ring of first failed log-ins, Waiting of them from Head on.
	Queue         [pendings]Pending
	Head, Waiting uint32
	// Dressed counts visits that showed a sub-resource or a referer.
	Dressed, _ uint32
}

// Reach has, by how many came before, the share that went on to one more; the last
// place stands for all beyond.
type Reach [16]sketch.Cell

// Learn counts one more after so many.
func (r *Reach) Learn(before int) {
	r[min(before, 15)].Seen()
	if before > 0 {
		r[min(before-1, 15)].Again()
	}
}

// Share is a fast exponentially weighted share with a half-life of 23 values.
type Share struct{ Ones, All uint32 }

// Add counts one value.
func (s *Share) Add(one bool) {
	s.Ones, s.All = s.Ones*97/100, s.All*97/100
	if s.All += 1000; one {
		s.Ones += 1000
	}
}

// PPM is nine tenths of the share in parts per million, 0 while little is known.
func (s *Share) PPM() uint32 {
	if s.All < 15000 {
		return 0
	}
	return uint32(uint64(s.Ones) * 900000 / uint64(s.All))
}

// personal are the roles whose object belongs to one person or household.
var personal = [event.NumRoles]bool{
	event.RolePayAuth: true, event.RolePayout: true, event.RoleTransfer: true, event.RoleAddressChange: true, event.RoleOTPSend: true,
}

// newSite fills the priors.
func newSite(key uint64) *Site {
	s := &Site{Key: key}
	for role := range s.Urns {
		for u := range s.Urns[role] {
			s.Urns[role][u] = sketch.NewUrn(priors[u][0], priors[u][1])
		}
	}
	for _, role := range []event.Role{event.RoleVote, event.RoleLike, event.RoleClick} {
		// One logs in to one account again and again, and likes many things once.
		s.Urns[role][UrnSwitch] = sketch.NewUrn(80, 20)
	}
	// The urns of no role are about documents: see PageUrns.
	for u, ab := range pagePriors {
		if ab[0] == 0 {
			continue
		}
		s.Urns[event.RoleNone][u] = sketch.NewUrn(ab[0], ab[1])
	}
	for w, permille := range crowdPriors {
		s.Arrivals[w] = sketch.NewCell(permille, 50)
	}
	for role := range s.Reach {
		for n := range s.Reach[role] {
			s.Reach[role][n] = sketch.NewCell(uint32(min(900, 400+60*n)), 20)
		}
		for n := range s.Spread[role] {
			// Cards, payees, addresses and numbers are personal; items are not.
			s.Spread[role][n] = sketch.NewCell(uint32(250+40*n), 20)
			if personal[role] {
				s.Spread[role][n] = sketch.NewCell(uint32(80+40*n), 20)
			}
			s.Fashion[role][n] = sketch.NewCell(uint32(200+25*n), 20)
		}
		for n := range s.Unowned[role] {
			s.Unowned[role][n] = sketch.NewCell(uint32(300-30*n), 20)
		}
		s.GroupFail[role] = sketch.NewUrn(9, 50)
	}
	return s
}

// Try remembers a template with which an account was attacked.
func (s *Site) Try(template uint64) {
	for _, t := range s.Tried {
		if t == template {
			return
		}
	}
	s.Tried[s.TriedAt%uint64(len(s.Tried))] = template
	s.TriedAt++
}

const halfDay = 43200

// Suspect remembers an account as a target under suspicion, and returns how many
// there are now.
func (s *Site) Suspect(account uint64, now uint32) uint32 {
	if at := now / halfDay; at != s.SuspectsAt {
		n := min(1000*s.Suspects[0].Count(), s.Suspected+1000) // an attack is not the usual
		s.Suspected = (3*s.Suspected + n) / 4
		s.Suspects[1] = s.Suspects[0]
		if s.Suspects[0] = 0; at != s.SuspectsAt+1 {
			s.Suspects[1] = 0
		}
		s.SuspectsAt = at
	}
	s.Suspects[0].Add(account)
	return (s.Suspects[0] | s.Suspects[1]).Count()
}

const maxJump = 6 * 3600e9

// Advance moves the clock to an event's time and returns the time to use. The
// clock never rewinds; a jump of more than six hours needs three events in
// agreement, so that one wrong stamp expires nothing.
func (s *Site) Advance(t int64) int64 {
	switch {
	case s.Clock == 0:
		s.Clock = t
		s.First = uint32(t / 1e9)
	case t <= s.Clock:
		if s.Clock-t > 60e9 {
			s.Late++
		}
	case t-s.Clock <= maxJump:
		s.Clock, s.PendingCount = t, 0
	case s.PendingCount > 0 && t-s.Pending <= maxJump && s.Pending-t <= maxJump:
		if s.PendingCount++; s.PendingCount >= 3 {
			s.Clock, s.PendingCount = max(t, s.Clock), 0
		}
		s.Pending = t
	default:
		s.Pending, s.PendingCount = t, 1
	}
	s.Events++
	return s.Clock
}

// Route is one row of the endpoint statistics.
type Route struct {
	// Requests, and those answered 404.
	Requests, NotFound uint32
	// Duration is the mean server time in microseconds.
	Duration uint32
}

// pathRow says how many actors have been answered for one concrete path.
type pathRow struct {
	Actors sketch.Distinct
}
