package enforcer_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/enforcer/wasm"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	now := start + second
	e, err := enforcer.New(enforcer.Config{Mode: event.ModeEnforce, Clock: func() int64 { return now }}, wasm.Strongest{}, reg)
	if err != nil {
		t.Fatal(err)
	}
	e.Apply(give(1, event.ActionBlock))
	e.Apply(give(1, event.ActionBlock))
	e.Apply(give(2, event.ActionBlock, bind("device"), shadowed, func(v *verdict.Verdict) { v.Binds[0].All[0].Value = 9 }))
	e.Decide(request())
	ev := request()
	ev.Keys = event.Keys{}
	ev.Keys[event.KindDevice] = 9
	e.Decide(ev)
	for name, want := range map[string]float64{
		"weir_rule_blocks_total mode=enforce rule=verdict version=1":     1,
		"weir_rule_would_block_total mode=shadow rule=verdict version=1": 1,
		"weir_rule_matches_total mode=shadow rule=verdict version=1":     1,
		"weir_verdicts_active action=block mode=enforce scope=actor":     1,
		"weir_verdicts_active action=block mode=shadow scope=actor":      1,
		"weir_verdicts_active action=block mode=enforce scope=site":      0,
		"weir_verdicts_received_total outcome=duplicate":                 1,
		"weir_decisions_total action=block mode=enforce proposed=block":  1,
		"weir_policy_loads_total status=loaded":                          1,
		"weir_rule_exec_seconds rule=strongest":                          2,
		"weir_verdict_to_enforced_seconds":                               2,
		"weir_policy_info hash= version=1":                               1,
		"weir_rule_errors_total mode=enforce rule=strongest version=1":   0,
	} {
		got, ok := gather(t, reg)[name]
		if !ok || got != want {
			t.Errorf("%s = %g (present: %v), want %g", name, got, ok, want)
		}
	}
	if s := e.Status(); s.Table.Outcomes[table.Added] != 2 || s.Table.Outcomes[table.Duplicate] != 1 {
		t.Errorf("%+v", s.Table)
	}
}

func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := []string{f.GetName()}
			for _, l := range m.GetLabel() {
				name = append(name, l.GetName()+"="+l.GetValue())
			}
			out[strings.Join(name, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}
