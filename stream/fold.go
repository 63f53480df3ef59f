package stream

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// fold is a partition's state and the one way to advance it: records in, rows
// and verdicts out. The owner's engine cursor, the store cursor's second reading
// and Replay all use it, which is why they agree.
type fold struct {
	topic     string
	partition int32
	lineage   string
	// engine is nil for topics that are only stored.
	engine Engine
	marks  marks
	prefer preference
	// next is the offset of the first record that is not part of the state.
	next   int64
	events uint64
	aging  aging

	// rowless: nobody wants the rows.
	rowless bool
	decoder *wire.Decoder
	ev      event.Event
	routes  map[string]string
	// near are some of the routes, by length and last byte.
	near [256]string
}

// maxRoutes bounds the interned route templates; past it the table starts anew.
const maxRoutes = 4096

func newFold(topic string, partition int32, engine Engine) *fold {
	return &fold{
		topic: topic, partition: partition, engine: engine, decoder: wire.NewDecoder(wire.Limits{}),
		routes: make(map[string]string),
	}
}

// folded is what one record gave.
type folded struct {
	chunk chunk
	// events is the number of new events; repeated, missing and late (missing
	// until now) are what the producer's numbers revealed.
	events   int
	late     int
	repeated int
	missing  uint64
	// bad says why the record could not be used; its events, if its headers can
	// be believed, are lost.
	bad     error
	badRows int
}

// observed, when set, sees each event after the engine did.
type observed func(ev *event.Event, pos verdict.Position, res Result)

// apply advances the state by one record, which must be at or after f.next.
// emit receives the verdicts in order; they are valid during the call only.
func (f *fold) apply(rec *Record, emit func(*verdict.Verdict), seen observed) folded {
	out := folded{chunk: chunk{stored: Stored{Record: *rec}, offset: rec.Offset, next: rec.Offset + 1}}
	f.next = rec.Offset + 1
	if f.engine == nil {
		out.events, out.chunk.rows = 1, 1
		return out
	}
	info, err := wire.ParseInfo(rec.Headers)
	if err != nil {
		out.bad = err
		return out
	}
	if info.Kind == wire.KindControl {
		out.bad = f.control(rec, emit)
		return out
	}
	batch, err := f.decoder.Decode(info, rec.Value)
	if err != nil {
		out.bad, out.badRows = err, info.Count
		return out
	}
	n := batch.Len()
	numbers, err := f.marks.take(info.Producer, info.First, n, rec.Offset)
	out.missing = numbers.missing
	switch {
	case err != nil:
		out.bad, out.badRows = err, n
		return out
	case numbers.repeated:
		out.repeated = n
		return out
	}
	st := &out.chunk.stored
	if !f.rowless {
		st.Actors, st.Routes = make([]event.Hash, n), make([]string, n)
	}
	for i := range n {
		batch.Next(i, &f.ev)
		f.observe(rec.Offset, i, st, emit, seen)
	}
	f.events += uint64(n)
	out.events, out.chunk.rows = n, n
	if numbers.late {
		out.late = n
	}
	return out
}

func (f *fold) observe(offset int64, i int, st *Stored, emit func(*verdict.Verdict), seen observed) {
	row := int32(i)
	if f.prefer.shadowed(&f.ev) {
		if !f.rowless {
			st.Shadowed = append(st.Shadowed, row)
		}
		return
	}
	pos := verdict.Position{Partition: f.partition, Offset: offset, Row: row}
	res := f.engine.Observe(&f.ev, pos)
	for k := range res.Verdicts {
		emit(&res.Verdicts[k])
	}
	if seen != nil {
		seen(&f.ev, pos, res)
	}
	if !f.rowless {
		st.Actors[i], st.Routes[i] = res.Actor, f.intern(res.Route)
	}
}

// intern keeps one copy of a route template that may alias the engine's memory.
func (f *fold) intern(route string) string {
	if route == "" {
		return ""
	}
	near := &f.near[byte(len(route))<<3^route[len(route)-1]]
	if *near == route {
		return *near
	}
	if s, ok := f.routes[route]; ok {
		*near = s
		return s
	}
	if len(f.routes) >= maxRoutes {
		clear(f.routes)
	}
	s := strings.Clone(route)
	f.routes[s], *near = s, s
	return s
}

func (f *fold) control(rec *Record, emit func(*verdict.Verdict)) error {
	c, err := wire.ParseControl(rec.Value)
	if err != nil {
		return err
	}
	vs := f.engine.Control(&c, verdict.Position{Partition: f.partition, Offset: rec.Offset})
	for i := range vs {
		emit(&vs[i])
	}
	return nil
}

// frozen is the state of a fold between two records, to be written while the
// fold goes on.
type frozen struct {
	id     SnapshotID
	meta   []byte
	engine Cut
}

// cut freezes the state.
func (f *fold) cut(stored int64) (*frozen, error) {
	m := &snapshotMeta{
		topic: f.topic, partition: f.partition, offset: f.next, stored: stored, lineage: f.lineage, events: f.events,
		marks: f.marks, prefer: f.prefer, aging: f.aging,
	}
	c, err := f.engine.Cut()
	if err != nil {
		return nil, fmt.Errorf("engine state: %w", err)
	}
	return &frozen{
		id:   SnapshotID{Topic: f.topic, Partition: f.partition, Offset: f.next, Saved: time.Now().UTC()},
		meta: m.encode(), engine: c,
	}, nil
}

// restoreFold reads a snapshot whose checksum was checked into a new engine.
func restoreFold(r io.Reader, topic string, partition int32, engine Engine) (*fold, *snapshotMeta, error) {
	buf := bufio.NewReaderSize(r, 256<<10)
	m, err := readSnapshotMeta(buf)
	if err != nil {
		return nil, nil, err
	}
	if m.topic != topic || m.partition != partition {
		return nil, nil, fmt.Errorf("%w: it belongs to %q partition %d", ErrSnapshotCorrupt, m.topic, m.partition)
	}
	if err := engine.Restore(&trailingSum{r: buf}); err != nil {
		return nil, nil, fmt.Errorf("engine state: %w", err)
	}
	f := newFold(topic, partition, engine)
	f.marks, f.prefer, f.next, f.events, f.lineage, f.aging = m.marks, m.prefer, m.offset, m.events, m.lineage, m.aging
	return f, m, nil
}
