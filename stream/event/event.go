// Package event owns the schema of what weir observes: one Event per HTTP
// exchange, whoever saw it (kernel collector, ingress, access log, replay).
//
// It promises that an Event carries no secret: identifiers and named objects
// are keyed pseudonyms (Hash) made at the point of capture, and no field holds
// a body or a header value that could carry a credential. It imports the
// standard library only, so that the same types compile into wasm guests. It
// never computes a pseudonym itself; that is stream/flow's work.
package event

import (
	"net/netip"
)

// Event is one observed HTTP exchange, or, at the ingress before the answer,
// the part of it that is known when a request arrives.
//
// An Event is plain data. Strings may alias a decoder's buffer: a receiver that
// keeps an Event after its callback returns must Clone it.
type Event struct {
	// ID identifies the exchange; opaque, unique within an installation, at
	// most 128 bytes. The ingress uses it as X-Weir-Request-Id.
	ID string
	// Time is when the request began, in UTC nanoseconds since 1970 (event
	// time). Live sources clamp it to receive time -24 h / +5 m.
	Time int64
	// Duration is the time from request begin to response end in nanoseconds.
	Duration int64
	Source   Source
	// Node is the name of the machine that captured the event.
	Node string
	// Site is the protected application: the unit of learning and partitioning.
	Site string
	// Workload names the process or container that served it; empty if unknown.
	Workload string

	// Client is the resolved client address (never a proxy that is trusted).
	// IPv4 is stored unmapped. The zero Addr means unknown.
	Client     netip.Addr
	ClientPort uint16
	// ASN and Country come from look-ups at capture; 0 and "" without data.
	ASN     uint32
	Country string

	// TLSVersion is "1.2" or "1.3", empty for plain text; SNI and JA4 likewise.
	TLSVersion string
	SNI        string
	JA4        string

	// Protocol is "HTTP/1.0", "HTTP/1.1" or "HTTP/2"; empty if unknown.
	Protocol string
	Method   string
	Host     string
	// Path is the request path without query; segments bound to a hashed object
	// or shaped like a token, e-mail or card number stand as "{name}".
	Path string
	// Route is the declared route template of the flow map ("/item/{id}"), or
	// empty: then the engine's learned template is stored instead.
	Route string
	// QueryKeys are the names of query parameters in order of appearance,
	// without values, joined by "&"; bounded by stream/flow.
	QueryKeys string
	// Status is the response status; 0 until answered or when unknown.
	Status        uint16
	RequestBytes  int64
	ResponseBytes int64

	UserAgent      string
	AcceptLanguage string
	RefererHost    string
	// ContentType is the response's media type without parameters.
	ContentType string
	// HeaderOrder is an unkeyed hash of the header names in wire order, lower
	// case; 0 when the source does not know them.
	HeaderOrder Hash

	// Keys are the identifiers a verdict can bind, indexed by Kind.
	// Keys[KindAccount] is the proven account: vouched by the application, or
	// the owner that flow knows for the request's session.
	Keys Keys
	// Claimed is the account that the request claims (kind "account", so that
	// it equals the proven account's pseudonym); 0 when none is claimed.
	Claimed Hash
	// Secret is the submitted secret hashed together with the claimed account
	// under the daily key (CONTRACTS.md section 7): it shows whether one account
	// is tried with one secret or with many, and never that two people share
	// one; FlagSecretReused tells of one secret over many accounts. It lives on the log only: no table, sink or evidence ever carries it.
	Secret Hash
	// NewSession and NewDevice are set when the response set these identifiers.
	NewSession Hash
	NewDevice  Hash

	Role    Role
	Outcome Outcome
	// Step is the checkout step of RoleCheckoutStep, from 1; 0 otherwise.
	Step uint8
	// Cost is the route's declared cost in thousandths of the site's unit.
	Cost int64
	// Opens and Closes are object times (sale start, auction end) in UTC
	// nanoseconds; 0 when the map declares none or the value is no time.
	Opens  int64
	Closes int64
	// Objects are what the flow map extracted; order as in the map, at most
	// MaxObjects.
	Objects []Object
	// Payload holds the attack payload classes seen in target, headers or body.
	Payload Payload

	// Action, Mode and Verdict say what the enforcer did with this request;
	// empty for sources that do not enforce.
	Action  Action
	Mode    Mode
	Verdict string
	Flags   Flags
	// KeyID names the pseudonym key that made the hashes.
	KeyID string
}

// MaxObjects bounds the objects of one event.
const MaxObjects = 16

// Object is one extracted object, such as a card, an item or a coupon.
type Object struct {
	// Name is the flow map's name for it ("card", "item"), or a derived one
	// ("card.bin", "phone.prefix", "email.domain", "content.simhash").
	Name string
	// Value is the readable value of a plain object; empty for a hashed one.
	Value string
	// Hash is the pseudonym of kind "object:NAME"; always set.
	Hash Hash
	// Ephemeral objects (card security code, expiry) live on the log only and
	// never reach tables, sinks or evidence.
	Ephemeral bool
}

// Object returns the object of that name, or nil.
func (e *Event) Object(name string) *Object {
	for i := range e.Objects {
		if e.Objects[i].Name == name {
			return &e.Objects[i]
		}
	}
	return nil
}

// Clone returns a deep copy that shares no memory with e's decoder.
func (e *Event) Clone() *Event {
	c := *e
	for _, s := range []*string{
		&c.ID, &c.Node, &c.Site, &c.Workload, &c.Country, &c.TLSVersion, &c.SNI, &c.JA4, &c.Protocol, &c.Method,
		&c.Host, &c.Path, &c.Route, &c.QueryKeys, &c.UserAgent, &c.AcceptLanguage, &c.RefererHost, &c.ContentType,
		&c.Verdict, &c.KeyID,
	} {
		*s = cloneString(*s)
	}
	if e.Objects != nil {
		c.Objects = make([]Object, len(e.Objects))
		for i, o := range e.Objects {
			o.Name, o.Value = cloneString(o.Name), cloneString(o.Value)
			c.Objects[i] = o
		}
	}
	return &c
}

func cloneString(s string) string {
	if s == "" {
		return ""
	}
	return string(append([]byte(nil), s...))
}
