// Package file delivers documents to a file of JSON lines.
//
// It promises that the file holds whole lines only, also after kill -9 or a
// full disk, that rotation loses none, and that a file which somebody else
// rotates away is opened anew. It never reads back what it wrote.
package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Config says where and how.
type Config struct {
	Path string
	// MaxBytes at which the file is rotated to Path.1, Path.2 ...; default
	// 100 MiB. Keep is how many rotated files stay; default 5.
	MaxBytes int64
	Keep     int
	// SyncEach syncs after each delivery. Else the file is synced before a
	// position is saved, which is as safe and delivers documents to the disk up
	// to a second later.
	SyncEach bool
	// Mode of new files; default 0640, so that a log shipper's group can read.
	Mode fs.FileMode
}

// Validate returns all faults.
func (c Config) Validate() error {
	switch {
	case c.Path == "":
		return errors.New("file sink: path is missing")
	case c.MaxBytes < 0 || c.Keep < 0:
		return errors.New("file sink: maxBytes and keep must not be negative")
	}
	return nil
}

// Destination is an open file. It is not safe for concurrent use.
type Destination struct {
	cfg  Config
	f    *os.File
	info fs.FileInfo // identity of f
	size int64
	buf  bytes.Buffer
	// dirty since the last sync.
	dirty bool
}

// New checks the configuration; the file is opened by the first delivery.
func New(cfg Config) (*Destination, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 100 << 20
	}
	if cfg.Keep == 0 {
		cfg.Keep = 5
	}
	if cfg.Mode == 0 {
		cfg.Mode = 0o640
	}
	return &Destination{cfg: cfg}, nil
}

// Deliver appends the documents, one line each. After an error none of them
// stands in the file.
func (d *Destination) Deliver(_ context.Context, _ []string, documents [][]byte) error {
	d.buf.Reset()
	for _, doc := range documents {
		d.buf.Write(doc)
		d.buf.WriteByte('\n')
	}
	if err := d.ready(int64(d.buf.Len())); err != nil {
		return fmt.Errorf("file sink: %w", err)
	}
	n, err := d.f.Write(d.buf.Bytes())
	if err == nil && d.cfg.SyncEach {
		err = d.f.Sync()
	}
	if err != nil {
		// Half a line must not stay; what was there before must.
		err = errors.Join(err, d.f.Truncate(d.size))
		return fmt.Errorf("file sink: %w", err)
	}
	d.size += int64(n)
	d.dirty = !d.cfg.SyncEach
	return nil
}

// ready opens the file where needed and rotates it where it is full.
func (d *Destination) ready(more int64) error {
	if d.f != nil {
		if st, err := os.Stat(d.cfg.Path); err != nil || !os.SameFile(st, d.info) {
			if err := d.Close(); err != nil { // rotated away by somebody else
				return err
			}
		}
	}
	if d.f == nil {
		if err := d.open(); err != nil {
			return err
		}
	}
	if d.size > 0 && d.size+more > d.cfg.MaxBytes {
		if err := d.rotate(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Destination) open() error {
	if err := os.MkdirAll(filepath.Dir(d.cfg.Path), 0o700); err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	f, err := os.OpenFile(d.cfg.Path, os.O_CREATE|os.O_RDWR|os.O_APPEND, d.cfg.Mode)
	if err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	info, err := f.Stat()
	if err == nil {
		d.size, err = cutTornLine(f, info.Size())
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	d.f, d.info = f, info
	return nil
}

// cutTornLine drops an unfinished last line, left by a process that died while
// it wrote: its documents come again.
func cutTornLine(f *os.File, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("look for a torn line: %w", err)
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			end += int64(i) + 1 - n
			if end == size {
				return size, nil
			}
			return end, f.Truncate(end)
		}
		end -= n
	}
	if size == 0 {
		return 0, nil
	}
	return 0, f.Truncate(0)
}

// rotate moves Path to Path.1 and so on; what would be Path.(Keep+1) goes.
func (d *Destination) rotate() error {
	if err := d.Close(); err != nil {
		return err
	}
	for i := d.cfg.Keep; i >= 1; i-- {
		from := d.cfg.Path + "." + strconv.Itoa(i-1)
		if i == 1 {
			from = d.cfg.Path
		}
		if err := os.Rename(from, d.cfg.Path+"."+strconv.Itoa(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate: %w", err)
		}
	}
	return d.open()
}

// Sync makes everything delivered durable.
func (d *Destination) Sync() error {
	if d.f == nil || !d.dirty {
		return nil
	}
	if err := d.f.Sync(); err != nil {
		return fmt.Errorf("file sink: %w", err)
	}
	d.dirty = false
	return nil
}

// Close syncs and closes the file; a later delivery opens it again.
func (d *Destination) Close() error {
	if d.f == nil {
		return nil
	}
	err := d.Sync()
	err = errors.Join(err, d.f.Close())
	d.f, d.dirty = nil, false
	return err
}
