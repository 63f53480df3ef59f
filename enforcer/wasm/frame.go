package wasm

import (
	"encoding/binary"

	"github.com/weirproject/weir/stream/event"
)

// Frame is what a policy sees of one request.
type Frame struct {
	// Event is the request, as known before it is answered.
	Event *event.Event
	// Verdicts fit the request, strongest first, at most MaxVerdicts. The host
	// has capped their actions already.
	Verdicts []Verdict
}

// Verdict is one verdict in a frame.
type Verdict struct {
	Action event.Action
	// Scope is 1 request, 2 session, 3 actor, 4 cohort, 5 site.
	Scope    uint8
	Mode     event.Mode
	Revision uint32
	// Score is in thousandths of a bit, Confidence in millionths.
	Score      int64
	Confidence uint32
	// Kinds has a bit per event.Kind that the matching bind group requires, and
	// bit event.NumKinds for objects.
	Kinds uint32
	// Expires is the end of the lease in UTC nanoseconds.
	Expires int64
}

// Proposal is a policy's answer. The host may weaken it, never strengthen it.
type Proposal struct {
	// Action proposed; ActionAllow passes the request.
	Action event.Action
	// Verdict is the index of the verdict acted upon, or -1.
	Verdict int
	// Rule is the policy's own number of the rule that spoke; the manifest
	// names it.
	Rule uint16
	// Arg is the rule's argument: unused by the host so far.
	Arg uint32
	// Fuel is what the call used, 0 for policies that are not metered.
	Fuel int64
}

const allow = event.ActionAllow

// MaxVerdicts bounds the verdicts of a frame.
const MaxVerdicts = 64

// Frame layout, see the package comment.
const (
	frameVersion = 1
	frameSlots   = 40
	frameKeys    = frameSlots + 8*numFields
	frameClaimed = frameKeys + 8*int(event.NumKinds)
	frameEntries = frameClaimed + 32
	verdictSize  = 40
	// frameMax is the largest frame; a guest's buffer must hold it.
	frameMax = 16 << 10
)

// Field is a string of the request that a manifest may ask for.
type Field uint8

// The fields in frame order, with the bytes of each that a frame carries at
// most; longer ones are cut.
const (
	FieldSite Field = iota
	FieldMethod
	FieldHost
	FieldPath
	FieldRoute
	FieldQueryKeys
	FieldUserAgent
	FieldAcceptLanguage
	FieldRefererHost
	FieldJA4
	FieldCountry
	FieldClient
	numFields = int(FieldClient) + 1
)

var fieldNames = [numFields]string{
	"site", "method", "host", "path", "route", "query_keys", "user_agent", "accept_language", "referer_host", "ja4", "country", "client",
}

var fieldLimits = [numFields]int{255, 32, 255, 4096, 1024, 1024, 1024, 255, 255, 64, 16, 48}

func (f Field) of(ev *event.Event) string {
	switch f {
	case FieldSite:
		return ev.Site
	case FieldMethod:
		return ev.Method
	case FieldHost:
		return ev.Host
	case FieldPath:
		return ev.Path
	case FieldRoute:
		return ev.Route
	case FieldQueryKeys:
		return ev.QueryKeys
	case FieldUserAgent:
		return ev.UserAgent
	case FieldAcceptLanguage:
		return ev.AcceptLanguage
	case FieldRefererHost:
		return ev.RefererHost
	case FieldJA4:
		return ev.JA4
	case FieldCountry:
		return ev.Country
	case FieldClient:
		if ev.Client.IsValid() {
			return ev.Client.String()
		}
	}
	return ""
}

// append lays the frame out behind dst, which is empty and has frameMax
// capacity. Only the fields of the set are written; the others are empty.
func (f *Frame) append(dst []byte, fields uint16) []byte {
	ev := f.Event
	verdicts := f.Verdicts[:min(len(f.Verdicts), MaxVerdicts)]
	strings := frameEntries + verdictSize*len(verdicts)
	b := dst[:strings]
	clear(b[frameSlots:frameKeys])
	le := binary.LittleEndian
	le.PutUint32(b[0:], frameVersion)
	le.PutUint64(b[8:], uint64(ev.Time))
	le.PutUint32(b[16:], uint32(ev.Flags))
	le.PutUint16(b[20:], uint16(ev.Payload))
	b[22], b[23] = uint8(ev.Role), ev.Step
	le.PutUint32(b[24:], ev.ASN)
	le.PutUint16(b[28:], ev.ClientPort)
	le.PutUint16(b[30:], uint16(len(verdicts)))
	le.PutUint32(b[32:], uint32(frameEntries))
	le.PutUint32(b[36:], uint32(len(ev.Objects)))
	for k, v := range ev.Keys {
		le.PutUint64(b[frameKeys+8*k:], uint64(v))
	}
	le.PutUint64(b[frameClaimed:], uint64(ev.Claimed))
	le.PutUint64(b[frameClaimed+8:], uint64(ev.Cost))
	le.PutUint64(b[frameClaimed+16:], uint64(ev.Opens))
	le.PutUint64(b[frameClaimed+24:], uint64(ev.Closes))
	for i := range verdicts {
		verdicts[i].put(b[frameEntries+verdictSize*i:])
	}
	for i := 0; fields != 0; i, fields = i+1, fields>>1 {
		if fields&1 == 0 {
			continue
		}
		s := Field(i).of(ev)
		s = s[:min(len(s), fieldLimits[i])]
		le.PutUint32(b[frameSlots+8*i:], uint32(len(b)))
		le.PutUint32(b[frameSlots+8*i+4:], uint32(len(s)))
		b = append(b, s...)
	}
	le.PutUint32(b[4:], uint32(len(b)))
	return b
}

func (v *Verdict) put(b []byte) {
	le := binary.LittleEndian
	b[0], b[1], b[2], b[3] = uint8(v.Action), v.Scope, uint8(v.Mode), 0
	le.PutUint32(b[4:], v.Revision)
	le.PutUint64(b[8:], uint64(v.Score))
	le.PutUint32(b[16:], v.Confidence)
	le.PutUint32(b[20:], v.Kinds)
	le.PutUint64(b[24:], uint64(v.Expires))
	le.PutUint64(b[32:], 0)
}
