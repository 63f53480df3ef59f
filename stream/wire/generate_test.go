package wire

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"

	"github.com/weirproject/weir/stream/event"
)

// makeEvents returns n varied events: a site's ordinary traffic with every field
// used by some of them.
func makeEvents(n int, seed uint64) []event.Event {
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	evs := make([]event.Event, n)
	for i := range evs {
		user := r.IntN(200)
		ev := event.Event{
			ID: fmt.Sprintf("r-%08x", r.Uint32()), Time: 1767225600_000000000 + int64(i)*1_234_567 - int64(r.IntN(1e6)),
			Duration: int64(r.IntN(1e6)) * 1000, Source: event.SourceEnforcer, Node: "node-1", Site: pick("shop", "shop", "blog"),
			Client:     netip.AddrFrom4([4]byte{203, 0, 113, byte(user)}),
			ClientPort: uint16(r.Uint32()), ASN: uint32(64500 + user%7), Country: pick("DE", "FR", "US"),
			TLSVersion: "1.3", SNI: "shop.example", JA4: fmt.Sprintf("t13d1516h2_8daaf6152771_%012x", user%17),
			Protocol: "HTTP/2", Method: pick("GET", "GET", "GET", "POST"), Host: "shop.example",
			Path: fmt.Sprintf("/item/%d/reviews", r.IntN(5000)), Route: "/item/{id}/reviews", QueryKeys: pick("", "page&sort"),
			Status: uint16([]int{200, 200, 304, 404}[r.IntN(4)]), RequestBytes: int64(r.IntN(2000)), ResponseBytes: int64(r.IntN(90000)),
			UserAgent:      fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%d.0", user%40, user%40),
			AcceptLanguage: pick("de-DE,de;q=0.9", "en-US,en;q=0.5"), RefererHost: "shop.example", ContentType: "text/html",
			HeaderOrder: event.Hash(user % 9), KeyID: "k1", Action: event.ActionAllow, Mode: event.ModeEnforce,
		}
		for k := range ev.Keys {
			ev.Keys[k] = event.Hash(uint64(user+1) * uint64(k+1) * 0x9e3779b97f4a7c15)
		}
		if i%5 == 0 {
			ev.Client = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", user+1))
			ev.Role, ev.Outcome, ev.Cost, ev.Verdict = event.RoleItemView, event.OutcomeSuccess, -250, "v_0123456789abcdef0123456789abcdef"
			ev.Objects = []event.Object{{Name: "item", Value: strconv.Itoa(r.IntN(5000)), Hash: event.Hash(r.Uint64() | 1)}}
		}
		if i%11 == 0 {
			ev.Claimed, ev.Secret, ev.NewSession, ev.NewDevice = 7, 8, 9, 10
			ev.Role, ev.Step, ev.Opens, ev.Closes = event.RolePayAuth, 3, 1767225600_000000000, 1767229200_000000000
			ev.Payload, ev.Flags, ev.Workload = event.PayloadSQL|event.PayloadTool, event.FlagProves|event.FlagTeach, "shop.service"
			ev.Objects = []event.Object{
				{Name: "csc", Hash: event.Hash(r.Uint64() | 1), Ephemeral: true},
				{Name: "card", Hash: event.Hash(r.Uint64() | 1)},
				{Name: "expiry", Hash: event.Hash(r.Uint64() | 1), Ephemeral: true},
				{Name: "amount", Value: "12.50", Hash: event.Hash(r.Uint64() | 1)},
			}
		}
		if i%97 == 0 {
			ev = event.Event{ID: fmt.Sprint("bare-", i), Time: ev.Time}
		}
		evs[i] = ev
	}
	return evs
}
