package accesslog

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBatchFilesOfAnySizeAreRead: what was saved last is read, whether it went over
// what stood there or took its place.
func TestBatchFilesOfAnySizeAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log.position")
	saved := uint64(0)
	for _, done := range []int{0, 1, 3, 200, 2, 0, 500, 0} {
		p := positions{Path: "/var/log/access.log", Files: []position{{Inode: 1, Head: "0123456789abcdef", HeadBytes: 256, Offset: int64(done)}}}
		for i := range done {
			p.Done = append(p.Done, position{Inode: uint64(i), Head: "fedcba9876543210", HeadBytes: 256, Offset: 1 << 40})
		}
		saved++
		p.Saved = saved
		if err := p.write(file, false); err != nil {
			t.Fatal(err)
		}
		got, ok, err := readPositions(batchFile(file))
		if err != nil || !ok || got.Saved != saved || !got.equal(&p) {
			t.Errorf("%d rotated files: %v, %v, save %d of %d", done, ok, err, got.Saved, saved)
		}
		if st, err := os.Stat(batchFile(file)); err != nil || done < 5 && st.Size() != batchBytes {
			t.Errorf("%d rotated files: %v, %v", done, st, err)
		}
	}
	if left, err := filepath.Glob(file + "*.tmp"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
