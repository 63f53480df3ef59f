package line

import (
	"context"
	"errors"
	"io"

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
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := b.WriteArrow(w)
		_ = w.CloseWithError(err) // nil is the end of the stream
		done <- err
	}()
	err = store.InsertEvents(ctx, token+"/events", r)
	_ = r.CloseWithError(context.Canceled) // ends the writing when the insert failed early
	if written := <-done; written != nil && !errors.Is(written, context.Canceled) {
		err = written
	}
	return permanent(err)
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
