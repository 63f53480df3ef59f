package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Directory is a SnapshotStore in a file system: DIR/topic/partition/
// OFFSET-SECONDS.snap. Group members on several machines share it over a
// network file system with atomic rename.
type Directory struct {
	path string
}

const (
	snapSuffix = ".snap"
	tmpSuffix  = ".tmp"
	// staleTmpAge is after how long the remains of a killed writer are removed.
	staleTmpAge = time.Hour
)

// NewDirectory returns a store below path; directories are made when needed,
// readable by the owner only.
func NewDirectory(path string) *Directory { return &Directory{path: path} }

func (d *Directory) dir(topic string, partition int32) string {
	return filepath.Join(d.path, topic, strconv.Itoa(int(partition)))
}

func (d *Directory) file(id SnapshotID) string {
	return filepath.Join(d.dir(id.Topic, id.Partition), snapshotName(id))
}

// snapshotName is a snapshot's name among those of its partition.
func snapshotName(id SnapshotID) string {
	return fmt.Sprintf("%020d-%d%s", id.Offset, id.Saved.Unix(), snapSuffix)
}

// parseSnapshotName reads such a name; whose partition it is the caller knows.
func parseSnapshotName(name string) (id SnapshotID, ok bool) {
	stem, ok := strings.CutSuffix(name, snapSuffix)
	offset, seconds, _ := strings.Cut(stem, "-")
	o, err1 := strconv.ParseInt(offset, 10, 64)
	s, err2 := strconv.ParseInt(seconds, 10, 64)
	if !ok || err1 != nil || err2 != nil || o < 0 {
		return SnapshotID{}, false
	}
	return SnapshotID{Offset: o, Saved: time.Unix(s, 0).UTC()}, true
}

// Create implements SnapshotStore.
func (d *Directory) Create(_ context.Context, id SnapshotID) (SnapshotWriter, error) {
	dir := d.dir(id.Topic, id.Partition)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("snapshot directory: %w", err)
	}
	d.sweep(dir)
	f, err := os.CreateTemp(dir, "snap-*"+tmpSuffix) // mode 0600
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return &directoryWriter{File: f, target: d.file(id)}, nil
}

// sweep removes what writers left that were killed before their rename.
func (d *Directory) sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), tmpSuffix) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleTmpAge {
			_ = os.Remove(filepath.Join(dir, e.Name())) // the next sweep tries again
		}
	}
}

// List implements SnapshotStore. Names it does not know are not its files and
// are left alone.
func (d *Directory) List(_ context.Context, topic string, partition int32) ([]SnapshotID, error) {
	entries, err := os.ReadDir(d.dir(topic, partition))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot directory: %w", err)
	}
	var ids []SnapshotID
	for _, e := range entries {
		if id, ok := parseSnapshotName(e.Name()); ok {
			id.Topic, id.Partition = topic, partition
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Open implements SnapshotStore.
func (d *Directory) Open(_ context.Context, id SnapshotID) (io.ReadCloser, error) {
	f, err := os.Open(d.file(id))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return f, nil
}

// Remove implements SnapshotStore.
func (d *Directory) Remove(_ context.Context, id SnapshotID) error {
	if err := os.Remove(d.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

type directoryWriter struct {
	*os.File
	target string
}

// Commit syncs the file, renames it into place and syncs the directory, so that
// after a power loss the snapshot is whole or absent.
func (w *directoryWriter) Commit() error {
	err := w.Sync()
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(w.Name(), w.target)
	}
	if err != nil {
		_ = os.Remove(w.Name()) // the error that matters is the first
		return fmt.Errorf("snapshot: %w", err)
	}
	dir, err := os.Open(filepath.Dir(w.target))
	if err != nil {
		return fmt.Errorf("snapshot directory: %w", err)
	}
	err = dir.Sync()
	if cerr := dir.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("snapshot directory: %w", err)
	}
	return nil
}

// Abort discards the temporary file.
func (w *directoryWriter) Abort() error {
	return errors.Join(w.Close(), os.Remove(w.Name()))
}
