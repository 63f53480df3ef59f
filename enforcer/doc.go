// Package enforcer owns the decision about one request: allowlist, verdicts,
// policy, mode, scope caps, rate limits, action and the record of it. The
// ingress, the decision endpoints and replay call the same Decide.
//
// It promises that an allowlist always wins; that shadow and enforce are one
// code path, in which a request is acted on only when its site, its route, the
// policy and the verdict are all in enforce; that the policy proposes and the
// host disposes; that "now" is the event's own time, so that a replay decides
// as the live line did; that it fails open or closed as the route says, and
// keeps deciding from the last good verdicts while everything else is away; and
// that Decide never blocks, never panics and holds bounded memory.
//
// It never learns, never talks to a network and never changes a request.
package enforcer
