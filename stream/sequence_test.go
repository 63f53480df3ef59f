package stream

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// source numbers events over some sites and can give each again.
type source struct {
	seq *Sequence
	at  int
}

func (s *source) add(n int) {
	for range n {
		s.seq.Add(testEvent(fmt.Sprintf("site%d", s.at%5), s.at))
		s.at++
	}
}

func openSequence(t *testing.T, p *Producer, note []byte) *source {
	t.Helper()
	s := &source{seq: p.NewSequence()}
	if err := s.seq.Open(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *source) announce(t *testing.T) []byte {
	t.Helper()
	note, err := s.seq.Announce()
	if err != nil {
		t.Fatal(err)
	}
	return note
}

func (s *source) deliver(t *testing.T) {
	t.Helper()
	if err := s.seq.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// folds reads the topic as its owners do and counts how often each event was
// taken.
func folds(t *testing.T, c Connection, partitions int32) (times map[string]int, repeated int, missing uint64) {
	t.Helper()
	times = make(map[string]int)
	for p := range partitions {
		r, err := newPartitionReader(c, TopicEvents, p, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		_, end, err := bounds(t.Context(), r.client, TopicEvents, p)
		if err != nil {
			t.Fatal(err)
		}
		f := newFold(TopicEvents, p, newCountEngine(p))
		err = ReadRange(t.Context(), c, TopicEvents, p, 0, end, func(rec *Record) error {
			got := f.apply(rec, func(*verdict.Verdict) {}, func(ev *event.Event, _ verdict.Position, _ Result) {
				times[string([]byte(ev.ID))]++
			})
			repeated += got.repeated
			missing += got.missing
			return got.bad
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return times, repeated, missing
}

// TestASequenceIsTakenOnce kills a process around the delivery of a batch; the
// next one repeats what was announced.
func TestASequenceIsTakenOnce(t *testing.T) {
	for _, arrived := range []bool{false, true} {
		t.Run(fmt.Sprintf("arrived %v", arrived), func(t *testing.T) {
			c, _ := cluster(t, 3)
			first := producer(t, c, nil, nil)
			stop := running(t, first.Run)
			s := openSequence(t, first, nil)
			for range 4 {
				s.add(100)
				s.announce(t)
				s.deliver(t)
			}
			s.add(1) // one site: the other partitions' numbers are in no announcement
			s.announce(t)
			s.deliver(t)
			from := s.at
			s.add(2)
			note := s.announce(t)
			if arrived {
				s.deliver(t)
			}
			stop()

			second := producer(t, c, nil, nil)
			running(t, second.Run)
			s = openSequence(t, second, note)
			s.at = from
			s.add(2)
			if again := s.announce(t); string(again) != string(note) {
				t.Errorf("announced %s, then %s", note, again)
			}
			s.deliver(t)
			for range 3 {
				s.add(100)
				s.announce(t)
				s.deliver(t)
			}
			times, repeated, missing := folds(t, c, 3)
			for id, n := range times {
				if n != 1 {
					t.Errorf("%s was taken %d times", id, n)
				}
			}
			want := 0
			if arrived {
				want = 2
			}
			if len(times) != s.at || repeated != want || missing != 0 {
				t.Errorf("%d events taken of %d, %d repeated, %d missing", len(times), s.at, repeated, missing)
			}
			balanced(t, second.Ledger())
			if l := second.Ledger(); l.Delivered != uint64(s.at-from) || l.Produced != l.Delivered {
				t.Errorf("%+v", l)
			}
		})
	}
}

// TestAChangedBatchIsNotDropped: what was announced is not what comes now, so it
// must not be taken for it.
func TestAChangedBatchIsNotDropped(t *testing.T) {
	for name, note := range map[string]func(note []byte) []byte{
		"another number of events": func(n []byte) []byte { return n },
		"an unreadable note":       func([]byte) []byte { return []byte("{") },
		"no note":                  func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := cluster(t, 1)
			p := producer(t, c, nil, nil)
			running(t, p.Run)
			s := openSequence(t, p, nil)
			s.add(10)
			left := s.announce(t)
			s.deliver(t)
			s = openSequence(t, p, note(left))
			s.at = 10
			s.add(9)
			s.announce(t)
			s.deliver(t)
			if times, repeated, _ := folds(t, c, 1); len(times) != 19 || repeated != 0 {
				t.Errorf("%d events taken, %d dropped as repeated", len(times), repeated)
			}
		})
	}
}

func TestASequenceSaysWhenItIsFull(t *testing.T) {
	c, _ := cluster(t, 1)
	p := producer(t, c, nil, nil)
	running(t, p.Run)
	s := openSequence(t, p, nil).seq
	long := testEvent("site", 0)
	long.UserAgent = string(make([]byte, 60<<10))
	for name, ev := range map[string]*event.Event{"many": testEvent("site", 1), "large": long} {
		n := 1
		for !s.Add(ev) && n < 10_000 {
			n++
		}
		if n >= 10_000 || n < 10 {
			t.Errorf("%s: full after %d events", name, n)
		}
		if _, err := s.Announce(); err != nil {
			t.Fatal(err)
		}
		if err := s.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	long.UserAgent = string(make([]byte, 100<<10))
	s.Add(long)
	if l := p.Ledger(); !maps.Equal(l.Lost, map[string]uint64{LostTooLarge: 1}) {
		t.Errorf("%+v", l)
	}
	balanced(t, p.Ledger())
}

func TestARefusedBatchIsCountedAndPassedOver(t *testing.T) {
	c, fake := cluster(t, 1)
	p := producer(t, c, nil, nil)
	running(t, p.Run)
	s := openSequence(t, p, nil)
	fake.ControlKey(kmsg.Produce.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		in := req.(*kmsg.ProduceRequest)
		out := in.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range in.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, part := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = part.Partition, kerr.MessageTooLarge.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
		return out, nil, true
	})
	s.add(3)
	s.announce(t)
	s.deliver(t)
	s.add(4)
	s.announce(t)
	s.deliver(t)
	if l := p.Ledger(); l.Produced != 7 || l.Delivered != 4 || l.Lost[LostRefused] != 3 {
		t.Errorf("%+v", l)
	}
	times, _, _ := folds(t, c, 1)
	if len(times) != 4 {
		t.Errorf("%d events taken", len(times))
	}
}

// TestASequenceWaitsForTheLog: nothing is shed while the log is away, and an end
// meanwhile says that the batch's fate is unknown.
func TestASequenceWaitsForTheLog(t *testing.T) {
	c, fake := cluster(t, 1)
	p := producer(t, c, nil, nil)
	running(t, p.Run)
	s := openSequence(t, p, nil)
	refused := make(chan struct{}, 1)
	fake.ControlKey(kmsg.Produce.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		select {
		case refused <- struct{}{}:
		default:
		}
		return nil, context.DeadlineExceeded, true // the connection is cut
	})
	s.add(3)
	s.announce(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-refused; cancel() }()
	if err := s.seq.Deliver(ctx); err == nil {
		t.Error("a batch that the log has not taken counts as settled")
	}
	if l := p.Ledger(); l.Produced != 0 || l.Delivered != 0 || len(l.Lost) != 0 {
		t.Errorf("%+v", l)
	}
}
