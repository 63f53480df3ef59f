package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// readRotated finds the file that last speaks of among the rotated ones and
// reads the rest of it and all newer ones. When ctx ends in between, the
// position stays where reading ended.
func (f *Follower) readRotated(ctx context.Context, last position) (found bool, err error) {
	for _, r := range rotated(f.cfg.Path) {
		offset := int64(0)
		if !found {
			if found = isPosition(r.path, &last); !found {
				continue
			}
			offset = last.Offset
		}
		if err := f.open(r.path, offset); err != nil {
			return found, err
		}
		if f.file == nil {
			continue // removed just now
		}
		if err := f.read(ctx); err != nil || ctx.Err() != nil {
			return found, err
		}
		if err := f.finishFile(); err != nil {
			return found, err
		}
	}
	return found, nil
}

func isPosition(path string, p *position) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }() // read only
	return p.sameFile(file)
}

// truncated starts a file again whose content shrank or changed under the same
// inode (copytruncate). What had not been read stands in the copy.
func (f *Follower) truncated(ctx context.Context) error {
	f.metrics.changes.WithLabelValues("truncated").Inc()
	if _, err := f.readRotated(ctx, f.pos); err != nil || ctx.Err() != nil {
		return err
	}
	return f.open(f.cfg.Path, 0)
}

// rotate goes on to a new file under the path once the old one is quiet.
func (f *Follower) rotate(ctx context.Context) error {
	st, err := os.Stat(f.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // between rename and create
	}
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	held, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	if os.SameFile(st, held) {
		f.replaced = time.Time{}
		return nil
	}
	now := f.cfg.Now()
	if f.replaced.IsZero() {
		f.replaced = now
	}
	if now.Sub(f.replaced) < f.cfg.Grace {
		return nil
	}
	if err := f.read(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	// Among the rotated ones the old file is found again, and with it any that
	// came and went since the last look.
	found, err := f.readRotated(ctx, f.pos)
	if err == nil && !found && ctx.Err() == nil {
		err = f.finishFile()
	}
	if err != nil || ctx.Err() != nil {
		return err
	}
	f.metrics.changes.WithLabelValues("renamed").Inc()
	f.close() // the next look opens the new file
	return nil
}

// finishFile takes a last line that never got its newline.
func (f *Follower) finishFile() error {
	l, err := f.lines.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("access log %s: %w", f.cfg.Path, err)
	}
	if l.size > 0 {
		f.line(l)
	}
	return nil
}
