package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// Outlet takes what is read, in batches. A batch that is read again after a
// crash, announced as before, has to have the effect of one.
type Outlet interface {
	// Open comes before all else and may block until ctx ends. note is what
	// Announce returned for a batch whose fate is unknown: the next one is that
	// batch again. It is nil when there is none.
	Open(ctx context.Context, note []byte) error
	// Take adds one exchange to the batch and keeps nothing of x but strings. full
	// asks for a Deliver before the next.
	Take(x *flow.Exchange) (full bool)
	// Announce ends the batch and returns what is saved, as JSON, before Deliver
	// sends it. Deliver returns nil once the batch is settled and blocks until
	// then; its error ends the follower.
	Announce() (note []byte, err error)
	Deliver(ctx context.Context) error
}

// FollowConfig says which log to follow.
type FollowConfig struct {
	Path   string
	Format Format
	// Site and Node are given to every exchange; an empty site leaves it to the
	// extractor, by host.
	Site, Node string
	// PositionFile keeps where reading stands over restarts; its directory must
	// exist. Beside it stands one with ".batch" added.
	PositionFile string
	// FromStart reads an existing log from its beginning when there is no
	// position yet; else only what is written from now on.
	FromStart  bool
	DeadLetter *DeadLetter
	// PollEvery is how often the file is looked at, default 250 ms. SaveEvery is
	// how often the position is forced to disk, default 1 s: after a power loss,
	// not after a crash, the lines of that time may be read again, under the same
	// ids.
	PollEvery, SaveEvery time.Duration
	// Grace is how long a rotated file is still read after its successor
	// appeared, since servers write to it until they reopen; default 2 s.
	Grace time.Duration
	Log   *slog.Logger
	// Now defaults to time.Now; event times are held within -24 h and +5 m of it.
	Now func() time.Time
}

func (c FollowConfig) withDefaults() FollowConfig {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.PollEvery, 250 * time.Millisecond}, {&c.SaveEvery, time.Second}, {&c.Grace, 2 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate reports all faults.
func (c FollowConfig) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("collect.accessLogs.path: the log to follow is missing"))
	}
	if c.PositionFile == "" {
		errs = append(errs, errors.New("access log: a position file is needed"))
	}
	if c.PollEvery < 0 || c.SaveEvery < 0 || c.Grace < 0 {
		errs = append(errs, errors.New("access log: intervals must be positive"))
	}
	return errors.Join(errs...)
}

// lastDelivery bounds how long the batch in hand may take once the follower is
// to end; it is delivered again by the next one if that was too short.
const lastDelivery = 5 * time.Second

// Follower follows one log. Use Run once.
type Follower struct {
	cfg     FollowConfig
	metrics *Metrics
	out     Outlet
	parser  *Parser
	x       flow.Exchange

	// tails are the open files, in the order in which they were the log. The last
	// one is the current file unless it was replaced; the others are rotated ones,
	// read until their servers have let go of them.
	tails []*tail
	// done are rotated files that were read to their end, newest last.
	done []position
	// taken exchanges are in the outlet's batch.
	taken int
	// now is about when the present lines are read.
	now time.Time
	// unsaved: the position could not be saved, and the operator was told;
	// unsampled: the same for a rejected line.
	unsaved, unsampled bool
	saved              positions
	syncedAt           time.Time
	// fault is why the log is not read at present; the operator was told.
	fault  atomic.Pointer[error]
	missed atomic.Uint64
	// handing is when the outlet was given what it has not settled, in Unix
	// nanoseconds; 0: nothing.
	handing atomic.Int64
}

// NewFollower returns a follower.
func NewFollower(cfg FollowConfig, m *Metrics, out Outlet) (*Follower, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if m == nil {
		m = NewMetrics(nil)
	}
	cfg = cfg.withDefaults()
	parser := NewParser(cfg.Format)
	parser.chunked = true
	return &Follower{cfg: cfg, metrics: m, out: out, parser: parser}, nil
}

// Missed is how often lines may have been lost: a file was gone, or was cut off
// without a copy, before it was read to its end. Safe for concurrent use.
func (f *Follower) Missed() uint64 { return f.missed.Load() }

// Fault is why the log is not read at present, nil while it is, or while there is
// none yet. Safe for concurrent use.
func (f *Follower) Fault() error {
	if err := f.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// Waiting is how long the outlet has not taken what was read; nothing is lost
// meanwhile, the lines stand in the file. Safe for concurrent use.
func (f *Follower) Waiting() time.Duration {
	if since := f.handing.Load(); since != 0 {
		return f.cfg.Now().Sub(time.Unix(0, since))
	}
	return 0
}

// Run follows the log until ctx ends, saves the position and returns nil. A log
// that does not exist yet, or cannot be opened, is waited for, and so is the
// operator where the saved position is damaged: the lines stand in the file.
// Errors are those of reading, of saving the last position and of the outlet.
func (f *Follower) Run(ctx context.Context) error {
	defer f.closeAll()
	poll := time.NewTicker(f.cfg.PollEvery)
	defer poll.Stop()
	for {
		err := f.resume(ctx)
		if err != nil && !errors.Is(err, errUnreadable) {
			return quiet(ctx, err)
		}
		if f.hear(err); err == nil {
			break
		}
		f.closeAll()
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		}
	}
	for ctx.Err() == nil {
		if err := f.poll(ctx); err != nil {
			return quiet(ctx, err)
		}
		select {
		case <-ctx.Done():
		case <-poll.C:
			f.keep(nil)
		}
	}
	return f.save(nil, true)
}

