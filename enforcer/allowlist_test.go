package enforcer_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

func TestAnAllowlistAlwaysWins(t *testing.T) {
	list := enforcer.Allowlist{Name: "office", Reason: "own staff", Clients: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		e := newEnforcer(t, enforcer.Config{
			Mode: event.ModeEnforce, Allowlists: []enforcer.Allowlist{list}, StaleAfter: time.Minute,
			Sites: []enforcer.Site{{Name: "shop", Fail: enforcer.Fail(rng.IntN(3))}},
		})
		for n := range rng.IntN(4) {
			e.Apply(give(n, event.Action(rng.IntN(6)+2), bind(event.Kind(rng.IntN(int(event.NumKinds))).String())))
		}
		if d := decide(t, e, request()); d.Action != event.ActionAllow || d.Rule != "allowlist:office" || d.Reason != "own staff" || !enforcer.IsPlain(&d) {
			t.Fatalf("%+v", d)
		}
	}
}

func TestAllowlistsFitByEveryCriterionGiven(t *testing.T) {
	client := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	for _, c := range []struct {
		name string
		list enforcer.Allowlist
		want bool
	}{
		{"address", enforcer.Allowlist{Clients: client("203.0.113.7/32")}, true},
		{"mapped address", enforcer.Allowlist{Clients: client("::ffff:203.0.113.0/120")}, true},
		{"another address", enforcer.Allowlist{Clients: client("203.0.114.0/24")}, false},
		{"IPv6 for an IPv4 client", enforcer.Allowlist{Clients: client("::/0")}, false},
		{"account", enforcer.Allowlist{Binds: []verdict.Bind{{Kind: "account", Value: 7}}}, true},
		{"another account", enforcer.Allowlist{Binds: []verdict.Bind{{Kind: "account", Value: 8}}}, false},
		{"user agent", enforcer.Allowlist{UserAgents: []string{"Mozilla/*"}}, true},
		{"another user agent", enforcer.Allowlist{UserAgents: []string{"Mozilla"}}, false},
		{"user agent and wrong address", enforcer.Allowlist{UserAgents: []string{"Mozilla/*"}, Clients: client("192.0.2.0/24")}, false},
		{"network number", enforcer.Allowlist{ASNs: []uint32{64500}}, true},
		{"verified bot", enforcer.Allowlist{VerifiedBots: true}, false},
		{"another site", enforcer.Allowlist{Clients: client("203.0.113.7/32"), Sites: []string{"blog"}}, false},
		{"expired", enforcer.Allowlist{Clients: client("203.0.113.7/32"), Expires: start + second}, false},
		{"not yet expired", enforcer.Allowlist{Clients: client("203.0.113.7/32"), Expires: start + second + 1}, true},
	} {
		c.list.Name, c.list.Reason = "list", "because"
		e := newEnforcer(t, enforcer.Config{Mode: event.ModeEnforce, Allowlists: []enforcer.Allowlist{c.list}})
		e.Apply(give(1, event.ActionBlock))
		if d := decide(t, e, request()); (d.Action == event.ActionAllow) != c.want {
			t.Errorf("%s: %s by %s", c.name, d.Action, d.Rule)
		}
	}
}
