// Package replay runs recorded exchanges through the engine and the enforcer's
// own decision code in event time, without any server (CONTRACTS: weir replay).
//
// It promises that an exchange is decided with the verdicts published before it
// began and with nothing the ingress would not have known when the request
// arrived; that the engine observes it when it ended, ties in input order; that
// decisions come out in input order; and that the same input gives the same
// bytes. It reads no clock and opens no file.
package replay

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// Extractor makes events of exchanges; *flow.Extractor is one.
type Extractor interface {
	Begin(x *flow.Exchange, ev *event.Event)
	End(x *flow.Exchange, ev *event.Event)
}

// Engine learns and accuses; cmd/line adapts *baseline.Engine.
type Engine interface {
	// Observe may return verdicts that are valid until the next call only.
	Observe(ev *event.Event, pos verdict.Position) (actor event.Hash, route string, verdicts []verdict.Verdict)
}

// Decider is the enforcer; *enforcer.Enforcer is one.
type Decider interface {
	Decide(ev *event.Event) verdict.Decision
	Apply(v *verdict.Verdict)
}

// Config is what a run needs. Extractor, Engine and Decider are required.
type Config struct {
	Extractor Extractor
	Engine    Engine
	Decider   Decider
	// LearnUntil in UTC nanoseconds: exchanges before it only teach; 0 decides
	// from the first on.
	LearnUntil int64
	// VerdictDelay is added to the time at which a verdict reaches the enforcer.
	VerdictDelay time.Duration
	// Mode is written to decisions of taught exchanges; the Decider knows its own.
	Mode event.Mode
	// Policy is the hash of the policy that Decider applies, for the verdicts.
	Policy string
	// Decisions and Verdicts receive one JSON line each; nil discards them.
	Decisions io.Writer
	Verdicts  io.Writer
	// Source is what the events say of their origin; default replay.
	Source event.Source
	// OnEvent, if set, receives each completed event; it must not keep it.
	OnEvent func(ev *event.Event, actor event.Hash)
}

// Summary is what a run counted.
type Summary struct {
	Exchanges int64 `json:"exchanges"`
	// Rejected by reason: lines that could not be used and repeated ids.
	Rejected map[string]int64 `json:"rejected"`
	// Disordered exchanges began before one that stood earlier in the input.
	Disordered int64            `json:"disordered"`
	Taught     int64            `json:"taught"`
	Actors     int64            `json:"actors"`
	Verdicts   int64            `json:"verdicts"`
	ByThreat   map[string]int64 `json:"verdicts_by_threat"`
	// Actions counts decisions by "scope/action", proposed ones in shadow mode.
	Actions map[string]int64 `json:"actions"`
	// Accused are the verdicts that decided most requests, Accusations how many
	// decided any.
	Accused     []Accused    `json:"accused"`
	Accusations int          `json:"accusations"`
	First       verdict.Time `json:"first"`
	Last        verdict.Time `json:"last"`
}

// Runner runs one replay. Use New; it is for one goroutine.
type Runner struct {
	cfg     Config
	sum     Summary
	pending pending
	delayed []delayedVerdict
	// waiting are decisions in input order that wait for their actor.
	waiting  []*slot
	free     []*slot
	actors   map[event.Hash]struct{}
	accused  map[string]*Accused
	lastTime int64
	order    int64
	sequence int64
	out      jsonLines
	verdicts jsonLines
}

// slot carries one exchange from its decision to its observation.
type slot struct {
	x        flow.Exchange
	ev       event.Event
	decision verdict.Decision
	order    int64
	at       int64
	observed bool
}

type delayedVerdict struct {
	at int64
	v  verdict.Verdict
}

// New returns a runner.
func New(cfg Config) *Runner {
	if cfg.Source == event.SourceUnknown {
		cfg.Source = event.SourceReplay
	}
	return &Runner{
		cfg:      cfg,
		sum:      Summary{Rejected: map[string]int64{}, ByThreat: map[string]int64{}, Actions: map[string]int64{}},
		actors:   map[event.Hash]struct{}{},
		accused:  map[string]*Accused{},
		out:      jsonLines{w: cfg.Decisions},
		verdicts: jsonLines{w: cfg.Verdicts},
	}
}

