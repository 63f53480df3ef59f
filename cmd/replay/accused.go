package replay

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Accused is a verdict that decided requests: who, what and why, for a person who
// runs a log through weir for the first time.
type Accused struct {
	Verdict string           `json:"verdict"`
	Actor   string           `json:"actor,omitempty"`
	Action  event.Action     `json:"action"`
	Threats []verdict.Threat `json:"threats"`
	// Requests were refused, challenged, slowed or redirected by it, or would have
	// been in shadow mode.
	Requests int64 `json:"requests"`
	// Clients are the first few addresses of these requests; Others says that
	// there were more.
	Clients []netip.Addr `json:"clients"`
	Others  bool         `json:"others,omitempty"`
	// Summary is the verdict's own evidence in words.
	Summary string `json:"summary"`
}

const (
	// maxAccused bounds the verdicts that are told apart; later ones are in the
	// other counts only.
	maxAccused = 1 << 14
	// maxClients bounds the addresses kept of each.
	maxClients = 3
	// maxListed bounds the list in the summary.
	maxListed = 10
)

// accuse remembers what a verdict says in its newest revision.
func (r *Runner) accuse(v *verdict.Verdict) {
	if v.Action < event.ActionRateLimit {
		return
	}
	a := r.accused[v.ID]
	if a == nil {
		if len(r.accused) >= maxAccused {
			return
		}
		a = &Accused{Verdict: v.ID, Actor: v.Actor}
		r.accused[v.ID] = a
	}
	a.Action, a.Summary = v.Action, v.Evidence.Summary
	a.Threats = append(a.Threats[:0], v.Threats...)
}

// hit counts a request that a verdict decided.
func (r *Runner) hit(s *slot) {
	a := r.accused[s.decision.Verdict]
	if a == nil || s.decision.Proposed < event.ActionRateLimit {
		return
	}
	a.Requests++
	switch client := s.ev.Client; {
	case slices.Contains(a.Clients, client):
	case len(a.Clients) < maxClients:
		a.Clients = append(a.Clients, client)
	default:
		a.Others = true
	}
}

// worst lists the verdicts that decided most requests.
func (r *Runner) worst() (list []Accused, all int) {
	list = []Accused{}
	for _, a := range r.accused {
		if a.Requests > 0 {
			list = append(list, *a)
		}
	}
	slices.SortFunc(list, func(a, b Accused) int {
		switch {
		case a.Requests != b.Requests:
			return int(max(-1, min(1, b.Requests-a.Requests)))
		default:
			return strings.Compare(a.Verdict, b.Verdict)
		}
	})
	return list[:min(maxListed, len(list))], len(list)
}
