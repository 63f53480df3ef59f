package enforcer

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/enforcer/wasm"
	"github.com/weirproject/weir/enforcer/wasm/policy"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Policy turns a request and the verdicts that fit it into a proposal. It is
// called concurrently and must not keep the frame. *wasm.Policy is one.
type Policy interface {
	// Evaluate fails when the policy itself did: a trap, no fuel left, broken.
	Evaluate(f *wasm.Frame) (wasm.Proposal, error)
	// NeedsVerdict says that without a verdict it proposes to allow, so that
	// it need not be called.
	NeedsVerdict() bool
	Name() string
	Version() string
	// Hash is the artefact's, "sha256:...".
	Hash() string
	// RuleName names a rule of a proposal; from a bounded set.
	RuleName(rule uint16) string
}

// Enforcer decides requests. All methods are safe for concurrent use.
type Enforcer struct {
	settings atomic.Pointer[settings]
	policy   atomic.Pointer[policyInForce]
	table    *table.Table
	buckets  *buckets
	metrics  *metrics
	kill     atomic.Bool
	own      *wasm.Policy // made by New, nil when one was given
	// fresh is when the feed was last heard of, UTC nanoseconds; 0 never.
	fresh atomic.Int64
	// position is how far the feed has been applied.
	position atomic.Pointer[string]
	// latest is the highest event time seen; the table is swept by it.
	latest atomic.Int64
	reload sync.Mutex
}

// policyInForce counts the calls inside a policy, so that the one that is
// replaced can be closed when they have drained.
type policyInForce struct {
	Policy
	counters *ruleCounters
	calls    atomic.Int64 // those inside, plus retired
	drained  chan struct{}
	once     sync.Once
}

// retired is added to the count of a policy that has been replaced. It is part
// of the count because the last call to leave must see both in one step: a call
// that left before the swap must not take it for drained while another is in.
const retired = 1 << 62

// hold enters the policy in force. The count is raised before it is checked
// that the policy is still the one in force: either SwapPolicy sees the count,
// or hold sees the swap.
func (e *Enforcer) hold() *policyInForce {
	for {
		p := e.policy.Load()
		p.calls.Add(1)
		if e.policy.Load() == p {
			return p
		}
		p.leave()
	}
}

func (p *policyInForce) leave() {
	if p.calls.Add(-1) == retired {
		p.once.Do(func() { close(p.drained) }) // calls that come too late pass by here again
	}
}

// New returns an enforcer without verdicts. A nil registry gives one that
// exports nothing. A nil policy is the module that comes with weir
// (enforcer/wasm/policy), compiled here and closed by Close.
func New(cfg Config, p Policy, reg prometheus.Registerer) (*Enforcer, error) {
	s, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	t, err := table.New(s.cfg.Table)
	if err != nil {
		return nil, fmt.Errorf("enforcer: %w", err)
	}
	e := &Enforcer{table: t, buckets: newBuckets(s.cfg.MaxBuckets)}
	e.settings.Store(s)
	e.kill.Store(s.cfg.KillSwitch)
	if e.metrics, err = newMetrics(reg, e); err != nil {
		return nil, fmt.Errorf("enforcer: %w", err)
	}
	e.position.Store(new(string))
	if p == nil {
		own, err := wasm.Compile(wasm.Config{}, policy.Strongest)
		if err != nil {
			return nil, fmt.Errorf("enforcer: %w", err)
		}
		p, e.own = own, own
	}
	e.install(p)
	return e, nil
}

// Close ends the policy that New made, if it did. Decide must not be called any
// more.
func (e *Enforcer) Close() error {
	if e.own == nil {
		return nil
	}
	if err := e.own.Close(); err != nil {
		return fmt.Errorf("enforcer: %w", err)
	}
	return nil
}

// Reload puts another configuration in force for all requests that arrive from
// now on; verdicts, buckets and the kill switch stay. Table and MaxBuckets need
// a restart. A faulty configuration changes nothing.
func (e *Enforcer) Reload(cfg Config) error {
	s, err := compile(cfg)
	if err != nil {
		return err
	}
	e.reload.Lock()
	defer e.reload.Unlock()
	s.version = e.settings.Load().version + 1
	e.settings.Store(s)
	return nil
}

// SwapPolicy puts another policy in force and returns the old one once no call
// is inside it any more: close it, or keep it warm to roll back to.
func (e *Enforcer) SwapPolicy(p Policy) Policy {
	e.reload.Lock()
	defer e.reload.Unlock()
	old := e.install(p)
	old.calls.Add(retired + 1)
	old.leave()
	<-old.drained
	return old.Policy
}

// PolicyRefused counts a policy that could not be loaded; the one in force
// stays.
func (e *Enforcer) PolicyRefused() { e.metrics.loads.WithLabelValues("refused").Inc() }

func (e *Enforcer) install(p Policy) *policyInForce {
	e.metrics.setPolicy(p)
	return e.policy.Swap(&policyInForce{Policy: p, counters: e.metrics.rules(p), drained: make(chan struct{})})
}

// SetKillSwitch turns acting off or on for the whole enforcer.
func (e *Enforcer) SetKillSwitch(on bool) { e.kill.Store(on) }

// Apply puts a verdict in force, revises or revokes one. Malformed ones are
// counted and change nothing.
func (e *Enforcer) Apply(v *verdict.Verdict) { _, _ = e.ApplyVerdict(v, true) }

