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

// TestDemoRefusesTheBotAndNobodyElse replays what make run shows: five taught
// days, then ten minutes of people with the bot among them.
func TestDemoRefusesTheBotAndNobodyElse(t *testing.T) {
	flows := filepath.Join(t.TempDir(), "flows.yaml")
	writeFile(t, flows, demo.Flows)
	parts, err := NewReplay(ReplayOptions{Mode: event.ModeEnforce, Site: "shop", Flows: flows})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 6, 14, 0, 0, 0, time.UTC)
	var people, refused, attempts, stopped, before int
	bots := map[string]bool{}
	r := replay.New(replay.Config{
		Extractor: parts.Extractor, Engine: parts, Mode: event.ModeEnforce, LearnUntil: now.UnixNano(),
		Decider: observer{parts.Decider, func(d *verdict.Decision) {
			acted := !replay.Answered(d.Action)
			switch bot := bots[d.ID]; {
			case bot && acted:
				attempts++
				stopped++
			case bot:
				attempts++
				if stopped == 0 {
					before++
				}
			default:
				people++
				if acted {
					refused++
					t.Logf("refused: %+v", *d)
				}
			}
		}},
	})
	take := func(x *flow.Exchange) {
		x.Site = "shop"
		if err := r.Take(x, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := demo.Record(t.Context(), demoDays, now, take); err != nil {
		t.Fatal(err)
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
	t.Logf("people: %d requests, %d refused; bot: %d attempts, %d refused, %d before the first", people, refused, attempts, stopped, before)
	if refused > 0 {
		t.Errorf("%d of %d requests of people were refused", refused, people)
	}
	if before > 20 || stopped*10 < attempts*8 {
		t.Errorf("bot: %d of %d attempts refused, the first after %d", stopped, attempts, before)
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
