package accesslog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/weirproject/weir/stream/event"
)

// tail is one open file.
type tail struct {
	file  *os.File
	path  string
	lines *lineReader
	// pos is behind what was handed over, at behind what was read.
	pos position
	at  int64
	// skipping: the start of an overlong line was dropped, its end is to come.
	skipping bool
	// modified is the file's time at the last look: content of the same length
	// may have taken the place of the old.
	modified time.Time
	// until is when a file that was replaced is finished; zero while it is current.
	until  time.Time
	fileID string // see firstLineHash
	// named is the part of an id before the offset.
	named []byte
}

// errUnreadable says that the log cannot be opened, or where to go on in it is not
// known; that may change.
var errUnreadable = errors.New("the access log cannot be read")

// openTail opens a file at its beginning; a missing one gives nil.
func (f *Follower) openTail(path string) (*tail, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // absence is no error here
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	t := &tail{file: file, path: path}
	st, err := file.Stat()
	if err == nil && st.IsDir() {
		err = errors.New("it is a directory")
	}
	if err == nil {
		t.pos.Inode = inode(st)
		err = t.identify()
	}
	if err != nil {
		t.close()
		return nil, fmt.Errorf("%w: %s: %w", errUnreadable, path, err)
	}
	t.lines = newLineReader(file, f.cfg.Format.maxLine())
	return t, nil
}

func (t *tail) close() { _ = t.file.Close() } // read only: nothing can be lost

// seek makes offset the place of the next line.
func (t *tail) seek(offset int64) error {
	if _, err := t.file.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("access log %s: %w", t.path, err)
	}
	t.lines.reset(t.file)
	t.at, t.skipping = offset, t.pos.Skipping
	return nil
}

// seekEnd goes behind the last whole line, so that one which is being written is
// read.
func (t *tail) seekEnd() error {
	st, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("access log %s: %w", t.path, err)
	}
	end := st.Size()
	last := make([]byte, min(end, MaxLine))
	n, err := t.file.ReadAt(last, end-int64(len(last)))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("access log %s: %w", t.path, err)
	}
	for n > 0 && last[n-1] != '\n' {
		n--
	}
	t.pos.Offset = end - int64(len(last)) + int64(n)
	return nil
}

// identify hashes more of the file's head while it is short.
func (t *tail) identify() error {
	st, err := t.file.Stat()
	if err != nil {
		return err
	}
	if n := min(st.Size(), maxHeadBytes); n != t.pos.HeadBytes || t.pos.Head == "" {
		hash, short, err := headHash(t.file, n)
		if err != nil || short {
			return err // cut off just now: the next look sees it
		}
		t.pos.Head, t.pos.HeadBytes = hash, n
	}
	return nil
}

// line parses one line at the present place and moves that on.
func (f *Follower) line(t *tail, l line) (full bool) {
	at := t.at
	t.at += l.size
	if t.skipping {
		t.skipping = l.partial
		return false
	}
	err := ErrLong
	if !l.long {
		err = f.parser.Parse(l.text, f.id(t, at), &f.x)
	}
	switch {
	case errors.Is(err, ErrEmpty):
		return false
	case err != nil:
		f.metrics.lines.WithLabelValues(reasonOf(err)).Inc()
		where := f.cfg.Path + "@" + strconv.FormatInt(at, 10)
		if err := f.cfg.DeadLetter.Add(where, f.parser.Format(), err, l.text); err != nil && !f.unsampled {
			f.unsampled = true
			f.cfg.Log.Warn("rejected lines are counted, but samples of them cannot be kept", "err", err)
		}
		return false
	}
	f.metrics.parsed.Inc()
	x := &f.x
	if f.cfg.Site != "" {
		x.Site = f.cfg.Site
	}
	x.Node, x.Source = f.cfg.Node, event.SourceAccessLog
	f.clamp()
	f.taken++
	return f.out.Take(x)
}

// id names the line at an offset, the same at each reading: "access.log@", the
// file by its first line, ":" and the offset. It is valid until the next call.
func (f *Follower) id(t *tail, at int64) []byte {
	if t.fileID == "" {
		t.fileID = firstLineHash(t.file)
		t.named = append(append(t.named[:0], baseName(f.cfg.Path)...), '@')
		t.named = append(append(t.named, t.fileID...), ':')
	}
	return strconv.AppendInt(t.named, at, 10)
}

// clamp holds a live event's time near the present (CONTRACTS.md section 5).
func (f *Follower) clamp() {
	x := &f.x
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
