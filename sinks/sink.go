package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// The topics that sinks carry.
const (
	Verdicts  = "weir.verdicts"
	Decisions = "weir.decisions"
)

// Record is one record of a topic.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Value     []byte
}

// Lost says that the records [From, To) of a partition are gone from the log.
type Lost struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Source reads topics; cmd makes it from stream.Tail.
type Source interface {
	// Follow calls handle with the records of a topic, in the order of each
	// partition, until ctx ends (nil) or handle fails (its error). from holds
	// the next offset wanted per partition; one without an entry begins at the
	// log's start. handle may block for long; the records are its own. lost is
	// told of records that retention has taken.
	Follow(ctx context.Context, topic string, from map[int32]int64,
		handle func(context.Context, []Record) error, lost func(Lost)) error
}

// Destination takes documents. Calls come one at a time.
type Destination interface {
	// Deliver hands documents over; ids are theirs, in the same order, the same
	// for the same document at every attempt. An error says that the batch has
	// to be tried again, in full, unless it has a method Permanent() bool that
	// returns true: then the batch is cut until the document that it refuses
	// stands alone. A method RetryAfter() time.Duration sets the pause. It must
	// not keep the slices.
	Deliver(ctx context.Context, ids []string, documents [][]byte) error
	// Sync makes everything delivered so far durable, before a position is
	// saved.
	Sync() error
	Close() error
}

// Config says how one destination is served.
type Config struct {
	// Name in metrics, messages and file names: [A-Za-z0-9_.-], at most 64.
	Name string
	// Topics carried; default Verdicts and Decisions.
	Topics []string
	// Sites limits the sink to some sites; none means all.
	Sites []string
	// Dir holds the position and the dead letters.
	Dir string
	// BatchDocuments and BatchBytes bound one delivery; defaults 500 and 1 MiB.
	BatchDocuments, BatchBytes int
	// SaveEvery is how often the position is saved at most; default 1 s.
	SaveEvery time.Duration
	// BackOff is the first pause after a failure, doubled up to BackOffMax with
	// a quarter of chance; defaults 250 ms and 1 m. Temporary failures are
	// retried for ever: the log's retention is the limit.
	BackOff, BackOffMax time.Duration
	// DeadLetterBytes bounds the dead letters; default 64 MiB. Older ones go
	// first.
	DeadLetterBytes int64
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Validate returns all faults.
func (c Config) Validate() error {
	var errs []error
	if !nameForm.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("name %q: want %s", c.Name, nameForm))
	}
	if c.Dir == "" {
		errs = append(errs, errors.New("a directory for positions and dead letters is needed"))
	}
	for _, t := range c.Topics {
		if t != Verdicts && t != Decisions {
			errs = append(errs, fmt.Errorf("topic %q: want %s or %s", t, Verdicts, Decisions))
		}
	}
	if c.BatchDocuments < 0 || c.BatchBytes < 0 || c.SaveEvery < 0 || c.BackOff < 0 || c.BackOffMax < 0 || c.DeadLetterBytes < 0 {
		errs = append(errs, errors.New("sizes and durations must not be negative"))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if len(c.Topics) == 0 {
		c.Topics = []string{Verdicts, Decisions}
	}
	if c.BatchDocuments == 0 {
		c.BatchDocuments = 500
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = 1 << 20
	}
	if c.SaveEvery == 0 {
		c.SaveEvery = time.Second
	}
	if c.BackOff == 0 {
		c.BackOff = 250 * time.Millisecond
	}
	if c.BackOffMax == 0 {
		c.BackOffMax = time.Minute
	}
	if c.DeadLetterBytes == 0 {
		c.DeadLetterBytes = 64 << 20
	}
	return c
}

// Sink is the pipeline of one destination.
type Sink struct {
	cfg    Config
	source Source
	format Format
	dest   Destination
	log    *slog.Logger
	counts counters
	sites  map[string]bool
	dead   *deadLetters
	// failing is why the last delivery failed, nil when it did not.
	failing atomic.Pointer[string]
	// refusal is the last one, nil once a delivery succeeded.
	refusal atomic.Pointer[refusal]

	mu       sync.Mutex // guards the destination and all below
	position position
	dirty    bool
	saved    time.Time
}

