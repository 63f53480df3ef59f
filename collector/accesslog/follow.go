package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// FollowConfig says which log to follow.
type FollowConfig struct {
	Path   string
	Format Format
	// Site and Node are given to every exchange; an empty site leaves it to the
	// extractor, by host.
	Site, Node string
	// PositionFile keeps where reading stands over restarts; its directory must
	// exist.
	PositionFile string
	// FromStart reads an existing log from its beginning when there is no
	// position yet; else only what is written from now on.
	FromStart  bool
	DeadLetter *DeadLetter
	// Flush, if set, waits until all that was emitted has been handed on; the
	// position is saved only after it returned nil.
	Flush func(ctx context.Context) error
	// PollEvery is how often the file is looked at, default 250 ms. SaveEvery is
	// how often the position is saved, default 1 s: after a crash at most the
	// lines of that time are read again, under the same ids.
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

// Follower follows one log. Use Run once.
type Follower struct {
	cfg     FollowConfig
	metrics *Metrics
	emit    func(*flow.Exchange)
	parser  *Parser
	x       flow.Exchange

	file   *os.File
	lines  *lineReader
	pos    position
	fileID string // see firstLineHash
	// named is the part of an id before the offset.
	named []byte
	// skipping: the start of an overlong line was dropped, its end is to come.
	skipping bool
	// modified is the file's time at the last look: content of the same length
	// may have taken the place of the old.
	modified time.Time
	// now is about when the present lines are read.
	now time.Time
	// deaf: the path could not be opened, and the operator was told.
	deaf bool
	// replaced is when the path was first seen to name another file.
	replaced time.Time
	saved    position
	savedAt  time.Time
}

// NewFollower returns a follower. emit takes each exchange; it may block, which
// holds reading back, and keeps nothing of x but strings.
func NewFollower(cfg FollowConfig, m *Metrics, emit func(x *flow.Exchange)) (*Follower, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if m == nil {
		m = NewMetrics(nil)
	}
	cfg = cfg.withDefaults()
	parser := NewParser(cfg.Format)
	parser.chunked = true
	return &Follower{cfg: cfg, metrics: m, emit: emit, parser: parser}, nil
}

// Run follows the log until ctx ends, saves the position and returns nil. A log
// that does not exist yet is waited for. Errors are those of the position file
// and of reading.
func (f *Follower) Run(ctx context.Context) error {
	defer f.close()
	if err := f.resume(ctx); err != nil {
		return err
	}
	poll := time.NewTicker(f.cfg.PollEvery)
	defer poll.Stop()
	for {
		if err := f.poll(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			// What was read is handed on before the position moves, but not
			// for ever.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return f.save(last)
		case <-poll.C:
		}
		if f.cfg.Now().Sub(f.savedAt) >= f.cfg.SaveEvery {
			// Collecting goes on: a crash now repeats more lines, no less.
			if err := f.save(ctx); err != nil && ctx.Err() == nil {
				f.cfg.Log.Warn("the access log's position is not saved", "path", f.cfg.Path, "err", err)
			}
		}
	}
}

// resume finds the file and offset of the last run, reads what rotations have
// left since, and opens the current file.
func (f *Follower) resume(ctx context.Context) error {
	last, known, err := loadPosition(f.cfg.PositionFile, f.cfg.Path)
	if err != nil {
		return err
	}
	f.savedAt = f.cfg.Now()
	if !known {
		if err := f.open(f.cfg.Path, 0); err != nil || f.file == nil || f.cfg.FromStart {
			return err
		}
		return f.seekEnd()
	}
	f.saved = last
	if err := f.open(f.cfg.Path, 0); err != nil {
		return err
	}
	if f.file != nil && f.pos.Inode == last.Inode && last.sameFile(f.file) {
		return f.seek(last.Offset)
	}
	// The file was rotated away or truncated while weir was not looking.
	found, err := f.readRotated(ctx, last)
	if err != nil || ctx.Err() != nil {
		return err
	}
	if found {
		f.metrics.changes.WithLabelValues("renamed").Inc()
	} else {
		f.metrics.changes.WithLabelValues("missed").Inc()
		f.cfg.Log.Warn("the access log was replaced while weir was not running and its old file is gone; lines may be missing",
			"path", f.cfg.Path)
	}
	return f.open(f.cfg.Path, 0)
}

// open makes path the current file; a missing one leaves none.
func (f *Follower) open(path string, offset int64) error {
	f.close()
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	st, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("open access log: %w", err)
	}
	f.file, f.replaced, f.fileID, f.skipping = file, time.Time{}, "", false
	f.pos = position{Path: f.cfg.Path, Inode: inode(st)}
	if err := f.identify(); err != nil {
		return err
	}
	return f.seek(offset)
}

func (f *Follower) close() {
	if f.file != nil {
		_ = f.file.Close() // read only: nothing can be lost
		f.file = nil
	}
}

func (f *Follower) seek(offset int64) error {
	if _, err := f.file.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	f.pos.Offset = offset
	if f.lines == nil {
		f.lines = newLineReader(f.file, f.cfg.Format.maxLine())
	} else {
		f.lines.reset(f.file)
	}
	return nil
}

