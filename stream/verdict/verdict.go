// Package verdict owns what weir concludes: the Verdict with its evidence, as it
// stands on the topic weir.verdicts, the feed, the tables and the --verdicts
// file, and the Decision an enforcer makes for one request because of it.
//
// It promises that a Verdict's JSON is canonical (fixed field order, integers
// and thousandths only, no maps), so that the same input gives the same bytes,
// and that every score is an integer number of milli-nats inside and bits in
// thousandths outside. It imports only the standard library and stream/event.
package verdict

import (
	"github.com/weirproject/weir/stream/event"
)

// Verdict is one conclusion about an actor, cohort or site, with its lease.
type Verdict struct {
	// ID is "v_" and 32 hex digits: a hash of site, actor or cohort, threat and
	// the position of the first event. Mode, engine and policy are not part of
	// it.
	ID string `json:"id"`
	// Revision starts at 1 and rises with renewal, escalation and revocation;
	// the highest wins everywhere.
	Revision uint32 `json:"revision"`
	// Sequence is the record's offset in its partition of weir.verdicts, or the
	// line number in a --verdicts file; 0 until published.
	Sequence int64  `json:"sequence"`
	Site     string `json:"site"`
	// Time is when the verdict was given, Expires when its lease ends, both in
	// event time.
	Time    Time         `json:"time"`
	Expires Time         `json:"expires"`
	Scope   Scope        `json:"scope"`
	Actor   string       `json:"actor,omitempty"`
	Action  event.Action `json:"action"`
	Mode    event.Mode   `json:"mode"`
	Threats []Threat     `json:"threats"`
	// Score is the sum of the evidence in thousandths of a bit.
	Score Milli `json:"score"`
	// Confidence is 1 minus the posterior error, in millionths.
	Confidence Micro `json:"confidence"`
	// FalsePositiveBound is per clean actor-episode, in units of 1e-9.
	FalsePositiveBound Nano `json:"false_positive_bound"`
	// Bound is "empirical" or "model": which bound FalsePositiveBound is.
	Bound   string  `json:"bound"`
	Binds   []Group `json:"binds"`
	Limit   *Limit  `json:"limit,omitempty"`
	Revoked bool    `json:"revoked,omitempty"`
	// Maturity says how much history stood behind the verdict, in words
	// ("2 days, 4100 owners"); empty when it needed none.
	Maturity string   `json:"maturity,omitempty"`
	Evidence Evidence `json:"evidence"`
	// Baseline is "b_" and a hash of the learned tables' version; Engine is the
	// engine's version; Policy the hash of the policy that capped the action.
	Baseline string `json:"baseline"`
	Engine   string `json:"engine"`
	Policy   string `json:"policy,omitempty"`
}

// Bare is the verdict without its evidence, as snapshots of the feed and repeated
// records have it: all that an enforcer needs. It shares its binds with v.
func (v *Verdict) Bare() Verdict {
	bare := *v
	bare.Evidence = Evidence{Features: []Feature{}, Events: []string{}}
	return bare
}

// Threat is an OWASP Automated Threat code such as "OAT-008".
type Threat string

// Scope is the unit that a verdict speaks of; each has its own strongest
// allowed action.
type Scope string

// The scopes.
const (
	ScopeRequest Scope = "request"
	ScopeSession Scope = "session"
	ScopeActor   Scope = "actor"
	ScopeCohort  Scope = "cohort"
	ScopeSite    Scope = "site"
)

// Group is one way a request can match: all of All, none of None, and the
// route, before Expires (zero: the verdict's own). A bind of None without a
// value stands for every value of its kind: {"kind":"account","value":""} spares
// whoever has logged in.
type Group struct {
	All     []Bind   `json:"all"`
	None    []Bind   `json:"none,omitempty"`
	Routes  []string `json:"routes,omitempty"`
	Expires Time     `json:"expires,omitzero"`
}

// Bind names one identifier: a Kind's name or "object:NAME", and its pseudonym.
type Bind struct {
	Kind  string     `json:"kind"`
	Value event.Hash `json:"value"`
}

// Limit is the allowance of a rate_limit verdict. Exactly one of Requests,
// Bytes, Seconds and Cost is set.
type Limit struct {
	// Per is a Go duration, "1m".
	Per      string `json:"per"`
	Requests int64  `json:"requests,omitempty"`
	Bytes    int64  `json:"bytes,omitempty"`
	Seconds  int64  `json:"seconds,omitempty"`
	Cost     int64  `json:"cost,omitempty"`
	// Key says what shares the allowance: "actor" or an identifier kind.
	Key string `json:"key"`
}

// Evidence is why: one paragraph, the numbers, the links, the events.
type Evidence struct {
	Summary  string    `json:"summary"`
	Features []Feature `json:"features"`
	Links    []Link    `json:"links,omitempty"`
	// Events are sample event ids, the first three and the last six.
	Events []string `json:"events"`
	Range  Range    `json:"range"`
	// Caps name the rules that kept the action below what the score allowed.
	Caps []string `json:"caps,omitempty"`
	// Counterfactual says what would have to differ for no verdict.
	Counterfactual string `json:"counterfactual,omitempty"`
}

// Feature is one term of the score. Bits add up to Score.
type Feature struct {
	Name     string `json:"name"`
	Value    Milli  `json:"value"`
	Expected Milli  `json:"expected"`
	Bits     Milli  `json:"bits"`
}

// Link is why two identifiers belong to one actor: "session:9f.." and so on.
type Link struct {
	From string `json:"from"`
	To   string `json:"to"`
	Bits Milli  `json:"bits"`
}

// Range is where on the log the evidence stands, offsets inclusive.
type Range struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
}

// Position is one event's place on the log.
type Position struct {
	Partition int32
	Offset    int64
	Row       int32
}
