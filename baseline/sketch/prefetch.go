//go:build amd64 || arm64

package sketch

import "unsafe"

// prefetch asks the processor for the cache lines of n bytes from p on. It reads
// nothing, waits for nothing and cannot fault.
//
//go:noescape
func prefetch(p unsafe.Pointer, n int)
