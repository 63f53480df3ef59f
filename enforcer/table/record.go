package table

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Bounds of one verdict in a table. A verdict beyond them is malformed.
const (
	MaxGroups      = 64
	MaxBinds       = 32  // of one group's all
	MaxNone        = 200 // of one group's none
	MaxRoutes      = 32  // of one group
	MaxName        = 128 // id, actor, threat and object names, in bytes
	MaxSite        = 255
	MaxRoute       = 255
	maxRecordBytes = 48 << 10
)

// ErrMalformed is wrapped by every refusal of a verdict's form.
var ErrMalformed = errors.New("verdict is malformed")

// A record is one verdict without its evidence, little endian:
//
//	 0 action u8 | mode u8 | scope u8 | flags u8 | revision u32
//	 8 expires i64        16 time i64        24 score i64
//	32 confidence u32 | false positive bound u32
//	40 sequence i64
//	48 groups offset u16 | groups u8 | threats u8 | limit unit u8 | limit key u8 | bound u8 | 0
//	56 limit per i64 (ns)   64 limit amount i64
//	72 id: 16 bytes, or length u8 and bytes where flagged
//	   actor: 8 bytes, or length u8 and bytes where flagged
//	   site: length u8 and bytes
//	   threats: code u8 ("OAT-" and three digits), or 0, length u8 and bytes
//	   groups, see group.go
//
// The layout is also that of snapshot files: change it together with
// snapshotVersion.
const recordHead = 72

const (
	flagRevoked = 1 << iota
	flagLongID
	flagLongActor
	flagLimit
)

var scopes = [...]verdict.Scope{
	"", verdict.ScopeRequest, verdict.ScopeSession, verdict.ScopeActor, verdict.ScopeCohort, verdict.ScopeSite,
}

const numScopes = len(scopes)

func scopeCode(s verdict.Scope) (uint8, bool) {
	for i, name := range scopes {
		if name == s && i > 0 {
			return uint8(i), true
		}
	}
	return 0, false
}

var bounds = [...]string{"", "empirical", "model"}

// LimitKeyActor is the key under which a rate limit is shared by the verdict's
// whole actor; any other is an identifier kind.
const LimitKeyActor = 255

// idKey identifies a verdict for the writer's map: the 16 bytes of a canonical
// id, or a hash of any other.
type idKey [16]byte

func keyOfID(id string) (k idKey) {
	if canonicalID(k[:], id) {
		return k
	}
	sum := sha256.Sum256([]byte("opaque verdict id\x00" + id))
	copy(k[:], sum[:])
	return k
}

// canonicalID reads "v_" and 32 lower-case hex digits.
func canonicalID(dst []byte, id string) bool {
	return len(id) == 34 && id[:2] == "v_" && lowerHex(dst, id[2:])
}

