package line

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/weirproject/weir/store/clickhouse"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// eventTable stores ranges of weir.events as one Arrow stream each, straight
// from the records' own columns.
type eventTable struct{ *tables }

// Insert implements stream.Store.
func (t eventTable) Insert(ctx context.Context, token string, b *stream.Batch) error {
	store, err := t.wait(ctx)
	if err != nil {
		return err
	}
	body := &arrowBody{write: b.WriteArrow}
	err = store.InsertEvents(ctx, token+"/events", body)
	if fault := body.end(); err != nil {
		err = errors.Join(err, fault)
	}
	return permanent(err)
}

// arrowBody is a batch as the body of an insert. The HTTP client lets it write
// itself: a batch of rows leaves with a few system calls, where a pipe would cut
// it into hundreds.
type arrowBody struct {
	write func(io.Writer) (int, error)
	whole *bytes.Buffer // for a client that reads

	over atomic.Bool
	// mu is held while the batch is being written.
	mu  sync.Mutex
	err error
}

// errOver ends the writing of a body whose request has ended.
var errOver = errors.New("the insert has ended")

// WriteTo implements io.WriterTo.
func (a *arrowBody) WriteTo(w io.Writer) (int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &countingWriter{w: w, over: &a.over}
	_, err := a.write(c)
	if c.err == nil { // not the connection's, which the client tells of
		a.err = err
	}
	return c.n, err
}

// Read implements io.Reader.
func (a *arrowBody) Read(p []byte) (int, error) {
	if a.whole == nil {
		a.whole = &bytes.Buffer{}
		if _, err := a.WriteTo(a.whole); err != nil {
			return 0, err
		}
	}
	return a.whole.Read(p)
}

// end waits until nothing reads the batch any more and says why the batch itself
// could not be written. The client may still be sending when the server has
// answered early or the request was cancelled; it closes that connection.
func (a *arrowBody) end() error {
	a.over.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// countingWriter counts what w takes, until over, and keeps its error.
type countingWriter struct {
	w    io.Writer
	over *atomic.Bool
	n    int64
	err  error
}

// Write implements io.Writer.
func (c *countingWriter) Write(p []byte) (int, error) {
	if c.over.Load() {
		c.err = errOver
		return 0, errOver
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}

// permanent marks data that the store will never take.
func permanent(err error) error {
	if err != nil && clickhouse.Poison(err) {
		return stream.Permanent(err)
	}
	return err
}

// verdictTable and decisionTable store the JSON topics.
type (
	verdictTable  struct{ *tables }
	decisionTable struct{ *tables }
)

// Insert implements stream.Store.
func (t verdictTable) Insert(ctx context.Context, token string, b *stream.Batch) error {
	store, err := t.wait(ctx)
	if err != nil {
		return err
	}
	rows := make([]verdict.Verdict, 0, len(b.Records))
	// The table keeps the highest revision, also of those in one insert; the
	// others need not be sent.
	newest := make(map[string]int, len(b.Records))
	for i := range b.Records {
		if b.Records[i].Record.Republished() {
			continue // it would take the place of the one with evidence
		}
		v, err := wire.ParseVerdict(b.Records[i].Record.Value)
		if err != nil {
			t.reject("verdict", &b.Records[i].Record, err)
			continue
		}
		v.Sequence = b.Records[i].Record.Offset
		at, again := newest[v.ID]
		switch {
		case !again:
			newest[v.ID] = len(rows)
			rows = append(rows, v)
		case v.Revision >= rows[at].Revision:
			rows[at] = v
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return permanent(store.InsertVerdicts(ctx, token+"/verdicts", rows))
}

// Insert implements stream.Store.
func (t decisionTable) Insert(ctx context.Context, token string, b *stream.Batch) error {
	store, err := t.wait(ctx)
	if err != nil {
		return err
	}
	rows := make([]verdict.Decision, 0, len(b.Records))
	for i := range b.Records {
		d, err := wire.ParseDecision(b.Records[i].Record.Value)
		if err != nil {
			t.reject("decision", &b.Records[i].Record, err)
			continue
		}
		rows = append(rows, d)
	}
	if len(rows) == 0 {
		return nil
	}
	return permanent(store.InsertDecisions(ctx, token+"/decisions", rows))
}