// seekEnd goes behind the last whole line, so that one which is being written is
// read.
func (f *Follower) seekEnd() error {
	st, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	end := st.Size()
	tail := make([]byte, min(end, MaxLine))
	n, err := f.file.ReadAt(tail, end-int64(len(tail)))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	for n > 0 && tail[n-1] != '\n' {
		n--
	}
	return f.seek(end - int64(len(tail)) + int64(n))
}

// identify hashes more of the file's head while it is short.
func (f *Follower) identify() error {
	st, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	if n := min(st.Size(), maxHeadBytes); n != f.pos.HeadBytes {
		hash, short, err := headHash(f.file, n)
		if err != nil || short {
			return err // cut off just now: the next look sees it
		}
		f.pos.Head, f.pos.HeadBytes = hash, n
	}
	return nil
}

// poll reads what is there and looks for rotation.
func (f *Follower) poll(ctx context.Context) error {
	if f.file == nil {
		if err := f.open(f.cfg.Path, 0); err != nil {
			// A rotation may give the new file its owner a moment later.
			if !f.deaf {
				f.cfg.Log.Error("the access log cannot be read; it is tried again", "path", f.cfg.Path, "err", err)
			}
			f.deaf = true
			return nil
		}
		f.deaf = false
		if f.file == nil {
			return nil
		}
	}
	st, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	changed := st.Size() != f.pos.Offset || !st.ModTime().Equal(f.modified)
	f.modified = st.ModTime()
	if changed && !f.pos.sameFile(f.file) {
		if err := f.truncated(ctx); err != nil || f.file == nil || ctx.Err() != nil {
			return err
		}
	}
	if err := f.identify(); err != nil {
		return err
	}
	if st.Size() != f.pos.Offset {
		if err := f.read(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return f.rotate(ctx)
}

// read takes all whole lines up to the file's present end.
func (f *Follower) read(ctx context.Context) error {
	for n := 0; ; n++ {
		if n%256 == 0 {
			if f.now = f.cfg.Now(); ctx.Err() != nil {
				return f.seek(f.pos.Offset)
			}
		}
		l, err := f.lines.next()
		switch {
		case errors.Is(err, io.EOF):
			if l.long { // not read again and again until it ends
				f.line(l)
				f.skipping = true
			}
			// A line that is still being written is read again from its start.
			return f.seek(f.pos.Offset)
		case err != nil:
			return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
		}
		f.line(l)
	}
}

// line parses one line at the current offset and moves it on.
func (f *Follower) line(l line) {
	at := f.pos.Offset
	f.pos.Offset += l.size
	if f.skipping {
		f.skipping = l.partial
		return
	}
	err := ErrLong
	if !l.long {
		err = f.parser.Parse(l.text, f.id(at), &f.x)
	}
	switch {
	case errors.Is(err, ErrEmpty):
		return
	case err != nil:
		f.metrics.lines.WithLabelValues(reasonOf(err)).Inc()
		where := f.cfg.Path + "@" + strconv.FormatInt(at, 10)
		if err := f.cfg.DeadLetter.Add(where, f.parser.Format(), err, l.text); err != nil {
			f.cfg.Log.Warn("keep sample of rejected line", "err", err)
		}
		return
	}
	f.metrics.parsed.Inc()
	x := &f.x
	if f.cfg.Site != "" {
		x.Site = f.cfg.Site
	}
	x.Node, x.Source = f.cfg.Node, event.SourceAccessLog
	f.clamp(x)
	f.emit(x)
}

// id names the line at an offset, the same at each reading: "access.log@", the
// file by its first line, ":" and the offset. It is valid until the next call.
func (f *Follower) id(at int64) []byte {
	if f.fileID == "" {
		f.fileID = firstLineHash(f.file)
		f.named = append(append(f.named[:0], baseName(f.cfg.Path)...), '@')
		f.named = append(append(f.named, f.fileID...), ':')
	}
	return strconv.AppendInt(f.named, at, 10)
}

// clamp holds a live event's time near the present (CONTRACTS.md section 5).
func (f *Follower) clamp(x *flow.Exchange) {
	low, high := f.now.Add(-24*time.Hour), f.now.Add(5*time.Minute)
	switch {
	case x.Time.Before(low):
		x.Time = low
	case x.Time.After(high):
		x.Time = high
	default:
		return
	}
	x.Flags |= event.FlagClockClamped
	f.metrics.clamped.Inc()
}

// save keeps the position once all that was emitted has been handed on.
func (f *Follower) save(ctx context.Context) error {
	f.savedAt = f.cfg.Now()
	if f.pos == f.saved || f.pos.Path == "" {
		return nil
	}
	p := f.pos
	if f.cfg.Flush != nil {
		if err := f.cfg.Flush(ctx); err != nil {
			return fmt.Errorf("access log %s: hand on: %w", f.cfg.Path, err)
		}
	}
	if err := savePosition(f.cfg.PositionFile, p); err != nil {
		return err
	}
	f.saved = p
	return nil
}
