package enforcer

import (
	"sync"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/enforcer/wasm"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// sharedKinds are identifiers that many people have in common, or that anybody
// can name: a group of only these never acts above observe.
const sharedKinds = table.Kinds(1<<event.KindTargetAccount | 1<<event.KindClientNet | 1<<event.KindASN)

// classKinds say which software asks and from where, not who: people share them
// with whoever copies their browser. A group of only these never blocks.
const classKinds = table.Kinds(1<<event.KindFingerprint | 1<<event.KindRequestTemplate | 1<<event.KindClientNet | 1<<event.KindASN)

// targetKinds say in which form somebody asks for an account, and the owner may use
// the same browser. Where no context of the owner is known to be spared, a group of
// only these never blocks.
const targetKinds = table.Kinds(1<<event.KindTargetAccount) | classKinds

var noThreats = []verdict.Threat{}

// decision is the work on one request.
type decision struct {
	e      *Enforcer
	s      *settings
	rules  *routeRules
	policy *policyInForce
	ev     *event.Event
	*scratch
	kill bool
	out  verdict.Decision
	// proposal and its owner in found, -1 for none.
	best int
	note string
}

// scratch is a decision's working memory, which would else go to the heap each
// time, since the policy is an interface.
type scratch struct {
	matches [table.MaxMatches]table.Match
	found   []table.Match // of matches
	frame   wasm.Frame
	in      [table.MaxMatches]wasm.Verdict // parallel to found, actions capped
	live    [table.MaxMatches]bool         // parallel to found: in force
	inForce [table.MaxMatches]wasm.Verdict // those of in that are
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Decide says what happens to a request, at the time of the event. It never
// fails: what goes wrong inside is counted and answered as the route fails.
func (e *Enforcer) Decide(ev *event.Event) (out verdict.Decision) {
	s := e.settings.Load()
	d := decision{e: e, s: s, rules: s.rules(ev), policy: e.policy.Load(), ev: ev, kill: e.kill.Load(), best: -1}
	var began int64
	if s.cfg.Clock != nil {
		began = s.cfg.Clock()
	}
	defer func() {
		if r := recover(); r != nil {
			e.metrics.panics.Inc()
			d.best = -1
			d.begin()
			d.fail(d.rules.closed, "internal", "internal error")
			d.finish()
		}
		if s.cfg.Clock != nil {
			d.out.Nanoseconds = max(s.cfg.Clock()-began, 0) // a wall clock may step back
		}
		out = d.out
	}()
	d.begin()
	if a := s.allow.first(ev); a != nil {
		d.allow(a.rule, a.Reason)
		return d.out
	}
	e.observeTime(ev.Time)
	if d.stale() {
		d.fail(true, "fail_closed", "no verdict feed for longer than "+s.cfg.StaleAfter.String())
		d.finish()
		return d.out
	}
	d.scratch = scratches.Get().(*scratch)
	d.found = e.table.Match(ev, ev.Time, d.matches[:0])
	switch {
	case len(d.found) > 0:
		d.decideMatches()
		d.finish()
		clear(d.found) // keep neither arenas nor the event alive
	case !d.policy.NeedsVerdict():
		d.evaluateAlone()
		d.finish()
	}
	d.frame = wasm.Frame{}
	scratches.Put(d.scratch)
	return d.out
}

// observeTime keeps the latest event time, which sweeps go by.
func (e *Enforcer) observeTime(t int64) {
	for {
		old := e.latest.Load()
		if t <= old || e.latest.CompareAndSwap(old, t) {
			return
		}
	}
}

// begin fills what every decision says.
func (d *decision) begin() {
	d.out = verdict.Decision{
		ID: d.ev.ID, Time: verdict.Time(d.ev.Time), Site: d.ev.Site, Action: event.ActionAllow, Proposed: event.ActionAllow,
		Mode: d.mode(), Threats: noThreats,
	}
}

// mode is the request's mode before any verdict is asked.
func (d *decision) mode() event.Mode {
	if d.kill {
		return event.ModeShadow
	}
	return min(d.rules.mode, d.s.cfg.PolicyMode)
}

// allow lets the request pass for a reason that stands in the record.
func (d *decision) allow(rule, reason string) {
	d.out.Rule, d.out.Reason = rule, reason
	d.e.metrics.allowlisted(rule).Inc()
}

// stale says that the route fails closed and the feed is too old.
func (d *decision) stale() bool {
	after := int64(d.s.cfg.StaleAfter)
	return d.rules.closed && after > 0 && d.ev.Time-d.e.fresh.Load() > after
}

// fail passes or refuses a request that could not be judged.
func (d *decision) fail(closed bool, rule, why string) {
	d.out.Rule, d.out.Reason = rule, why
	if closed {
		d.out.Proposed = event.ActionBlock
		d.out.Scope = verdict.ScopeRequest
	} else {
		d.out.Reason += "; passed, since the route fails open"
	}
	if closed && d.mode() == event.ModeEnforce {
		d.out.Action = event.ActionBlock
	}
}

// decideMatches decides a request that some verdicts fit.
func (d *decision) decideMatches() {
	sortMatches(d.found)
	for i := range d.found {
		if d.found[i].Action() == event.ActionAllow {
			d.describe(i)
			d.allow("allowlist:verdict", "allowed by verdict "+d.out.Verdict)
			return
		}
	}
	inForce := 0
	for i := range d.found {
		d.weigh(i)
		if d.live[i] {
			inForce++
		}
	}
	d.frame = wasm.Frame{Event: d.ev, Verdicts: d.in[:len(d.found)]}
	proposal, ok := d.evaluate()
	if !ok {
		return
	}
	d.propose(proposal)
	switch {
	case d.best < 0 || d.live[d.best]:
		d.enact()
	case inForce > 0:
		d.enactBelow()
	}
}

// evaluate asks the policy; false means that it failed, which is recorded.
func (d *decision) evaluate() (wasm.Proposal, bool) {
	p, err := d.call()
	d.out.Fuel += p.Fuel
	if err == nil {
		err = checkProposal(&p, len(d.frame.Verdicts))
	}
	if err != nil {
		d.policyFailed(err)
		return p, false
	}
	return p, true
}

func (d *decision) call() (wasm.Proposal, error) {
	d.policy = d.e.hold()
	defer d.policy.leave() // also when it panics
	if clock := d.s.cfg.Clock; clock != nil {
		began := clock()
		defer func() { d.policy.counters.exec.Observe(float64(clock()-began) / 1e9) }()
	}
	return d.policy.Evaluate(&d.frame)
}

// weigh fills the policy's view of match i, its action capped, and whether the
// verdict is in force for this request.
func (d *decision) weigh(i int) {
	m := &d.found[i]
	d.in[i] = wasm.Verdict{
		Action: d.capped(m), Scope: scopeNumber(m.Scope()), Mode: m.Mode(), Revision: m.Revision(),
		Score: int64(m.Score()), Confidence: uint32(m.Confidence()), Kinds: uint32(m.Kinds), Expires: m.Expires(),
	}
	d.live[i] = m.Mode() == event.ModeEnforce && d.mode() == event.ModeEnforce && d.rolledOut(m)
}

// capped is the strongest action that the verdict may have here.
func (d *decision) capped(m *table.Match) event.Action {
	a := m.Action()
	if limit, ok := d.s.capOf[m.Scope()]; ok {
		a = min(a, limit)
	}
	if m.Kinds != 0 && m.Kinds&^sharedKinds == 0 {
		a = min(a, event.ActionObserve)
	} else if m.Kinds != 0 && (m.Kinds&^classKinds == 0 || m.Kinds&^targetKinds == 0 && !m.Spares) {
		a = min(a, event.ActionChallenge)
	}
	return d.rules.carried[a]
}

// rolledOut says whether the rollout has reached the verdict's actor. The hash
// is stable: an actor that is in at 1 % is in at 10 %.
func (d *decision) rolledOut(m *table.Match) bool {
	return d.rules.rollout >= fullRollout || int(spread(m.ActorHash())%fullRollout) < d.rules.rollout
}

func spread(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return h
}

// evaluateAlone asks a policy that looks at requests without verdicts too.
func (d *decision) evaluateAlone() {
	d.frame = wasm.Frame{Event: d.ev}
	if p, ok := d.evaluate(); ok {
		d.propose(p)
		d.enact()
	}
}

func (d *decision) policyFailed(err error) {
	closed := d.s.cfg.PolicyFailClosed
	if d.rules.failSet {
		closed = d.rules.closed
	}
	d.policy.counters.errors.Inc()
	d.note = ""
	d.fail(closed, "policy_error", "policy "+d.policy.Name()+": "+err.Error())
	d.out.Policy = d.policy.Hash()
}

// propose records what the policy would do.
func (d *decision) propose(p wasm.Proposal) {
	d.best = p.Verdict
	d.out.Policy = d.policy.Hash()
	d.out.Proposed = max(d.rules.carried[p.Action], event.ActionAllow)
	d.out.Rule = d.policy.RuleName(p.Rule)
	switch {
	case d.best >= 0:
		d.out.Proposed = min(d.out.Proposed, d.in[d.best].Action)
		d.describe(d.best)
	case p.Action > event.ActionAllow:
		d.out.Scope = verdict.ScopeRequest
		d.out.Proposed = min(d.out.Proposed, d.s.capOf[verdict.ScopeRequest])
		d.out.Reason = "policy " + d.policy.Name() + " by its rule " + d.out.Rule
		d.listMatches()
	case len(d.found) > 0:
		d.out.Rule, d.out.Reason = "policy_allow", "policy "+d.policy.Name()+" let it pass in spite of a verdict"
		d.listMatches()
	default:
		d.out.Rule = ""
	}
}

// enact carries the proposal out if the mode lets it.
func (d *decision) enact() {
	if d.best < 0 && d.mode() != event.ModeEnforce {
		return
	}
	d.apply(d.out.Proposed)
}

// enactBelow is for a strongest verdict that is only shadowed while others are
// in force: the policy is asked again with those.
func (d *decision) enactBelow() {
	var at [table.MaxMatches]int
	n := 0
	for i := range d.found {
		if d.live[i] {
			d.inForce[n], at[n] = d.in[i], i
			n++
		}
	}
	d.frame.Verdicts = d.inForce[:n]
	p, ok := d.evaluate()
	if !ok || p.Verdict < 0 {
		return
	}
	d.apply(min(d.rules.carried[p.Action], d.inForce[p.Verdict].Action))
	if d.out.Action > event.ActionAllow {
		d.note = "in force: " + d.out.Action.String() + " by " + d.found[at[p.Verdict]].ID()
	}
}

// apply puts an action into the record; a request within its allowance passes.
func (d *decision) apply(a event.Action) {
	switch {
	case a == event.ActionRateLimit && d.best < 0:
		if !d.overDefaultLimit() {
			a = event.ActionAllow
		}
	case a == event.ActionRateLimit && !d.overLimits(true):
		a = event.ActionAllow
	case a == event.ActionRedirect:
		d.out.Location = d.rules.redirect
	}
	d.out.Action = max(a, event.ActionAllow)
}

// overDefaultLimit meters a policy rule that limits on its own: per client.
func (d *decision) overDefaultLimit() bool {
	key := spread(uint64(d.ev.Keys[event.KindClient]))
	for i := range len(d.out.Rule) {
		key = (key ^ uint64(d.out.Rule[i])) * 1099511628211
	}
	return d.takeFrom(max(key, 1), d.s.limit)
}

func (d *decision) takeFrom(key uint64, l table.Limit) bool {
	wait, granted := d.e.buckets.take(key, l, arriving(l, d.ev), d.ev.Time, false)
	if !granted {
		d.out.RetryAfterSeconds = max(d.out.RetryAfterSeconds, (wait+1e9-1)/1e9)
	}
	return !granted
}

// overLimits takes this request from the allowance of every rate limit that
// fits it and is in force (or shadowed), and says whether one is used up.
func (d *decision) overLimits(inForce bool) bool {
	over := false
	for i := range d.found {
		if d.in[i].Action != event.ActionRateLimit || d.live[i] != inForce {
			continue
		}
		l, ok := d.found[i].Limit()
		if !ok {
			l = d.s.limit
		}
		over = d.takeFrom(bucketKey(d.found[i].Entry, l, d.ev), l) || over
	}
	return over
}

// Settle charges what a request cost after its answer is known (bytes, service
// time) to the rate limits that fitted it. ev is the completed event, d what
// Decide returned.
func (e *Enforcer) Settle(ev *event.Event, d *verdict.Decision) {
	if d.Proposed != event.ActionRateLimit {
		return
	}
	for _, id := range d.Matched {
		m, ok := e.table.Get(id)
		if !ok {
			continue
		}
		if l, ok := m.Limit(); ok {
			if units := answered(l, ev); units > 0 {
				e.buckets.take(bucketKey(m, l, ev), l, units, ev.Time, true)
			}
		}
	}
}
