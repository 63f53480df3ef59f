package line

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/weirproject/weir/store/clickhouse"
)

// keepLessons writes what the engines learn into the table baselines until ctx
// ends. It waits for a store that is away; meanwhile the queue fills and drops.
func (p *processor) keepLessons(ctx context.Context) error {
	salt := strconv.FormatInt(time.Now().UnixNano(), 36)
	for n := 0; ; n++ {
		var l lesson
		select {
		case <-ctx.Done():
			return nil
		case l = <-p.sites.lessons:
		}
		rows := make([]clickhouse.Learned, len(l.learned))
		for i, q := range l.learned {
			rows[i] = clickhouse.Learned{
				Time: l.at, Site: q.Site, Baseline: q.Baseline, Key: q.Key, Name: q.Name, Value: q.Value,
				Observations: q.Observations, Since: time.Unix(0, q.Since),
			}
		}
		token := fmt.Sprintf("baselines/%s/%s/%d", node(p.Config), salt, n)
		err := clickhouse.Retry(ctx, func(ctx context.Context) error {
			store, err := p.store.wait(ctx)
			if err != nil {
				return err
			}
			return store.InsertBaselines(ctx, token, rows)
		}, nil)
		if err != nil && ctx.Err() == nil {
			p.Log.Warn("what was learned is not stored", "err", err)
		}
	}
}
