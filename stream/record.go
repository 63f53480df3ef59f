package stream

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is one record of the log. Its byte slices may share one buffer with the
// records fetched beside it. They belong to the receiver; those that a Store is
// given are taken back when Insert has returned.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	// Time is the log's time of the record (when it was sent), not event time.
	Time    time.Time
	Key     []byte
	Value   []byte
	Headers []Header

	// fetched is the client's record, for giveBack.
	fetched *kgo.Record
}

// giveBack lets the memory of the record be used for another once it was called
// for all records of a batch: none of its bytes may be in use. A record that is
// not given back is the collector's.
func (r *Record) giveBack() {
	if r.fetched != nil {
		r.fetched.Recycle()
		r.fetched = nil
	}
}

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

func recordOf(r *kgo.Record) Record {
	rec := Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, Key: r.Key, Value: r.Value,
		fetched: r,
	}
	if len(r.Headers) > 0 {
		rec.Headers = make([]Header, len(r.Headers))
		for i, h := range r.Headers {
			rec.Headers[i] = Header{Key: h.Key, Value: h.Value}
		}
	}
	return rec
}

// bytes is roughly what keeping r costs.
func (r *Record) bytes() int { return len(r.Key) + len(r.Value) + recordOverheadBytes }

const recordOverheadBytes = 256
