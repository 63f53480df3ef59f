package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/weirproject/weir/stream/verdict"
)

// Format writes documents; sinks/ocsf is one, JSON another.
type Format interface {
	Verdict(v *verdict.Verdict) ([]byte, error)
	Decision(d *verdict.Decision) ([]byte, error)
}

// JSON is weir's own form, as on the topics.
type JSON struct{}

// Verdict writes the verdict's JSON.
func (JSON) Verdict(v *verdict.Verdict) ([]byte, error) { return marshal(v) }

// Decision writes the decision's JSON.
func (JSON) Decision(d *verdict.Decision) ([]byte, error) { return marshal(d) }

func marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	return b, nil
}

// batch is documents on their way, with where each came from.
type batch struct {
	ids  []string
	docs [][]byte
	from []Record
	size int
}

func (b *batch) add(id string, doc []byte, r Record) {
	b.ids, b.docs, b.from = append(b.ids, id), append(b.docs, doc), append(b.from, r)
	b.size += len(doc)
}

func (b *batch) half(from, to int) *batch {
	return &batch{ids: b.ids[from:to], docs: b.docs[from:to], from: b.from[from:to]}
}

// handle delivers a fetch of records and moves the position behind them.
func (s *Sink) handle(ctx context.Context, recs []Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &batch{}
	start := 0
	for i := range recs {
		id, doc, err := s.document(&recs[i])
		switch {
		case err != nil:
			if err := s.bury(ctx, "", recs[i], nil, err, s.counts.malformed.Inc); err != nil {
				return err
			}
		case doc == nil:
			s.counts.filtered.Inc()
		default:
			b.add(id, doc, recs[i])
		}
		if len(b.docs) >= s.cfg.BatchDocuments || b.size >= s.cfg.BatchBytes || i == len(recs)-1 {
			if err := s.deliver(ctx, b); err != nil {
				return err
			}
			s.position.move(recs[start : i+1])
			s.dirty = true
			b, start = &batch{}, i+1
		}
	}
	if time.Since(s.saved) >= s.cfg.SaveEvery {
		if err := s.saveLocked(); err != nil {
			s.log.Error("the position could not be saved; a restart will repeat more", "err", err)
		}
	}
	return nil
}

// document decodes a record and writes it in the sink's format; nil for one
// that the sink does not carry. Ids are the same for the same record.
func (s *Sink) document(r *Record) (id string, doc []byte, err error) {
	switch r.Topic {
	case Verdicts:
		var v verdict.Verdict
		if err := json.Unmarshal(r.Value, &v); err != nil {
			return "", nil, fmt.Errorf("not a verdict: %w", err)
		}
		if v.ID == "" || v.Revision == 0 {
			return "", nil, errors.New("not a verdict: id or revision is missing")
		}
		if v.Sequence == 0 {
			v.Sequence = r.Offset
		}
		if !s.carries(v.Site) {
			return "", nil, nil
		}
		doc, err = s.format.Verdict(&v)
		return v.ID + ":" + strconv.FormatUint(uint64(v.Revision), 10), doc, err
	case Decisions:
		var d verdict.Decision
		if err := json.Unmarshal(r.Value, &d); err != nil {
			return "", nil, fmt.Errorf("not a decision: %w", err)
		}
		if d.ID == "" {
			return "", nil, errors.New("not a decision: id is missing")
		}
		if !s.carries(d.Site) {
			return "", nil, nil
		}
		doc, err = s.format.Decision(&d)
		return d.ID, doc, err
	default:
		return "", nil, fmt.Errorf("unknown topic %s", r.Topic)
	}
}

func (s *Sink) carries(site string) bool { return len(s.sites) == 0 || s.sites[site] }

// deliver hands a batch over, whatever it takes: temporary failures are retried
// until ctx ends, permanent ones are narrowed down to single documents.
func (s *Sink) deliver(ctx context.Context, b *batch) error {
	if len(b.docs) == 0 {
		return nil
	}
	pause := s.cfg.BackOff
	for {
		err := s.dest.Deliver(ctx, b.ids, b.docs)
		if err == nil {
			s.recovered()
			s.refusal.Store(nil)
			s.counts.delivered.Add(float64(len(b.docs)))
			s.counts.lastDelivery.SetToCurrentTime()
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("stopped during a delivery: %w", context.Cause(ctx))
		}
		if permanent(err) {
			return s.narrow(ctx, b, err)
		}
		s.failed(err)
		if err := wait(ctx, max(pause*3/4+rand.N(pause/2+1), retryAfter(err))); err != nil {
			return err
		}
		pause = min(2*pause, s.cfg.BackOffMax)
	}
}

// narrow cuts a refused batch in two until the refused document stands alone.
func (s *Sink) narrow(ctx context.Context, b *batch, err error) error {
	if n := len(b.docs); n > 1 {
		if err := s.deliver(ctx, b.half(0, n/2)); err != nil {
			return err
		}
		return s.deliver(ctx, b.half(n/2, n))
	}
	return s.bury(ctx, b.ids[0], b.from[0], b.docs[0], err, func() {
		s.counts.deadLetter.Inc()
		s.refused(err)
	})
}

// bury writes a dead letter. While that fails (a full disk) nothing goes on:
// the record must not vanish.
func (s *Sink) bury(ctx context.Context, id string, r Record, doc []byte, why error, count func()) error {
	for pause := s.cfg.BackOff; ; pause = min(2*pause, s.cfg.BackOffMax) {
		err := s.dead.write(id, &r, doc, why)
		if err == nil {
			count()
			s.recovered()
			s.log.Warn("a record is a dead letter", "id", id, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", why)
			return nil
		}
		s.failed(err)
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

// refused notes that the destination will never take a document.
func (s *Sink) refused(err error) {
	r := refusal{reason: err.Error(), inRow: 1}
	if last := s.refusal.Load(); last != nil {
		r.inRow += last.inRow
	}
	s.refusal.Store(&r)
}

// failed notes a temporary failure; only the first of a row is logged.
func (s *Sink) failed(err error) {
	s.counts.retries.Inc()
	s.counts.up.Set(0)
	text := err.Error()
	if s.failing.Swap(&text) == nil {
		s.log.Warn("the destination fails; delivery will be retried until it works", "err", err)
	}
}

func (s *Sink) recovered() {
	s.counts.up.Set(1)
	if s.failing.Swap(nil) != nil {
		s.log.Info("the destination works again")
	}
}

func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

func retryAfter(err error) time.Duration {
	var r interface{ RetryAfter() time.Duration }
	if errors.As(err, &r) {
		return min(r.RetryAfter(), time.Hour)
	}
	return 0
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("stopped while waiting: %w", context.Cause(ctx))
	case <-t.C:
		return nil
	}
}