// ApplyVerdict is Apply with the outcome. Whether the verdict has expired is
// judged by the latest event time seen, or the verdict's own if that is later.
// live says that v has just been given, as opposed to one of a snapshot: the
// time that it took to arrive is measured.
func (e *Enforcer) ApplyVerdict(v *verdict.Verdict, live bool) (table.Outcome, error) {
	o, err := e.table.Apply(v, max(e.latest.Load(), int64(v.Time)))
	clock := e.settings.Load().cfg.Clock
	if live && clock != nil && (o == table.Added || o == table.Updated) {
		e.metrics.enforced.Observe(max(0, float64(clock()-int64(v.Time))/1e9))
	}
	if err != nil {
		err = fmt.Errorf("verdict %.64q: %w", v.ID, err)
	}
	return o, err
}

// Receive is ApplyVerdict for a feed client: only a malformed verdict is an
// error.
func (e *Enforcer) Receive(v *verdict.Verdict, live bool) error {
	_, err := e.ApplyVerdict(v, live)
	return err
}

// BeginSnapshot starts the reception of a full snapshot of the feed: apply its
// verdicts, then call EndSnapshot. Decisions go on meanwhile with old and new.
func (e *Enforcer) BeginSnapshot() { e.table.BeginSnapshot() }

// EndSnapshot drops the verdicts that the snapshot did not hold, whose
// revocation was missed, and returns how many. Without BeginSnapshot it does
// nothing.
func (e *Enforcer) EndSnapshot() int { return e.table.EndSnapshot() }

// Touch notes that the feed was heard of at a wall clock time in UTC
// nanoseconds, and how far it has been applied. Call it after the verdicts up
// to position have been applied.
func (e *Enforcer) Touch(now int64, position string) {
	e.position.Store(&position)
	e.Alive(now)
}

// clockStep is how far behind the last one a time may be that was merely noted
// late; past it the wall clock was set back, and what it showed before would
// keep a feed fresh that has died since.
const clockStep = int64(5 * time.Second)

// Alive notes that the feed was heard of without news.
func (e *Enforcer) Alive(now int64) {
	for {
		old := e.fresh.Load()
		late := now <= old && old-now < clockStep
		if late || e.fresh.CompareAndSwap(old, now) {
			return
		}
	}
}

// Position returns the feed position of the last Touch, also one that
// LoadTable brought back; "" for none.
func (e *Enforcer) Position() string { return *e.position.Load() }

// SaveTable writes the verdicts and the feed position to a file, replacing it
// atomically.
func (e *Enforcer) SaveTable(path string) error {
	// The position is read first: the verdicts may be newer than it, never older.
	e.table.SetPosition(strconv.FormatInt(e.fresh.Load(), 10) + " " + e.Position())
	if err := e.table.SaveFile(path); err != nil {
		return fmt.Errorf("enforcer: %w", err)
	}
	return nil
}

// LoadTable brings back what SaveTable wrote, without what has expired at now,
// and returns how many verdicts. A missing file is no error. A corrupt one is
// refused whole: report the error and go on empty, the feed will send a
// snapshot.
func (e *Enforcer) LoadTable(path string, now int64) (int, error) {
	n, err := e.table.LoadFile(path, now)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return n, fmt.Errorf("enforcer: %w; starting without its verdicts", err)
	}
	at, position, _ := strings.Cut(e.table.Position(), " ")
	if fresh, err := strconv.ParseInt(at, 10, 64); err == nil {
		e.Touch(fresh, position)
	}
	return n, nil
}

// Sweep frees the memory of what expired long ago at now. Apply sweeps a little
// each time; a quiet enforcer calls Sweep every minute or so.
func (e *Enforcer) Sweep(now int64) int { return e.table.Sweep(now) }

// Status is what `weir status` shows of an enforcer.
type Status struct {
	Mode       event.Mode   `json:"mode"`
	KillSwitch bool         `json:"kill_switch"`
	Policy     string       `json:"policy"`
	PolicyHash string       `json:"policy_hash"`
	Verdicts   int          `json:"verdicts"`
	TableBytes int64        `json:"table_bytes"`
	Table      table.Counts `json:"table"`
	// Feed is when the feed was last heard of; absent when never.
	Feed     verdict.Time `json:"feed"`
	Position string       `json:"position"`
	Reloads  int          `json:"reloads"`
	// BucketsEvicted counts rate-limit buckets that gave way while in use.
	BucketsEvicted uint64 `json:"buckets_evicted"`
}

// Status returns the enforcer's state.
func (e *Enforcer) Status() Status {
	s, p, c := e.settings.Load(), e.policy.Load(), e.table.Counts()
	return Status{
		Mode: s.cfg.Mode, KillSwitch: e.kill.Load(), Policy: p.Name() + " " + p.Version(), PolicyHash: p.Hash(),
		Verdicts: c.Verdicts, TableBytes: c.Bytes, Table: c, Feed: verdict.Time(e.fresh.Load()), Position: e.Position(),
		Reloads: s.version, BucketsEvicted: e.buckets.evicted.Load(),
	}
}

// Verdicts calls f with each verdict in force at now until f returns false, in
// no particular order, without evidence.
func (e *Enforcer) Verdicts(now int64, f func(verdict.Verdict) bool) {
	for v := range e.table.All(now) {
		if !f(v) {
			return
		}
	}
}
