package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/wire"
)

// Sequence sends what its source can read again, such as the lines of a file, so
// that each event is taken once even when this process is killed:
//
//  1. Add gathers a batch, at most one record per partition.
//  2. Announce says under which producer and numbers it will go; the source saves
//     that together with what the batch holds.
//  3. Deliver sends it and waits for the log, for as long as that takes: nothing
//     is shed, what the source holds is its buffer.
//
// A process that finds an announcement reads the same batch again and delivers
// it under the same numbers; if it had arrived, the other end drops it as a
// record that was sent twice. A Sequence is for one goroutine.
type Sequence struct {
	p        *Producer
	producer string
	batches  map[int32]*batch
	next     map[int32]uint64
	// repeat is the announcement that the next batch has to be equal to; repeated
	// says that the present one is. The producer that made it is not used again,
	// since the numbers of its other partitions are not known.
	repeat   *announcement
	repeated bool
}

// announcement is where a batch stands among a producer's numbers.
type announcement struct {
	Producer string           `json:"producer"`
	Parts    map[int32]extent `json:"parts"`
}

// extent is count events, numbered from First.
type extent struct {
	First uint64 `json:"first"`
	Count uint64 `json:"count"`
}

// NewSequence returns a sequence that sends through p, to be opened first.
func (p *Producer) NewSequence() *Sequence {
	return &Sequence{p: p, batches: make(map[int32]*batch), next: make(map[int32]uint64)}
}

// Open waits until the log has said how many partitions there are. note is what
// Announce returned for a batch whose fate is unknown, which has to come next;
// without one, or with one that cannot be read, nothing is repeated.
func (s *Sequence) Open(ctx context.Context, note []byte) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.p.opened:
	}
	if err := s.renew(); err != nil || len(note) == 0 {
		return err
	}
	var a announcement
	if err := json.Unmarshal(note, &a); err != nil || a.Producer == "" || len(a.Producer) > wire.MaxProducerBytes {
		s.p.cfg.Log.Warn("an announced batch cannot be read; if it had been sent, its events are repeated", "err", err)
		return nil
	}
	s.repeat = &a
	return nil
}

// renew starts a new producer, whose numbers begin at 1.
func (s *Sequence) renew() (err error) {
	clear(s.next)
	s.producer, err = newIncarnation(s.p.cfg.Node)
	return err
}

// Add takes one event and keeps nothing of it. full asks for a Deliver before the
// next.
func (s *Sequence) Add(ev *event.Event) (full bool) {
	partition := wire.Partition(ev.Site, len(*s.p.lanes.Load()))
	b := s.batches[partition]
	if b == nil {
		b = &batch{encoder: s.p.encoders.Get().(*wire.Encoder)} // the pool holds nothing else
		s.batches[partition] = b
	}
	source := sourceIndex(ev.Source)
	if b.encoder.Append(ev) != nil {
		s.p.ledger.produced[source].Add(1)
		s.p.ledger.lose(source, LostTooLarge, 1)
		return false
	}
	b.sources[source]++
	return b.encoder.Full()
}

// Announce returns what has to be saved before Deliver.
func (s *Sequence) Announce() (note []byte, err error) {
	a := announcement{Producer: s.producer, Parts: make(map[int32]extent)}
	for partition, b := range s.batches {
		if n := uint64(b.events()); n > 0 {
			a.Parts[partition] = extent{First: s.next[partition] + 1, Count: n}
		}
	}
	if s.repeat != nil {
		if s.repeated = s.repeat.sameCounts(a.Parts); s.repeated {
			a = *s.repeat
		} else {
			s.p.cfg.Log.Warn("an announced batch has changed meanwhile; if it had been sent, its events are repeated")
		}
		s.repeat = nil
	}
	for partition, b := range s.batches {
		b.first = a.Parts[partition].First
	}
	s.producer = a.Producer
	return json.Marshal(a)
}

func (a *announcement) sameCounts(parts map[int32]extent) bool {
	return maps.EqualFunc(a.Parts, parts, func(x, y extent) bool { return x.Count == y.Count })
}

// Deliver sends what was announced and returns once the log has taken or refused
// all of it; an error says that its fate is unknown and the sequence at its end.
func (s *Sequence) Deliver(ctx context.Context) error {
	type settled struct {
		b   *batch
		err error
	}
	results := make(chan settled, len(s.batches))
	sent := 0
	for partition, b := range s.batches {
		rec, ok := b.encoder.Flush(s.producer, b.first)
		if !ok {
			continue
		}
		s.next[partition] = b.first + uint64(b.events()) - 1
		r := &kgo.Record{
			Topic: s.p.cfg.Topic, Partition: partition, Value: rec.Value, Headers: wire.Headers[kgo.RecordHeader](rec.Info),
		}
		sent++
		s.p.client.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) { results <- settled{b, err} })
	}
	for range sent {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has not taken a batch of events yet: %w", s.p.cfg.Topic, ctx.Err())
		case r := <-results:
			if err := s.settle(r.b, r.err); err != nil {
				return err
			}
		}
	}
	if s.repeated {
		s.repeated = false
		return s.renew()
	}
	return nil
}

// settle books a batch whose fate is known.
func (s *Sequence) settle(b *batch, err error) error {
	cause := ""
	switch {
	case err == nil:
		s.p.lastAck.Store(time.Now().UnixNano())
	case errors.Is(err, kgo.ErrAborting), errors.Is(err, kgo.ErrClientClosed):
		return fmt.Errorf("%s has not taken a batch of events: %w", s.p.cfg.Topic, err)
	default:
		cause = LostRefused
		s.p.cfg.Log.Error("the log refused events", "topic", s.p.cfg.Topic, "events", b.events(), "err", err)
	}
	for source, n := range b.sources {
		s.p.ledger.produced[source].Add(uint64(n))
	}
	s.p.book(b, cause)
	clear(b.sources[:])
	return nil
}
