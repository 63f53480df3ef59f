package baseline

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/verdict"
)

// revokedFor is how long a revoked verdict must not come again.
const revokedFor = 24 * time.Hour

// maxAllowances bounds the allow records of one site.
const maxAllowances = 1024

// Control honours an operator's record: a manual verdict, a revocation, an
// allow or disallow record. It returns the verdicts to publish; valid until the
// next call. A record that means nothing here gives none.
func (e *Engine) Control(c *verdict.Control, pos verdict.Position) []verdict.Verdict {
	e.out = e.out[:0]
	s := e.siteOf(c.Site)
	switch c.Kind {
	case "verdict":
		e.manual(s, c, pos)
	case "revoke":
		e.revoke(s, c)
	case "allow":
		e.allow(s, c, pos)
	case "disallow":
		s.allow = slices.DeleteFunc(s.allow, func(a allowance) bool {
			return c.ID != "" && a.id == c.ID || c.ID == "" && slices.Equal(a.binds, c.Allow)
		})
		e.revoke(s, c)
	}
	return e.out
}

// manual publishes a verdict that a person gave.
func (e *Engine) manual(s *site, c *verdict.Control, pos verdict.Position) {
	if c.Verdict == nil {
		return
	}
	v := *c.Verdict
	v.Site = s.name
	if old, ok := e.force.at[v.ID]; ok && v.Revision <= e.force.list[old].Revision {
		v.Revision = e.force.list[old].Revision + 1
	}
	v.Revision = max(1, v.Revision)
	v.Evidence.Range = verdict.Range{Topic: e.cfg.Topic, Partition: pos.Partition, From: pos.Offset, To: pos.Offset}
	e.force.put(v)
	e.out = append(e.out, v)
}

// allow exempts what carries all of the binds, and publishes the record's
// verdict, if it has one, so that enforcers let the same requests pass. Past the
// bound there is neither: who gave the record sees that nothing came of it.
func (e *Engine) allow(s *site, c *verdict.Control, pos verdict.Position) {
	now := max(int64(c.Time), s.state.Clock)
	s.allow = slices.DeleteFunc(s.allow, func(a allowance) bool {
		return a.until != 0 && a.until < now || c.ID != "" && a.id == c.ID
	})
	if len(c.Allow) == 0 || len(s.allow) >= maxAllowances {
		return
	}
	a := allowance{binds: slices.Clone(c.Allow), id: c.ID}
	if c.Verdict != nil {
		a.until = int64(c.Verdict.Expires)
	}
	s.allow = append(s.allow, a)
	e.manual(s, c, pos)
}

// revoke takes a verdict back; the same case stays silent for a day. An allow
// record ends with its verdict.
func (e *Engine) revoke(s *site, c *verdict.Control) {
	i, ok := e.force.at[c.ID]
	if !ok || e.force.list[i].Site != s.name {
		return
	}
	s.allow = slices.DeleteFunc(s.allow, func(a allowance) bool { return a.id == c.ID })
	v := e.force.list[i]
	v.Revision++
	v.Revoked = true
	v.Time = max(v.Time, c.Time)
	v.Evidence.Summary = "Revoked by " + cmp.Or(c.By, "an operator")
	if c.Reason != "" {
		v.Evidence.Summary += ": " + c.Reason
	}
	e.force.put(v)
	e.counters.Revoked++
	e.out = append(e.out, v)
	if raw, err := hex.DecodeString(strings.TrimPrefix(c.ID, "v_")); err == nil && len(raw) == 16 {
		id := [2]uint64{binary.BigEndian.Uint64(raw), binary.BigEndian.Uint64(raw[8:])}
		e.force.revoked[id] = max(int64(c.Time), s.state.Clock) + int64(revokedFor)
		if len(e.force.revoked) > e.cfg.Verdicts {
			for k, until := range e.force.revoked {
				if until < s.state.Clock {
					delete(e.force.revoked, k)
				}
			}
		}
	}
}
