package accesslog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"
)

// position is where reading of one file stands. A file is known by its inode and
// by the hash of its first bytes, since inodes are given again.
type position struct {
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"`
	// Head is the hash of the first HeadBytes bytes.
	Head      string `json:"head"`
	HeadBytes int64  `json:"head_bytes"`
	// Skipping: Offset is within an overlong line.
	Skipping bool `json:"skipping,omitempty"`
}

func (p *position) valid() bool {
	return p.Offset >= 0 && p.HeadBytes >= 0 && p.HeadBytes <= maxHeadBytes
}

// positions is where reading of a log stands, over all of its files.
type positions struct {
	Version int    `json:"version"`
	Path    string `json:"path"`
	// Saved rises with each save.
	Saved uint64 `json:"saved"`
	// Files are those that were open, in the order in which they were the log. There
	// is none while the log has never existed.
	Files []position `json:"files"`
	// Done are rotated files that were read to their end.
	Done      []position `json:"done,omitempty"`
	Announced *announced `json:"announced,omitempty"`

	synced bool
}

// announced is a batch that may have been delivered: the lines of Files[File] up
// to the offset To, and the outlet's note.
type announced struct {
	File int             `json:"file"`
	To   int64           `json:"to"`
	Note json.RawMessage `json:"note"`
}

const positionVersion = 2

// maxHeadBytes bounds what identifies a file: one or two log lines, which hold a
// time and an address.
const maxHeadBytes = 256

func (p *positions) equal(q *positions) bool {
	return p.Announced == nil && q.Announced == nil && p.Path == q.Path &&
		slices.Equal(p.Files, q.Files) && slices.Equal(p.Done, q.Done)
}

// batchFile is written at each batch and left to the kernel to bring to disk; the
// position file itself is forced there now and then. A kill of the process
// leaves the newest of both, a power loss at least the latter.
func batchFile(file string) string { return file + ".batch" }

// loadPositions reads what was saved last. A missing file is no error; one that
// cannot be read is, since starting anew would repeat or skip lines: an operator
// chooses, and nothing is lost until then.
func loadPositions(file, path string) (p positions, ok bool, err error) {
	p, ok, err = readPositions(file)
	if b, known, lost := readPositions(batchFile(file)); lost == nil && known && b.Path == p.Path && b.Saved > p.Saved {
		p = b
	}
	if err != nil {
		return p, false, fmt.Errorf("%w: position file %s: %w; remove it to start at the log's end", errUnreadable, file, err)
	}
	return p, ok && p.Path == path, nil
}

func readPositions(file string) (p positions, ok bool, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err == nil && p.Version == 1 { // one file, without announcements
		var one position
		err = json.Unmarshal(b, &one)
		p.Version, p.Files = positionVersion, []position{one}
	}
	bad := func(q position) bool { return !q.valid() }
	if err == nil && (p.Version != positionVersion || slices.ContainsFunc(p.Files, bad) || slices.ContainsFunc(p.Done, bad)) {
		err = fmt.Errorf("version %d, files %+v", p.Version, p.Files)
	}
	if a := p.Announced; err == nil && a != nil && (a.File < 0 || a.File >= len(p.Files) || a.To < 0) {
		err = fmt.Errorf("announced file %d of %d, up to %d", a.File, len(p.Files), a.To)
	}
	return p, err == nil, err
}

// batchBytes is the length of a batch file: one page, filled with blanks.
const batchBytes = 4096

// write replaces the position file, or the batch file, atomically.
func (p *positions) write(file string, sync bool) error {
	p.Version = positionVersion
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if !sync {
		file = batchFile(file)
		if len(b) <= batchBytes {
			b = append(b, bytes.Repeat([]byte{' '}, batchBytes-len(b))...)
			if done, err := overwrite(file, b); done {
				return err
			}
		}
	}
	tmp, err := os.OpenFile(file+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	if _, err = tmp.Write(b); err == nil && sync {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(file+".tmp", file)
	}
	if err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	return nil
}

// overwrite writes b over a file of its length: a kill leaves a page whole, as it
// was or as it is to be, and a new file and its renaming cost ten times as
// much. done is false, and nothing was written, where there is no such file.
func overwrite(file string, b []byte) (done bool, err error) {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return false, nil // it is made anew then, or that fails
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil || st.Size() != int64(len(b)) || !st.Mode().IsRegular() {
		return false, nil
	}
	if _, err = f.WriteAt(b, 0); err != nil {
		return true, fmt.Errorf("save position: %w", err)
	}
	return true, nil
}

func inode(st os.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

// headHash hashes the first n bytes of a file; short says it has fewer.
func headHash(f io.ReaderAt, n int64) (hash string, short bool, err error) {
	b := make([]byte, n)
	got, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, err
	}
	sum := sha256.Sum256(b[:got])
	return hex.EncodeToString(sum[:8]), int64(got) < n, nil
}

// firstLineHash names a file by its first line, up to maxHeadBytes, or returns ""
// while that is not complete. It never changes as the file grows.
func firstLineHash(f io.ReaderAt) string {
	b := make([]byte, maxHeadBytes)
	n, _ := f.ReadAt(b, 0) // a short read is judged by what it brought
	end := bytes.IndexByte(b[:n], '\n')
	if end < 0 && n < maxHeadBytes {
		return ""
	}
	if end >= 0 {
		n = end
	}
	sum := sha256.Sum256(b[:n])
	return hex.EncodeToString(sum[:4])
}

// sameFile reports whether f is the file that p speaks of, not shorter than p's
// offset.
func (p *position) sameFile(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || st.Size() < p.Offset {
		return false
	}
	hash, short, err := headHash(f, p.HeadBytes)
	return err == nil && !short && hash == p.Head
}

// rotatedFile is a sibling that a rotation left.
type rotatedFile struct {
	path  string
	time  time.Time
	inode uint64
}

// rotated lists path's uncompressed siblings ("access.log.1",
// "access.log-20260302"), oldest first.
func rotated(path string) []rotatedFile {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil
	}
	var files []rotatedFile
	base := filepath.Base(path)
	for _, e := range entries {
		name := e.Name()
		if name == base || !strings.HasPrefix(name, base) || strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".zst") {
			continue
		}
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() {
			files = append(files, rotatedFile{filepath.Join(filepath.Dir(path), name), st.ModTime(), inode(st)})
		}
	}
	sort.SliceStable(files, func(i, j int) bool { return files[i].time.Before(files[j].time) })
	return files
}

// numbered reports whether a sibling's name looks like that of a rotated file:
// ".1", "-20260302", ".2026-03-02_09:00", ".old". Only such files are taken for
// ones that came and went between two looks.
func (r rotatedFile) numbered(path string) bool {
	suffix := strings.TrimPrefix(filepath.Base(r.path), filepath.Base(path))
	return suffix == ".old" || strings.ContainsAny(suffix, "0123456789") && strings.Trim(suffix, "0123456789.-_:TZ") == ""
}
