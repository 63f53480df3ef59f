package ingress

import (
	"context"
	"io"

	"github.com/weirproject/weir/stream/flow"
)

// client is the client's side of one exchange: HTTP/1 on an h1Conn, HTTP/2 on a
// stream of net/http's. One goroutine uses it, but for Read, which a second one
// may call while a body streams.
type client interface {
	// Read reads the request's body. io.EOF comes at its proper end only.
	io.Reader
	// proceed asks a client that waits for 100 (Continue) for its body. It comes
	// before the first Read.
	proceed()
	// announced returns the names that the request's Trailer fields announce, and
	// trailers what came of them and others once Read gave io.EOF.
	announced() []string
	trailers() []flow.Field
	// malformed reports whether Read failed for the body's own fault.
	malformed() bool
	// stopReading fails a Read in progress and all later ones of an unread body.
	stopReading()

	// interim sends a 1xx answer, at any time before begin.
	interim(status int, fields []flow.Field)
	// begin starts the final answer, write continues it, flush sends what write
	// may have held back, end completes it; abort, instead of end, leaves it
	// visibly incomplete.
	begin(a *answer)
	write(p []byte) error
	flush()
	end(trailers []flow.Field)
	abort()

	// context ends when the client is known to have left, gone reports that, and
	// watch begins to look for it where that costs something.
	context() context.Context
	gone() bool
	watch()
}
