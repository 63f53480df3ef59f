package enforcer

import (
	"errors"
	"slices"
	"strings"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/enforcer/wasm"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// describe fills the record from match i. The threats are its own and then those
// of the other verdicts that fit: which of several was the strongest says little
// about what the request is for.
func (d *decision) describe(i int) {
	m := &d.found[i]
	d.listMatches()
	d.out.Verdict, d.out.Revision, d.out.Group = d.out.Matched[i], m.Revision(), m.Group
	d.out.Actor, d.out.Scope, d.out.Threats = m.Actor(), m.Scope(), m.Threats()
	for k := range d.found {
		if k == i || d.found[k].Action() <= event.ActionObserve {
			continue
		}
		for _, t := range d.found[k].Threats() {
			if !slices.Contains(d.out.Threats, t) {
				d.out.Threats = append(d.out.Threats, t)
			}
		}
	}
}

// listMatches records all verdicts that fit, strongest first.
func (d *decision) listMatches() {
	d.out.Matched = make([]string, len(d.found))
	for i := range d.found {
		d.out.Matched[i] = d.found[i].ID()
	}
}

// finish completes the record of everything that is not a plain allow: mode,
// reason, redacted request, metrics.
func (d *decision) finish() {
	if d.out.Proposed <= event.ActionAllow && d.out.Rule == "" {
		return
	}
	if d.best >= 0 && d.out.Rule != "policy_error" {
		if !d.live[d.best] {
			if d.out.Action <= event.ActionAllow {
				d.out.Mode = event.ModeShadow // else another verdict, in force, acted
			}
			if d.out.Proposed == event.ActionRateLimit && d.out.Action == event.ActionAllow {
				d.overLimits(false) // a shadowed limit counts too, so that the record tells what would have happened
			}
		}
		d.out.Reason = d.reason()
	}
	d.out.Request = redact(d.ev)
	d.e.metrics.decided(d)
}

// reason says in one line why the decision is what it is.
func (d *decision) reason() string {
	m := &d.found[d.best]
	var b strings.Builder
	b.Grow(192)
	for i, t := range d.out.Threats {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(t))
	}
	if len(d.out.Threats) > 0 {
		b.WriteString(": ")
	}
	writeKinds(&b, m.Kinds)
	if m.Score() == 0 {
		b.WriteString(" bound by a verdict that was added by hand")
	} else {
		b.WriteString(" bound by a verdict of ")
		b.WriteString(m.Score().String())
		b.WriteString(" bits on this ")
		b.WriteString(string(m.Scope()))
	}
	if own := m.Action(); own != d.in[d.best].Action {
		b.WriteString("; " + own.String() + " weakened to " + d.in[d.best].Action.String())
		if m.Kinds != 0 && m.Kinds&^sharedKinds == 0 {
			b.WriteString(", since shared identifiers never stand alone")
		}
	}
	switch {
	case d.out.Proposed != event.ActionRateLimit:
	case d.out.RetryAfterSeconds > 0:
		b.WriteString("; over its allowance")
	default:
		b.WriteString("; within its allowance")
	}
	if !d.live[d.best] {
		b.WriteString("; not acted on: " + d.whyShadow(m))
	}
	if d.note != "" {
		b.WriteString("; " + d.note)
	}
	return b.String()
}

func (d *decision) whyShadow(m *table.Match) string {
	switch {
	case d.kill:
		return "the kill switch is on"
	case d.rules.mode == event.ModeShadow:
		return "site or route is in shadow"
	case d.s.cfg.PolicyMode == event.ModeShadow:
		return "the policy is in shadow"
	case m.Mode() == event.ModeShadow:
		return "the verdict is in shadow"
	default:
		return "the rollout has not reached this actor"
	}
}

func writeKinds(b *strings.Builder, kinds table.Kinds) {
	if kinds == 0 {
		b.WriteString("every request")
		return
	}
	first := true
	put := func(name string) {
		if !first {
			b.WriteString(" and ")
		}
		b.WriteString(name)
		first = false
	}
	for k := range event.NumKinds {
		if kinds&table.KindBit(k) != 0 {
			put(k.String())
		}
	}
	if kinds&table.KindObject != 0 {
		put("object")
	}
}

// redact keeps of a request what a decision record may show.
func redact(ev *event.Event) *verdict.Request {
	// The four pseudonyms share one string's memory.
	var buf [4 * 16]byte
	hex := buf[:0]
	var ends [4]int
	for i, k := range [...]event.Kind{event.KindSession, event.KindAccount, event.KindDevice, event.KindTargetAccount} {
		hex = appendHash(hex, ev.Keys[k])
		ends[i] = len(hex)
	}
	all := string(hex)
	r := &verdict.Request{
		Method: ev.Method, Host: ev.Host, Path: ev.Path, Route: ev.Route, QueryKeys: ev.QueryKeys, UserAgent: ev.UserAgent,
		JA4: ev.JA4, Session: all[:ends[0]], Account: all[ends[0]:ends[1]], Device: all[ends[1]:ends[2]], Target: all[ends[2]:],
		Role: ev.Role.String(),
	}
	if ev.Client.IsValid() {
		r.Client = ev.Client.String()
	}
	return r
}

// appendHash appends 16 hex digits, or nothing for an absent hash.
func appendHash(b []byte, h event.Hash) []byte {
	if h == 0 {
		return b
	}
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[h>>shift&15])
	}
	return b
}

// IsPlain says that a decision is an ordinary allow, which needs no record:
// nothing was proposed. An allowlisted request is one too, unless a verdict
// allowed it.
func IsPlain(d *verdict.Decision) bool {
	return d.Action <= event.ActionAllow && d.Proposed <= event.ActionAllow && d.Verdict == "" &&
		(d.Rule == "" || strings.HasPrefix(d.Rule, allowlistRule))
}

func scopeNumber(s verdict.Scope) uint8 {
	switch s {
	case verdict.ScopeRequest:
		return 1
	case verdict.ScopeSession:
		return 2
	case verdict.ScopeActor:
		return 3
	case verdict.ScopeCohort:
		return 4
	case verdict.ScopeSite:
		return 5
	}
	return 0
}

var errProposal = errors.New("its proposal is out of range")

func checkProposal(p *wasm.Proposal, verdicts int) error {
	if p.Action > event.ActionBlock || p.Verdict >= verdicts || p.Verdict < -1 {
		return errProposal
	}
	if p.Action == event.ActionNone {
		p.Action = event.ActionAllow
	}
	return nil
}

// sortMatches orders matches strongest first (insertion sort: they are few).
func sortMatches(m []table.Match) {
	for i := 1; i < len(m); i++ {
		for j := i; j > 0 && table.Stronger(&m[j], &m[j-1]); j-- {
			m[j], m[j-1] = m[j-1], m[j]
		}
	}
}