func lowerHex(dst []byte, s string) bool {
	for i := range len(s) {
		if c := s[i]; c < '0' || c > '9' && c < 'a' || c > 'f' {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// encode checks a verdict and lays it out.
func encode(v *verdict.Verdict) ([]byte, error) {
	scope, ok := scopeCode(v.Scope)
	switch {
	case v.ID == "" || len(v.ID) > MaxName:
		return nil, malformed("id of %d bytes, want 1 to %d", len(v.ID), MaxName)
	case v.Revision == 0:
		return nil, malformed("revision 0")
	case len(v.Actor) > MaxName:
		return nil, malformed("actor of %d bytes, want at most %d", len(v.Actor), MaxName)
	case v.Site == "" || len(v.Site) > MaxSite:
		return nil, malformed("site of %d bytes, want 1 to %d", len(v.Site), MaxSite)
	case len(v.Threats) > 255:
		return nil, malformed("%d threats, want at most 255", len(v.Threats))
	}
	if v.Revoked {
		return tombstone(v), nil
	}
	switch {
	case !ok:
		return nil, malformed("scope %q", v.Scope)
	case v.Action < event.ActionAllow || v.Action > event.ActionBlock:
		return nil, malformed("action %q", v.Action)
	case v.Mode != event.ModeShadow && v.Mode != event.ModeEnforce:
		return nil, malformed("mode %q", v.Mode)
	case len(v.Binds) == 0 || len(v.Binds) > MaxGroups:
		return nil, malformed("%d bind groups, want 1 to %d", len(v.Binds), MaxGroups)
	}
	b := appendHead(make([]byte, 0, 192), v, scope)
	b, err := appendLimit(b, v.Limit)
	if err != nil {
		return nil, err
	}
	if b, err = appendThreats(b, v.Threats); err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint16(b[48:], uint16(len(b)))
	b[50] = uint8(len(v.Binds))
	for i := range v.Binds {
		if b, err = appendGroup(b, &v.Binds[i], v.Scope); err != nil {
			return nil, fmt.Errorf("binds[%d]: %w", i, err)
		}
	}
	if len(b) > maxRecordBytes {
		return nil, malformed("%d bytes of binds, want at most %d", len(b), maxRecordBytes)
	}
	return b, nil
}

// tombstone is a revoked verdict's record: identity and expiry only.
func tombstone(v *verdict.Verdict) []byte {
	scope, _ := scopeCode(v.Scope)
	return bury(appendHead(nil, v, scope))
}

// bury makes a tombstone of a record, in place.
func bury(b []byte) []byte {
	_, end := Entry{b}.str(Entry{b}.siteAt())
	b[3] = b[3]&^flagLimit | flagRevoked
	binary.LittleEndian.PutUint16(b[48:], uint16(end))
	b[50], b[51] = 0, 0 // groups, threats
	b[52], b[53] = 0, 0
	clear(b[56:recordHead])
	return b[:end]
}

// appendHead writes the fixed part, id, actor and site; b is empty.
func appendHead(b []byte, v *verdict.Verdict, scope uint8) []byte {
	b = append(b, uint8(v.Action), uint8(v.Mode), scope, 0)
	b = binary.LittleEndian.AppendUint32(b, v.Revision)
	b = binary.LittleEndian.AppendUint64(b, uint64(v.Expires))
	b = binary.LittleEndian.AppendUint64(b, uint64(v.Time))
	b = binary.LittleEndian.AppendUint64(b, uint64(v.Score))
	b = binary.LittleEndian.AppendUint32(b, clip(int64(v.Confidence)))
	b = binary.LittleEndian.AppendUint32(b, clip(int64(v.FalsePositiveBound)))
	b = binary.LittleEndian.AppendUint64(b, uint64(v.Sequence))
	b = append(b, 0, 0, 0, uint8(len(v.Threats)), 0, 0, 0, 0)
	for i, name := range bounds {
		if name == v.Bound {
			b[54] = uint8(i)
		}
	}
	b = append(b, make([]byte, recordHead-len(b))...)
	var id [16]byte
	if canonicalID(id[:], v.ID) {
		b = append(b, id[:]...)
	} else {
		b[3] |= flagLongID
		b = appendString(b, v.ID)
	}
	var actor [8]byte
	if len(v.Actor) == 18 && v.Actor[:2] == "a_" && lowerHex(actor[:], v.Actor[2:]) {
		b = append(b, actor[:]...)
	} else {
		b[3] |= flagLongActor
		b = appendString(b, v.Actor)
	}
	return appendString(b, v.Site)
}

func clip(v int64) uint32 { return uint32(min(max(v, 0), math.MaxUint32)) }

func appendString(b []byte, s string) []byte { return append(append(b, uint8(len(s))), s...) }

func appendThreats(b []byte, threats []verdict.Threat) ([]byte, error) {
	for _, th := range threats {
		if len(th) == 7 && th[:4] == "OAT-" {
			if n, err := strconv.ParseUint(string(th[4:]), 10, 8); err == nil && n > 0 {
				b = append(b, uint8(n))
				continue
			}
		}
		if len(th) > MaxName {
			return nil, malformed("threat of %d bytes, want at most %d", len(th), MaxName)
		}
		b = appendString(append(b, 0), string(th))
	}
	return b, nil
}

// LimitUnit says what a rate limit counts.
type LimitUnit uint8

// The units: requests when they arrive; cost (thousandths of the site's unit)
// when they arrive; bytes of request and response, and nanoseconds of service
// time, when they are answered.
const (
	LimitRequests LimitUnit = iota
	LimitBytes
	LimitSeconds
	LimitCost
)

// Bounds of a rate limit: they keep its arithmetic within 64 bits.
const (
	maxPeriod    = int64(366 * 24 * time.Hour)
	maxAllowance = 1 << 40
)

func appendLimit(b []byte, l *verdict.Limit) ([]byte, error) {
	if l == nil {
		return b, nil
	}
	unit, amount, n := LimitRequests, int64(0), 0
	for u, a := range [...]int64{l.Requests, l.Bytes, l.Seconds, l.Cost} {
		if a != 0 {
			unit, amount, n = LimitUnit(u), a, n+1
		}
	}
	per, err := time.ParseDuration(l.Per)
	switch {
	case err != nil || per < time.Second || int64(per) > maxPeriod:
		return nil, malformed("limit.per %q, want a duration from 1s to 366 days", l.Per)
	case n != 1 || amount < 0:
		return nil, malformed("limit has %d allowances, want exactly one above 0", n)
	case amount > maxAllowance:
		return nil, malformed("limit of %d, want at most %d", amount, int64(maxAllowance))
	}
	key := uint8(LimitKeyActor)
	if l.Key != "actor" && l.Key != "" {
		k, err := event.ParseKind(l.Key)
		if err != nil {
			return nil, malformed("limit.key: %v", err)
		}
		key = uint8(k)
	}
	b[3] |= flagLimit
	b[52], b[53] = uint8(unit), key
	binary.LittleEndian.PutUint64(b[56:], uint64(per))
	binary.LittleEndian.PutUint64(b[64:], uint64(amount))
	return b, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
