package ingress

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weirproject/weir/stream/flow"
)

// smallBody is the length up to which a declared body is read whole before an
// upstream connection is taken: it goes out in one write, can be sent again when
// an idle connection proves stale, and a slow sender holds no connection.
const smallBody = 32 << 10

var errBodyLimit = errors.New("request body exceeds the limit")

// requestBody is a request's body on its way to the upstream.
type requestBody struct {
	src client
	// length is what remains to be framed: 0 none, negative unknown (chunked).
	length int64
	// declared: a Content-Length of 0 came, or the method wants one.
	declared bool
	// prefix was read from src already; whole when src holds no more.
	prefix []byte
	whole  bool
	limit  int64 // negative: none

	// The HTTP/2 transport reads from a goroutine of its own.
	read   atomic.Int64
	failed atomic.Pointer[error] // what ended reading other than the end
}

func (b *requestBody) init(src client, length int64, declared bool, limit int64) {
	b.src, b.length, b.declared, b.limit, b.whole = src, length, declared, limit, length == 0
}

// tooLong reports a declared length above the limit.
func (b *requestBody) tooLong() bool { return b.limit >= 0 && b.length > b.limit }

// Read reads from src and holds the limit.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	if read := b.read.Add(int64(n)); b.limit >= 0 && read > b.limit {
		n, err = 0, errBodyLimit
	}
	if err != nil && !errors.Is(err, io.EOF) {
		failed := err
		b.failed.Store(&failed)
	}
	return n, err
}

// buffer reads up to n bytes into prefix.
func (b *requestBody) buffer(n int) error {
	if b.whole || len(b.prefix) >= n {
		return nil
	}
	b.src.proceed()
	want := n
	if b.length >= 0 {
		want = int(min(int64(n), b.length))
	}
	b.prefix = slices.Grow(b.prefix, min(want, 4096))
	for len(b.prefix) < want {
		if len(b.prefix) == cap(b.prefix) {
			b.prefix = slices.Grow(b.prefix, min(want, 2*cap(b.prefix))-len(b.prefix))
		}
		k, err := b.Read(b.prefix[len(b.prefix):min(want, cap(b.prefix))])
		b.prefix = b.prefix[:len(b.prefix)+k]
		if errors.Is(err, io.EOF) {
			return b.end()
		}
		if err != nil {
			return err
		}
	}
	if int64(len(b.prefix)) == b.length {
		return b.end()
	}
	return nil
}

// end notes that prefix is the whole body. With its length known it is framed by
// it, unless trailers must follow.
func (b *requestBody) end() error {
	if b.length >= 0 && int64(len(b.prefix)) != b.length {
		return io.ErrUnexpectedEOF
	}
	b.whole = true
	if b.length < 0 && len(b.src.announced())+len(b.src.trailers()) == 0 {
		b.length, b.declared = int64(len(b.prefix)), true
	}
	return nil
}

// size is the number of body bytes read so far.
func (b *requestBody) size() int64 { return b.read.Load() }

// trailerNames lists the announced trailers that may be sent on.
func (b *requestBody) trailerNames() string {
	names := slices.DeleteFunc(b.src.announced(), func(n string) bool { return !isToken(n) || forbiddenTrailer(n) })
	return strings.Join(names, ", ")
}

// trailers returns those that came and may be sent on.
func (b *requestBody) trailers() (out []flow.Field) {
	for _, f := range b.src.trailers() {
		if !forbiddenTrailer(f.Name) {
			out = append(out, f)
		}
	}
	return out
}

// appendTrailers writes the trailers after the last chunk.
func (b *requestBody) appendTrailers(out []byte) []byte {
	for _, f := range b.trailers() {
		out = appendField(out, f)
	}
	return out
}
