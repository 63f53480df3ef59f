package table

import (
	"encoding/binary"
	"iter"
	"strings"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// A group is one way to match, little endian:
//
//	 0 length u16 (of the whole group) | length of all u16 | kinds u16
//	 6 expires i64 (the verdict's own where the group has none)
//	14 has own expiry u8 | index bind u8 | all u8 | none u8 | routes u8
//	19 binds of all, binds of none: kind u8, value u64; kind 255 is followed by
//	   a length u8 and the object's name before the value
//	   routes: length u8 and bytes
const groupHead = 19

// objectKind marks a bind to a named object.
const objectKind = 255

const objectPrefix = "object:"

// Kinds is a set of identifier kinds, a bit per event.Kind.
type Kinds uint16

// KindObject stands for any "object:NAME" in Kinds.
const KindObject Kinds = 1 << event.NumKinds

// KindBit returns the set of one kind.
func KindBit(k event.Kind) Kinds { return 1 << k }

// kindRank orders the kinds from the narrowest to the widest: among equally
// frequent binds the narrower one is the better index.
var kindRank = [event.NumKinds]int{
	event.KindSession: 0, event.KindDevice: 1, event.KindAccount: 2, event.KindClientFingerprint: 3,
	event.KindClient: 5, event.KindTargetAccount: 6, event.KindFingerprint: 7, event.KindRequestTemplate: 8,
	event.KindClientNet: 9, event.KindASN: 10,
}

const objectRank = 4

func appendGroup(b []byte, g *verdict.Group, scope verdict.Scope) ([]byte, error) {
	switch {
	case len(g.All) == 0 && scope != verdict.ScopeSite:
		return nil, malformed("binds nothing; only scope site may")
	case len(g.All) > MaxBinds:
		return nil, malformed("%d binds in all, want at most %d", len(g.All), MaxBinds)
	case len(g.None) > MaxNone:
		return nil, malformed("%d binds in none, want at most %d", len(g.None), MaxNone)
	case len(g.Routes) > MaxRoutes:
		return nil, malformed("%d routes, want at most %d", len(g.Routes), MaxRoutes)
	}
	start := len(b)
	expires, own := int64(binary.LittleEndian.Uint64(b[8:])), uint8(0)
	if g.Expires != 0 {
		expires, own = min(expires, int64(g.Expires)), 1
	}
	b = append(b, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(expires))
	b = append(b, own, 0, uint8(len(g.All)), uint8(len(g.None)), uint8(len(g.Routes)))
	var kinds Kinds
	var err error
	for _, x := range g.All {
		var k Kinds
		if b, k, err = appendBind(b, x, false); err != nil {
			return nil, err
		}
		kinds |= k
	}
	allLen := len(b) - start - groupHead
	for _, x := range g.None {
		if b, _, err = appendBind(b, x, true); err != nil {
			return nil, err
		}
	}
	for _, r := range g.Routes {
		if r == "" || len(r) > MaxRoute {
			return nil, malformed("route of %d bytes, want 1 to %d", len(r), MaxRoute)
		}
		b = appendString(b, r)
	}
	if len(b) > maxRecordBytes {
		return nil, malformed("more than %d bytes of binds", maxRecordBytes)
	}
	binary.LittleEndian.PutUint16(b[start:], uint16(len(b)-start))
	binary.LittleEndian.PutUint16(b[start+2:], uint16(allLen))
	binary.LittleEndian.PutUint16(b[start+4:], uint16(kinds))
	return b, nil
}

// appendBind stores a bind; one without a value stands for every value of its
// kind where anyValue allows it.
func appendBind(b []byte, x verdict.Bind, anyValue bool) ([]byte, Kinds, error) {
	if x.Value == 0 && (!anyValue || strings.HasPrefix(x.Kind, objectPrefix)) {
		return nil, 0, malformed("%s is bound to an empty value", x.Kind)
	}
	if name, ok := strings.CutPrefix(x.Kind, objectPrefix); ok && name != "" {
		if len(name) > MaxName {
			return nil, 0, malformed("object name of %d bytes, want at most %d", len(name), MaxName)
		}
		b = appendString(append(b, objectKind), name)
		return binary.LittleEndian.AppendUint64(b, uint64(x.Value)), KindObject, nil
	}
	k, err := event.ParseKind(x.Kind)
	if err != nil {
		return nil, 0, malformed("%v", err)
	}
	b = append(b, uint8(k))
	return binary.LittleEndian.AppendUint64(b, uint64(x.Value)), KindBit(k), nil
}

// groupSeq walks a record's groups.
type groupSeq func(yield func(group) bool)

// group is a view of one group and its number.
type group struct {
	n int
	b []byte
}

func groups(record []byte) groupSeq {
	return func(yield func(group) bool) {
		if len(record) < recordHead {
			return
		}
		at := int(binary.LittleEndian.Uint16(record[48:]))
		for n := range int(record[50]) {
			end := at + int(binary.LittleEndian.Uint16(record[at:]))
			if !yield(group{n, record[at:end]}) {
				return
			}
			at = end
		}
	}
}

// at returns group n, or false.
func (s groupSeq) at(n int) (group, bool) {
	for g := range s {
		if g.n == n {
			return g, true
		}
	}
	return group{}, false
}

// groupAt is groups(record).at(n) without closures, for the lookup path.
func groupAt(record []byte, n int) (group, bool) {
	if n >= int(record[50]) {
		return group{}, false
	}
	at := int(binary.LittleEndian.Uint16(record[48:]))
	for range n {
		at += int(binary.LittleEndian.Uint16(record[at:]))
	}
	return group{n, record[at : at+int(binary.LittleEndian.Uint16(record[at:]))]}, true
}

func (g group) expires() int64     { return int64(binary.LittleEndian.Uint64(g.b[6:])) }
func (g group) kinds() Kinds       { return Kinds(binary.LittleEndian.Uint16(g.b[4:])) }
func (g group) indexBind() int     { return int(g.b[15]) }
func (g group) setIndexBind(i int) { g.b[15] = uint8(i) }
func (g group) all() []byte {
	return g.b[groupHead : groupHead+int(binary.LittleEndian.Uint16(g.b[2:]))]
}
func (g group) binds() iter.Seq[bind] { return g.bindsFrom(groupHead, int(g.b[16])) }
func (g group) noneBinds() int        { return groupHead + len(g.all()) }
func (g group) nones() iter.Seq[bind] { return g.bindsFrom(g.noneBinds(), int(g.b[17])) }
func (g group) indexKey(s uint64) uint64 {
	i := 0
	for b := range g.binds() {
		if i == g.indexBind() {
			return b.key(s)
		}
		i++
	}
	return uniformKey(s)
}

// indexBit is the bit of the index bind's kind in index.kinds.
func (g group) indexBit() uint32 {
	i := 0
	for b := range g.binds() {
		if i == g.indexBind() {
			if b.kind == objectKind {
				return uint32(KindObject)
			}
			return 1 << b.kind
		}
		i++
	}
	return uniformBit
}

func (g group) bindsFrom(at, n int) iter.Seq[bind] {
	return func(yield func(bind) bool) {
		for range n {
			var b bind
			b, at = readBind(g.b, at)
			if !yield(b) {
				return
			}
		}
	}
}

// indexKeys returns the keys under which a record's groups are indexed.
func indexKeys(record []byte) []uint64 {
	site := siteSeed(Entry{record}.site())
	var keys []uint64
	for g := range groups(record) {
		keys = append(keys, g.indexKey(site))
	}
	return keys
}

func (g group) contract() verdict.Group {
	var out verdict.Group
	out.All = []verdict.Bind{}
	for b := range g.binds() {
		out.All = append(out.All, b.contract())
	}
	for b := range g.nones() {
		out.None = append(out.None, b.contract())
	}
	at := g.noneBinds()
	for range int(g.b[17]) {
		_, at = readBind(g.b, at)
	}
	for range int(g.b[18]) {
		end := at + 1 + int(g.b[at])
		out.Routes = append(out.Routes, string(g.b[at+1:end]))
		at = end
	}
	if g.b[14] != 0 {
		out.Expires = verdict.Time(g.expires())
	}
	return out
}

// bind is one stored identifier; name is set for objects only.
type bind struct {
	kind  uint8
	name  []byte
	value event.Hash
}

func readBind(b []byte, at int) (bind, int) {
	x := bind{kind: b[at]}
	at++
	if x.kind == objectKind {
		end := at + 1 + int(b[at])
		x.name, at = b[at+1:end], end
	}
	x.value = event.Hash(binary.LittleEndian.Uint64(b[at:]))
	return x, at + 8
}

func (x bind) contract() verdict.Bind {
	if x.kind == objectKind {
		return verdict.Bind{Kind: objectPrefix + string(x.name), Value: x.value}
	}
	return verdict.Bind{Kind: event.Kind(x.kind).String(), Value: x.value}
}

func (x bind) rank() int {
	if x.kind == objectKind {
		return objectRank
	}
	return kindRank[x.kind]
}

func (x bind) key(site uint64) uint64 {
	if x.kind == objectKind {
		return objectKey(site, fnv64(fnvOffset, x.name), x.value)
	}
	return kindKey(site, event.Kind(x.kind), x.value)
}

// fits reports whether the request carries the identifier, or for a bind
// without a value any of its kind.
func (x bind) fits(ev *event.Event) bool {
	if x.kind != objectKind {
		v := ev.Keys[x.kind]
		return v != 0 && (x.value == 0 || x.value == v)
	}
	for i := range ev.Objects {
		if ev.Objects[i].Hash == x.value && ev.Objects[i].Name == string(x.name) {
			return true
		}
	}
	return false
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func fnv64[T ~string | ~[]byte](h uint64, s T) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

func siteSeed[T ~string | ~[]byte](site T) uint64 { return mix(fnv64(uint64(fnvOffset), site)) }

// Identifier values are keyed pseudonyms, so nobody without the key can aim at
// an index key; mixing only spreads them over sites and kinds.
func kindKey(site uint64, k event.Kind, v event.Hash) uint64 {
	return mix(site + uint64(v) + (uint64(k)+1)*0x9e3779b97f4a7c15)
}

func objectKey(site, name uint64, v event.Hash) uint64 { return mix(site + uint64(v) + mix(name)) }

// uniformKey indexes the groups that bind nothing (scope site).
func uniformKey(site uint64) uint64 { return mix(site + 0xbf58476d1ce4e5b9) }

// mix is the finaliser of MurmurHash3 (public domain), never 0.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return max(h, 1)
}
