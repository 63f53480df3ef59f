package sketch

import "unsafe"

// hugeBytes is the size of a large page on amd64 and arm64. State smaller than
// half of one is left alone.
const hugeBytes = 2 << 20

// spread returns n zero values, aligned to large pages where that pays: a look-up
// touches a random place of each table, and the processor knows where some
// thousand pages are only.
func spread[T any](n int) []T {
	size := int(unsafe.Sizeof(*new(T)))
	if n*size < hugeBytes/2 {
		return make([]T, n)
	}
	// Whole pages from an aligned address on; what is left over is never touched.
	all := make([]T, n+(2*hugeBytes+size-1)/size)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(all))) & (hugeBytes - 1)) //nolint:gosec // the address is only aligned
	b := flat(all)[skip:]
	advise(b[:(n*size+hugeBytes-1)&^(hugeBytes-1)])
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n) //nolint:gosec // n values fit behind skip, and 2 MiB is aligned for any T
}
