// Package table owns the verdicts an enforcer holds in memory and finds those
// that fit one request.
//
// It promises that a lookup takes no lock, allocates nothing and never reads a
// torn verdict while one writer applies others; that of two revisions of one
// verdict the higher wins, whatever the order of arrival; that expiry is judged
// in the event time the caller gives, so that replay and live agree; that
// memory stays within Config; and that a snapshot file is either loaded whole
// or refused. Records live in pointer-free arenas: a million verdicts cost the
// garbage collector nothing to scan.
//
// It never decides: modes, scopes, caps and allowlists are the enforcer's.
package table

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Config bounds a table. The zero value means the defaults.
type Config struct {
	// MaxVerdicts bounds the verdicts held, tombstones of revoked ones
	// included; default 2,097,152, at most 1<<30.
	MaxVerdicts int
	// MaxBytes bounds the record arenas; default 512 MiB, at least 4 MiB. The
	// indexes take about 100 B per verdict beside it.
	MaxBytes int64
	// SweepGrace is how far event time may run backwards: a verdict is removed
	// only when it has been expired for that long; default 5 m. It never
	// prolongs a verdict, since every lookup checks the expiry itself.
	SweepGrace time.Duration
}

// Validate returns all faults.
func (c Config) Validate() error {
	var errs []error
	if c.MaxVerdicts < 0 || c.MaxVerdicts > 1<<30 {
		errs = append(errs, fmt.Errorf("maxVerdicts %d: want 1 to %d", c.MaxVerdicts, 1<<30))
	}
	if c.MaxBytes != 0 && c.MaxBytes < 4*chunkBytes {
		errs = append(errs, fmt.Errorf("maxBytes %d: want at least %d", c.MaxBytes, 4*chunkBytes))
	}
	if c.MaxBytes > 1<<40 {
		errs = append(errs, fmt.Errorf("maxBytes %d: want at most %d", c.MaxBytes, int64(1)<<40))
	}
	if c.SweepGrace < 0 {
		errs = append(errs, fmt.Errorf("sweepGrace %s: want 0 or more", c.SweepGrace))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.MaxVerdicts == 0 {
		c.MaxVerdicts = 1 << 21
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 512 << 20
	}
	if c.SweepGrace == 0 {
		c.SweepGrace = 5 * time.Minute
	}
	return c
}

// Outcome says what Apply did with a verdict.
type Outcome uint8

// The outcomes. Added and Updated are in force from Apply's return on.
const (
	Added Outcome = iota
	Updated
	// Revoked: the verdict is gone; a tombstone keeps older revisions away
	// until its expiry.
	Revoked
	// Duplicate: the same id and revision is already there.
	Duplicate
	// Stale: a higher revision is already there.
	Stale
	// Expired: its lease was over when it arrived.
	Expired
	// Malformed: it breaks a bound or binds nothing; the error says what.
	Malformed
	// Full: the table is full of stronger or longer-lived verdicts.
	Full
	NumOutcomes
)

var outcomeNames = [NumOutcomes]string{
	"added", "updated", "revoked", "duplicate", "stale", "expired", "malformed", "full",
}

func (o Outcome) String() string {
	if o < NumOutcomes {
		return outcomeNames[o]
	}
	return fmt.Sprintf("unknown(%d)", uint8(o))
}

// Counts is a consistent-enough copy of a table's counters. Received verdicts
// equal the sum of Outcomes.
type Counts struct {
	Outcomes [NumOutcomes]uint64
	// Evicted verdicts gave way to stronger or longer-lived ones; KeyFull
	// postings gave way because MaxPerKey groups share one identifier.
	Evicted, KeyFull, Swept uint64
	// Verdicts in force or waiting for the sweep, Tombstones of revoked ones.
	Verdicts, Tombstones int
	// Bytes is the memory of arenas and indexes.
	Bytes int64
}

// Table holds verdicts. Match is safe for any number of goroutines; writers are
// serialised by a lock inside.
type Table struct {
	cfg Config

	// loc maps a record number to its place in the arena; 0 is free. Readers
	// follow it without a lock; see arena.
	loc   []atomic.Uint64
	arena arena
	index atomic.Pointer[index]
	// active counts live verdicts by scope, action and mode.
	active [numScopes][event.ActionBlock + 1][event.ModeEnforce + 1]atomic.Int64

	mu       sync.Mutex // guards all below, and serialises writers of the above
	ids      map[idKey]uint32
	meta     []meta
	free     []uint32
	expiring [event.ActionBlock + 1]expiryHeap
	counts   Counts
	position string
	// generation counts snapshots; receiving is set between begin and end.
	generation uint32
	receiving  bool
}

// meta is the writer's own knowledge of a record.
type meta struct {
	key     idKey
	expires int64
	rev     uint32
	class   uint8 // eviction class: the action, 0 for tombstones
	used    bool
	// generation is the snapshot in which it was last seen.
	generation uint32
}

// New returns an empty table.
func New(cfg Config) (*Table, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("verdict table: %w", err)
	}
	cfg = cfg.withDefaults()
	t := &Table{cfg: cfg, loc: make([]atomic.Uint64, cfg.MaxVerdicts), ids: map[idKey]uint32{}}
	t.arena.init(cfg.MaxBytes)
	t.index.Store(newIndex(1 << 10))
	return t, nil
}

