package wire

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/weirproject/weir/stream/event"
)

// Batch is an opened record: its columns, checked, without a copy of its bytes.
type Batch struct {
	layout *layout
	rows   int // -1 until the record batch was read
	cols   [numColumns]source
	// Enumerations by dictionary entry, so that names are parsed once.
	source  []event.Source
	role    []event.Role
	outcome []event.Outcome
	action  []event.Action
	mode    []event.Mode
}

func (b *Batch) open(l *layout) {
	b.layout, b.rows = l, -1
	for c := range b.cols {
		b.cols[c].strs = b.cols[c].strs[:0]
	}
}

// Len is the number of events.
func (b *Batch) Len() int { return b.rows }

// Schema is the fingerprint of the record's schema.
func (b *Batch) Schema() Fingerprint { return b.layout.fingerprint }

// prepare parses the enumerations. A name that this version does not know reads
// as none: it comes from a newer minor version.
func (b *Batch) prepare() error {
	b.source = enums(b.source[:0], b.cols[colSource].strs, event.ParseSource)
	b.role = enums(b.role[:0], b.cols[colRole].strs, event.ParseRole)
	b.outcome = enums(b.outcome[:0], b.cols[colOutcome].strs, event.ParseOutcome)
	b.action = enums(b.action[:0], b.cols[colAction].strs, event.ParseAction)
	b.mode = enums(b.mode[:0], b.cols[colMode].strs, event.ParseMode)
	return b.checkObjects()
}

func enums[T any](dst []T, names []string, parse func(string) (T, error)) []T {
	for _, n := range names {
		v, _ := parse(n) // zero, which is none, when the name is not known
		dst = append(dst, v)
	}
	return dst
}

// checkObjects sees to it that the columns which share a row's objects agree and
// stay within event.MaxObjects.
func (b *Batch) checkObjects() error {
	pairs := [2][2]int{{colObjects, colObjectKeys}, {colEphemeralNames, colEphemeralKeys}}
	for i := range b.rows {
		total := 0
		for _, p := range pairs {
			from, to := b.cols[p[0]].span(i)
			kfrom, kto := b.cols[p[1]].span(i)
			if to-from != kto-kfrom {
				return corrupt("row %d: %d %s but %d %s", i, to-from, columns[p[0]].name, kto-kfrom, columns[p[1]].name)
			}
			total += to - from
		}
		if total > event.MaxObjects {
			return corrupt("row %d: %d objects", i, total)
		}
	}
	return nil
}

// Events fills dst with all events, growing it as needed and reusing the
// objects' memory, and returns it.
func (b *Batch) Events(dst []event.Event) []event.Event {
	if cap(dst) < b.rows {
		dst = append(dst[:cap(dst)], make([]event.Event, b.rows-cap(dst))...)
	}
	dst = dst[:b.rows]
	for i := range dst {
		b.Event(i, &dst[i])
	}
	return dst
}

func (s *source) lc(i int) string  { return s.strs[binary.LittleEndian.Uint16(s.fixed[2*i:])] }
func (s *source) u16(i int) uint16 { return binary.LittleEndian.Uint16(s.fixed[2*i:]) }
func (s *source) u32(i int) uint32 { return binary.LittleEndian.Uint32(s.fixed[4*i:]) }
func (s *source) u64(i int) uint64 { return binary.LittleEndian.Uint64(s.fixed[8*i:]) }
func (s *source) hash(i int) event.Hash {
	return event.Hash(binary.LittleEndian.Uint64(s.fixed[8*i:]))
}

