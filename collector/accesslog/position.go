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
	"sort"
	"strings"
	"syscall"
	"time"
)

// position is where reading of a log stands. A file is known by its inode and by
// the hash of its first bytes, since inodes are given again.
type position struct {
	Version int    `json:"version"`
	Path    string `json:"path"`
	Inode   uint64 `json:"inode"`
	Offset  int64  `json:"offset"`
	// Head is the hash of the first HeadBytes bytes.
	Head      string `json:"head"`
	HeadBytes int64  `json:"head_bytes"`
}

const positionVersion = 1

// maxHeadBytes bounds what identifies a file: one or two log lines, which hold a
// time and an address.
const maxHeadBytes = 256

// loadPosition reads a position file. A missing one is no error; one that cannot
// be read is, since starting anew would repeat or skip lines.
func loadPosition(file, path string) (p position, ok bool, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err == nil && (p.Version != positionVersion || p.Offset < 0 || p.HeadBytes < 0 || p.HeadBytes > maxHeadBytes) {
		err = fmt.Errorf("version %d, offset %d", p.Version, p.Offset)
	}
	if err != nil {
		return p, false, fmt.Errorf("position file %s: %w; remove it to start at the log's end", file, err)
	}
	return p, p.Path == path, nil
}

// savePosition replaces the position file atomically.
func savePosition(file string, p position) error {
	p.Version = positionVersion
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	tmp, err := os.OpenFile(file+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(file+".tmp", file)
	}
	if err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	return nil
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
	path string
	time time.Time
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
			files = append(files, rotatedFile{filepath.Join(filepath.Dir(path), name), st.ModTime()})
		}
	}
	sort.Slice(files, func(i, j int) bool { return files[i].time.Before(files[j].time) })
	return files
}
