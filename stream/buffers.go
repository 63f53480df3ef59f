package stream

import (
	"math/bits"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// buffers hold the memory that batches were decompressed into, to be used again
// when all records of a batch were given back. A processor would otherwise make
// ten times the size of its traffic as garbage, which the kernel has to find and
// to clear. They implement kgo.PoolDecompressBytes.
type buffers struct {
	bySize [4 * sizeOctaves]sync.Pool
}

// Sizes are four to the octave, from smallestBuffer on; so a quarter is wasted at
// most, where the store's backlog holds many. What is larger than the last is made
// anew and left to the collector.
const (
	smallestBuffer = 4 << 10
	sizeOctaves    = 12
)

// sizeOf returns the index of the smallest size that holds n bytes, and the size.
func sizeOf(n int) (at, size int) {
	n = max(n, smallestBuffer+1) - 1
	shift := bits.Len(uint(n)) - 3
	quarter := n >> shift // 4 to 7
	return 4*(shift-bits.Len(smallestBuffer)+3) + quarter - 4, (quarter + 1) << shift
}

// get returns an empty slice with room for n bytes.
func (b *buffers) get(n int) []byte {
	at, size := sizeOf(n)
	if at >= len(b.bySize) {
		return make([]byte, 0, n)
	}
	if p, ok := b.bySize[at].Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, size)
}

// GetDecompressBytes implements kgo.PoolDecompressBytes. The library asks only when it
// decompresses by itself, for codecs that our producers do not use.
func (b *buffers) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	return b.get(4 * len(compressed))
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (b *buffers) PutDecompressBytes(p []byte) {
	if at, size := sizeOf(cap(p)); at < len(b.bySize) && size == cap(p) {
		b.bySize[at].Put(&p)
	}
}
