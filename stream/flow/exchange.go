// Package flow turns raw exchanges into events: it owns the Exchange (a raw
// request and response, in memory only), the flow map (what an application's
// routes mean), extraction, keyed hashing and redaction. Collectors, the
// ingress and replay run the same code here.
//
// It promises that no byte of a secret, card number or account name leaves it
// other than as a keyed pseudonym, that malformed input never panics and is
// bounded before it is parsed, and that the same exchange under the same key
// gives the same event. It imports the standard library and stream/event only.
package flow

import (
	"net/netip"
	"time"

	"github.com/weirproject/weir/stream/event"
)

// Exchange is one raw HTTP request with its response. It never leaves memory:
// nothing encodes it. Slices belong to the caller, who may reuse them after
// Extractor returns.
type Exchange struct {
	ID     string
	Source event.Source
	Node   string
	// Site is set by callers that already know it; empty: Extractor finds it by
	// host.
	Site     string
	Workload string
	// Time is when the request began, Duration until the response ended.
	Time     time.Time
	Duration time.Duration
	// Client is the resolved client address; port 0 when unknown. Clients
	// behind a trusted proxy are resolved by the caller.
	Client netip.AddrPort
	// FromTrustedProxy lets the flow map's request-header identities count as
	// vouched for.
	FromTrustedProxy bool
	TLS              TLS
	// Protocol is "HTTP/1.1", "HTTP/2" or empty.
	Protocol string
	Method   string
	Host     string
	// Target is the request target as sent: path and query.
	Target string
	// Headers in wire order and spelling, as far as the source knows them;
	// HeadersKnown is false for access logs, which show only a few.
	Headers      []Field
	HeadersKnown bool
	Body         []byte
	// BodyTruncated: Body is a prefix.
	BodyTruncated bool

	// Status 0 means not answered (yet).
	Status                int
	ResponseHeaders       []Field
	ResponseBody          []byte
	ResponseBodyTruncated bool
	// RequestBytes and ResponseBytes count the bytes on the wire, or as the
	// source reports them; 0 is unknown.
	RequestBytes  int64
	ResponseBytes int64
	Flags         event.Flags
	// Unknown is the first key of a recorded exchange that has no meaning here; it
	// was passed over.
	Unknown string

	// failing is the submitted secret's hash, kept from Begin to End: a secret
	// that fails is remembered for FlagSecretReused. It never leaves memory.
	failing event.Hash
	// by is the extractor that began the exchange, kept for Live.End.
	by *Extractor
	// plan is the plan of its route, found by planner, kept for End.
	plan    *plan
	planner *Extractor
}

// Field is one header field line.
type Field struct{ Name, Value string }

// TLS is what is known of the client's side of a TLS connection.
type TLS struct{ Version, SNI, JA4 string }
