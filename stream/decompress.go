package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxBatchBytes bounds what one fetched batch may decompress to. Our producers
// cut at 1 MiB before compression.
const maxBatchBytes = 64 << 20

// frames opens LZ4 frames block by block. The library's way streams each batch
// through a reader, hashes all of it a second time, although the batch's CRC-32C
// was checked, and copies it twice: at the size of an event that costs as much as
// decompressing it. What is no plain frame of independent blocks, which
// all known producers write, goes the library's way, as do other codecs.
type frames struct {
	others kgo.Decompressor
	// results, if set, gives the memory of what is returned.
	results *buffers
	// swell is how many sixteenths of its size a batch is expected to take: a frame
	// does not say.
	swell atomic.Int64
}

func newFrames(results *buffers) *frames {
	f := &frames{others: kgo.DefaultDecompressor(), results: results}
	f.swell.Store(4 * 16)
	return f
}

// Decompress implements kgo.Decompressor. The result is the caller's, who may put
// it back into results.
func (f *frames) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec != kgo.CodecLz4 {
		return f.others.Decompress(src, codec)
	}
	blocks, most, ok := cutFrame(src)
	if !ok {
		return f.others.Decompress(src, codec)
	}
	buf := f.room(len(src))
	out, err := openBlocks(buf, blocks, most)
	if err == nil {
		f.learn(len(src), len(out))
		if f.results == nil || cap(out) == cap(buf) {
			return out, nil
		}
		out = append(f.results.get(len(out)), out...) // it has outgrown what it was given
	} else {
		out = nil
	}
	if f.results != nil {
		f.results.PutDecompressBytes(buf)
	}
	return out, err
}

// room returns an empty slice for what n bytes are expected to decompress to.
func (f *frames) room(n int) []byte {
	n = min(maxBatchBytes, n*int(f.swell.Load())/16)
	if f.results == nil {
		return make([]byte, 0, n)
	}
	return f.results.get(n)
}

// most16 bounds what is expected: what compresses better grows its memory.
const most16 = 16 * 16

// learn expects of the next batches an eighth more than of this one, or a little
// less than before.
func (f *frames) learn(packed, opened int) {
	now := int64(opened) * 18 / int64(packed)
	f.swell.Store(min(most16, max(now+1, f.swell.Load()*15/16)))
}

// Fields of a frame: github.com/lz4/lz4, doc/lz4_Frame_format.md, version 1.6.
const (
	frameMagic       = 0x184d2204
	frameVersionMask = 0xc2 // the reserved bit is part of it
	frameVersion     = 0x40
	frameIndependent = 0x20
	frameBlockSums   = 0x10
	frameSize        = 0x08
	frameSum         = 0x04
	frameDictionary  = 0x01
	blockRaw         = 1 << 31
)

var errFrame = errors.New("lz4 frame is damaged")

// frame is the blocks of a frame, to its end mark.
type frame struct {
	bytes []byte
	sums  bool
}

// cutFrame reads the header; most is how much one block may hold. It refuses what
// it does not know.
func cutFrame(src []byte) (f frame, most int, ok bool) {
	if len(src) < 11 || binary.LittleEndian.Uint32(src) != frameMagic {
		return f, 0, false
	}
	flags, size := src[4], src[5]>>4&7
	if flags&frameVersionMask != frameVersion || flags&frameIndependent == 0 || flags&frameDictionary != 0 || size < 4 {
		return f, 0, false
	}
	head, tail := 7, 0
	if flags&frameSize != 0 {
		head += 8
	}
	if flags&frameSum != 0 {
		tail = 4
	}
	if len(src) < head+4+tail {
		return f, 0, false
	}
	return frame{src[head : len(src)-tail], flags&frameBlockSums != 0}, 1 << (8 + 2*size), true
}

// openBlocks appends what the blocks hold to dst, growing it by what has arrived.
func openBlocks(dst []byte, f frame, most int) ([]byte, error) {
	for in := f.bytes; ; {
		if len(in) < 4 {
			return dst, errFrame
		}
		head := binary.LittleEndian.Uint32(in)
		in = in[4:]
		if head == 0 {
			if len(in) > 0 {
				return dst, errFrame // one batch is one frame
			}
			return dst, nil
		}
		n := int(head &^ blockRaw)
		if n > len(in) || n > most {
			return dst, errFrame
		}
		block := in[:n]
		in = in[n:]
		if f.sums {
			if len(in) < 4 {
				return dst, errFrame
			}
			in = in[4:]
		}
		if len(dst)+n > maxBatchBytes {
			return dst, kgo.ErrMaxDecompress
		}
		if head&blockRaw != 0 {
			dst = append(dst, block...)
			continue
		}
		var err error
		if dst, err = openBlock(dst, block, most); err != nil {
			return dst, err
		}
	}
}

// openBlock decompresses one block, of which only the most is known, into what room
// there is, and then into more.
func openBlock(dst, block []byte, most int) ([]byte, error) {
	for room := min(most, cap(dst)-len(dst), maxBatchBytes-len(dst)); ; room = min(most, max(4*room, 4*len(block)+64)) {
		if len(dst)+room > maxBatchBytes {
			return dst, kgo.ErrMaxDecompress
		}
		dst = slices.Grow(dst, room)
		n, err := lz4.UncompressBlock(block, dst[len(dst):len(dst)+room])
		switch {
		case err == nil:
			return dst[:len(dst)+n], nil
		case room == most || !errors.Is(err, lz4.ErrInvalidSourceShortBuffer):
			return dst, fmt.Errorf("lz4 block of %d bytes: %w", len(block), err)
		}
	}
}
