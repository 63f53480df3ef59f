package stream

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// holdingEngine holds the last few verdicts that it gave.
type holdingEngine struct {
	*countEngine
	Held []verdict.Verdict
}

const heldMost = 8

func newHoldingEngine(p int32) Engine { return &holdingEngine{newCountEngine(p).(*countEngine), nil} }

func (e *holdingEngine) Observe(ev *event.Event, pos verdict.Position) Result {
	res := e.countEngine.Observe(ev, pos)
	for _, v := range res.Verdicts {
		v.Evidence.Summary = strings.Repeat("evidence ", 40)
		v.Site = strings.Clone(v.Site)
		if e.Held = append(e.Held, v); len(e.Held) > heldMost {
			e.Held = e.Held[1:]
		}
	}
	return res
}

func (e *holdingEngine) InForce() []verdict.Verdict { return slices.Clone(e.Held) }

func (e *holdingEngine) Cut() (Cut, error) {
	b, err := json.Marshal(e)
	return bytesCut(b), err
}

func (e *holdingEngine) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(e) }

// topicRecords reads all records of the verdict topic's only partition.
func topicRecords(t *testing.T, c Connection) (recs []Record) {
	t.Helper()
	cl, err := c.client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	_, end, err := bounds(t.Context(), cl, TopicVerdicts, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = ReadRange(t.Context(), c, TopicVerdicts, 0, 0, end, func(r *Record) error {
		recs = append(recs, *r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

func keep(t *testing.T, c Connection, key, value string) {
	t.Helper()
	cl, err := c.client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	_, err = kadm.NewClient(cl).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, TopicVerdicts)
	if err != nil {
		t.Fatal(err)
	}
}

// Whoever reads only what the retention of the topic leaves, at any time,
// misses no verdict in force; and nobody who has them all sees anything new.
func TestVerdictsInForceAreRepeatedAtHalfTheRetention(t *testing.T) {
	const kept = 60_000
	c, _ := cluster(t, 1)
	keep(t, c, "retention.bytes", "60000")
	store, dir := newMemStore(), t.TempDir()
	cfg := groupConfig(t, c, store, dir)
	cfg.NewEngine = newHoldingEngine
	for round := range 4 { // the count goes on over restarts
		put(t, c, "p", round*500+1, 10, events("shop", round*500, round*500+500)...)
		_, stop := startGroup(t, cfg, nil)
		waitFor(t, "rows", func() bool { return store.count() >= round*500+500 })
		stop()
	}
	recs := topicRecords(t, c)
	first, order, repeated := map[string]int{}, []string{}, 0
	for at, r := range recs {
		v, err := wire.ParseVerdict(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		was, known := first[v.ID]
		if r.Republished() != known {
			t.Fatalf("record %d, %s: republished %v, but known %v (from %d)", at, v.ID, r.Republished(), known, was)
		}
		if !known {
			first[v.ID] = at
			order = append(order, v.ID)
			continue
		}
		repeated++
		if v.Evidence.Summary != "" || v.Revision != 1 || len(v.Binds) != 1 {
			t.Fatalf("record %d repeats %+v", at, v)
		}
	}
	if repeated == 0 {
		t.Fatalf("no verdict was repeated among %d records", len(recs))
	}
	for end := range recs {
		left, bytes := map[string]bool{}, 0
		for at := end; at >= 0 && bytes < kept; at-- {
			v, _ := wire.ParseVerdict(recs[at].Value)
			left[v.ID] = true
			bytes += len(recs[at].Key) + len(recs[at].Value) + recordOverheadBytes
		}
		given := slices.IndexFunc(order, func(id string) bool { return first[id] > end })
		if given < 0 {
			given = len(order)
		}
		for _, id := range order[max(0, given-heldMost):given] {
			if !left[id] {
				t.Fatalf("record %d of %d: verdict %s of record %d is in force and no longer on the log", end, len(recs), id, first[id])
			}
		}
	}
}

// On a partition without news the clock brings the repetition.
func TestQuietPartitionRepeatsVerdictsByTheClock(t *testing.T) {
	c, _ := cluster(t, 1)
	keep(t, c, "retention.bytes", "-1")
	keep(t, c, "retention.ms", "200")
	cfg := groupConfig(t, c, newMemStore(), t.TempDir())
	cfg.NewEngine = newHoldingEngine
	put(t, c, "p", 1, 10, events("shop", 0, 400)...)
	startGroup(t, cfg, nil)
	waitFor(t, "two repetitions", func() bool {
		n := 0
		for _, r := range topicRecords(t, c) {
			if r.Republished() {
				n++
			}
		}
		return n >= 2*heldMost
	})
}

// A revocation that comes while verdicts are being repeated is the last word.
func TestSupersededVerdictIsNotRepeated(t *testing.T) {
	o := &owner{repeats: []verdict.Verdict{{ID: "v_1"}, {ID: "v_2"}}}
	o.supersede("v_2")
	if len(o.repeats) != 1 || o.repeats[0].ID != "v_1" {
		t.Fatalf("left to repeat: %v", o.repeats)
	}
	o.supersede("v_1")
	if o.repeats == nil {
		t.Fatal("the pass must end, not begin again")
	}
}

func TestAgingIsDueAtHalfTheRetention(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		a    aging
		r    retention
		want bool
	}{
		"no verdict yet":      {aging{}, retention{bytes: 1, age: 1}, false},
		"less than half":      {aging{499, now.UnixNano()}, retention{bytes: 1000}, false},
		"half of the bytes":   {aging{500, now.UnixNano()}, retention{bytes: 1000}, true},
		"kept for good":       {aging{1 << 40, 1}, retention{}, false},
		"less than half time": {aging{1, now.Add(-29 * time.Minute).UnixNano()}, retention{age: time.Hour}, false},
		"half of the time":    {aging{1, now.Add(-30 * time.Minute).UnixNano()}, retention{age: time.Hour}, true},
	} {
		if got := c.a.due(c.r, now); got != c.want {
			t.Errorf("%s: due %v", name, got)
		}
	}
}