// Reject counts a line that cannot be used, by reason.
func (r *Runner) Reject(reason string) { r.sum.Rejected[reason]++ }

// Take decides an exchange and queues its observation. It copies x, whose
// strings must stay. The caller has made sure that ids do not repeat.
func (r *Runner) Take(x *flow.Exchange) {
	now := x.Time.UnixNano()
	if now < r.lastTime {
		r.sum.Disordered++
	}
	r.lastTime = max(r.lastTime, now)
	r.observeUntil(now)
	r.deliverUntil(now)

	s := r.slot(x)
	s.x.Source = r.cfg.Source
	s.order, s.observed = r.order, false
	r.order++
	s.at = now + int64(x.Duration)
	s.ev = event.Event{Objects: s.ev.Objects[:0]}
	r.cfg.Extractor.Begin(&s.x, &s.ev)
	if now < r.cfg.LearnUntil {
		s.ev.Flags |= event.FlagTeach
		s.decision = verdict.Decision{
			ID: x.ID, Time: verdict.Time(now), Site: s.ev.Site, Action: event.ActionAllow,
			Proposed: event.ActionAllow, Mode: r.cfg.Mode, Reason: "learning",
		}
		r.sum.Taught++
	} else {
		s.decision = r.cfg.Decider.Decide(&s.ev)
		s.ev.Action, s.ev.Mode, s.ev.Verdict = s.decision.Action, s.decision.Mode, s.decision.Verdict
		if strings.HasPrefix(s.decision.Rule, "allowlist:") {
			s.ev.Flags |= event.FlagAllowlisted
		}
	}
	r.count(s)
	r.waiting = append(r.waiting, s)
	heap.Push(&r.pending, s)
}

// slot copies x into a free slot.
func (r *Runner) slot(x *flow.Exchange) *slot {
	s := new(slot)
	if n := len(r.free); n > 0 {
		s, r.free = r.free[n-1], r.free[:n-1]
	}
	headers, answer := append(s.x.Headers[:0], x.Headers...), append(s.x.ResponseHeaders[:0], x.ResponseHeaders...)
	body, page := append(s.x.Body[:0], x.Body...), append(s.x.ResponseBody[:0], x.ResponseBody...)
	s.x = *x
	s.x.Headers, s.x.ResponseHeaders, s.x.Body, s.x.ResponseBody = headers, answer, body, page
	return s
}

func (r *Runner) count(s *slot) {
	r.sum.Exchanges++
	if r.sum.First == 0 {
		r.sum.First = s.decision.Time
	}
	r.sum.Last = max(r.sum.Last, s.decision.Time)
	scope := string(s.decision.Scope)
	if scope == "" {
		scope = "none"
	}
	r.sum.Actions[scope+"/"+s.decision.Proposed.String()]++
	r.hit(s)
}

// Finish observes what is still open, writes what waits and returns the counts.
func (r *Runner) Finish() (Summary, error) {
	const end = int64(math.MaxInt64)
	r.observeUntil(end)
	r.deliverUntil(end)
	r.flush()
	r.sum.Actors = int64(len(r.actors))
	r.sum.Accused, r.sum.Accusations = r.worst()
	if err := r.out.err; err != nil {
		return r.sum, fmt.Errorf("write decisions: %w", err)
	}
	if err := r.verdicts.err; err != nil {
		return r.sum, fmt.Errorf("write verdicts: %w", err)
	}
	return r.sum, nil
}

// observeUntil lets the engine see every exchange that ended at or before now.
func (r *Runner) observeUntil(now int64) {
	for len(r.pending) > 0 && r.pending[0].at <= now {
		s, _ := heap.Pop(&r.pending).(*slot)
		r.deliverUntil(s.at)
		r.observe(s)
	}
	r.flush()
}

func (r *Runner) observe(s *slot) {
	if s.ev.Action.Refuses() {
		refuse(&s.x, s.ev.Action)
	}
	r.cfg.Extractor.End(&s.x, &s.ev)
	actor, _, verdicts := r.cfg.Engine.Observe(&s.ev, verdict.Position{Offset: s.order})
	if actor != 0 {
		r.actors[actor] = struct{}{}
		s.decision.Actor = "a_" + actor.String()
	}
	if r.cfg.OnEvent != nil {
		r.cfg.OnEvent(&s.ev, actor)
	}
	s.observed = true
	for i := range verdicts {
		r.publish(&verdicts[i], s.at)
	}
}

