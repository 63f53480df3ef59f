package line

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// gathered returns a family by name.
func gathered(t *testing.T, b *siteBook) map[string]*dto.MetricFamily {
	t.Helper()
	reg := prometheus.NewRegistry()
	if err := reg.Register(b); err != nil {
		t.Fatal(err)
	}
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range all {
		out[f.GetName()] = f
	}
	return out
}

func TestTheBookTellsWhatTheEnginesHold(t *testing.T) {
	b := newSiteBook()
	if f := gathered(t, b); f["weir_entities"] == nil || f["weir_entity_evictions_total"] == nil {
		t.Error("without an event nothing is exported")
	}
	ring, err := flow.NewKeyring(flow.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	x, err := flow.NewExtractor(flow.Config{Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{Engine: baseline.New(baseline.Config{Entities: 1 << 12, Cases: 64}), book: b, partition: 3}
	for i := range 300 {
		var ev event.Event
		l := logLine(i, fmt.Sprintf("203.0.113.%d", i%50), "browser", fmt.Sprintf("/item/%d", i%7), 200)
		x.Begin(l, &ev)
		x.End(l, &ev)
		e.Observe(&ev, verdict.Position{Offset: int64(i)})
	}
	if _, err := e.Cut(); err != nil {
		t.Fatal(err)
	}
	f := gathered(t, b)
	for _, m := range f["weir_entities"].Metric {
		if key := m.Label[0].GetValue(); key == "identifier" && m.GetGauge().GetValue() < 50 {
			t.Errorf("%v identifiers after 50 clients", m.GetGauge().GetValue())
		}
	}
	ages := map[string]bool{}
	for _, m := range f["weir_baseline_age_seconds"].GetMetric() {
		ages[m.Label[0].GetValue()+" "+m.Label[1].GetValue()] = m.GetGauge().GetValue() > 0
	}
	if !ages["* shop"] || !ages["GET /item/{id} shop"] {
		t.Errorf("ages of %v", ages)
	}
	l := <-b.lessons
	if len(l.learned) == 0 || l.learned[0].Site != "shop" {
		t.Errorf("lesson: %+v", l)
	}
	if all := b.all(); len(all) != 1 || !strings.HasPrefix(all["shop"], "young") {
		t.Errorf("maturity: %v", all)
	}
	problems, notes := b.alarms()
	if len(problems) != 0 || !strings.Contains(strings.Join(notes, "\n"), "site shop: 300 events") {
		t.Errorf("problems %q, notes %q", problems, notes)
	}
}

// TestTheBookForgetsWhatAnotherProcessorOwns: a partition that was given up is told
// of by its new owner.
func TestTheBookForgetsWhatAnotherProcessorOwns(t *testing.T) {
	b := newSiteBook()
	for p, site := range map[int32]string{0: "kept", 1: "gone"} {
		b.set(site, maturity{p, "mature"})
		b.count(p, baseline.Census{Sites: []baseline.SiteCensus{{Name: site, Since: 1, Events: 7}}}, 0)
		b.teach([]baseline.Learned{{Site: site, Key: "GET /", Name: "requests_per_hour", Since: 1}})
	}
	b.keep([]int32{0})
	if all := b.all(); len(all) != 1 || all["kept"] == "" {
		t.Errorf("sites %v", all)
	}
	if _, notes := b.alarms(); strings.Contains(strings.Join(notes, "\n"), "site gone") {
		t.Errorf("notes %q", notes)
	}
	for _, m := range gathered(t, b)["weir_baseline_age_seconds"].GetMetric() {
		if site := m.Label[1].GetValue(); site != "kept" {
			t.Errorf("the age of site %s is exported", site)
		}
	}
}

func TestTheBookAlarmsAndStaysBounded(t *testing.T) {
	b := newSiteBook()
	b.count(2, baseline.Census{LargestActor: largestActorLimit + 1, Evicted: 7}, 7)
	if problems, _ := b.alarms(); len(problems) != 1 || !strings.Contains(problems[0], "partition 2") {
		t.Errorf("an actor that swallows everybody: %q", problems)
	}
	b.count(2, baseline.Census{Late: 3, Overflow: 4}, 0)
	if problems, notes := b.alarms(); !strings.Contains(strings.Join(problems, ""), "4 events are of sites past the bound") || !strings.Contains(strings.Join(notes, ""), "3 events came") {
		t.Errorf("late events and too many sites: problems %q, notes %q", problems, notes)
	}
	f := gathered(t, b)
	for name, want := range map[string]float64{"weir_events_late_total": 3, "weir_site_overflow_events_total": 4, "weir_entity_evictions_total": 7} {
		if got := f[name].GetMetric()[0].GetCounter().GetValue(); got != want {
			t.Errorf("%s %v, want %v", name, got, want)
		}
	}
	for i := range 5 * lessonQueue {
		b.teach([]baseline.Learned{{Site: fmt.Sprint("s", i), Key: "GET /", Name: "requests_per_hour", Since: 1}})
	}
	for i := range 5 * maxEndpoints {
		b.teach([]baseline.Learned{{Site: "s0", Key: fmt.Sprint("GET /", i), Name: "requests_per_hour", Since: 1}})
	}
	if n := len(gathered(t, b)["weir_baseline_age_seconds"].GetMetric()); n > maxEndpointSites*maxEndpoints {
		t.Errorf("%d series of ages", n)
	}
	if _, notes := b.alarms(); !strings.Contains(strings.Join(notes, "\n"), "lessons did not reach") {
		t.Errorf("dropped lessons are not told: %q", notes)
	}
}
