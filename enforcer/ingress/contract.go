package ingress

import (
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// Extractor turns raw exchanges into events; *flow.Extractor is one. All methods are
// called concurrently and must not keep the Exchange or its slices.
type Extractor interface {
	// Needs says what a route wants of a request before it is forwarded; target
	// is path and query. It is asked before the body is read.
	Needs(site, method, target string) flow.Needs
	// Begin fills all that is known before the answer.
	Begin(x *flow.Exchange, ev *event.Event)
	// End completes the event with the answer.
	End(x *flow.Exchange, ev *event.Event)
}

var _ Extractor = (*flow.Extractor)(nil)

// Decider says what happens to a request. It is called concurrently and must
// not block: the client waits. It may keep nothing of the event.
type Decider interface {
	Decide(ev *event.Event) verdict.Decision
}

// Settler is a Decider that also wants to know what a request cost: it is called
// with the completed event and the decision, for limits on bytes or time.
type Settler interface {
	Settle(ev *event.Event, d *verdict.Decision)
}

// Recorder takes events and decisions. Both methods are called concurrently,
// must return at once (a full queue drops and counts) and must copy what they
// keep: the values are reused when the method returns.
type Recorder interface {
	Event(ev *event.Event)
	// Decision gets everything that is not a plain allow, shadowed ones too.
	Decision(d *verdict.Decision)
}