func (r *Runner) publish(v *verdict.Verdict, at int64) {
	r.sequence++
	v.Sequence = r.sequence
	v.Mode, v.Policy = r.cfg.Mode, r.cfg.Policy
	r.sum.Verdicts++
	for _, t := range v.Threats {
		r.sum.ByThreat[string(t)]++
	}
	r.accuse(v)
	r.verdicts.write(v)
	if r.cfg.VerdictDelay == 0 {
		r.cfg.Decider.Apply(v)
		return
	}
	r.delayed = append(r.delayed, delayedVerdict{at: at + int64(r.cfg.VerdictDelay), v: *v})
}

// deliverUntil hands the enforcer the verdicts that have arrived by now. They
// were queued in order of publication, which is the order of arrival.
func (r *Runner) deliverUntil(now int64) {
	n := 0
	for n < len(r.delayed) && r.delayed[n].at <= now {
		r.cfg.Decider.Apply(&r.delayed[n].v)
		n++
	}
	r.delayed = r.delayed[n:]
}

// flush writes the decisions at the head of the input order that know their
// actor.
func (r *Runner) flush() {
	n := 0
	for n < len(r.waiting) && r.waiting[n].observed {
		s := r.waiting[n]
		r.out.write(lineOf(&s.decision))
		r.recycle(s)
		n++
	}
	if n == len(r.waiting) {
		r.waiting = r.waiting[:0]
		return
	}
	r.waiting = r.waiting[n:]
}

func (r *Runner) recycle(s *slot) {
	if len(r.free) < maxFree {
		r.free = append(r.free, s)
	}
}

// maxFree bounds the slots kept for reuse.
const maxFree = 4096

// refuse puts weir's own answer in the place of the recorded one, which never
// happened.
func refuse(x *flow.Exchange, a event.Action) {
	x.ResponseHeaders, x.ResponseBody = x.ResponseHeaders[:0], x.ResponseBody[:0]
	switch a {
	case event.ActionRateLimit:
		x.Status = 429
	case event.ActionRedirect:
		x.Status = 302
	default:
		x.Status = 403
	}
}

// line is one line of a --decisions file, in the order CONTRACTS section 6
// gives.
type line struct {
	ID       string           `json:"id"`
	Time     verdict.Time     `json:"time"`
	Site     string           `json:"site"`
	Action   event.Action     `json:"action"`
	Proposed event.Action     `json:"proposed"`
	Mode     event.Mode       `json:"mode"`
	Verdict  string           `json:"verdict"`
	Actor    string           `json:"actor"`
	Scope    verdict.Scope    `json:"scope"`
	Threats  []verdict.Threat `json:"threats"`
	Reason   string           `json:"reason"`
}

func lineOf(d *verdict.Decision) line {
	l := line{
		ID: d.ID, Time: d.Time, Site: d.Site, Action: d.Action, Proposed: d.Proposed, Mode: d.Mode,
		Verdict: d.Verdict, Actor: d.Actor, Scope: d.Scope, Threats: d.Threats, Reason: d.Reason,
	}
	if l.Threats == nil {
		l.Threats = []verdict.Threat{}
	}
	return l
}

// jsonLines writes one JSON document a line and keeps the first error.
type jsonLines struct {
	w   io.Writer
	err error
}

func (j *jsonLines) write(v any) {
	if j.w == nil || j.err != nil {
		return
	}
	b, err := json.Marshal(v)
	if err == nil {
		_, err = j.w.Write(append(b, '\n'))
	}
	j.err = err
}

// pending is a heap of slots by the time of their end, then by input order.
type pending []*slot

func (p pending) Len() int { return len(p) }
func (p pending) Less(i, j int) bool {
	return p[i].at < p[j].at || p[i].at == p[j].at && p[i].order < p[j].order
}
func (p pending) Swap(i, j int) { p[i], p[j] = p[j], p[i] }

// Push is for container/heap only.
func (p *pending) Push(v any) {
	s, _ := v.(*slot)
	*p = append(*p, s)
}

// Pop is for container/heap only.
func (p *pending) Pop() any {
	old := *p
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*p = old[:len(old)-1]
	return s
}
