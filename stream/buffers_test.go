package stream

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestBufferSizesHoldWhatIsAsked(t *testing.T) {
	last := -1
	for n := 1; n < 20<<20; n += 1 + n/7 {
		at, size := sizeOf(n)
		if size < n || n > smallestBuffer && size > n+n/4+1 {
			t.Errorf("%d bytes are given %d", n, size)
		}
		if again, same := sizeOf(size); again != at || same != size {
			t.Errorf("size %d of %d bytes is another than its own: %d at %d, not %d", size, n, same, again, at)
		}
		if at < last {
			t.Errorf("%d bytes: place %d after %d", n, at, last)
		}
		last = at
	}
}

// TestBuffersAreUsedAgain gives a batch's memory back and opens others into it.
func TestBuffersAreUsedAgain(t *testing.T) {
	pool := &buffers{}
	f := newFrames(pool)
	body := []byte(strings.Repeat("an event and another, ", 10_000))
	var reused int
	var before []byte
	for range 50 {
		got, err := f.Decompress(pack(t, body), kgo.CodecLz4)
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d of %d bytes, %v", len(got), len(body), err)
		}
		if before != nil && &got[:1][0] == &before[0] {
			reused++
		}
		before = got[:1]
		clear(got)
		pool.PutDecompressBytes(got[:cap(got)])
	}
	if reused == 0 {
		t.Error("no memory was used again")
	}
	if got := pool.get(32 << 20); cap(got) < 32<<20 {
		t.Errorf("room for %d bytes", cap(got))
	}
	pool.PutDecompressBytes(make([]byte, 32<<20))
	pool.PutDecompressBytes(nil)
}
