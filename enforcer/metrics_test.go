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

// TestRolloutIsExported: what the verdicts reach, as it is configured now.
func TestRolloutIsExported(t *testing.T) {
	reg := prometheus.NewRegistry()
	cfg := enforcer.Config{Mode: event.ModeEnforce, Sites: []enforcer.Site{
		{Name: "shop", Rollout: 2500, Routes: []enforcer.Route{{Method: "POST", Path: "/pay", Rollout: 100}, {Path: "/beta", Mode: event.ModeShadow}}},
		{Name: "blog"},
		{Name: "quiet", Mode: event.ModeShadow},
	}}
	e, err := enforcer.New(cfg, wasm.Strongest{}, reg)
	if err != nil {
		t.Fatal(err)
	}
	check := func(want map[string]float64) {
		t.Helper()
		got := gather(t, reg)
		for labels, share := range want {
			name := "weir_rollout_percent " + labels
			if n, ok := got[name]; !ok || n != share {
				t.Errorf("%s = %g (present: %v), want %g", name, n, ok, share)
			}
		}
	}
	check(map[string]float64{
		"route=* rule=strongest site=shop": 25, "route=POST /pay rule=strongest site=shop": 1, "route=/beta rule=strongest site=shop": 0,
		"route=* rule=strongest site=blog": 100, "route=* rule=strongest site=quiet": 0,
	})
	cfg.Sites[0].Rollout = 0
	if err := e.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	check(map[string]float64{"route=* rule=strongest site=shop": 100})
	e.SetKillSwitch(true)
	check(map[string]float64{"route=* rule=strongest site=shop": 0, "route=* rule=strongest site=blog": 0})
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
