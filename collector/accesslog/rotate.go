package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

const (
	// maxTails bounds the open files of one log; past it the oldest is finished
	// before its time.
	maxTails = 8
	// maxDone bounds the finished files that are remembered.
	maxDone = 16
)

// resume finds the files of the last run, delivers again what it had announced,
// and opens what rotations have left since and the current file.
func (f *Follower) resume(ctx context.Context) error {
	last, known, err := loadPositions(f.cfg.PositionFile, f.cfg.Path)
	if err != nil {
		return err
	}
	if !known {
		if err := f.begin(); err != nil {
			return err
		}
		return f.openOutlet(ctx, nil)
	}
	f.saved, f.done = last, last.Done
	var again *tail
	var note []byte
	missed := false
	for i, p := range last.Files {
		t, err := f.find(p)
		if err != nil {
			return err
		}
		if t == nil {
			missed = missed || p.HeadBytes > 0
			continue
		}
		f.tails = append(f.tails, t)
		if a := last.Announced; a != nil && a.File == i {
			if st, err := t.file.Stat(); err == nil && st.Size() >= a.To {
				again, note = t, a.Note
			}
		}
	}
	if missed {
		f.miss("the access log was replaced while weir was not running and a file of it is gone; lines may be missing")
	}
	if err := f.openOutlet(ctx, note); err != nil {
		return err
	}
	if again != nil {
		if err := f.read(ctx, again, last.Announced.To); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

func (f *Follower) openOutlet(ctx context.Context, note []byte) error {
	f.handing.Store(f.cfg.Now().UnixNano())
	defer f.handing.Store(0)
	return f.out.Open(ctx, note)
}

// begin opens a log of which nothing is known, and notes where.
func (f *Follower) begin() error {
	if err := os.Remove(batchFile(f.cfg.PositionFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("position of an access log: %w", err)
	}
	t, err := f.openTail(f.cfg.Path)
	if err != nil {
		return err
	}
	if t != nil {
		f.tails = append(f.tails, t)
		if !f.cfg.FromStart {
			if err := t.seekEnd(); err != nil {
				return err
			}
		}
	}
	f.keep(nil)
	return nil
}

// find opens the file that p speaks of, under the log's path or among the
// rotated ones, or a copy of it there, at p; nil when there is none.
func (f *Follower) find(p position) (*tail, error) {
	paths := []string{f.cfg.Path}
	for _, r := range rotated(f.cfg.Path) {
		paths = append(paths, r.path)
	}
	var copied *tail
	for i, path := range paths {
		t, err := f.openTail(path)
		if err != nil && i == 0 {
			return nil, err
		}
		switch {
		case t == nil:
		case !p.sameFile(t.file) || f.holds(t.pos.Inode):
			t.close()
		case t.pos.Inode == p.Inode:
			if copied != nil {
				copied.close()
			}
			return f.goOn(t, p, i > 0), nil
		case i > 0 && copied == nil && p.HeadBytes > 0:
			copied = f.goOn(t, p, true)
		default:
			t.close()
		}
	}
	return copied, nil
}

// goOn puts t where p stands.
func (f *Follower) goOn(t *tail, p position, rotated bool) *tail {
	t.pos.Offset, t.pos.Skipping = p.Offset, p.Skipping
	if rotated {
		t.until = f.cfg.Now().Add(f.cfg.Grace)
	}
	return t
}

// holds reports whether a file is open already.
func (f *Follower) holds(inode uint64) bool {
	return slices.ContainsFunc(f.tails, func(t *tail) bool { return t.pos.Inode == inode })
}

func (f *Follower) indexOf(t *tail) int { return slices.Index(f.tails, t) }

// current is the file that the path named at the last look, nil if none.
func (f *Follower) current() *tail {
	if n := len(f.tails); n > 0 && f.tails[n-1].until.IsZero() {
		return f.tails[n-1]
	}
	return nil
}

// truncated starts a file again whose content shrank or changed under the same
// inode (copytruncate). What had not been read stands in the copy.
func (f *Follower) truncated(ctx context.Context, t *tail) error {
	f.metrics.changes.WithLabelValues("truncated").Inc()
	at := f.indexOf(t)
	f.tails = slices.Delete(f.tails, at, at+1)
	defer t.close()
	rest, err := f.find(t.pos)
	if err != nil {
		return err
	}
	if rest == nil {
		f.miss("the access log was cut off and no copy of it is there; lines of the last moment may be missing")
	} else {
		rest.until = f.cfg.Now() // a copy is complete
		f.tails = slices.Insert(f.tails, at, rest)
	}
	if !t.until.IsZero() { // a rotated one, emptied
		return nil
	}
	if rest != nil {
		if err := f.look(ctx, rest); err != nil || ctx.Err() != nil {
			return err
		}
		if err := f.between(ctx, rest); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return f.enter(ctx)
}

// rotate goes on to a new file under the path; the old one is read for a while
// yet.
func (f *Follower) rotate(ctx context.Context) error {
	st, err := os.Stat(f.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // between rename and create
	}
	if err != nil {
		f.hear(err)
		return nil
	}
	if t := f.current(); t != nil {
		if t.pos.Inode == inode(st) {
			return nil
		}
		t.until = f.cfg.Now().Add(f.cfg.Grace)
	}
	n := len(f.tails)
	if n > 0 {
		if err := f.between(ctx, f.tails[n-1]); err != nil || ctx.Err() != nil {
			return err
		}
	}
	err = f.enter(ctx)
	if n > 0 && f.current() != nil {
		f.metrics.changes.WithLabelValues("renamed").Inc()
	}
	return err
}

// between takes up the files that came after the one that t reads and were
// rotated away before anybody looked.
func (f *Follower) between(ctx context.Context, t *tail) error {
	after, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	for _, r := range rotated(f.cfg.Path) {
		if r.time.Before(after.ModTime()) || !r.numbered(f.cfg.Path) || f.holds(r.inode) {
			continue
		}
		next, err := f.openTail(r.path)
		if err != nil {
			f.miss("a rotated file of the access log cannot be read: " + err.Error())
		}
		if next == nil || !f.unread(next) {
			continue
		}
		next.until = f.cfg.Now().Add(f.cfg.Grace)
		f.tails = append(f.tails, next)
		if err := f.look(ctx, next); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// unread reports whether a rotated file holds lines that were not read, and puts
// it before them; else it closes it.
func (f *Follower) unread(t *tail) bool {
	same := func(p position) bool {
		hash, short, err := headHash(t.file, p.HeadBytes)
		return err == nil && !short && hash == p.Head && p.HeadBytes > 0
	}
	for i, p := range f.done {
		if st, err := t.file.Stat(); err == nil && p.Inode == t.pos.Inode && same(p) && st.Size() > p.Offset {
			f.goOn(t, p, true) // late lines of a file that was finished
			f.done = slices.Delete(f.done, i, i+1)
			return true
		}
	}
	if slices.ContainsFunc(f.done, same) || slices.ContainsFunc(f.tails, func(u *tail) bool { return same(u.pos) }) {
		t.close() // finished, or a copy of what is read elsewhere
		return false
	}
	return true
}

// enter opens the file under the path as the current one and reads what is there.
func (f *Follower) enter(ctx context.Context) error {
	t, err := f.openTail(f.cfg.Path)
	f.hear(err)
	if t == nil {
		return nil
	}
	if f.holds(t.pos.Inode) { // renamed back
		t.close()
		return nil
	}
	f.tails = append(f.tails, t)
	return f.look(ctx, t)
}

// hear tells the operator of a log that cannot be read, once, and goes on: a
// rotation may give the new file its owner a moment later.
func (f *Follower) hear(err error) {
	if err == nil {
		f.fault.Store(nil)
		return
	}
	if f.fault.Swap(&err) == nil {
		f.cfg.Log.Error("an access log is tried again", "path", f.cfg.Path, "err", err)
	}
}

// retire finishes rotated files whose time has come.
func (f *Follower) retire(ctx context.Context) error {
	if f.current() == nil {
		return nil // its server may still write to it
	}
	now := f.cfg.Now()
	for i := 0; i < len(f.tails); {
		t := f.tails[i]
		if t.until.IsZero() || now.Before(t.until) && len(f.tails)-i <= maxTails {
			i++
			continue
		}
		if err := f.read(ctx, t, allBytes); err != nil || ctx.Err() != nil {
			return err
		}
		t.close()
		f.tails = slices.Delete(f.tails, i, i+1)
		f.done = append(f.done, t.pos)
		f.done = f.done[max(0, len(f.done)-maxDone):]
	}
	return nil
}

// miss counts and says that lines may be lost.
func (f *Follower) miss(what string) {
	f.missed.Add(1)
	f.metrics.changes.WithLabelValues("missed").Inc()
	f.cfg.Log.Warn(what, "path", f.cfg.Path, "at", f.cfg.Now().Format(time.RFC3339))
}
