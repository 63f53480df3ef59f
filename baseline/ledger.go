package baseline

import (
	"slices"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// ledger holds the verdicts in force, in the order of their first publication,
// and the ids that an operator has revoked.
type ledger struct {
	limit   int
	at      map[string]int
	list    []verdict.Verdict
	revoked map[[2]uint64]int64
	// dropped verdicts in force made room for others.
	dropped uint64
}

func newLedger(limit int) ledger {
	return ledger{limit: limit, at: map[string]int{}, revoked: map[[2]uint64]int64{}}
}

// put adds or replaces a verdict; at the limit the expired make room, then others:
// see makeRoom.
func (l *ledger) put(v verdict.Verdict) {
	if i, ok := l.at[v.ID]; ok {
		l.list[i] = v
		return
	}
	if len(l.list) >= l.limit {
		l.sweep(v.Time)
	}
	if len(l.list) >= l.limit {
		l.makeRoom()
	}
	l.at[v.ID] = len(l.list)
	l.list = append(l.list, v)
}

// makeRoom removes an eighth: the oldest of what only observes, then of what the
// engine gave, and what people gave last.
func (l *ledger) makeRoom() {
	class := func(v *verdict.Verdict) int {
		switch {
		case len(v.Threats) == 0:
			return 2 // nobody but a person accuses without a threat
		case v.Action > event.ActionObserve:
			return 1
		}
		return 0
	}
	n := len(l.list)/8 + 1
	l.dropped += uint64(n)
	for least := range 3 {
		l.list = slices.DeleteFunc(l.list, func(v verdict.Verdict) bool {
			if n == 0 || class(&v) > least {
				return false
			}
			n--
			return true
		})
	}
	l.index()
}

// sweep removes what has expired or was revoked.
func (l *ledger) sweep(now verdict.Time) {
	kept := l.list[:0]
	for i := range l.list {
		if v := &l.list[i]; v.Expires >= now && !v.Revoked {
			kept = append(kept, *v)
		}
	}
	clear(l.list[len(kept):])
	l.list = kept
	l.index()
}

func (l *ledger) index() {
	clear(l.at)
	for i := range l.list {
		l.at[l.list[i].ID] = i
	}
}

// suppressed says that an operator took the verdict back and that it must not
// come again before its day is over.
func (l *ledger) suppressed(id [2]uint64, now int64) bool {
	until, ok := l.revoked[id]
	return ok && now < until
}

// InForce lists the verdicts in force at the newest event time of their site,
// oldest first, for snapshots of the feed. The result is a copy of the list;
// the verdicts share their slices with the engine and must not be changed.
func (e *Engine) InForce() []verdict.Verdict {
	var out []verdict.Verdict
	for i := range e.force.list {
		v := &e.force.list[i]
		if s := e.sites[v.Site]; v.Revoked || s != nil && int64(v.Expires) < s.state.Clock {
			continue
		}
		out = append(out, *v)
	}
	return out
}

// allowance is an operator's allow record.
type allowance struct {
	binds []verdict.Bind
	until int64
	id    string
}

// exempt says that an allow record matches the event.
func (s *site) exempt(ev *event.Event, now int64) bool {
	for i := range s.allow {
		a := &s.allow[i]
		if a.until != 0 && now > a.until {
			continue
		}
		all := len(a.binds) > 0
		for _, b := range a.binds {
			k, err := event.ParseKind(b.Kind)
			all = all && err == nil && ev.Keys[k] == b.Value
		}
		if all {
			return true
		}
	}
	return false
}