func (f *Follower) closeAll() {
	for _, t := range f.tails {
		t.close()
	}
	f.tails = nil
}

// quiet drops what only says that ctx has ended.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return nil
	}
	return err
}

// poll reads what is there and looks for rotation.
func (f *Follower) poll(ctx context.Context) error {
	for _, t := range slices.Clone(f.tails) { // a look may add and remove some
		if err := f.look(ctx, t); err != nil || ctx.Err() != nil {
			return err
		}
	}
	if err := f.rotate(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	return f.retire(ctx)
}

// look reads what was written to one file since the last look.
func (f *Follower) look(ctx context.Context, t *tail) error {
	st, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	changed := st.Size() != t.pos.Offset || !st.ModTime().Equal(t.modified)
	t.modified = st.ModTime()
	if !changed {
		return nil
	}
	if !t.pos.sameFile(t.file) {
		return f.truncated(ctx, t)
	}
	if err := t.identify(); err != nil {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	return f.read(ctx, t, wholeLines)
}

// Ends of a reading.
const (
	// wholeLines reads to the last newline: what is behind it is being written.
	wholeLines = -1
	// allBytes takes a last line that never got its newline.
	allBytes = -2
)

// read takes the lines up to the file's present end, or up to an offset. It
// returns early when ctx ends, with all that it took handed over.
func (f *Follower) read(ctx context.Context, t *tail, to int64) error {
	if err := t.seek(t.pos.Offset); err != nil {
		return err
	}
	for n := 1; to < 0 || t.at < to; n++ {
		if n%256 == 1 {
			f.now = f.cfg.Now()
		}
		l, err := t.lines.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
		}
		full := false
		// An overlong line is not read again and again until it ends.
		if err == nil || l.size > 0 && (l.long || to != wholeLines) {
			full = f.line(t, l)
			t.skipping = t.skipping || l.long && l.partial
		}
		if err != nil {
			break
		}
		if full || n%maxBatchLines == 0 {
			if err := f.handOver(ctx, t); err != nil || ctx.Err() != nil {
				return err
			}
		}
	}
	return f.handOver(ctx, t)
}

// maxBatchLines bounds what is read before the position moves on, whether it
// could be parsed or not.
const maxBatchLines = 1 << 15

// handOver delivers what was read of a file and moves its position on. What is
// announced and not delivered is read again by the next follower.
func (f *Follower) handOver(ctx context.Context, t *tail) error {
	if t.at == t.pos.Offset {
		return nil
	}
	if f.taken > 0 {
		note, err := f.out.Announce()
		if err != nil {
			return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
		}
		f.keep(&announced{File: f.indexOf(t), To: t.at, Note: note})
		ctx, cancel := withRest(ctx, lastDelivery)
		defer cancel()
		f.handing.Store(f.cfg.Now().UnixNano())
		err = f.out.Deliver(ctx)
		f.handing.Store(0)
		if err != nil {
			return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
		}
		f.taken = 0
	}
	t.pos.Offset, t.pos.Skipping = t.at, t.skipping
	return nil
}

// withRest returns a context that ends a while after ctx does.
func withRest(ctx context.Context, rest time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(rest, cancel)
		context.AfterFunc(out, func() { t.Stop() })
	})
	return out, func() { stop(); cancel() }
}

// keep saves the position. Collecting goes on when that fails: a crash now
// repeats lines.
func (f *Follower) keep(a *announced) {
	sync := f.cfg.Now().Sub(f.syncedAt) >= f.cfg.SaveEvery
	if a == nil && !sync {
		return
	}
	err := f.save(a, sync)
	if err != nil && !f.unsaved {
		f.cfg.Log.Warn("the access log's position is not saved; a crash now would repeat lines", "path", f.cfg.Path, "err", err)
	}
	f.unsaved = err != nil
}

// save writes where reading stands, and what is announced.
func (f *Follower) save(a *announced, sync bool) error {
	p := positions{Path: f.cfg.Path, Done: f.done, Announced: a, Saved: f.saved.Saved + 1}
	for _, t := range f.tails {
		p.Files = append(p.Files, t.pos)
	}
	if sync {
		f.syncedAt = f.cfg.Now()
	}
	if p.equal(&f.saved) && (!sync || f.saved.synced) {
		return nil
	}
	if err := p.write(f.cfg.PositionFile, sync); err != nil {
		return err
	}
	p.Done, p.synced = slices.Clone(p.Done), sync
	f.saved = p
	return nil
}
