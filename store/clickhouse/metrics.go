package clickhouse

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count the inserts; table is one of the few of the schema.
type metrics struct {
	inserts *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		inserts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_store_inserts_total",
			Help: "Inserts by table and result: ok, temporary (tried again by the caller), poison (the data was refused).",
		}, []string{"table", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "weir_store_insert_seconds",
			Help:    "Time of one insert, whatever its result.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"table"}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.inserts), reg.Register(m.seconds))
}

func (m *metrics) insert(table string, begin time.Time, err error) {
	result := "ok"
	if Poison(err) {
		result = "poison"
	} else if err != nil {
		result = "temporary"
	}
	m.inserts.WithLabelValues(table, result).Inc()
	m.seconds.WithLabelValues(table).Observe(time.Since(begin).Seconds())
}
