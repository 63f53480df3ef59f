package sinks

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the figures of all sinks of a process. Labels are the configured
// names and a fixed set of results.
type Metrics struct {
	events       *prometheus.CounterVec
	retries      *prometheus.CounterVec
	up           *prometheus.GaugeVec
	lastDelivery *prometheus.GaugeVec
}

// NewMetrics registers the metrics; a nil registry exports nothing.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_sink_events_total",
			Help: "Records by what became of them: delivered, dead_letter, malformed, filtered (another site), lost (gone from the log). Repeats count again.",
		}, []string{"sink", "result"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_sink_retries_total", Help: "Deliveries that failed for the time being.",
		}, []string{"sink"}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "weir_sink_up", Help: "1 when the last delivery succeeded, 0 while it is retried.",
		}, []string{"sink"}),
		lastDelivery: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "weir_sink_last_delivery_timestamp_seconds", Help: "Unix time of the last delivery, 0 for none.",
		}, []string{"sink"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.events, m.retries, m.up, m.lastDelivery} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("sink metrics: %w", err)
		}
	}
	return m, nil
}

// counters are one sink's.
type counters struct {
	delivered, deadLetter, malformed, filtered, lost, retries prometheus.Counter
	up, lastDelivery                                          prometheus.Gauge
}

func (m *Metrics) of(sink string) counters {
	result := func(r string) prometheus.Counter { return m.events.WithLabelValues(sink, r) }
	return counters{
		delivered: result("delivered"), deadLetter: result("dead_letter"), malformed: result("malformed"),
		filtered: result("filtered"), lost: result("lost"), retries: m.retries.WithLabelValues(sink),
		up: m.up.WithLabelValues(sink), lastDelivery: m.lastDelivery.WithLabelValues(sink),
	}
}
