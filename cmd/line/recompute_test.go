package line

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/store/clickhouse"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// stored answers with rows as the table events does.
type stored []clickhouse.StoredEvent

func (s stored) read(_ context.Context, partition int32, first, last int64, each func(*clickhouse.StoredEvent) error) error {
	for i := range s {
		if p := s[i].Position; p.Partition != partition || p.Offset < first || p.Offset > last {
			continue
		}
		if err := each(&s[i]); err != nil {
			return err
		}
	}
	return nil
}

func smallEngine() stream.Engine {
	return &engine{Engine: baseline.New(baseline.Config{Entities: 1 << 12, Cases: 64}), book: newSiteBook()}
}

// scanned gives a verdict and the rows behind it.
func scanned(t *testing.T) (v verdict.Verdict, rows stored) {
	t.Helper()
	ring, err := flow.NewKeyring(flow.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	x, err := flow.NewExtractor(flow.Config{Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	e := smallEngine()
	for i := range 200 {
		ev := &event.Event{}
		l := logLine(i, "203.0.113.7", "nikto", fmt.Sprintf("/admin/%d.php", i), 404)
		x.Begin(l, ev)
		x.End(l, ev)
		pos := verdict.Position{Partition: 2, Offset: int64(i)}
		rows = append(rows, clickhouse.StoredEvent{Event: *ev, Position: pos})
		if res := e.Observe(ev, pos); len(res.Verdicts) > 0 && v.ID == "" {
			v = res.Verdicts[0]
			v.Evidence.Features = append([]verdict.Feature(nil), v.Evidence.Features...)
		}
	}
	if v.ID == "" {
		t.Fatal("no verdict to recompute")
	}
	return v, rows
}

func TestAVerdictIsRecomputedFromRows(t *testing.T) {
	v, rows := scanned(t)
	twice := append(append(stored{}, rows[0], rows[0]), rows[1:]...)
	attempt := append(stored{}, rows...)
	attempt[0].Role = event.RoleLogin
	for name, c := range map[string]struct {
		engine    stream.Engine
		rows      stored
		identical bool
		says      string // in the difference or what is missing
	}{
		"all rows":                       {smallEngine(), rows, true, ""},
		"an insert that was repeated":    {smallEngine(), twice, true, ""},
		"rows that have expired":         {smallEngine(), rows[v.Evidence.Range.From+1:], false, "records have no rows"},
		"attempts with secrets":          {smallEngine(), attempt, true, "secrets and card codes of 1 attempts"},
		"no snapshot that is old enough": {nil, rows, false, "no snapshot at or below offset"},
	} {
		r := recomputing{verdict: &v, out: &admin.Replay{}}
		out := r.result(r.rows(t.Context(), c.engine, 0, c.rows.read))
		text := out.Difference + strings.Join(out.Missing, "; ")
		if out.Identical != c.identical || !strings.Contains(text, c.says) || c.says == "" && text != "" || out.Source != "the table events" {
			t.Errorf("%s: identical %v, %q of %s", name, out.Identical, text, out.Source)
		}
	}
	r := recomputing{verdict: &v, out: &admin.Replay{}}
	away := func(context.Context, int32, int64, int64, func(*clickhouse.StoredEvent) error) error {
		return errors.New("connection refused")
	}
	if out := r.result(r.rows(t.Context(), smallEngine(), 0, away)); out.Identical || !strings.Contains(out.Difference, "connection refused") {
		t.Errorf("a store that is away: %+v", out)
	}
}
