package sinks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirproject/weir/stream/verdict"
)

// Sample is what a test delivers: the verdict, or to a sink that carries only
// decisions the decision.
type Sample struct {
	Verdict  *verdict.Verdict
	Decision *verdict.Decision
}

// testPause is how often a test looks whether the sink is free.
const testPause = 20 * time.Millisecond

// Test delivers a sample to the destination of a sink that runs, once, between
// two batches, and makes it durable. It moves no position and writes no dead
// letter; the error says why the destination did not take it.
func (s *Sink) Test(ctx context.Context, sample Sample) error {
	if text := s.Problem(); text != "" {
		return errors.New(text)
	}
	for !s.mu.TryLock() {
		if text := s.Problem(); text != "" { // a delivery that is being retried
			return errors.New(text)
		}
		if err := wait(ctx, testPause); err != nil {
			return err
		}
	}
	defer s.mu.Unlock()
	return s.try(ctx, sample)
}

// TestAlone is Test for a sink that does not run here or elsewhere; it closes
// the destination.
func (s *Sink) TestAlone(ctx context.Context, sample Sample) error {
	unlock, err := s.open()
	if err != nil {
		return errors.Join(err, s.dest.Close())
	}
	defer unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.try(ctx, sample), s.dest.Close())
}

func (s *Sink) try(ctx context.Context, sample Sample) error {
	var doc []byte
	var err error
	id := sample.Verdict.ID
	if slices.Contains(s.cfg.Topics, Verdicts) {
		doc, err = s.format.Verdict(sample.Verdict)
	} else {
		id = sample.Decision.ID
		doc, err = s.format.Decision(sample.Decision)
	}
	if err != nil {
		return fmt.Errorf("write the sample: %w", err)
	}
	if err := s.dest.Deliver(ctx, []string{id}, [][]byte{doc}); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	if err := s.dest.Sync(); err != nil {
		return fmt.Errorf("make durable: %w", err)
	}
	return nil
}
