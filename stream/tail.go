package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TailConfig configures a Tail.
type TailConfig struct {
	Connection Connection
	// Topic is followed in all its partitions; required.
	Topic string
	// From holds the next offset wanted per partition, as Offsets returned it
	// before. A partition without an entry begins at the log's start, or at its
	// end with FromEnd.
	From    map[int32]int64
	FromEnd bool
	// OnGap is told of records that will never come, before the first record
	// after them. It is called by Run's goroutine; nil to ignore gaps.
	OnGap func(Gap)
	// OnCaughtUp is called once, by Run's goroutine, when everything that the
	// log held when Run began has been handled.
	OnCaughtUp func()
	Log        *slog.Logger
}

// Gap says that the records [From, To) of a partition are gone: retention was
// faster, or, when Rewound, the log lost its end and its offsets begin again at
// To, so that what the receiver knows of the topic is not to be trusted.
type Gap struct {
	Partition int32
	From, To  int64
	Rewound   bool
}

// Validate reports all faults.
func (c TailConfig) Validate() error {
	errs := []error{c.Connection.Validate()}
	if c.Topic == "" {
		errs = append(errs, errors.New("stream: a tail needs a topic"))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("stream: a logger is needed"))
	}
	return errors.Join(errs...)
}

// Tail follows a topic without a group: every Tail sees every record, in the
// order of each partition, within milliseconds of its arrival.
type Tail struct {
	cfg     TailConfig
	contact contact

	mu   sync.Mutex
	next map[int32]int64
}

// NewTail checks the configuration and starts nothing.
func NewTail(cfg TailConfig) (*Tail, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Tail{cfg: cfg, next: maps.Clone(cfg.From)}, nil
}

// contact remembers when the broker last answered a fetch, on the steady clock:
// a wall clock that steps makes no feed older or younger.
type contact struct{ at atomic.Pointer[time.Time] }

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (c *contact) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == int16(kmsg.Fetch) && e2e.Err() == nil {
		c.answered()
	}
}

func (c *contact) answered() {
	now := time.Now()
	c.at.Store(&now)
}

// Contact returns when the log last answered, whether or not it had news; the
// zero time before the first answer. A feed is as fresh as this; time.Since of it
// is right whatever became of the wall clock.
func (t *Tail) Contact() time.Time {
	if at := t.contact.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Offsets returns the next offset wanted per partition: everything before was
// handled without an error.
func (t *Tail) Offsets() map[int32]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.next)
}

// Run follows the topic and calls handle with records as they come, until ctx
// ends (nil) or handle fails (its error; the records count as not handled). The
// slice is handle's for the call only, the records' bytes for good.
func (t *Tail) Run(ctx context.Context, handle func(ctx context.Context, recs []Record) error) error {
	cl, err := t.cfg.Connection.client(
		kgo.WithHooks(&t.contact), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// The broker answers as soon as there is a byte; the wait only spares idle
		// requests.
		kgo.FetchMaxWait(time.Second), kgo.FetchMinBytes(1), kgo.FetchMaxBytes(8<<20), kgo.FetchMaxPartitionBytes(1<<20),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	behind, err := t.begin(ctx, cl)
	if err != nil {
		return nil // only the end of ctx ends begin
	}
	caughtUp := func() {
		for p, end := range behind {
			if t.at(p) >= end {
				delete(behind, p)
			}
		}
		if behind != nil && len(behind) == 0 {
			behind = nil
			// The log has just answered; a fetch that finds nothing new says so only
			// after a second.
			t.contact.answered()
			if t.cfg.OnCaughtUp != nil {
				t.cfg.OnCaughtUp()
			}
		}
	}
	caughtUp()
	retry := backoff{first: 50 * time.Millisecond, most: 2 * time.Second}
	for {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		got, err := t.handle(ctx, fs, handle)
		if err != nil {
			return err
		}
		caughtUp()
		if got {
			retry.next = 0
			continue
		}
		if err := fs.Err(); err != nil {
			t.cfg.Log.Warn("fetch failed and is tried again", "topic", t.cfg.Topic, "err", err)
		}
		if !retry.wait(ctx) {
			return nil
		}
	}
}

func (t *Tail) at(p int32) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next[p]
}

func (t *Tail) move(p int32, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next[p] = next
}

// begin finds the log's bounds, reports what is gone already and starts the
// fetches. It returns the ends to reach before the tail has caught up.
func (t *Tail) begin(ctx context.Context, cl *kgo.Client) (map[int32]int64, error) {
	if _, err := partitions(ctx, cl, t.cfg.Topic, t.cfg.Log); err != nil {
		return nil, err
	}
	adm := kadm.NewClient(cl)
	retry := backoff{first: 50 * time.Millisecond, most: 2 * time.Second}
	for {
		starts, err1 := adm.ListStartOffsets(ctx, t.cfg.Topic)
		ends, err2 := adm.ListEndOffsets(ctx, t.cfg.Topic)
		err := errors.Join(err1, err2, starts.Error(), ends.Error())
		if err == nil {
			return t.place(cl, starts, ends), nil
		}
		t.cfg.Log.Warn("log offsets are unknown yet", "topic", t.cfg.Topic, "err", err)
		if !retry.wait(ctx) {
			return nil, ctx.Err()
		}
	}
}

func (t *Tail) place(cl *kgo.Client, starts, ends kadm.ListedOffsets) map[int32]int64 {
	behind := make(map[int32]int64)
	from := make(map[int32]kgo.Offset)
	t.mu.Lock()
	if t.next == nil {
		t.next = make(map[int32]int64)
	}
	t.mu.Unlock()
	starts.Each(func(l kadm.ListedOffset) {
		p, start, end := l.Partition, l.Offset, l.Offset
		if e, ok := ends.Lookup(t.cfg.Topic, p); ok {
			end = e.Offset
		}
		want, known := t.Offsets()[p]
		switch {
		case !known && t.cfg.FromEnd:
			want = end
		case !known:
			want = start
		case want > end:
			t.gap(Gap{Partition: p, From: want, To: start, Rewound: true})
			want = start
		case want < start:
			t.gap(Gap{Partition: p, From: want, To: start})
			want = start
		}
		t.move(p, want)
		behind[p], from[p] = end, kgo.NewOffset().At(want)
	})
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{t.cfg.Topic: from})
	return behind
}

func (t *Tail) gap(g Gap) {
	t.cfg.Log.Warn("records are gone from the log", "topic", t.cfg.Topic, "partition", g.Partition, "from", g.From, "to", g.To, "rewound", g.Rewound)
	if t.cfg.OnGap != nil {
		t.cfg.OnGap(g)
	}
}

func (t *Tail) handle(ctx context.Context, fs kgo.Fetches, handle func(context.Context, []Record) error) (got bool, err error) {
	fs.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 || err != nil {
			return
		}
		got = true
		next := t.at(p.Partition)
		if first := p.Records[0].Offset; first != next {
			t.gap(Gap{Partition: p.Partition, From: next, To: first, Rewound: first < next})
		}
		recs := make([]Record, len(p.Records))
		for i, r := range p.Records {
			recs[i] = recordOf(r)
		}
		if herr := handle(ctx, recs); herr != nil {
			err = fmt.Errorf("%s partition %d offset %d: %w", t.cfg.Topic, p.Partition, next, herr)
			return
		}
		t.move(p.Partition, recs[len(recs)-1].Offset+1)
	})
	return got, err
}
