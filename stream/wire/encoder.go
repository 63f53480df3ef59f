package wire

import (
	"errors"
	"fmt"
	"math"

	"github.com/weirproject/weir/stream/event"
)

// ErrFull says that an event does not fit into the batch any more: Flush, then
// Append it again.
var ErrFull = errors.New("batch is full")

// ErrEventTooLarge says that an event can be in no batch; it is lost and must be
// counted so.
var ErrEventTooLarge = errors.New("event is too large")

// MaxEventBytes bounds the strings of one event together.
const MaxEventBytes = 64 << 10

// EncoderConfig bounds a batch.
type EncoderConfig struct {
	// MaxBytes bounds a record value; default 900,000, so that a record stays
	// under Kafka's customary 1 MiB with headers and framing. At least 256 KiB.
	MaxBytes int
	// MaxEvents bounds the events of a record; default and most 4,096.
	MaxEvents int
}

// Validate reports all faults.
func (c EncoderConfig) Validate() error {
	var errs []error
	if c.MaxBytes != 0 && (c.MaxBytes < 256<<10 || c.MaxBytes > 8<<20) {
		errs = append(errs, fmt.Errorf("maxBytes %d: want 256 KiB to 8 MiB", c.MaxBytes))
	}
	if c.MaxEvents < 0 || c.MaxEvents > 4096 {
		errs = append(errs, fmt.Errorf("maxEvents %d: want 1 to 4096", c.MaxEvents))
	}
	return errors.Join(errs...)
}

// Record is one Kafka record: a batch of events of one partition.
type Record struct {
	Info  Info
	Value []byte
}

// Encoder collects the events of one partition into a record. It copies what it
// takes. It is not safe for concurrent use.
type Encoder struct {
	cfg      EncoderConfig
	cols     []column
	n        int
	min, max int64
	// bound is at least the bytes of the rows so far. It counts every string as
	// new; when it reaches the limit, used says how much the dictionaries saved.
	bound int
	batch batch
}

// fixedOverhead bounds the bytes of a record that do not depend on its events:
// the schema, 22 dictionary messages and the metadata.
var fixedOverhead = len(logSchema) + 12<<10

// rowBytes bounds the bytes of an event beside its strings: fixed columns,
// offsets, dictionary indices and the offsets of 22 new dictionary entries.
const rowBytes = 384

// NewEncoder returns an empty encoder; cfg must be valid.
func NewEncoder(cfg EncoderConfig) *Encoder {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 900_000
	}
	if cfg.MaxEvents == 0 {
		cfg.MaxEvents = 4096
	}
	return &Encoder{cfg: cfg, cols: newColumns(columns[:])}
}

// Len is the number of events collected.
func (e *Encoder) Len() int { return e.n }

// Full reports whether an event might not fit any more, were it of the greatest
// size. While it does not, Append never returns ErrFull.
func (e *Encoder) Full() bool {
	most := e.cfg.MaxBytes - fixedOverhead - rowBytes - MaxEventBytes
	if e.n < e.cfg.MaxEvents && e.bound > most {
		e.bound = e.used()
	}
	return e.n >= e.cfg.MaxEvents || e.bound > most
}

// Append adds one event. ErrFull asks for a Flush before it; an event that is
// ErrEventTooLarge is not added.
func (e *Encoder) Append(ev *event.Event) error {
	size := len(ev.ID) + len(ev.Node) + len(ev.Site) + len(ev.Workload) + len(ev.Country) + len(ev.TLSVersion) +
		len(ev.SNI) + len(ev.JA4) + len(ev.Protocol) + len(ev.Method) + len(ev.Host) + len(ev.Path) + len(ev.Route) +
		len(ev.QueryKeys) + len(ev.UserAgent) + len(ev.AcceptLanguage) + len(ev.RefererHost) + len(ev.ContentType) +
		len(ev.Verdict) + len(ev.KeyID)
	for i := range ev.Objects {
		size += len(ev.Objects[i].Name) + len(ev.Objects[i].Value) + 32
	}
	if size > MaxEventBytes || len(ev.Objects) > event.MaxObjects {
		return fmt.Errorf("%w: %d bytes of strings, %d objects", ErrEventTooLarge, size, len(ev.Objects))
	}
	if e.n >= e.cfg.MaxEvents {
		return ErrFull
	}
	size += rowBytes
	if fixedOverhead+e.bound+size > e.cfg.MaxBytes {
		if e.bound = e.used(); fixedOverhead+e.bound+size > e.cfg.MaxBytes {
			return ErrFull
		}
	}
	e.bound += size
	if e.n == 0 || ev.Time < e.min {
		e.min = ev.Time
	}
	if e.n == 0 || ev.Time > e.max {
		e.max = ev.Time
	}
	e.n++
	e.request(ev)
	e.identifiers(ev)
	e.meaning(ev)
	e.objects(ev)
	return nil
}

// used is the bytes of the rows so far.
func (e *Encoder) used() int {
	n := 0
	for i := range e.cols {
		c := &e.cols[i]
		n += len(c.fixed) + len(c.offs) + len(c.data) + len(c.items)
		n += len(c.key.offs) + len(c.key.data) + len(c.val.offs) + len(c.val.data)
		if c.dict != nil {
			n += len(c.dict.data) + len(c.dict.offs)
		}
	}
	return n
}

