package stream

import (
	"fmt"
	"io"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/wire"
)

// Batch is one announced range [From, To) of one partition, ready for a Store.
type Batch struct {
	Topic     string
	Partition int32
	From, To  int64
	Records   []Stored
	// Rows is the number of rows in all records together.
	Rows int
}

// Stored is one record of a Batch with the engine's word on each of its events.
// Control records, undecodable and repeated ones are not in a batch. Without an
// engine the columns are nil and a record counts as one row.
type Stored struct {
	Record Record
	// Actors and Routes have an entry per event; Routes is the learned template
	// where the flow map declares none.
	Actors []event.Hash
	Routes []string
	// Shadowed are the positions of copies that did not feed the engine; they
	// are to be stored with FlagShadowed.
	Shadowed []int32
}

// arrowWriter is what an insert's body is made with.
type arrowWriter struct {
	decoder  *wire.Decoder
	stitcher *wire.Stitcher
}

// arrowWriters keeps the memory of the last ones, some megabytes each, for the
// next insert, a second later. A sync.Pool would be empty by then: every other
// garbage collection forgets what it holds.
var arrowWriters = make(chan *arrowWriter, 2)

func takeArrowWriter() *arrowWriter {
	select {
	case a := <-arrowWriters:
		return a
	default:
		return &arrowWriter{wire.NewDecoder(wire.Limits{}), wire.NewStitcher(nil)}
	}
}

func (a *arrowWriter) release() {
	a.stitcher.Reset(nil)
	select {
	case arrowWriters <- a:
	default:
	}
}

// WriteArrow writes the batch's events as the body of one ArrowStream insert
// into the table events, joined with the engine's word, and returns the number
// of rows.
func (b *Batch) WriteArrow(w io.Writer) (int, error) {
	a := takeArrowWriter()
	defer a.release()
	d, s := a.decoder, a.stitcher
	s.Reset(w)
	for i := range b.Records {
		r := &b.Records[i]
		info, err := wire.ParseInfo(r.Record.Headers)
		if err != nil {
			return 0, Permanent(fmt.Errorf("offset %d: %w", r.Record.Offset, err))
		}
		events, err := d.Decode(info, r.Record.Value)
		if err != nil {
			return 0, Permanent(fmt.Errorf("offset %d: %w", r.Record.Offset, err))
		}
		if err := s.Add(events, b.Partition, r.Record.Offset, r.Actors, r.Routes); err != nil {
			return 0, err
		}
		for _, row := range r.Shadowed {
			s.Mark(int(row), event.FlagShadowed)
		}
	}
	return s.Rows(), s.Close()
}

// Permanent marks an error of a Store as one that no retry will mend.
func Permanent(err error) error { return permanentError{err} }

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }
