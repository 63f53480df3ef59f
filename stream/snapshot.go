package stream

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// ErrSnapshotCorrupt marks a snapshot whose bytes fail their checksum or do not
// parse. It is refused and the one before it is used.
var ErrSnapshotCorrupt = errors.New("snapshot is corrupt")

// ErrSnapshotVersion marks a snapshot written by an incompatible version.
var ErrSnapshotVersion = errors.New("snapshot has another version")

// ErrSnapshotStore marks a failure of the place where snapshots are kept, which
// says nothing against any snapshot in it: whoever wanted one tries again.
var ErrSnapshotStore = errors.New("the snapshot store does not answer as it should")

// SnapshotID names one snapshot of one partition.
type SnapshotID struct {
	Topic     string
	Partition int32
	// Offset is the first record that is not part of the state.
	Offset int64
	// Saved is when it was written, in whole seconds UTC.
	Saved time.Time
}

// SnapshotStore keeps snapshots where every member of the group reaches them.
// Implementations are safe for concurrent use; two members may write the same
// snapshot at the same time (their bytes mean the same).
type SnapshotStore interface {
	// Create begins a snapshot. Nothing is visible to List before Commit.
	Create(ctx context.Context, id SnapshotID) (SnapshotWriter, error)
	// List returns the snapshots of a partition in any order.
	List(ctx context.Context, topic string, partition int32) ([]SnapshotID, error)
	// Open reads a snapshot from its start. The caller closes it.
	Open(ctx context.Context, id SnapshotID) (io.ReadCloser, error)
	// Remove deletes a snapshot; one that is gone already is no error.
	Remove(ctx context.Context, id SnapshotID) error
}

// SnapshotWriter receives one snapshot. Exactly one of Commit and Abort is
// called, after the last Write.
type SnapshotWriter interface {
	io.Writer
	// Commit makes the snapshot durable and visible, atomically.
	Commit() error
	// Abort discards it.
	Abort() error
}

// snapshotMeta is what a snapshot says before the engine's bytes.
type snapshotMeta struct {
	topic     string
	partition int32
	offset    int64
	// stored is a store cursor that was reached by then; it serves when the
	// group's committed offsets have expired.
	stored  int64
	lineage string
	// events counts the events folded into the state so far.
	events uint64
	marks  marks
	prefer preference
	aging  aging // since version 2
}

const (
	snapshotMagic   = "WEIRSNAP"
	snapshotVersion = 2 // 1 is read as well
	// maxSnapshotMetaBytes bounds the part before the engine's bytes: 4,096
	// producers, 4,096 sites of at most 64 KiB and 8,192 ids stay far below in
	// practice; more is taken for corruption.
	maxSnapshotMetaBytes = 64 << 20
)

// encode gives the meta part.
func (m *snapshotMeta) encode() []byte {
	var meta stateWriter
	meta.text(m.topic)
	meta.int(int64(m.partition))
	meta.int(m.offset)
	meta.int(m.stored)
	meta.text(m.lineage)
	meta.uint(m.events)
	m.marks.appendTo(&meta)
	m.prefer.appendTo(&meta)
	meta.uint(m.aging.bytes)
	meta.int(m.aging.since)
	return meta.buf
}

// write writes, in order: magic, version and length of the meta part as
// big-endian uint32, the meta part, the engine's bytes, and the SHA-256 of all
// of it. It ends early when ctx does.
func (f *frozen) write(ctx context.Context, w io.Writer) error {
	sum := sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(w, sum), 256<<10)
	head := append([]byte(nil), snapshotMagic...)
	head = binary.BigEndian.AppendUint32(head, snapshotVersion)
	head = binary.BigEndian.AppendUint32(head, uint32(len(f.meta)))
	_, _ = buf.Write(head) // a bufio.Writer keeps its error for Flush
	_, _ = buf.Write(f.meta)
	if err := f.engine.Write(&until{ctx, buf}); err != nil {
		return fmt.Errorf("engine state: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// until passes writes on while ctx lasts.
type until struct {
	ctx context.Context
	w   io.Writer
}

func (u *until) Write(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.w.Write(b)
}

// checkSnapshot reads a snapshot to its end and reports whether its checksum
// holds. Restoring reads it a second time, so that no engine ever sees bytes
// that nobody vouched for.
func checkSnapshot(r io.Reader) error {
	tail := &tailHash{sum: sha256.New()}
	if _, err := io.Copy(tail, r); err != nil {
		return err
	}
	return tail.check()
}

// tailHash hashes everything but the last 32 bytes written to it.
type tailHash struct {
	sum  hash.Hash
	tail []byte
}

func (t *tailHash) Write(p []byte) (int, error) {
	t.tail = append(t.tail, p...)
	if n := len(t.tail) - sha256.Size; n > 0 {
		t.sum.Write(t.tail[:n])
		t.tail = append(t.tail[:0], t.tail[n:]...)
	}
	return len(p), nil
}

func (t *tailHash) check() error {
	if len(t.tail) != sha256.Size || string(t.sum.Sum(nil)) != string(t.tail) {
		return fmt.Errorf("%w: checksum does not match", ErrSnapshotCorrupt)
	}
	return nil
}

// readSnapshotMeta parses the part before the engine's bytes and leaves r at
// their start. What follows them is the 32-byte checksum.
func readSnapshotMeta(r io.Reader) (*snapshotMeta, error) {
	head := make([]byte, len(snapshotMagic)+8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("%w: shorter than its head", ErrSnapshotCorrupt)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: no snapshot of weir", ErrSnapshotCorrupt)
	}
	version := binary.BigEndian.Uint32(head[8:])
	if version < 1 || version > snapshotVersion {
		return nil, fmt.Errorf("%w: %d, this program reads 1 to %d", ErrSnapshotVersion, version, snapshotVersion)
	}
	n := int64(binary.BigEndian.Uint32(head[12:]))
	if n > maxSnapshotMetaBytes {
		return nil, fmt.Errorf("%w: meta part of %d bytes", ErrSnapshotCorrupt, n)
	}
	// ReadAll grows with what arrives, not with what the head claims.
	body, err := io.ReadAll(io.LimitReader(r, n))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) != n {
		return nil, fmt.Errorf("%w: meta part cut short", ErrSnapshotCorrupt)
	}
	s := &stateReader{buf: body}
	m := &snapshotMeta{topic: s.text()}
	m.partition = int32(s.int())
	m.offset = s.int()
	m.stored = s.int()
	m.lineage = s.text()
	m.events = s.uint()
	m.marks.readFrom(s)
	m.prefer.readFrom(s)
	if version >= 2 {
		m.aging.bytes, m.aging.since = s.uint(), s.int()
	}
	if s.err == nil && len(s.buf) != 0 {
		s.fail("bytes after the end")
	}
	if s.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshotCorrupt, s.err)
	}
	return m, nil
}

// trailingSum hides the checksum at the end of r from the engine.
type trailingSum struct {
	r    *bufio.Reader
	done bool
}

func (t *trailingSum) Read(p []byte) (int, error) {
	if t.done {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	ahead, err := t.r.Peek(min(len(p), t.r.Size()-sha256.Size) + sha256.Size)
	n := len(ahead) - sha256.Size
	if n <= 0 {
		t.done = true
		if err == nil || errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		return 0, err
	}
	return t.r.Read(p[:n])
}