// Apply makes v known. now is the event time in UTC nanoseconds that decides
// whether v has expired already; it also sweeps what expired long ago. The
// error says why a malformed verdict was refused.
func (t *Table) Apply(v *verdict.Verdict, now int64) (Outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now, 64)
	o, err := t.apply(v, now)
	t.counts.Outcomes[o]++
	return o, err
}

func (t *Table) apply(v *verdict.Verdict, now int64) (Outcome, error) {
	key := keyOfID(v.ID)
	if o, old := t.seen(key, v.Revision); old {
		return o, nil
	}
	record, err := encode(v)
	if err != nil {
		return Malformed, err
	}
	return t.applyRecord(key, record, now), nil
}

// seen says that the same or a higher revision is held, and which.
func (t *Table) seen(key idKey, revision uint32) (Outcome, bool) {
	n, known := t.ids[key]
	if !known {
		return 0, false
	}
	t.meta[n].generation = t.generation
	switch rev := t.meta[n].rev; {
	case revision == rev:
		return Duplicate, true
	case revision < rev:
		return Stale, true
	default:
		return 0, false
	}
}

// applyRecord stores a well-formed record of a revision that is not held yet.
func (t *Table) applyRecord(key idKey, record []byte, now int64) Outcome {
	n, known := t.ids[key]
	e := Entry{record}
	over := e.Expires() <= now
	if over && !known {
		return Expired
	}
	m := meta{key: key, expires: e.Expires(), rev: e.Revision(), class: record[0], used: true, generation: t.generation}
	revoked := e.revoked()
	if revoked || over {
		m.class = 0
		if known { // an older revision must stay away as long as it could have lived
			m.expires = max(m.expires, t.meta[n].expires)
		}
		record = bury(record)
	}
	if !known && !t.makeRoom(m) || !t.put(n, known, m, record) {
		return Full
	}
	switch {
	case over:
		return Expired
	case revoked:
		return Revoked
	case known:
		return Updated
	default:
		return Added
	}
}

// put stores a record and its postings so that a reader always finds a group
// that both the old and the new revision have: new postings first, then the
// record, then the removal of old postings.
func (t *Table) put(n uint32, known bool, m meta, blob []byte) bool {
	if !t.arena.reserve(t, len(blob)) && !t.evictForBytes(m, n, known, len(blob)) {
		return false
	}
	var old []byte
	if known {
		old = t.arena.bytes(t.loc[n].Load()) // reserving may have moved it
	} else {
		n = t.takeNumber()
		t.ids[m.key] = n
	}
	t.meta[n] = m
	keys := t.chooseIndexBinds(blob, old)
	for g := range groups(blob) {
		t.addPosting(keys[g.n], g.indexBit(), ref(n, g.n))
	}
	at := t.arena.add(n, blob)
	was := t.loc[n].Swap(at)
	if known {
		t.dropPostings(n, old, keys)
		t.arena.dead(was)
		t.count(old, -1)
	}
	t.count(blob, 1)
	t.expiring[m.class].push(expiry{m.expires, n, m.rev})
	t.trimHeaps(m.class)
	return true
}

// count keeps the active counters; tombstones count apart.
func (t *Table) count(blob []byte, by int64) {
	e := Entry{blob}
	if e.revoked() {
		t.counts.Tombstones += int(by)
		return
	}
	t.counts.Verdicts += int(by)
	t.active[e.scope()][e.Action()][e.Mode()].Add(by)
}

// Active returns how many verdicts of a scope, action and mode are held.
func (t *Table) Active(s verdict.Scope, a event.Action, m event.Mode) int {
	code, ok := scopeCode(s)
	if !ok || a > event.ActionBlock || m > event.ModeEnforce {
		return 0
	}
	return int(t.active[code][a][m].Load())
}

// Counts returns the counters.
func (t *Table) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts
	for i := range t.expiring {
		c.Bytes += int64(cap(t.expiring[i].e)) * 16
	}
	c.Bytes += t.arena.size() + t.index.Load().bytes() + int64(len(t.loc))*8 + int64(cap(t.meta))*48 + int64(len(t.ids))*28
	return c
}

// BeginSnapshot starts the reception of a full state: what is applied from now
// on until EndSnapshot is all there is.
func (t *Table) BeginSnapshot() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.generation++
	t.receiving = true
}

// EndSnapshot removes what has not been applied since BeginSnapshot, in whatever
// revision, and returns how many verdicts that were. Tombstones stay.
func (t *Table) EndSnapshot() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.receiving {
		return 0
	}
	t.receiving = false
	n := 0
	for i := range t.meta {
		if m := &t.meta[i]; m.used && m.class != 0 && m.generation != t.generation {
			t.remove(uint32(i))
			n++
		}
	}
	return n
}

// Position returns the feed position saved with the table, "" when none.
func (t *Table) Position() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.position
}

// SetPosition notes how far the feed has been applied, at most 64 KiB; Save
// writes it with the verdicts, so that a restart resumes where the table ends.
func (t *Table) SetPosition(p string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.position = p
}
