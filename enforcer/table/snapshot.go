package table

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// A snapshot file:
//
//	8  magic "WEIRVTBL"
//	4  version u32         4  position length u32
//	8  records u64         n  position (opaque feed cursor)
//	   records: length u32, then the record (record.go)
//	32 SHA-256 of all before it
const (
	snapshotMagic   = "WEIRVTBL"
	snapshotVersion = 1
	maxPosition     = 64 << 10
)

// ErrCorrupt is wrapped by every refusal of a snapshot's content.
var ErrCorrupt = errors.New("verdict table snapshot is corrupt")

// Save writes the table. Lookups and Apply go on meanwhile; the snapshot is the
// state when Save was called.
func (t *Table) Save(w io.Writer) error {
	t.mu.Lock()
	position := t.position
	t.mu.Unlock()
	// The position is read first: verdicts may be newer than it, never older.
	entries := t.entries()
	if len(position) > maxPosition {
		return fmt.Errorf("save verdict table: feed position of %d bytes, want at most %d", len(position), maxPosition)
	}
	sum := sha256.New()
	b := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	head := append([]byte(nil), snapshotMagic...)
	head = binary.LittleEndian.AppendUint32(head, snapshotVersion)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(position)))
	head = binary.LittleEndian.AppendUint64(head, uint64(len(entries)))
	head = append(head, position...)
	_, _ = b.Write(head) // bufio keeps the first error for Flush
	var n [4]byte
	for _, e := range entries {
		binary.LittleEndian.PutUint32(n[:], uint32(len(e.b)))
		_, _ = b.Write(n[:])
		_, _ = b.Write(e.b)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("save verdict table: %w", err)
	}
	if _, err := w.Write(sum.Sum(nil)); err != nil {
		return fmt.Errorf("save verdict table: %w", err)
	}
	return nil
}

// SaveFile writes the table beside path and renames it into place, so that a
// crash leaves the old file or the new one. The file is 0600.
func (t *Table) SaveFile(path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("save verdict table: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err = t.Save(f); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return fmt.Errorf("save verdict table: %w", err)
	}
	if err = f.Close(); err != nil {
		return fmt.Errorf("save verdict table: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("save verdict table: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("save verdict table: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("save verdict table: sync %s: %w", dir, err)
	}
	return nil
}

// LoadFile applies a snapshot to the table, dropping what has expired at now.
// A corrupt or foreign file is refused before anything is applied: the table
// then stays as it was. A missing file is an error that is fs.ErrNotExist.
func (t *Table) LoadFile(path string, now int64) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("load verdict table: %w", err)
	}
	defer func() { _ = f.Close() }()
	n, err := t.Load(f, now)
	if err != nil {
		return n, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// Load reads what Save wrote and returns the number of verdicts now held from
// it. At most 2 GiB is read.
func (t *Table) Load(r io.Reader, now int64) (int, error) {
	b, err := io.ReadAll(io.LimitReader(r, 2<<30))
	if err != nil {
		return 0, fmt.Errorf("load verdict table: %w", err)
	}
	position, count, body, err := openSnapshot(b)
	if err != nil {
		return 0, err
	}
	verdicts := make([][]byte, 0, min(count, uint64(len(body)/recordHead)))
	for i := range count {
		if len(body) < 4 || uint64(len(body)-4) < uint64(binary.LittleEndian.Uint32(body)) {
			return 0, fmt.Errorf("%w: record %d is cut short", ErrCorrupt, i)
		}
		n := binary.LittleEndian.Uint32(body)
		record := body[4 : 4+n]
		if err := checkRecord(record); err != nil {
			return 0, fmt.Errorf("%w: record %d: %w", ErrCorrupt, i, err)
		}
		verdicts = append(verdicts, record)
		body = body[4+n:]
	}
	if len(body) != 0 {
		return 0, fmt.Errorf("%w: %d bytes after the last record", ErrCorrupt, len(body))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	loaded := 0
	for _, record := range verdicts {
		e := Entry{record}
		key := keyOfRecord(e)
		o, old := t.seen(key, e.Revision())
		if !old {
			o = t.applyRecord(key, record, now)
		}
		t.counts.Outcomes[o]++
		if o == Added || o == Updated || o == Revoked {
			loaded++
		}
	}
	t.position = position
	return loaded, nil
}

func keyOfRecord(e Entry) (k idKey) {
	b, _ := e.idBytes()
	if e.b[3]&flagLongID != 0 {
		return keyOfID(string(b))
	}
	copy(k[:], b)
	return k
}

func openSnapshot(b []byte) (position string, count uint64, body []byte, err error) {
	const head = 24
	if len(b) < head+sha256.Size {
		return "", 0, nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	}
	if string(b[:8]) != snapshotMagic {
		return "", 0, nil, fmt.Errorf("%w: it does not begin with %s", ErrCorrupt, snapshotMagic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != snapshotVersion {
		return "", 0, nil, fmt.Errorf("%w: version %d, this program reads %d", ErrCorrupt, v, snapshotVersion)
	}
	end := len(b) - sha256.Size
	if sum := sha256.Sum256(b[:end]); !bytes.Equal(sum[:], b[end:]) {
		return "", 0, nil, fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n > maxPosition || uint64(n) > uint64(end-head) {
		return "", 0, nil, fmt.Errorf("%w: position of %d bytes", ErrCorrupt, n)
	}
	return string(b[head : head+n]), binary.LittleEndian.Uint64(b[16:]), b[head+n : end], nil
}

// checkRecord walks a foreign record within bounds and holds it against what
// encode would have let through.
func checkRecord(b []byte) error {
	if len(b) < recordHead || len(b) > maxRecordBytes {
		return fmt.Errorf("%d bytes", len(b))
	}
	if err := checkHead(b); err != nil {
		return err
	}
	c := cursor{b: b, at: recordHead}
	c.field(b[3]&flagLongID != 0, 16)
	c.field(b[3]&flagLongActor != 0, 8)
	c.field(true, 0)
	for range int(b[51]) {
		if code := c.u8(); code == 0 {
			c.field(true, 0)
		}
	}
	if c.bad || c.at != int(binary.LittleEndian.Uint16(b[48:])) {
		return errors.New("head does not add up")
	}
	for range int(b[50]) {
		start := c.at
		if c.skip(groupHead); c.bad {
			break
		}
		g := b[start:]
		c.binds(int(g[16]))
		if c.at != start+groupHead+int(binary.LittleEndian.Uint16(g[2:])) {
			return errors.New("binds do not add up")
		}
		if g[16] == 0 && scopes[b[2]] != verdict.ScopeSite {
			return errors.New("a group binds nothing")
		}
		c.binds(int(g[17]))
		for range int(g[18]) {
			if c.field(true, 0) == 0 {
				return errors.New("empty route")
			}
		}
		if c.at != start+int(binary.LittleEndian.Uint16(g)) {
			return errors.New("group does not add up")
		}
	}
	if c.bad || c.at != len(b) {
		return errors.New("record does not add up")
	}
	return nil
}

// checkHead checks the fixed part.
func checkHead(b []byte) error {
	e := Entry{b}
	if b[2] >= uint8(numScopes) || b[0] > uint8(event.ActionBlock) || b[1] > uint8(event.ModeEnforce) || b[54] >= uint8(len(bounds)) {
		return errors.New("unknown scope, action, mode or bound")
	}
	if e.Revision() == 0 {
		return errors.New("revision 0")
	}
	if e.revoked() {
		if b[50] != 0 {
			return errors.New("a revoked verdict binds something")
		}
		return nil
	}
	if b[0] == 0 || b[1] == 0 || b[2] == 0 || b[50] == 0 || b[50] > MaxGroups {
		return errors.New("a verdict without action, mode, scope or groups")
	}
	if b[52] > uint8(LimitCost) || b[53] != LimitKeyActor && b[53] >= uint8(event.NumKinds) {
		return errors.New("unknown limit")
	}
	if l, ok := e.Limit(); ok && (l.Amount <= 0 || l.Amount > maxAllowance || l.Per < int64(time.Second) || l.Per > maxPeriod) {
		return errors.New("a limit out of range")
	}
	return nil
}

// cursor steps through untrusted bytes and remembers a step beyond the end.
type cursor struct {
	b   []byte
	at  int
	bad bool
}

func (c *cursor) skip(n int) {
	if c.at += n; c.at > len(c.b) {
		c.bad, c.at = true, len(c.b)
	}
}

func (c *cursor) u8() uint8 {
	if c.at >= len(c.b) {
		c.bad = true
		return 0
	}
	c.at++
	return c.b[c.at-1]
}

// field skips a length-prefixed field, or one of fixed size, and returns its
// length.
func (c *cursor) field(long bool, fixed int) int {
	if long {
		fixed = int(c.u8())
	}
	c.skip(fixed)
	return fixed
}

func (c *cursor) binds(n int) {
	for range n {
		kind := c.u8()
		if kind == objectKind {
			c.field(true, 0)
		} else if kind >= uint8(event.NumKinds) {
			c.bad = true
		}
		if c.skip(8); !c.bad && binary.LittleEndian.Uint64(c.b[c.at-8:]) == 0 {
			c.bad = true // it would fit every request that lacks the identifier
		}
	}
}