// Event fills ev with event i, 0 <= i < Len. All fields are set; the memory of
// ev.Objects is reused. Strings alias the record's value.
func (b *Batch) Event(i int, ev *event.Event) {
	c := &b.cols
	ev.ID = c[colID].str(i)
	ev.Time = int64(c[colTime].u64(i))
	ev.Duration = int64(min(c[colDuration].u64(i), math.MaxInt64/1000)) * 1000
	ev.Source = b.source[c[colSource].u16(i)]
	ev.Node, ev.Site, ev.Workload = c[colNode].lc(i), c[colSite].lc(i), c[colWorkload].lc(i)
	ev.Client = address(c[colClientIP].fixed[16*i : 16*i+16])
	ev.ClientPort, ev.ASN, ev.Country = c[colClientPort].u16(i), c[colClientASN].u32(i), c[colCountry].lc(i)
	ev.TLSVersion, ev.SNI, ev.JA4 = c[colTLSVersion].lc(i), c[colSNI].lc(i), c[colJA4].lc(i)
	ev.Protocol, ev.Method, ev.Host = c[colProtocol].lc(i), c[colMethod].lc(i), c[colHost].lc(i)
	ev.Path, ev.Route, ev.QueryKeys = c[colPath].str(i), c[colRoute].lc(i), c[colQueryKeys].lc(i)
	ev.Status = c[colStatus].u16(i)
	ev.RequestBytes, ev.ResponseBytes = toInt64(c[colRequestBytes].u64(i)), toInt64(c[colResponseBytes].u64(i))
	ev.UserAgent, ev.AcceptLanguage = c[colUserAgent].lc(i), c[colAcceptLanguage].lc(i)
	ev.RefererHost, ev.ContentType = c[colRefererHost].lc(i), c[colContentType].lc(i)
	ev.HeaderOrder = c[colHeaderOrder].hash(i)
	for k := range ev.Keys {
		ev.Keys[k] = c[colKeys+k].hash(i)
	}
	ev.Claimed, ev.Secret = c[colClaimed].hash(i), c[colSecret].hash(i)
	ev.NewSession, ev.NewDevice = c[colNewSession].hash(i), c[colNewDevice].hash(i)
	ev.Role, ev.Outcome = b.role[c[colRole].u16(i)], b.outcome[c[colOutcome].u16(i)]
	ev.Step, ev.Cost = c[colStep].fixed[i], int64(c[colCost].u64(i))
	ev.Opens, ev.Closes = int64(c[colOpens].u64(i)), int64(c[colCloses].u64(i))
	ev.Payload = event.Payload(c[colPayload].u16(i))
	ev.Action, ev.Mode = b.action[c[colAction].u16(i)], b.mode[c[colMode].u16(i)]
	ev.Verdict, ev.Flags, ev.KeyID = c[colVerdict].str(i), event.Flags(c[colFlags].u32(i)), c[colKeyID].lc(i)
	b.objects(i, ev)
}

func address(b []byte) netip.Addr {
	a := netip.AddrFrom16([16]byte(b))
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

// objects merges the two kinds of objects back into one order.
func (b *Batch) objects(i int, ev *event.Event) {
	ev.Objects = ev.Objects[:0]
	names, keys := &b.cols[colObjects], &b.cols[colObjectKeys]
	p, pend := names.span(i)
	e, eend := b.cols[colEphemeralNames].span(i)
	if p == pend && e == eend {
		return
	}
	key, _ := keys.span(i)
	secret, _ := b.cols[colEphemeralKeys].span(i)
	mask := b.cols[colEphemeralMask].u16(i)
	for ; p < pend || e < eend; mask >>= 1 {
		if e < eend && (mask&1 != 0 || p == pend) {
			ev.Objects = append(ev.Objects, event.Object{
				Name: b.cols[colEphemeralNames].key.str(e), Hash: b.cols[colEphemeralKeys].hash(secret), Ephemeral: true,
			})
			e, secret = e+1, secret+1
			continue
		}
		o := event.Object{Name: names.key.str(p), Value: names.val.str(p), Hash: keys.hash(key)}
		if isHash(o.Value, o.Hash) {
			o.Value = ""
		}
		ev.Objects = append(ev.Objects, o)
		p, key = p+1, key+1
	}
}

const hexDigits = "0123456789abcdef"

// isHash reports whether s is h as the encoder writes it in place of a hashed
// object's value.
func isHash(s string, h event.Hash) bool {
	if len(s) != 16 {
		return false
	}
	for i := range 16 {
		if s[i] != hexDigits[h>>(60-4*i)&15] {
			return false
		}
	}
	return true
}

// addHash adds h as 16 lower-case hex digits.
func (t *texts) addHash(h event.Hash) {
	for i := range 16 {
		t.data = append(t.data, hexDigits[h>>(60-4*i)&15])
	}
	t.mark()
}

func appendU64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }
