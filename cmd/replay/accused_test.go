package replay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// fake is extractor, engine and enforcer in one: a client's third request gives a
// verdict that blocks it from then on.
type fake struct {
	seen    map[netip.Addr]int
	blocked map[netip.Addr]bool
}

func (f *fake) Begin(x *flow.Exchange, ev *event.Event) { ev.ID, ev.Client = x.ID, x.Client.Addr() }

func (f *fake) End(*flow.Exchange, *event.Event) {}

func (f *fake) Observe(ev *event.Event, _ verdict.Position) (event.Hash, string, []verdict.Verdict) {
	if f.seen[ev.Client]++; f.seen[ev.Client] != 3 {
		return 1, "", nil
	}
	f.blocked[ev.Client] = true
	return 1, "", []verdict.Verdict{{
		ID: "v_" + ev.Client.String(), Action: event.ActionBlock, Threats: []verdict.Threat{"OAT-018"}, Evidence: verdict.Evidence{Summary: "why"},
	}}
}

func (f *fake) Decide(ev *event.Event) verdict.Decision {
	d := verdict.Decision{ID: ev.ID, Action: event.ActionAllow, Proposed: event.ActionAllow}
	if f.blocked[ev.Client] {
		d.Proposed, d.Verdict = event.ActionBlock, "v_"+ev.Client.String()
	}
	return d
}

func (f *fake) Apply(*verdict.Verdict) {}

func TestTheSummarySaysWhoWasAccusedAndWhy(t *testing.T) {
	f := &fake{seen: map[netip.Addr]int{}, blocked: map[netip.Addr]bool{}}
	r := New(Config{Extractor: f, Engine: f, Decider: f})
	n := 0
	send := func(client string, times int) {
		for range times {
			n++
			x := &flow.Exchange{ID: fmt.Sprint("r-", n), Time: time.Unix(int64(n), 0), Client: netip.AddrPortFrom(netip.MustParseAddr(client), 0)}
			r.Take(x)
		}
	}
	send("198.51.100.1", 5)
	for i := range 20 {
		send(fmt.Sprintf("203.0.113.%d", i), 10)
	}
	send("192.0.2.1", 2)
	sum, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if sum.Accusations != 21 || len(sum.Accused) != maxListed {
		t.Fatalf("%d accused, %d listed, want 21 and %d", sum.Accusations, len(sum.Accused), maxListed)
	}
	a := sum.Accused[0]
	if a.Requests != 7 || a.Summary != "why" || len(a.Clients) != 1 || a.Clients[0].String() != "203.0.113.0" || a.Others {
		t.Errorf("%+v", a)
	}
}
