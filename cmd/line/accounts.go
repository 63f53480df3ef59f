package line

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/store/clickhouse"
)

const (
	// accountEvery is how often the counters of this machine's parts are added
	// to the table losses.
	accountEvery = 10 * time.Second
	// trimEvery is how often the store is held to retention.disk.
	trimEvery = time.Minute
)

// accounts writes what the collectors and the ingress of this data directory
// count into the table losses, where the pipeline dashboard adds it up. Each row
// is an increase since the row before; a part that starts again begins at zero.
type accounts struct {
	*processor
	last map[string]int64
	n    int64
	salt string
}

func newAccounts(p *processor) *accounts {
	return &accounts{processor: p, last: map[string]int64{}, salt: strconv.FormatInt(time.Now().UnixNano(), 36)}
}

// run books and trims until ctx ends. Both wait for the store; what is counted
// meanwhile is booked later.
func (a *accounts) run(ctx context.Context) error {
	book, trim := time.NewTicker(accountEvery), time.NewTicker(trimEvery)
	defer book.Stop()
	defer trim.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-book.C:
			a.sites.keep(a.owned())
			err = a.book(ctx)
		case <-trim.C:
			err = a.trim(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.Log.Warn("housekeeping of the store failed and is tried again", "err", err)
		}
	}
}

func (a *accounts) book(ctx context.Context) error {
	store, err := a.store.now()
	if err != nil {
		return nil //nolint:nilerr // status tells it; the increase is booked when the store is back
	}
	now, name := time.Now(), node(a.Config)
	next := maps.Clone(a.last)
	var rows []clickhouse.Loss
	add := func(source, counter, cause string, value int64) {
		key := source + "\x00" + counter + "\x00" + cause
		increase := value - next[key]
		if increase < 0 { // the part has started again
			increase = value
		}
		next[key] = value
		if increase > 0 {
			rows = append(rows, clickhouse.Loss{Time: now, Node: name, Source: source, Counter: counter, Cause: cause, Count: uint64(increase)})
		}
	}
	for _, part := range []string{"enforce", "collect"} {
		var rep admin.Report
		if admin.NewClient(admin.Socket(a.Config.Data, part)).Get(ctx, "/status", &rep) != nil {
			continue // that part does not run here
		}
		for _, s := range rep.Sources {
			add(s.Name, "produced", "", s.Produced)
			add(s.Name, "delivered", "", s.Delivered)
			for _, cause := range slices.Sorted(maps.Keys(s.Lost)) {
				add(s.Name, "lost", cause, s.Lost[cause])
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	a.n++
	if err := store.InsertLosses(ctx, fmt.Sprintf("losses/%s/%s/%d", name, a.salt, a.n), rows); err != nil {
		return err
	}
	a.last = next
	return nil
}

func (a *accounts) trim(ctx context.Context) error {
	store, err := a.store.now()
	if err != nil || a.Config.Retention.Disk <= 0 {
		return nil //nolint:nilerr // status tells it
	}
	dropped, err := store.Trim(ctx, uint64(a.Config.Retention.Disk))
	if len(dropped) > 0 {
		a.Log.Warn("retention.disk is reached, the oldest days were dropped", "days", dropped)
	}
	return err
}
