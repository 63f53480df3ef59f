package stream

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// pack compresses b as an LZ4 frame.
func pack(tb testing.TB, b []byte, opts ...lz4.Option) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if err := w.Apply(opts...); err != nil {
		tb.Fatal(err)
	}
	_, err := w.Write(b)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// noise does not compress.
func noise(n int) []byte {
	b, r := make([]byte, n), rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestFramesOpenWhatProducersWrite(t *testing.T) {
	small := lz4.BlockSizeOption(lz4.Block64Kb)
	words := []byte(strings.Repeat("an event and another, ", 40_000))
	for name, c := range map[string]struct {
		body []byte
		opts []lz4.Option
	}{
		"nothing":                        {nil, nil},
		"one byte":                       {[]byte("x"), nil},
		"as our client writes":           {words, nil},
		"many blocks":                    {words, []lz4.Option{small}},
		"without a sum":                  {words, []lz4.Option{lz4.ChecksumOption(false)}},
		"with sums of blocks":            {words, []lz4.Option{small, lz4.BlockChecksumOption(true)}},
		"with its size":                  {words, []lz4.Option{lz4.SizeOption(uint64(len(words)))}},
		"what does not compress":         {noise(300_000), []lz4.Option{small}},
		"what compresses to a hundredth": {make([]byte, 3<<20), nil},
	} {
		f := newFrames(nil)
		for range 2 { // the second time with a used buffer
			got, err := f.Decompress(pack(t, c.body, c.opts...), kgo.CodecLz4)
			if err != nil || !bytes.Equal(got, c.body) {
				t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(c.body), err)
			}
		}
	}
}

func TestFramesLeaveOtherCodecsToTheLibrary(t *testing.T) {
	body := []byte(strings.Repeat("an event and another, ", 1000))
	for _, codec := range []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.ZstdCompression(), kgo.NoCompression()} {
		c, err := kgo.DefaultCompressor(codec)
		if err != nil {
			t.Fatal(err)
		}
		packed, kind := body, kgo.CodecNone
		if c != nil {
			packed, kind = c.Compress(new(bytes.Buffer), body)
		}
		if got, err := newFrames(nil).Decompress(packed, kind); err != nil || !bytes.Equal(got, body) {
			t.Errorf("codec %v: %d of %d bytes, %v", kind, len(got), len(body), err)
		}
	}
}

func TestFramesRefuseDamage(t *testing.T) {
	whole := pack(t, []byte(strings.Repeat("an event and another, ", 1000)))
	tooLarge := append([]byte(nil), whole...)
	binary.LittleEndian.PutUint32(tooLarge[7:], 5<<20) // a block of more than there is
	for name, b := range map[string][]byte{
		"cut": whole[:len(whole)/2], "followed by another": append(append([]byte(nil), whole...), whole...), "a block too large": tooLarge,
	} {
		if got, err := newFrames(nil).Decompress(b, kgo.CodecLz4); err == nil {
			t.Errorf("%s: gave %d bytes", name, len(got))
		}
	}
	bomb := pack(t, make([]byte, 96<<20))
	if _, err := newFrames(nil).Decompress(bomb, kgo.CodecLz4); err == nil {
		t.Error("96 MiB were opened")
	}
}

// FuzzFrames holds that whatever arrives ends in an error or in what the library
// makes of it, within the bound.
func FuzzFrames(f *testing.F) {
	words := []byte(strings.Repeat("an event and another, ", 400))
	f.Add(pack(f, words))
	f.Add(pack(f, words, lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(words)))))
	f.Add(pack(f, noise(2000), lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)))
	own, library := newFrames(nil), kgo.DefaultDecompressor()
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := own.Decompress(b, kgo.CodecLz4)
		want, wrong := library.Decompress(b, kgo.CodecLz4)
		switch {
		case len(got) > maxBatchBytes:
			t.Errorf("%d bytes", len(got))
		case wrong == nil && err == nil && !bytes.Equal(got, want):
			t.Errorf("%d bytes, the library says %d", len(got), len(want))
		}
	})
}
