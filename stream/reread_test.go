package stream

import (
	"context"
	"errors"
	"testing"
	"time"
)

// stepStore calls step before each insert; an error is the insert's.
type stepStore struct {
	*memStore
	step func(ctx context.Context, token string, b *Batch) error
}

func (s *stepStore) Insert(ctx context.Context, token string, b *Batch) error {
	if err := s.step(ctx, token, b); err != nil {
		return err
	}
	return s.memStore.Insert(ctx, token, b)
}

// TestStopBetweenSecondReadingAndBacklog stops an owner whose second reading has
// come so near to the engine cursor that the backlog keeps records again, before
// it has read all that comes before those.
func TestStopBetweenSecondReadingAndBacklog(t *testing.T) {
	c, _ := cluster(t, 1)
	open, near, fed, caught := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	store := &stepStore{memStore: newMemStore()}
	store.step = func(ctx context.Context, _ string, b *Batch) error {
		select {
		case <-open:
		default:
			return errors.New("away")
		}
		switch b.From {
		case 95: // of the 100 that one fetch brought
			close(near)
			<-fed
		case 105: // of those that came meanwhile
			select {
			case <-caught: // once only
			default:
				close(caught)
				<-ctx.Done()
				return ctx.Err()
			}
		}
		return nil
	}
	cfg := groupConfig(t, c, store, t.TempDir())
	cfg.BacklogBytes, cfg.FlushRows = 1<<10, 10 // a record: the rest is read again, and stored one by one
	put(t, c, "p1", 1, 10, events("shop", 0, 1000)...)
	g, stop := startGroup(t, cfg, nil)
	engine := func(at int64) {
		t.Helper()
		waitFor(t, "the engine", func() bool { s := g.Status(); return len(s) == 1 && s[0].Deferred && s[0].Engine == at })
	}
	wait := func(what string, c chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(30 * time.Second):
			t.Fatalf("gave up waiting for %s: %+v", what, g.Status())
		}
	}
	engine(100)
	close(open)
	wait("the end of the first fetch", near)
	put(t, c, "p1", 1001, 10, events("shop", 1000, 1200)...)
	engine(120)
	close(fed)
	wait("a record before those that the backlog keeps", caught)
	if s := g.Status()[0]; s.Deferred || s.Stored >= 120 {
		t.Fatalf("%+v: want a backlog that keeps records, and some not stored yet", s)
	}
	put(t, c, "p1", 1201, 10, events("shop", 1200, 1210)...) // this one the backlog keeps
	waitFor(t, "the engine", func() bool { return g.Status()[0].Engine == 121 })
	stop()
	_, stop = startGroup(t, cfg, nil)
	waitFor(t, "1210 rows", func() bool { return store.count() >= 1210 })
	stop()
	checkRows(t, store.rows, 1210)
}
