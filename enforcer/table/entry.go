package table

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Entry is a view of one stored verdict. Its memory never changes: it stays
// readable for as long as the caller keeps it, also when the verdict has been
// revised or removed meanwhile. The zero Entry must not be used.
type Entry struct{ b []byte }

// Limit is a stored rate limit.
type Limit struct {
	Unit LimitUnit
	// Key is LimitKeyActor or an event.Kind.
	Key uint8
	// Per is the period in nanoseconds, Amount the allowance in the unit.
	Per, Amount int64
}

// Action returns the action proposed.
func (e Entry) Action() event.Action { return event.Action(e.b[0]) }

// Mode returns the verdict's own mode.
func (e Entry) Mode() event.Mode { return event.Mode(e.b[1]) }

func (e Entry) scope() uint8 { return e.b[2] }

// Scope returns the unit that the verdict speaks of.
func (e Entry) Scope() verdict.Scope { return scopes[e.b[2]] }

func (e Entry) revoked() bool { return e.b[3]&flagRevoked != 0 }

// Revision returns the verdict's revision.
func (e Entry) Revision() uint32 { return binary.LittleEndian.Uint32(e.b[4:]) }

// Expires returns the end of the lease in UTC nanoseconds.
func (e Entry) Expires() int64 { return e.int64(8) }

// Time returns when the verdict was given in UTC nanoseconds.
func (e Entry) Time() int64 { return e.int64(16) }

// Score returns the sum of evidence in thousandths of a bit.
func (e Entry) Score() verdict.Milli { return verdict.Milli(e.int64(24)) }

// Confidence returns the confidence in millionths.
func (e Entry) Confidence() verdict.Micro {
	return verdict.Micro(binary.LittleEndian.Uint32(e.b[32:]))
}

func (e Entry) int64(at int) int64 { return int64(binary.LittleEndian.Uint64(e.b[at:])) }

// Limit returns the allowance of a rate_limit verdict, if it has one.
func (e Entry) Limit() (Limit, bool) {
	return Limit{Unit: LimitUnit(e.b[52]), Key: e.b[53], Per: e.int64(56), Amount: e.int64(64)}, e.b[3]&flagLimit != 0
}

// IDHash identifies the verdict in 64 bits, for bucket keys.
func (e Entry) IDHash() uint64 {
	id, _ := e.idBytes()
	return fnv64(fnvOffset, id)
}

// ActorHash identifies the verdict's actor in 64 bits; without an actor it is
// the verdict itself.
func (e Entry) ActorHash() uint64 {
	at := e.actorAt()
	if e.b[3]&flagLongActor == 0 {
		return fnv64(fnvOffset, e.b[at:at+8])
	}
	if b, _ := e.str(at); len(b) > 0 {
		return fnv64(fnvOffset, b)
	}
	return e.IDHash()
}

// idBytes returns the id's stored bytes and where the actor begins.
func (e Entry) idBytes() ([]byte, int) {
	if e.b[3]&flagLongID != 0 {
		return e.str(recordHead)
	}
	return e.b[recordHead : recordHead+16], recordHead + 16
}

func (e Entry) actorAt() int {
	_, at := e.idBytes()
	return at
}

func (e Entry) siteAt() int {
	at := e.actorAt()
	if e.b[3]&flagLongActor != 0 {
		return at + 1 + int(e.b[at])
	}
	return at + 8
}

// str reads a length-prefixed string and returns where the next field begins.
func (e Entry) str(at int) ([]byte, int) {
	n := at + 1 + int(e.b[at])
	return e.b[at+1 : n], n
}

// site returns the site's name as stored.
func (e Entry) site() []byte {
	s, _ := e.str(e.siteAt())
	return s
}

// ID returns the verdict's id.
func (e Entry) ID() string {
	b, _ := e.idBytes()
	if e.b[3]&flagLongID != 0 {
		return string(b)
	}
	return hexString("v_", b)
}

// Actor returns the actor's id, "" when the verdict has none.
func (e Entry) Actor() string {
	at := e.actorAt()
	if e.b[3]&flagLongActor != 0 {
		s, _ := e.str(at)
		return string(s)
	}
	return hexString("a_", e.b[at:at+8])
}

func hexString(prefix string, b []byte) string {
	var buf [34]byte
	return string(hex.AppendEncode(append(buf[:0], prefix...), b))
}

// Threats returns the threat codes; never nil.
func (e Entry) Threats() []verdict.Threat {
	out := make([]verdict.Threat, 0, e.b[51])
	_, at := e.str(e.siteAt())
	for range int(e.b[51]) {
		code := e.b[at]
		at++
		if code != 0 {
			out = append(out, verdict.Threat([]byte{'O', 'A', 'T', '-', '0' + code/100, '0' + code/10%10, '0' + code%10}))
			continue
		}
		var s []byte
		s, at = e.str(at)
		out = append(out, verdict.Threat(s))
	}
	return out
}

// Verdict returns the verdict as it was applied, without evidence, maturity and
// versions, which the table does not keep.
func (e Entry) Verdict() verdict.Verdict {
	v := verdict.Verdict{
		ID: e.ID(), Revision: e.Revision(), Sequence: e.int64(40), Site: string(e.site()),
		Time: verdict.Time(e.Time()), Expires: verdict.Time(e.Expires()), Scope: e.Scope(), Actor: e.Actor(),
		Action: e.Action(), Mode: e.Mode(), Threats: e.Threats(), Score: e.Score(), Confidence: e.Confidence(),
		FalsePositiveBound: verdict.Nano(binary.LittleEndian.Uint32(e.b[36:])), Bound: bounds[e.b[54]],
		Revoked: e.revoked(),
	}
	if l, ok := e.Limit(); ok {
		v.Limit = l.contract()
	}
	for g := range groups(e.b) {
		v.Binds = append(v.Binds, g.contract())
	}
	return v
}

func (l Limit) contract() *verdict.Limit {
	out := &verdict.Limit{Per: time.Duration(l.Per).String(), Key: "actor"}
	if l.Key != LimitKeyActor {
		out.Key = event.Kind(l.Key).String()
	}
	*[...]*int64{&out.Requests, &out.Bytes, &out.Seconds, &out.Cost}[l.Unit] = l.Amount
	return out
}

// String describes the entry for logs.
func (e Entry) String() string { return fmt.Sprintf("%s rev %d %s", e.ID(), e.Revision(), e.Action()) }
