package sinks

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// position is the next offset wanted per topic and partition.
type position map[string]map[int32]int64

// move puts the position behind the records.
func (p position) move(recs []Record) {
	for i := range recs {
		r := &recs[i]
		if p[r.Topic] == nil {
			p[r.Topic] = map[int32]int64{}
		}
		p[r.Topic][r.Partition] = r.Offset + 1
	}
}

// positionFile is the saved form.
type positionFile struct {
	Version  int             `json:"version"`
	Sum      uint32          `json:"sum"` // CRC-32 (IEEE) of Position's bytes
	Position json.RawMessage `json:"position"`
}

const positionVersion = 1

// open locks the sink's state, so that two processes do not serve one
// destination from one position, and reads the position.
func (s *Sink) open() (unlock func(), err error) {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(s.cfg.Dir, s.cfg.Name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("another process serves this sink from %s: %w", s.cfg.Dir, err)
	}
	p, err := readPosition(s.positionPath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p = position{}
	case err != nil:
		// Starting over repeats documents; guessing would lose some.
		s.log.Error("the saved position cannot be used; everything that the log holds is delivered again", "err", err)
		p = position{}
	}
	s.mu.Lock()
	s.position = p
	s.mu.Unlock()
	return func() { _ = lock.Close() }, nil
}

func (s *Sink) positionPath() string {
	return filepath.Join(s.cfg.Dir, s.cfg.Name+".position")
}

func readPosition(path string) (position, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the path
	}
	var f positionFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if f.Version != positionVersion || crc32.ChecksumIEEE(f.Position) != f.Sum {
		return nil, fmt.Errorf("%s: version %d or checksum is wrong", path, f.Version)
	}
	p := position{}
	if err := json.Unmarshal(f.Position, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

func (s *Sink) save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saveLocked()
}

// saveLocked makes the deliveries durable, then the position.
func (s *Sink) saveLocked() error {
	s.saved = time.Now()
	if !s.dirty {
		return nil
	}
	if err := s.dest.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	p, err := json.Marshal(s.position)
	if err != nil {
		return fmt.Errorf("position: %w", err)
	}
	b, err := json.Marshal(positionFile{positionVersion, crc32.ChecksumIEEE(p), p})
	if err != nil {
		return fmt.Errorf("position: %w", err)
	}
	if err := replace(s.positionPath(), b); err != nil {
		return fmt.Errorf("position: %w", err)
	}
	s.dirty = false
	return nil
}

// replace writes a file so that a crash leaves the old one or the new one.
func replace(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err //nolint:wrapcheck // it names the paths
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	return errors.Join(d.Sync(), d.Close())
}

// deadLetters keeps what a destination refused for good, as JSON lines, in two
// files of half the limit: the older one makes room.
type deadLetters struct {
	path, sink string
	limit      int64
}

// deadLetter is one line.
type deadLetter struct {
	Time      time.Time `json:"time"`
	Sink      string    `json:"sink"`
	ID        string    `json:"id,omitempty"`
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Error     string    `json:"error"`
	// Document is what would have been delivered; Record the raw record where
	// no document could be made of it (base64).
	Document json.RawMessage `json:"document,omitempty"`
	Record   []byte          `json:"record,omitempty"`
}

const maxDeadRecord = 64 << 10

func (d *deadLetters) write(id string, r *Record, doc []byte, why error) error {
	line := deadLetter{
		Time: time.Now().UTC(), Sink: d.sink, ID: id, Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Error: why.Error(),
	}
	if json.Valid(doc) {
		line.Document = doc
	} else {
		line.Record = r.Value[:min(len(r.Value), maxDeadRecord)]
	}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	if st, err := os.Stat(d.path); err == nil && st.Size()+int64(len(b)) > d.limit/2 {
		if err := os.Rename(d.path, d.path+".1"); err != nil {
			return fmt.Errorf("dead letter: %w", err)
		}
	}
	f, err := os.OpenFile(d.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	return nil
}