// refusal is a document that the destination will never take, the last of inRow
// since one was taken.
type refusal struct {
	reason string
	inRow  int
}

// refusalsInRow is from how many on it is the destination that is wrong, not the
// documents.
const refusalsInRow = 10

// New returns a sink that Run starts. It closes the destination.
func New(cfg Config, source Source, format Format, dest Destination, m *Metrics, log *slog.Logger) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("sink %s: %w", cfg.Name, err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Sink{
		cfg: cfg.withDefaults(), source: source, format: format, dest: dest, log: log.With("sink", cfg.Name),
		counts: m.of(cfg.Name), sites: map[string]bool{},
	}
	for _, site := range cfg.Sites {
		s.sites[site] = true
	}
	s.dead = &deadLetters{path: filepath.Join(s.cfg.Dir, cfg.Name+".dead.ndjson"), limit: s.cfg.DeadLetterBytes, sink: cfg.Name}
	return s, nil
}

// Run serves the destination until ctx ends (nil), or the source or the state
// directory fails.
func (s *Sink) Run(ctx context.Context) error {
	unlock, err := s.open()
	if err != nil {
		return fmt.Errorf("sink %s: %w", s.cfg.Name, err)
	}
	defer unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	failed := make(chan error, len(s.cfg.Topics)+1)
	for _, topic := range s.cfg.Topics {
		from := s.next(topic)
		wg.Go(func() {
			if err := s.source.Follow(ctx, topic, from, s.handle, s.lost); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", topic, err)
				cancel(err)
			}
		})
	}
	wg.Go(func() { s.keepSaving(ctx) })
	wg.Wait()
	err = nil
	select {
	case err = <-failed:
	default:
	}
	if err = errors.Join(err, s.save(), s.dest.Close()); err != nil {
		return fmt.Errorf("sink %s: %w", s.cfg.Name, err)
	}
	return nil
}

// Name is the configured name.
func (s *Sink) Name() string { return s.cfg.Name }

// Health says what is wrong with the destination at present, and what is only
// worth a note; both are usually empty.
func (s *Sink) Health() (problem, note string) {
	if text := s.Problem(); text != "" {
		return fmt.Sprintf("cannot deliver: %s (nothing is lost until the log's retention)", text), ""
	}
	switch r := s.refusal.Load(); {
	case r == nil:
		return "", ""
	case r.inRow >= refusalsInRow:
		return fmt.Sprintf("refuses every document: %s; the last %d are kept in %s", r.reason, r.inRow, s.dead.path), ""
	default:
		return "", fmt.Sprintf("refused a document for good: %s; it is kept in %s", r.reason, s.dead.path)
	}
}

// Problem says why the destination gets nothing at present, or "".
func (s *Sink) Problem() string {
	if text := s.failing.Load(); text != nil {
		return *text
	}
	return ""
}

// keepSaving saves the position of a destination that has gone quiet.
func (s *Sink) keepSaving(ctx context.Context) {
	tick := time.NewTicker(s.cfg.SaveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.save(); err != nil {
				s.log.Error("the position could not be saved; a restart will repeat more", "err", err)
			}
		}
	}
}

// next returns where a topic goes on.
func (s *Sink) next(topic string) map[int32]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := maps.Clone(s.position[topic])
	if out == nil {
		out = map[int32]int64{}
	}
	return out
}

func (s *Sink) lost(l Lost) {
	s.counts.lost.Add(float64(max(l.To-l.From, 0)))
	s.log.Error("records are gone from the log before they were delivered", "topic", l.Topic, "partition", l.Partition, "from", l.From, "to", l.To)
}

// RunAll runs sinks side by side until ctx ends. One that fails does not stop
// the others; the errors come joined at the end.
func RunAll(ctx context.Context, list ...*Sink) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, s := range list {
		wg.Go(func() {
			if errs[i] = s.Run(ctx); errs[i] != nil {
				text := "the sink has stopped: " + errs[i].Error()
				s.failing.Store(&text)
				s.log.Error("the sink has stopped", "err", errs[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
