package enforcer

import (
	"maps"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// metrics are an enforcer's figures. Labels come from closed sets: scopes,
// actions, modes, the rules of the policy in force and the configured
// allowlists.
type metrics struct {
	enforced  prometheus.Histogram
	panics    prometheus.Counter
	decisions *prometheus.CounterVec
	allow     *prometheus.CounterVec
	matches   *prometheus.CounterVec
	blocks    *prometheus.CounterVec
	would     *prometheus.CounterVec
	errors    *prometheus.CounterVec
	info      *prometheus.GaugeVec
	loads     *prometheus.CounterVec
	exec      *prometheus.HistogramVec
	// cached saves the label look-ups of decided; copied when it grows, which
	// it does once per rule, mode and pair of actions.
	cached atomic.Pointer[map[decidedKey]decidedCounters]
}

// decidedKey is what the counters of a decision depend on.
type decidedKey struct {
	rule, version    string
	action, proposed event.Action
	mode             event.Mode
}

type decidedCounters struct{ decisions, matches, blocks, would prometheus.Counter }

type ruleCounters struct {
	errors prometheus.Counter
	exec   prometheus.Observer
}

func newMetrics(reg prometheus.Registerer, e *Enforcer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		enforced: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_verdict_to_enforced_seconds", Help: "Time from a verdict being given to its being in force in this enforcer.",
			Buckets: []float64{.001, .0025, .005, .01, .02, .04, .06, .1, .2, .5, 1, 5, 30, 300},
		}),
		panics:    prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_enforce_panics_total", Help: "Decisions that ended in an internal error."}),
		decisions: counter("weir_decisions_total", "Decisions that were not a plain allow.", "action", "proposed", "mode"),
		allow:     counter("weir_allowlist_matches_total", "Requests that an allowlist let pass.", "list"),
		matches:   counter("weir_rule_matches_total", "Requests on which a rule proposed something.", "rule", "version", "mode"),
		blocks:    counter("weir_rule_blocks_total", "Requests refused by a rule.", "rule", "version", "mode"),
		would:     counter("weir_rule_would_block_total", "Requests a rule would have refused outside shadow.", "rule", "version", "mode"),
		errors:    counter("weir_rule_errors_total", "Policy calls that trapped, ran out of fuel or answered nonsense.", "rule", "version", "mode"),
		loads:     counter("weir_policy_loads_total", "Policies put in force or refused.", "status"),
		exec: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weir_rule_exec_seconds", Help: "Time of one policy call; measured where the enforcer has a clock.",
			Buckets: []float64{1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 1e-4, 1e-3, 1e-2},
		}, []string{"rule"}),
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_policy_info", Help: "The policy in force."}, []string{"hash", "version"}),
	}
	m.cached.Store(&map[decidedKey]decidedCounters{})
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.enforced, m.panics, m.decisions, m.allow, m.matches, m.blocks, m.would, m.errors, m.info, m.loads, m.exec, tableCollector{e},
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) allowlisted(rule string) prometheus.Counter { return m.allow.WithLabelValues(rule) }

func (m *metrics) rules(p Policy) *ruleCounters {
	return &ruleCounters{
		errors: m.errors.WithLabelValues(p.Name(), p.Version(), event.ModeEnforce.String()),
		exec:   m.exec.WithLabelValues(p.Name()),
	}
}

func (m *metrics) setPolicy(p Policy) {
	m.loads.WithLabelValues("loaded").Inc()
	m.info.Reset()
	m.info.WithLabelValues(p.Hash(), p.Version()).Set(1)
}

// decided counts a decision that is not a plain allow.
func (m *metrics) decided(d *decision) {
	c := m.counters(decidedKey{d.out.Rule, d.policy.Version(), d.out.Action, d.out.Proposed, d.out.Mode})
	c.decisions.Inc()
	c.matches.Inc()
	switch {
	case d.out.Action > event.ActionObserve:
		c.blocks.Inc()
	case d.out.WouldBlock():
		c.would.Inc()
	}
}

func (m *metrics) counters(k decidedKey) decidedCounters {
	for {
		old := m.cached.Load()
		if c, ok := (*old)[k]; ok {
			return c
		}
		mode := k.mode.String()
		c := decidedCounters{
			m.decisions.WithLabelValues(k.action.String(), k.proposed.String(), mode),
			m.matches.WithLabelValues(k.rule, k.version, mode),
			m.blocks.WithLabelValues(k.rule, k.version, mode),
			m.would.WithLabelValues(k.rule, k.version, mode),
		}
		grown := maps.Clone(*old)
		grown[k] = c
		if m.cached.CompareAndSwap(old, &grown) {
			return c
		}
	}
}

