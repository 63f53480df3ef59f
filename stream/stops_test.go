package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// TestStopsAtAnyTimeLoseNothing stops a member gracefully at random times while
// events arrive, with a backlog of one record and a store that is slow, fails, or
// fails after it has taken the rows.
func TestStopsAtAnyTimeLoseNothing(t *testing.T) {
	c, _ := cluster(t, 2)
	r := rand.New(rand.NewPCG(1, 2))
	store := &stepStore{memStore: newMemStore()}
	failure := errors.New("the answer was lost")
	faults := make(chan int, 1)
	faults <- 0
	store.step = func(ctx context.Context, token string, b *Batch) error {
		n := <-faults
		faults <- n + 1
		switch n % 7 {
		case 2:
			return failure
		case 4:
			// Taken, and not known to be: the same range has to come again.
			return errors.Join(failure, store.memStore.Insert(ctx, token, b))
		case 5:
			pause(ctx, 5*time.Millisecond)
		}
		return nil
	}
	dir, sent := t.TempDir(), 0
	send := func() {
		put(t, c, "a", sent+1, 10, events("a", sent, sent+100)...)
		put(t, c, "b", sent+1, 10, events("b", sent, sent+100)...)
		sent += 100
	}
	cfg := groupConfig(t, c, store, dir)
	cfg.BacklogBytes, cfg.InboxBytes, cfg.FlushRows = 1<<10, 1<<10, 30
	send()
	for range 40 {
		_, stop := startGroup(t, cfg, nil)
		if pause(t.Context(), time.Duration(r.IntN(60))*time.Millisecond); r.IntN(2) == 0 {
			send()
			pause(t.Context(), time.Duration(r.IntN(30))*time.Millisecond)
		}
		stop()
	}
	_, stop := startGroup(t, cfg, nil)
	waitFor(t, "all rows", func() bool { return store.count() >= 2*sent })
	stop()
	checkRows(t, store.rows, 2*sent)
	counts, want := make(map[row]int), 0
	for _, r := range store.rows {
		counts[row{Partition: r.Partition, Route: r.Route}]++
	}
	for _, n := range counts {
		want += n / verdictEvery
	}
	if got := verdicts(t, c); len(got) != want || want == 0 {
		t.Errorf("%d distinct verdicts, want %d", len(got), want)
	}
}
