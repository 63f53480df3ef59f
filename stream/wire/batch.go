package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/weirproject/weir/stream/event"
)

// Batch is an opened record: its columns, checked, without a copy of its bytes.
type Batch struct {
	layout *layout
	rows   int // -1 until the record batch was read
	// varies has a bit for each column whose rows are not all alike.
	varies uint64
	cols   [numColumns]source
	// Enumerations by dictionary entry, so that names are parsed once.
	source  []event.Source
	role    []event.Role
	outcome []event.Outcome
	action  []event.Action
	mode    []event.Mode
}

func (b *Batch) open(l *layout) {
	b.layout, b.rows, b.varies = l, -1, 0
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
	c := &b.cols
	// Where nobody has ephemeral objects and the offsets are the same bytes, as our
	// encoder writes them, what is left is how many objects there are.
	total := 0
	if b.varies&(1<<colEphemeralNames|1<<colEphemeralKeys) == 0 && bytes.Equal(c[colObjects].offs, c[colObjectKeys].offs) {
		for i := range b.rows {
			from, to := c[colObjects].span(i)
			total = max(total, to-from)
		}
		if total <= event.MaxObjects {
			return nil
		}
	}
	pairs := [2][2]int{{colObjects, colObjectKeys}, {colEphemeralNames, colEphemeralKeys}}
	for i := range b.rows {
		total = 0
		for _, p := range pairs {
			from, to := c[p[0]].span(i)
			kfrom, kto := c[p[1]].span(i)
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

// The limits of what is cut out are given thrice, so that no other check is left.

func (s *source) lc(i int) string { return s.strs[s.u16(i)] }

func (s *source) u16(i int) uint16 {
	return binary.LittleEndian.Uint16(s.fixed[2*i : 2*i+2 : 2*i+2])
}

func (s *source) u32(i int) uint32 {
	return binary.LittleEndian.Uint32(s.fixed[4*i : 4*i+4 : 4*i+4])
}

func (s *source) u64(i int) uint64 {
	return binary.LittleEndian.Uint64(s.fixed[8*i : 8*i+8 : 8*i+8])
}

func (s *source) hash(i int) event.Hash { return event.Hash(s.u64(i)) }

// Columns that are mostly the same in all events of a record.
const (
	placeColumns   = 1<<colSource | 1<<colNode | 1<<colSite | 1<<colWorkload | 1<<colHost
	networkColumns = 1<<colClientASN | 1<<colCountry | 1<<colTLSVersion | 1<<colSNI | 1<<colProtocol
	accountColumns = 1<<colClaimed | 1<<colSecret | 1<<colNewSession | 1<<colNewDevice
	timeColumns    = 1<<colStep | 1<<colCost | 1<<colOpens | 1<<colCloses
	actionColumns  = 1<<colPayload | 1<<colAction | 1<<colMode | 1<<colVerdict | 1<<colKeyID
)

// Event fills ev with event i, 0 <= i < Len. All fields are set; the memory of
// ev.Objects is reused. Strings alias the record's value.
func (b *Batch) Event(i int, ev *event.Event) { b.fill(i, ev, ^uint64(0)) }

// Next is Event for an ev that holds event i-1 of this batch, or anything where i is
// 0: what does not vary is left as it is.
func (b *Batch) Next(i int, ev *event.Event) {
	if i == 0 {
		b.fill(i, ev, ^uint64(0))
		return
	}
	b.fill(i, ev, b.varies)
}

func (b *Batch) fill(i int, ev *event.Event, varies uint64) {
	c := &b.cols
	if varies&placeColumns != 0 {
		ev.Source = b.source[c[colSource].u16(i)]
		ev.Node, ev.Site, ev.Workload, ev.Host = c[colNode].lc(i), c[colSite].lc(i), c[colWorkload].lc(i), c[colHost].lc(i)
	}
	if varies&networkColumns != 0 {
		ev.ASN, ev.Country = c[colClientASN].u32(i), c[colCountry].lc(i)
		ev.TLSVersion, ev.SNI, ev.Protocol = c[colTLSVersion].lc(i), c[colSNI].lc(i), c[colProtocol].lc(i)
	}
	if varies&accountColumns != 0 {
		ev.Claimed, ev.Secret = c[colClaimed].hash(i), c[colSecret].hash(i)
		ev.NewSession, ev.NewDevice = c[colNewSession].hash(i), c[colNewDevice].hash(i)
	}
	if varies&timeColumns != 0 {
		ev.Step, ev.Cost = c[colStep].fixed[i], int64(c[colCost].u64(i))
		ev.Opens, ev.Closes = int64(c[colOpens].u64(i)), int64(c[colCloses].u64(i))
	}
	if varies&actionColumns != 0 {
		ev.Payload = event.Payload(c[colPayload].u16(i))
		ev.Action, ev.Mode = b.action[c[colAction].u16(i)], b.mode[c[colMode].u16(i)]
		ev.Verdict, ev.KeyID = c[colVerdict].str(i), c[colKeyID].lc(i)
	}
	ev.ID = c[colID].str(i)
	ev.Time = int64(c[colTime].u64(i))
	ev.Duration = int64(min(c[colDuration].u64(i), math.MaxInt64/1000)) * 1000
	ev.Client = address(c[colClientIP].fixed[16*i : 16*i+16])
	ev.ClientPort, ev.JA4 = c[colClientPort].u16(i), c[colJA4].lc(i)
	ev.Method, ev.Path = c[colMethod].lc(i), c[colPath].str(i)
	ev.Route, ev.QueryKeys = c[colRoute].lc(i), c[colQueryKeys].lc(i)
	ev.Status, ev.Flags = c[colStatus].u16(i), event.Flags(c[colFlags].u32(i))
	ev.RequestBytes, ev.ResponseBytes = toInt64(c[colRequestBytes].u64(i)), toInt64(c[colResponseBytes].u64(i))
	ev.UserAgent, ev.AcceptLanguage = c[colUserAgent].lc(i), c[colAcceptLanguage].lc(i)
	ev.RefererHost, ev.ContentType = c[colRefererHost].lc(i), c[colContentType].lc(i)
	ev.HeaderOrder = c[colHeaderOrder].hash(i)
	for k := range ev.Keys {
		ev.Keys[k] = c[colKeys+k].hash(i)
	}
	ev.Role, ev.Outcome = b.role[c[colRole].u16(i)], b.outcome[c[colOutcome].u16(i)]
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