var (
	activeDesc   = prometheus.NewDesc("weir_verdicts_active", "Verdicts held, expired ones that are not yet swept included.", []string{"scope", "action", "mode"}, nil)
	receivedDesc = prometheus.NewDesc("weir_verdicts_received_total", "Verdicts offered to the table, by what became of them.", []string{"outcome"}, nil)
	evictedDesc  = prometheus.NewDesc("weir_verdicts_evicted_total", "Verdicts or bind groups dropped because a bound was reached.", []string{"cause"}, nil)
	bytesDesc    = prometheus.NewDesc("weir_verdict_table_bytes", "Memory of the verdict table.", nil, nil)
	freshDesc    = prometheus.NewDesc("weir_feed_last_contact_seconds", "Unix time at which the verdict feed was last heard of, 0 never.", nil, nil)
	rolloutDesc  = prometheus.NewDesc("weir_rollout_percent", "Share of actors that the policy's verdicts act on, by site and route (\"*\": the site's own).", []string{"rule", "site", "route"}, nil)
	bucketsDesc  = prometheus.NewDesc("weir_rate_limit_evicted_total", "Rate-limit buckets that gave way while in use.", nil, nil)
)

// tableCollector reads the table when metrics are scraped.
type tableCollector struct{ e *Enforcer }

func (tableCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{activeDesc, receivedDesc, evictedDesc, bytesDesc, freshDesc, bucketsDesc, rolloutDesc} {
		ch <- d
	}
}

func (c tableCollector) Collect(ch chan<- prometheus.Metric) {
	t := c.e.table
	for _, scope := range []verdict.Scope{verdict.ScopeRequest, verdict.ScopeSession, verdict.ScopeActor, verdict.ScopeCohort, verdict.ScopeSite} {
		for a := event.ActionAllow; a <= event.ActionBlock; a++ {
			for _, mode := range []event.Mode{event.ModeShadow, event.ModeEnforce} {
				if n := t.Active(scope, a, mode); n > 0 || a == event.ActionBlock {
					ch <- prometheus.MustNewConstMetric(activeDesc, prometheus.GaugeValue, float64(n), string(scope), a.String(), mode.String())
				}
			}
		}
	}
	c.rollouts(ch)
	counts := t.Counts()
	for o := range table.NumOutcomes {
		ch <- prometheus.MustNewConstMetric(receivedDesc, prometheus.CounterValue, float64(counts.Outcomes[o]), o.String())
	}
	for cause, n := range map[string]uint64{"table_full": counts.Evicted, "key_full": counts.KeyFull} {
		ch <- prometheus.MustNewConstMetric(evictedDesc, prometheus.CounterValue, float64(n), cause)
	}
	ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.GaugeValue, float64(counts.Bytes))
	ch <- prometheus.MustNewConstMetric(freshDesc, prometheus.GaugeValue, float64(c.e.fresh.Load())/1e9)
	ch <- prometheus.MustNewConstMetric(bucketsDesc, prometheus.CounterValue, float64(c.e.buckets.evicted.Load()))
}

// maxRolloutRoutes bounds the routes of a site that have a series of their own.
const maxRolloutRoutes = 50

// rollouts says whom the verdicts reach; labels come from the configuration.
func (c tableCollector) rollouts(ch chan<- prometheus.Metric) {
	rule, s := c.e.policy.Load().Name(), c.e.settings.Load()
	tell := func(site, route string, r *routeRules) {
		share := float64(r.rollout) / (fullRollout / 100)
		if narrower(r.mode, s.cfg.PolicyMode) != event.ModeEnforce || c.e.kill.Load() {
			share = 0
		}
		ch <- prometheus.MustNewConstMetric(rolloutDesc, prometheus.GaugeValue, share, rule, site, route)
	}
	for name, site := range s.sites {
		tell(name, "*", &site.rules)
		seen := map[string]bool{}
		for i := range site.routes[:min(len(site.routes), maxRolloutRoutes)] {
			r := &site.routes[i]
			if label := strings.TrimSpace(r.method + " " + r.path); !seen[label] { // the first that fits counts
				seen[label] = true
				tell(name, label, r)
			}
		}
	}
	if len(s.sites) == 0 {
		tell("*", "*", &s.other.rules)
	}
}
