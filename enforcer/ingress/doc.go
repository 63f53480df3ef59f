// Package ingress owns the reverse proxy: the connections of clients, the raw
// heads they send, the way to the application and back, and the point where a
// request is decided.
//
// It promises that a request which is refused never reaches the application,
// that a request in shadow mode is answered as if weir were not there, that a
// fault in extraction or decision fails no request unless the route says so,
// that every request it serves becomes one event, and that no ambiguous message
// framing is passed on: what two parsers could read differently is rejected and
// counted by cause. Memory per connection and per request is bounded.
//
// It speaks HTTP/1 itself and leaves HTTP/2 to net/http, which tells neither the
// order nor the original spelling of a request's fields: events of HTTP/2 requests
// have no header order.
//
// It never learns, never looks up a verdict and never keeps a body longer than
// the request: those are the work of the Extractor, the Decider and the
// Recorder that it is given.
package ingress
