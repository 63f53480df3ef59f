package stream

import (
	"context"
	"io"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Engine is the pure fold that a partition's events run through. It is called
// from one goroutine at a time. The same records in the same order must give
// the same results and the same state, byte for byte.
type Engine interface {
	// Observe takes one event, which it does not change. ev and its strings are
	// valid during the call only; the Result until the next call.
	Observe(ev *event.Event, pos verdict.Position) Result
	// Control takes an operator's record.
	Control(c *verdict.Control, pos verdict.Position) []verdict.Verdict
	// InForce lists the verdicts in force at the newest event time of their sites.
	// The list is the caller's, what its entries point to is not.
	InForce() []verdict.Verdict
	// Cut freezes the whole state as it is now, quickly whatever its size, to be
	// written while the engine goes on. The cut before is over by then.
	Cut() (Cut, error)
	// Restore replaces the state with one written before by the same or an older
	// version. After a failed Restore the engine is thrown away.
	Restore(r io.Reader) error
}

// Cut is an engine's state at one position of the log. Either Write or Release
// is called once, by any goroutine, and lets go of the state.
type Cut interface {
	// Write writes the state; the bytes depend on the position only.
	Write(w io.Writer) error
	Release()
}

// Result is what the engine says of one event.
type Result struct {
	Actor event.Hash
	// Route is the learned template where the flow map declares none.
	Route    string
	Verdicts []verdict.Verdict
}

// Store takes announced ranges. Insert returns when the batch is as durable as
// the store makes it. It may be called again with the same token after an error
// or a crash, possibly by another process: the same token must have the effect
// of one insert. A store with several tables appends "/" and the table's name.
//
// Insert must not keep the batch. It may block; detection goes on meanwhile. An
// error is retried with back-off until the owner stops, unless it was made by
// Permanent: then the batch is counted as lost with the cause "rejected".
type Store interface {
	Insert(ctx context.Context, token string, b *Batch) error
}
