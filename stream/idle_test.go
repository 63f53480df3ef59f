package stream

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestIdleCost measures what a processor, a producer and a tail cost when
// nothing happens. The broker's share is in it.
func TestIdleCost(t *testing.T) {
	if os.Getenv("WEIR_E2E") == "" {
		t.Skip("measured with WEIR_E2E=1")
	}
	c, _ := cluster(t, 4)
	running(t, producer(t, c, nil, nil).Run)
	tail, err := NewTail(TailConfig{Connection: c, Topic: TopicVerdicts, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	running(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(context.Context, []Record) error { return nil })
	})
	cfg := groupConfig(t, c, newMemStore(), t.TempDir())
	cfg.FlushInterval, cfg.SnapshotInterval = time.Second, 30*time.Second
	g, _ := startGroup(t, cfg, nil)
	waitFor(t, "ownership", func() bool { return len(g.Status()) == 4 })
	const span = 10 * time.Second
	began := cpuTime()
	pause(t.Context(), span)
	used := cpuTime() - began
	t.Logf("%.2f %% of a core", 100*used.Seconds()/span.Seconds())
	if used > span/33 {
		t.Errorf("idle uses %v in %v, want at most 3 %%", used, span)
	}
}
