package threat

import (
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// oat013 recognises sniping: bids in the last seconds of one auction after the
// other, by one actor or one program.
//
// Blind spots: a single late bid; an edge that comes from being near the server.
type oat013 struct{}

func (oat013) Facts() Facts {
	return Facts{
		Threat: "OAT-013", Name: "Sniping", Roles: []event.Role{event.RoleBid},
		Parts:     []string{"last_seconds", "without_looking", "unowned_software"},
		Strongest: event.ActionBlock, Compares: "how long before the end this site's people bid",
		Verb: "bid in the last seconds of several auctions",
	}
}

func (oat013) Observe(o *Observation) {
	in := o.In
	if in.Event.Closes == 0 {
		return
	}
	st, a := &in.ActorStep, in.ByActor
	k := less(a.Edge, in.Edge)
	nats, want := o.Urn(feature.UrnEdge, st.N, k, in.Edge, habit(900, 100, st.N, k))
	o.Add(Actor, 0, nats, milli(uint32(a.Edge)), int32(uint32(a.N)*uint32(want)))
	directPart(o, 1)
	if in.ByTool != nil {
		nats, want = o.Urn(feature.UrnEdge, 0, 0, in.Edge, 900000)
		o.Add(Tool, 0, min(1500, nats), milli(uint32(in.ByTool.Edge)), want)
		if in.Edge {
			toolPart(o, 2)
		}
	}
}

func (oat013) Cap(o *Observation, s Subject) (event.Action, string) {
	a := o.In.ByActor
	return roleCap(o, s, a.Edge >= 2 && a.Objects.Bits() >= 2, "late in one auction only: an eager bidder")
}
