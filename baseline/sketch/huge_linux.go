package sketch

import (
	"syscall"
	"unsafe"
)

// hugeBytes is the size of a large page on amd64 and arm64; smaller state is
// left alone.
const hugeBytes = 2 << 20

// advise asks the kernel to back state by large pages: a look-up touches a
// random page of each table, and the processor knows some thousand only. The
// kernel may refuse, which costs speed only.
func advise(b []byte) {
	if len(b) < 4*hugeBytes {
		return
	}
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (hugeBytes - 1)) //nolint:gosec // the address is only aligned
	b = b[skip:]
	_ = syscall.Madvise(b[:len(b)&^(hugeBytes-1)], syscall.MADV_HUGEPAGE)
}
