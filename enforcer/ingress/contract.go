package ingress

import (
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// Needs says which bodies the flow map reads on a request's route.
type Needs struct {
	// Body: the request's body, of which at most maxCapture bytes are buffered
	// before the request is decided and forwarded.
	Body bool
	// ResponseBody: the response's body, of which at most maxCapture bytes are
	// copied while it streams.
	ResponseBody bool
}

// Extractor turns raw exchanges into events (stream/flow). All methods are
// called concurrently and must not keep the Exchange or its slices.
type Extractor interface {
	// Needs is asked before the body is read; Site, Method, Host, Target and
	// Headers are set.
	Needs(x *flow.Exchange) Needs
	// Begin fills all that is known before the answer.
	Begin(x *flow.Exchange, ev *event.Event)
	// End completes the event with the answer.
	End(x *flow.Exchange, ev *event.Event)
}

// Decider says what happens to a request. It is called concurrently and must
// not block: the client waits. It may keep nothing of the event.
type Decider interface {
	Decide(ev *event.Event) verdict.Decision
}

// Recorder takes events and decisions. Both methods are called concurrently,
// must return at once (a full queue drops and counts) and must copy what they
// keep: the values are reused when the method returns.
type Recorder interface {
	Event(ev *event.Event)
	// Decision gets everything that is not a plain allow, shadowed ones too.
	Decision(d *verdict.Decision)
}
