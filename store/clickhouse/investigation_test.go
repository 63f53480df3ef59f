package clickhouse_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/store/clickhouse"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// fillStore inserts a small attack among people: what the questions and the
// dashboards ask about. The same texts run on the demo's data in cmd.
func fillStore(t *testing.T, s *clickhouse.Store) {
	t.Helper()
	ctx := t.Context()
	now := time.Now().UTC()
	events := makeEvents("i", 3000, now.Add(-20*time.Minute))
	for i := range events { // actor 0xf000 tries 40 accounts and is refused at the end
		if i%50 != 0 {
			continue
		}
		events[i].Claimed, events[i].Keys[event.KindTargetAccount] = event.Hash(0xd000+i/50%40), event.Hash(0xe000+i/50%40)
		if i > 2000 {
			events[i].Action, events[i].Mode, events[i].Verdict = event.ActionBlock, event.ModeEnforce, sampleVerdict().ID
		}
	}
	insertEvents(t, s, "events", events, 1)
	earlier := makeEvents("e", 1000, now.Add(-26*time.Hour))
	insertEvents(t, s, "earlier", earlier, 20)
	v := sampleVerdict()
	v.Time, v.Expires = verdict.Time(now.Add(-5*time.Minute).UnixNano()), verdict.Time(now.Add(time.Hour).UnixNano())
	if err := s.InsertVerdicts(ctx, "verdicts", []verdict.Verdict{v}); err != nil {
		t.Fatal(err)
	}
	decisions := make([]verdict.Decision, 40)
	for i := range decisions {
		decisions[i] = sampleDecision(i)
		decisions[i].Time = verdict.Time(now.Add(-time.Duration(i) * time.Second).UnixNano())
		if i%2 == 0 {
			decisions[i].Action, decisions[i].Mode = event.ActionBlock, event.ModeEnforce
		}
	}
	if err := s.InsertDecisions(ctx, "decisions", decisions); err != nil {
		t.Fatal(err)
	}
	learned := []clickhouse.Learned{{
		Time: now, Site: "shop", Baseline: "b_1", Key: "GET /item/{id}", Name: "requests_per_hour", Value: 120_000, Observations: 5000, Since: now.Add(-48 * time.Hour),
	}}
	if err := s.InsertBaselines(ctx, "baselines", learned); err != nil {
		t.Fatal(err)
	}
	losses := []clickhouse.Loss{
		{Time: now, Node: "n1", Source: "enforcer", Counter: "produced", Count: 4000},
		{Time: now, Node: "n1", Source: "enforcer", Counter: "delivered", Count: 4000},
	}
	if err := s.InsertLosses(ctx, "losses", losses); err != nil {
		t.Fatal(err)
	}
}

var fence = regexp.MustCompile("(?ms)^```sql ([a-z0-9-]+)\n(.*?)^```$")

func TestQuestionsOfInvestigation(t *testing.T) {
	_, s := newStore(t, nil)
	fillStore(t, s)
	text, err := os.ReadFile("../../docs/investigation.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := fence.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 12 || strings.Count(string(text), "\n## ") != 12 {
		t.Fatalf("%d named queries, want 12", len(blocks))
	}
	for _, b := range blocks {
		t.Run(b[1], func(t *testing.T) {
			rows := table(t, s, clickhouse.Analyst, b[2])
			if len(rows) == 0 {
				t.Error("no rows")
			}
			t.Logf("%d rows, first: %s", len(rows), firstOf(rows))
		})
	}
}

func firstOf(rows []string) string {
	if len(rows) == 0 {
		return ""
	}
	return rows[0]
}

// TestPanels runs the SQL of every Grafana panel. deploy/grafana has the same
// as code; it is read as a file here because folders meet in cmd only.
func TestPanels(t *testing.T) {
	_, s := newStore(t, nil)
	fillStore(t, s)
	files, err := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	if err != nil || len(files) != 3 {
		t.Fatalf("dashboards: %v, %v", files, err)
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Minute)
	macros := []struct {
		pattern *regexp.Regexp
		by      string
	}{
		{regexp.MustCompile(`\$__timeFilter\(([^()]*)\)`), fmt.Sprintf("$1 >= toDateTime(%d) AND $1 <= toDateTime(%d)", from.Unix(), to.Unix())},
		{regexp.MustCompile(`\$__timeInterval\(([^()]*)\)`), "toStartOfInterval(toDateTime($1), INTERVAL 60 second)"},
		{regexp.MustCompile(`\$__conditionalAll\((.*?\([^()]*\)), \$site\)`), "1=1"},
		{regexp.MustCompile(`\$__fromTime`), fmt.Sprintf("toDateTime(%d)", from.Unix())},
		{regexp.MustCompile(`\$__toTime`), fmt.Sprintf("toDateTime(%d)", to.Unix())},
	}
	ran := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Panels []struct {
				Title, Description, Type string
				Targets                  []struct{ RawSQL string }
			}
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				sql := target.RawSQL
				for _, m := range macros {
					sql = m.pattern.ReplaceAllString(sql, m.by)
				}
				t.Run(p.Title, func(t *testing.T) {
					ran++
					rows := table(t, s, clickhouse.Analyst, sql)
					if len(rows) == 0 && !strings.HasPrefix(p.Description, "May be empty") {
						t.Errorf("empty: %s", sql)
					}
					if p.Type == "stat" && p.Title != "Unaccounted for" && p.Title != "Lost" && !strings.Contains(p.Title, "Proven accounts") && (len(rows) != 1 || rows[0] == "0") {
						t.Errorf("%v, want one number above 0: %s", rows, sql)
					}
				})
			}
		}
	}
	if ran < 30 {
		t.Errorf("ran %d panels, want at least 30", ran)
	}
}
