package line

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/demo"
	"github.com/weirproject/weir/cmd/replay"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// TestDemoRefusesTheBotAndNobodyElse replays what make run shows: ten minutes of
// people with the bot among them, after five taught days and, as on a first
// day, without any.
func TestDemoRefusesTheBotAndNobodyElse(t *testing.T) {
	cases := []struct {
		name    string
		days    int
		refused int // people's requests that may be challenged; none is blocked
		first   int // attempts at most before the first is refused
		atMost  int // per cent of attempts that may pass
	}{
		{"after five days", demoDays, 0, 20, 8},
		{"on the first day", 0, 5, 60, 20},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := replayDemo(t, c.days)
			t.Logf("%+v", got)
			if got.refused > c.refused || got.blocked > 0 {
				t.Errorf("of %d requests of people %d were refused, %d of them blocked", got.people, got.refused, got.blocked)
			}
			if got.before > c.first || (got.attempts-got.stopped)*100 > got.attempts*c.atMost {
				t.Errorf("bot: %d of %d attempts refused, the first after %d", got.stopped, got.attempts, got.before)
			}
		})
	}
}

// demoTally counts what became of the demo's requests.
type demoTally struct{ people, refused, blocked, attempts, stopped, before int }

func replayDemo(t *testing.T, days int) (n demoTally) {
	t.Helper()
	flows := filepath.Join(t.TempDir(), "flows.yaml")
	writeFile(t, flows, demo.Flows)
	parts, err := NewReplay(ReplayOptions{Mode: event.ModeEnforce, Site: "shop", Flows: flows})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 6, 14, 0, 0, 0, time.UTC)
	bots := map[string]bool{}
	r := replay.New(replay.Config{
		Extractor: parts.Extractor, Engine: parts, Mode: event.ModeEnforce, LearnUntil: now.UnixNano(),
		Decider: observer{parts.Decider, func(d *verdict.Decision) { n.count(t, d, bots[d.ID]) }},
	})
	take := func(x *flow.Exchange) {
		x.Site = "shop"
		r.Take(x)
	}
	if days > 0 {
		if _, err := demo.Record(t.Context(), days, now, take); err != nil {
			t.Fatal(err)
		}
	}
	err = demo.RecordLive(t.Context(), now, 10*time.Minute, demoQuiet, demoPeople, func(x *flow.Exchange, bot bool) {
		bots[x.ID] = bot
		take(x)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *demoTally) count(t *testing.T, d *verdict.Decision, bot bool) {
	t.Helper()
	acted := d.Action.Refuses()
	if !bot {
		n.people++
		if acted {
			if n.refused++; n.refused < 5 {
				t.Logf("refused: %+v", *d)
			}
			if d.Action == event.ActionBlock {
				n.blocked++
			}
		}
		return
	}
	n.attempts++
	if acted {
		n.stopped++
	} else if n.stopped == 0 {
		n.before++
	}
}

// observer sees each decision.
type observer struct {
	replay.Decider
	see func(*verdict.Decision)
}

func (o observer) Decide(ev *event.Event) verdict.Decision {
	d := o.Decider.Decide(ev)
	o.see(&d)
	return d
}