func (e *Encoder) request(ev *event.Event) {
	c := e.cols
	c[colTime].u64(uint64(ev.Time))
	c[colID].add(ev.ID)
	c[colSource].lc(ev.Source.String())
	c[colNode].lc(ev.Node)
	c[colSite].lc(ev.Site)
	c[colWorkload].lc(ev.Workload)
	var ip [16]byte
	if ev.Client.IsValid() {
		ip = ev.Client.As16()
	}
	c[colClientIP].fixed = append(c[colClientIP].fixed, ip[:]...)
	c[colClientPort].u16(ev.ClientPort)
	c[colClientASN].u32(ev.ASN)
	c[colCountry].lc(ev.Country)
	c[colTLSVersion].lc(ev.TLSVersion)
	c[colSNI].lc(ev.SNI)
	c[colJA4].lc(ev.JA4)
	c[colProtocol].lc(ev.Protocol)
	c[colMethod].lc(ev.Method)
	c[colHost].lc(ev.Host)
	c[colPath].add(ev.Path)
	c[colRoute].lc(ev.Route)
	c[colQueryKeys].lc(ev.QueryKeys)
	c[colStatus].u16(ev.Status)
	c[colRequestBytes].u64(uint64(max(ev.RequestBytes, 0)))
	c[colResponseBytes].u64(uint64(max(ev.ResponseBytes, 0)))
	c[colDuration].u64(uint64(max(ev.Duration, 0)) / 1000)
	c[colUserAgent].lc(ev.UserAgent)
	c[colAcceptLanguage].lc(ev.AcceptLanguage)
	c[colRefererHost].lc(ev.RefererHost)
	c[colContentType].lc(ev.ContentType)
}

func (e *Encoder) identifiers(ev *event.Event) {
	c := e.cols
	c[colHeaderOrder].u64(uint64(ev.HeaderOrder))
	for k, h := range ev.Keys {
		c[colKeys+k].u64(uint64(h))
	}
	c[colClaimed].u64(uint64(ev.Claimed))
	c[colNewSession].u64(uint64(ev.NewSession))
	c[colNewDevice].u64(uint64(ev.NewDevice))
	c[colKeyID].lc(ev.KeyID)
	c[colSecret].u64(uint64(ev.Secret))
}

func (e *Encoder) meaning(ev *event.Event) {
	c := e.cols
	c[colRole].lc(ev.Role.String())
	c[colOutcome].lc(ev.Outcome.String())
	c[colStep].fixed = append(c[colStep].fixed, ev.Step)
	c[colCost].u64(uint64(ev.Cost))
	c[colOpens].u64(uint64(ev.Opens))
	c[colCloses].u64(uint64(ev.Closes))
	c[colPayload].u16(uint16(ev.Payload))
	c[colAction].lc(ev.Action.String())
	c[colMode].lc(ev.Mode.String())
	c[colVerdict].add(ev.Verdict)
	c[colFlags].u32(uint32(ev.Flags))
}

// objects splits the plain and hashed objects, which reach the tables, from the
// ephemeral ones, which do not; the mask keeps their common order.
func (e *Encoder) objects(ev *event.Event) {
	plain, keys := &e.cols[colObjects], &e.cols[colObjectKeys]
	names, secrets := &e.cols[colEphemeralNames], &e.cols[colEphemeralKeys]
	var mask uint16
	for i := range ev.Objects {
		o := &ev.Objects[i]
		if o.Ephemeral {
			mask |= 1 << i
			names.key.add(o.Name)
			secrets.items = appendU64(secrets.items, uint64(o.Hash))
			continue
		}
		plain.key.add(o.Name)
		if o.Value != "" || o.Hash == 0 {
			plain.val.add(o.Value)
		} else {
			plain.val.addHash(o.Hash)
		}
		keys.items = appendU64(keys.items, uint64(o.Hash))
	}
	plain.end(plain.key.rows())
	keys.end(len(keys.items) / 8)
	names.end(names.key.rows())
	secrets.end(len(secrets.items) / 8)
	e.cols[colEphemeralMask].u16(mask)
}

// Flush returns the collected events as one record and empties the encoder;
// ok is false when there are none. The caller owns the value. producer and
// first are as in Info.
func (e *Encoder) Flush(producer string, first uint64) (rec Record, ok bool) {
	if e.n == 0 {
		return Record{}, false
	}
	rec.Info = Info{
		Kind: KindEvents, Schema: Schema, Major: Major, Minor: Minor, Count: e.n, MinTime: e.min, MaxTime: e.max,
		Producer: producer[:min(len(producer), MaxProducerBytes)], First: first,
	}
	size := len(logSchema) + len(endOfStream) + streamSize(&e.batch, e.cols, e.n)
	rec.Value = append(make([]byte, 0, size), logSchema...)
	rec.Value = appendStream(rec.Value, &e.batch, e.cols, e.n)
	rec.Value = append(rec.Value, endOfStream...)
	for i := range e.cols {
		e.cols[i].reset()
	}
	e.n, e.bound = 0, 0
	return rec, true
}

// streamSize is the length of what appendStream writes.
func streamSize(b *batch, cols []column, n int) int {
	size := 0
	for i := range cols {
		if d := cols[i].dict; d != nil {
			size += metadataSize(headerDictionary, 1, 3) + 8 + pad8(len(d.offs)) + pad8(len(d.data))
		}
	}
	b.reset()
	for i := range cols {
		b.column(&cols[i], n)
	}
	return size + b.size(headerRecord)
}

// appendStream writes the dictionaries, numbered from 0 in schema order as
// arrow-go does, and the record batch of n rows.
func appendStream(dst []byte, b *batch, cols []column, n int) []byte {
	id := 0
	for i := range cols {
		if d := cols[i].dict; d != nil {
			b.reset()
			b.node(d.n, d.offs, d.data)
			dst = b.appendTo(dst, headerDictionary, id, d.n)
			id++
		}
	}
	b.reset()
	for i := range cols {
		b.column(&cols[i], n)
	}
	return b.appendTo(dst, headerRecord, 0, n)
}

// toInt64 clamps an unsigned column to what the event's field holds.
func toInt64(v uint64) int64 { return int64(min(v, math.MaxInt64)) }
