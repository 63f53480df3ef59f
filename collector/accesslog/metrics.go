package accesslog

import "github.com/prometheus/client_golang/prometheus"

// Metrics count the lines of all followed logs.
type Metrics struct {
	lines   *prometheus.CounterVec
	parsed  prometheus.Counter // one of lines
	changes *prometheus.CounterVec
	clamped prometheus.Counter
}

// NewMetrics registers them; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		lines: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_accesslog_lines_total", Help: "Access log lines read, by result: parsed, or why rejected.",
		}, []string{"result"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_accesslog_file_changes_total", Help: "Rotations, truncations and missed files of followed logs.",
		}, []string{"kind"}),
		clamped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_accesslog_clamped_times_total", Help: "Lines whose time was outside -24 h / +5 m.",
		}),
	}
	m.parsed = m.lines.WithLabelValues("parsed")
	for _, r := range []string{"syntax", "value", "long"} {
		m.lines.WithLabelValues(r)
	}
	for _, k := range []string{"renamed", "truncated", "missed"} {
		m.changes.WithLabelValues(k)
	}
	if reg != nil {
		reg.MustRegister(m.lines, m.changes, m.clamped)
	}
	return m
}
