package stream

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestEventsReachStoreAndVerdictTopic(t *testing.T) {
	c, _ := cluster(t, 2)
	store := newMemStore()
	reg := prometheus.NewRegistry()
	put(t, c, "p1", 1, 50, events("shop", 0, 1000)...)
	_, stop := startGroup(t, groupConfig(t, c, store, t.TempDir()), reg)
	put(t, c, "p1", 1001, 50, events("shop", 1000, 2000)...)
	waitFor(t, "2000 rows", func() bool { return store.count() >= 2000 })
	stop()
	checkRows(t, store.rows, 2000)
	want := 0
	for k := range 17 {
		want += (2000 + 16 - k) / 17 / verdictEvery
	}
	if got := verdicts(t, c); len(got) != want {
		t.Errorf("%d distinct verdicts, want %d", len(got), want)
	}
	if n := len(series(t, reg, "weir_stream_lag_seconds")); n != 2 {
		t.Errorf("weir_stream_lag_seconds has %d series, want engine and store", n)
	}
}

func TestVerdictsDoNotWaitForTheStore(t *testing.T) {
	c, _ := cluster(t, 1)
	store := newMemStore()
	store.setAway(errors.New("away"))
	cfg := groupConfig(t, c, store, t.TempDir())
	cfg.BacklogBytes = 20_000 // a few records: the rest must be read again
	g, stop := startGroup(t, cfg, nil)
	put(t, c, "p1", 1, 10, events("shop", 0, 200)...)
	waitFor(t, "the failing insert", func() bool { s := g.Status(); return len(s) == 1 && s[0].StoreError == "away" })
	put(t, c, "p1", 201, 10, events("shop", 200, 3000)...)
	waitFor(t, "verdicts of all events", func() bool { return len(verdicts(t, c)) >= 3000/17/verdictEvery*17 })
	if n := store.count(); n != 0 {
		t.Fatalf("%d rows in a store that is away", n)
	}
	waitFor(t, "deferral", func() bool { return g.Status()[0].Deferred })
	if s := g.Status()[0]; s.BacklogBytes > cfg.BacklogBytes || s.StoreLag <= 0 {
		t.Errorf("status %+v: want a bounded backlog and a lag", s)
	}
	store.setAway(nil)
	waitFor(t, "3000 rows", func() bool { return store.count() >= 3000 })
	put(t, c, "p1", 3001, 10, events("shop", 3000, 3300)...)
	waitFor(t, "3300 rows", func() bool { return store.count() >= 3300 })
	waitFor(t, "level", func() bool { s := g.Status()[0]; return s.StoreLag == 0 && s.Stored == s.LogEnd && !s.Deferred })
	stop()
	checkRows(t, store.rows, 3300)
}

func TestRestartContinuesFromSnapshot(t *testing.T) {
	c, _ := cluster(t, 3)
	store, dir := newMemStore(), t.TempDir()
	for i, site := range []string{"a", "b", "c", "d"} {
		for round := range 4 {
			put(t, c, site, round*250+1, 25, events(site, round*250, round*250+250)...)
			_, stop := startGroup(t, groupConfig(t, c, store, dir), nil)
			want := i*1000 + round*250 + 250
			waitFor(t, "rows", func() bool { return store.count() >= want })
			stop()
		}
	}
	checkRows(t, store.rows, 4000)
	for id, n := range verdicts(t, c) {
		if n != 1 {
			t.Errorf("verdict %s was published %d times over clean restarts", id, n)
		}
	}
}

func TestRestartWhileStoreIsAway(t *testing.T) {
	c, _ := cluster(t, 1)
	store, dir := newMemStore(), t.TempDir()
	cfg := groupConfig(t, c, store, dir)
	cfg.StopTimeout = 300 * time.Millisecond
	put(t, c, "p", 1, 10, events("shop", 0, 500)...)
	_, stop := startGroup(t, cfg, nil)
	waitFor(t, "500 rows", func() bool { return store.count() >= 500 })
	store.setAway(errors.New("away"))
	for round := 1; round < 4; round++ {
		put(t, c, "p", round*500+1, 10, events("shop", round*500, round*500+500)...)
		waitFor(t, "verdicts", func() bool { return len(verdicts(t, c)) >= (round*500+500)/17/verdictEvery*17 })
		stop()
		_, stop = startGroup(t, cfg, nil)
	}
	store.setAway(nil)
	waitFor(t, "2000 rows", func() bool { return store.count() >= 2000 })
	stop()
	checkRows(t, store.rows, 2000)
}
