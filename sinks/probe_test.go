package sinks_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/sinks"
	"github.com/weirproject/weir/sinks/file"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

var sample = sinks.Sample{
	Verdict:  &verdict.Verdict{ID: "v_test", Revision: 1, Site: "shop", Action: event.ActionObserve, Mode: event.ModeShadow},
	Decision: &verdict.Decision{ID: "d_test", Site: "shop", Action: event.ActionAllow},
}

// TestSampleReachesARunningSink tests between two deliveries of a sink.
func TestSampleReachesARunningSink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "siem.ndjson")
	d, err := file.New(file.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	l := newList(40, 1)
	s := newSink(t, sinks.Config{Dir: t.TempDir(), Topics: []string{sinks.Verdicts}}, l, d, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	l.reached.Wait()
	if err := s.Test(ctx, sample); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	lines := fileLines(t, path)
	if len(lines) != 41 || !strings.Contains(string(lines[40]), "v_test") {
		t.Errorf("%d lines, the last is %s", len(lines), lines[len(lines)-1])
	}
}

// TestSampleIsNotForcedOnADestinationThatFails asks a sink that retries for
// ever.
func TestSampleIsNotForcedOnADestinationThatFails(t *testing.T) {
	d := &stuck{permit: make(chan struct{})}
	s := newSink(t, sinks.Config{Dir: t.TempDir(), Topics: []string{sinks.Verdicts}, BackOff: time.Millisecond, BackOffMax: 2 * time.Millisecond}, newList(3, 1), d, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-d.permit
	if err := s.Test(ctx, sample); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Log("ended without an error")
	}
}

func TestSampleIsSentAlone(t *testing.T) {
	path, dir := filepath.Join(t.TempDir(), "siem.ndjson"), t.TempDir()
	alone := func(topics ...string) error {
		d, err := file.New(file.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return newSink(t, sinks.Config{Dir: dir, Topics: topics, Sites: []string{"other"}}, nil, d, nil).TestAlone(t.Context(), sample)
	}
	if err := errors.Join(alone(), alone(sinks.Decisions)); err != nil {
		t.Fatal(err)
	}
	lines := fileLines(t, path)
	if len(lines) != 2 || !strings.Contains(string(lines[0]), "v_test") || !strings.Contains(string(lines[1]), "d_test") {
		t.Errorf("lines %s", lines)
	}
	refused := newSink(t, sinks.Config{Dir: t.TempDir()}, nil, &stuck{permit: make(chan struct{})}, nil)
	if err := refused.TestAlone(t.Context(), sample); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}
