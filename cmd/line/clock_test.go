package line

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/demo"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// TestWallClockSteps lets the wall clock of the machine step while people and
// the demo's bot are at work. Whatever it says, people are not blocked and the
// bot is.
func TestWallClockSteps(t *testing.T) {
	const for2 = 2 * time.Minute
	type step struct {
		name string
		by   time.Duration
		span time.Duration // 0: the clock stays there
	}
	cases, live := []step{
		{"three hours ahead, for two minutes", 3 * time.Hour, for2},
		{"two days ahead, for good", 48 * time.Hour, 0},
		{"half an hour back, for good", -30 * time.Minute, 0},
	}, 8*time.Minute
	if os.Getenv("WEIR_E2E") != "" { // the engine's clock stands still for hours
		cases, live = append(cases, step{"three hours back, for good", -3 * time.Hour, 0}, step{"two days back, for good", -48 * time.Hour, 0}), 2*time.Hour
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := steppedDemo(t, live, func(at time.Duration) time.Duration {
				if at < 3*time.Minute || c.span > 0 && at >= 3*time.Minute+c.span {
					return 0
				}
				return c.by
			})
			t.Logf("%+v", got)
			if got.people == 0 || got.refused > 0 {
				t.Errorf("%d of %d requests of people were refused", got.refused, got.people)
			}
			if got.attempts == 0 || (got.attempts-got.stopped)*100 > got.attempts*15 {
				t.Errorf("%d of %d attempts of the bot were refused", got.stopped, got.attempts)
			}
		})
	}
}

// steppedDemo replays some time of the demo after its taught past, as a line
// would live it: each request is decided and observed before the next, at the
// time that a clock with these steps shows.
func steppedDemo(t *testing.T, live time.Duration, step func(at time.Duration) time.Duration) (n demoTally) {
	t.Helper()
	flows := filepath.Join(t.TempDir(), "flows.yaml")
	writeFile(t, flows, demo.Flows)
	parts, err := NewReplay(ReplayOptions{Mode: event.ModeEnforce, Site: "shop", Flows: flows})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 6, 14, 0, 0, 0, time.UTC)
	offset := int64(0)
	take := func(x *flow.Exchange, teach, bot bool) {
		x.Site, x.Source = "shop", event.SourceEnforcer
		var ev event.Event
		parts.Extractor.Begin(x, &ev)
		if teach {
			ev.Flags |= event.FlagTeach
		} else {
			d := parts.Decider.Decide(&ev)
			ev.Action, ev.Mode, ev.Verdict = d.Action, d.Mode, d.Verdict
			if d.Action.Refuses() {
				x.Status, x.ResponseHeaders, x.ResponseBody = 403, nil, nil
			}
			n.count(t, &d, bot)
		}
		parts.Extractor.End(x, &ev)
		offset++
		_, _, verdicts := parts.Observe(&ev, verdict.Position{Offset: offset})
		for i := range verdicts {
			verdicts[i].Mode = event.ModeEnforce
			parts.Decider.Apply(&verdicts[i])
		}
	}
	if _, err := demo.Record(t.Context(), demoDays, now, func(x *flow.Exchange) { take(x, true, false) }); err != nil {
		t.Fatal(err)
	}
	err = demo.RecordLive(t.Context(), now, live, demoQuiet, demoPeople, func(x *flow.Exchange, bot bool) {
		x.Time = x.Time.Add(step(x.Time.Sub(now)))
		take(x, false, bot)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fakeClock is a wall clock that can be set, beside a steady one.
type fakeClock struct {
	wall   time.Time
	steady time.Duration
}

func (f *fakeClock) pass(d time.Duration) { f.wall, f.steady = f.wall.Add(d), f.steady+d }

func (f *fakeClock) watch() *wallClock {
	c := newWallClock(slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	c.read = func() (time.Time, time.Duration) { return f.wall, f.steady }
	c.wall, c.steady = f.wall, f.steady
	return c
}

func TestAStepAheadForgetsNothingAtFirst(t *testing.T) {
	began := time.Date(2026, 3, 6, 14, 0, 0, 0, time.UTC)
	f := &fakeClock{wall: began}
	c := f.watch()
	f.pass(time.Hour)
	if got := c.forget(); !got.Equal(began.Add(time.Hour)) || c.note() != "" {
		t.Errorf("a clock that goes: %s, %s", got, c.note())
	}
	f.wall = f.wall.Add(48 * time.Hour)
	f.pass(time.Minute)
	if got, want := c.forget(), began.Add(61*time.Minute); !got.Equal(want) || !strings.Contains(c.note(), "ahead by 48h0m0s") {
		t.Errorf("a minute after a step of two days: %s, want %s; %s", got, want, c.note())
	}
	f.wall = f.wall.Add(-48 * time.Hour)
	f.pass(time.Second)
	if got := c.forget(); !got.Equal(f.wall) || !strings.Contains(c.note(), "back by 48h0m0s") {
		t.Errorf("corrected: %s, want %s; %s", got, f.wall, c.note())
	}
	f.wall = f.wall.Add(time.Hour)
	c.forget()
	for range 11 {
		f.pass(time.Minute)
		c.forget()
	}
	if got := c.forget(); !got.Equal(f.wall) {
		t.Errorf("a step that stands for eleven minutes: %s, want %s", got, f.wall)
	}
	f.wall = f.wall.Add(-time.Hour)
	if got := c.forget(); !got.Equal(f.wall) {
		t.Errorf("a step back: %s, want %s", got, f.wall)
	}
}

// TestFeedKeepsVerdictsOverAStep: a clock that was two days ahead for a while
// takes no verdict off the feed.
func TestFeedKeepsVerdictsOverAStep(t *testing.T) {
	f := &fakeClock{wall: time.Date(2026, 3, 6, 14, 0, 0, 0, time.UTC)}
	c := f.watch()
	feed := admin.NewFeed(c.forget)
	add := func(offset int64) {
		id := "v_" + strings.Repeat("0", 31) + string(rune('0'+offset))
		feed.Add(0, offset, &verdict.Verdict{
			ID: id, Revision: 1, Site: "shop", Scope: verdict.ScopeActor, Action: event.ActionBlock, Mode: event.ModeEnforce,
			Threats: []verdict.Threat{}, Time: verdict.Time(f.wall.UnixNano()), Expires: verdict.Time(f.wall.Add(time.Hour).UnixNano()),
			Evidence: verdict.Evidence{Features: []verdict.Feature{}, Events: []string{}},
		})
	}
	add(1)
	f.wall = f.wall.Add(48 * time.Hour)
	add(2)
	if n := len(feed.InForce()); n != 2 {
		t.Errorf("%d verdicts while the clock is ahead, want 2", n)
	}
	f.wall = f.wall.Add(-48 * time.Hour)
	f.pass(59 * time.Minute)
	if n := len(feed.InForce()); n != 2 {
		t.Errorf("%d verdicts after the correction, want 2", n)
	}
	f.pass(2 * time.Minute)
	if n := len(feed.InForce()); n != 1 {
		t.Errorf("%d verdicts after the first one's end, want 1", n)
	}
}
