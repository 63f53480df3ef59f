package enforcer

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weirproject/weir/stream/event"
)

// allowlistRule begins the rule of a decision that an allowlist made.
const allowlistRule = "allowlist:"

// allowRule is a compiled Allowlist.
type allowRule struct {
	Allowlist
	rule     string // "allowlist:NAME"
	clients  map[netip.Prefix]struct{}
	lengths4 []int
	lengths6 []int
	kinds    []event.Kind // parallel to Binds
}

func compileAllowlist(a Allowlist) allowRule {
	r := allowRule{Allowlist: a, rule: allowlistRule + a.Name, clients: map[netip.Prefix]struct{}{}}
	for _, p := range a.Clients {
		bits, addr := p.Bits(), p.Addr()
		if addr.Is4In6() && bits >= 96 {
			addr, bits = addr.Unmap(), bits-96
		}
		r.clients[netip.PrefixFrom(addr, bits).Masked()] = struct{}{}
		lengths := &r.lengths6
		if addr.Is4() {
			lengths = &r.lengths4
		}
		if !slices.Contains(*lengths, bits) {
			*lengths = append(*lengths, bits)
		}
	}
	for _, b := range a.Binds {
		k, _ := event.ParseKind(b.Kind) // Validate has parsed it
		r.kinds = append(r.kinds, k)
	}
	return r
}

// allowRules are compiled allowlists in the order they are asked.
type allowRules []allowRule

func compileAllowlists(lists []Allowlist) (out allowRules) {
	for _, a := range lists {
		out = append(out, compileAllowlist(a))
	}
	return out
}

// first returns the first allowlist that the request fits, or nil.
func (l allowRules) first(ev *event.Event) *allowRule {
	for i := range l {
		if l[i].fits(ev) {
			return &l[i]
		}
	}
	return nil
}

// Allowlists tells which requests are never to be acted on, for those who only
// see them pass: a collector tags its events, so that the engine accuses nobody
// of what is allowed. It is immutable.
type Allowlists struct{ rules allowRules }

// NewAllowlists checks and compiles lists; the error joins all faults.
func NewAllowlists(lists []Allowlist) (*Allowlists, error) {
	if err := (Config{Allowlists: lists}).Validate(); err != nil {
		return nil, err
	}
	return &Allowlists{rules: compileAllowlists(lists)}, nil
}

// Match returns the name of the first list that the request fits at the time of
// the event, or "".
func (a *Allowlists) Match(ev *event.Event) string {
	if r := a.rules.first(ev); r != nil {
		return r.Name
	}
	return ""
}

func (a *allowRule) fits(ev *event.Event) bool {
	switch {
	case a.Expires != 0 && ev.Time >= a.Expires,
		len(a.Sites) > 0 && !slices.Contains(a.Sites, ev.Site),
		len(a.Clients) > 0 && !a.hasClient(ev.Client.Unmap()),
		len(a.ASNs) > 0 && !slices.Contains(a.ASNs, ev.ASN),
		a.VerifiedBots && ev.Flags&event.FlagVerifiedBot == 0:
		return false
	}
	return (len(a.Binds) == 0 || a.hasBind(ev)) && (len(a.UserAgents) == 0 || a.hasUserAgent(ev.UserAgent))
}

func (a *allowRule) hasClient(addr netip.Addr) bool {
	lengths := a.lengths6
	if addr.Is4() {
		lengths = a.lengths4
	}
	for _, bits := range lengths {
		if p, err := addr.WithZone("").Prefix(bits); err == nil {
			if _, ok := a.clients[p]; ok {
				return true
			}
		}
	}
	return false
}

func (a *allowRule) hasBind(ev *event.Event) bool {
	for i, b := range a.Binds {
		if ev.Keys[a.kinds[i]] == b.Value {
			return true
		}
	}
	return false
}

func (a *allowRule) hasUserAgent(ua string) bool {
	for _, want := range a.UserAgents {
		if prefix, ok := strings.CutSuffix(want, "*"); ua == want || ok && strings.HasPrefix(ua, prefix) {
			return true
		}
	}
	return false
}
