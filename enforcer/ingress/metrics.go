package ingress

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Causes that are no fault of a head (head.go has those).
const (
	causeProxyHeader cause = "bad_proxy_header"
	causeHandshake   cause = "tls_handshake"
	causeNoSite      cause = "no_site"
	causeBodyLimit   cause = "body_too_large"
	causeUnreadable  cause = "claims_unreadable"
)

// maxRouteLabels bounds the route label; further routes count as "other".
const maxRouteLabels = 256

// metrics are the ingress's counters. promauto is not used: names are registered
// once per Server with the registry that New was given.
type metrics struct {
	requests     *prometheus.CounterVec
	latency      *prometheus.HistogramVec
	rejects      *prometheus.CounterVec
	upstream     *prometheus.CounterVec
	faults       *prometheus.CounterVec
	acceptErrors prometheus.Counter
	certReloads  *prometheus.CounterVec
	inFlight     prometheus.Gauge
	tunnels      prometheus.Gauge
	enforcer     string

	extract, decide, record prometheus.Observer

	series sync.Map // seriesKey -> prometheus.Counter
	routes atomic.Int64
}

type seriesKey struct{ route, outcome string }

func newMetrics(r prometheus.Registerer, enforcer string) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		enforcer: enforcer,
		requests: counter("weir_requests_total", "Requests served, by what became of them.", "enforcer", "route", "outcome"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weir_enforce_latency_seconds", Help: "Time the ingress adds to a request, by phase.",
			Buckets: []float64{2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1},
		}, []string{"phase"}),
		rejects:  counter("weir_ingress_rejects_total", "Messages and connections refused before any decision, by cause.", "cause"),
		upstream: counter("weir_ingress_upstream_errors_total", "Requests that the upstream did not answer properly, by cause.", "cause"),
		faults:   counter("weir_ingress_faults_total", "Panics in extraction, decision or recording that a request survived.", "phase"),
		acceptErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_ingress_accept_errors_total", Help: "Failed accept calls on the listening socket.",
		}),
		certReloads: counter("weir_ingress_certificate_reloads_total", "Attempts to read a changed TLS certificate.", "result"),
		inFlight:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_ingress_requests_in_flight", Help: "Requests being served."}),
		tunnels:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_ingress_tunnels", Help: "Upgraded connections in use."}),
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.latency, m.rejects, m.upstream, m.faults, m.acceptErrors, m.certReloads, m.inFlight, m.tunnels,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	m.extract = m.latency.WithLabelValues("extract")
	m.decide = m.latency.WithLabelValues("decide")
	m.record = m.latency.WithLabelValues("record")
	return m, nil
}

func (m *metrics) reject(c cause) { m.rejects.WithLabelValues(string(c)).Inc() }

// request counts one served request. route is a template, never a path.
func (m *metrics) request(route, outcome string) {
	key := seriesKey{route, outcome}
	if c, ok := m.series.Load(key); ok {
		c.(prometheus.Counter).Inc() //nolint:forcetypeassert // only counters are stored
		return
	}
	if m.routes.Load() >= maxRouteLabels {
		key.route = "other"
	} else {
		m.routes.Add(1)
	}
	c := m.requests.WithLabelValues(m.enforcer, key.route, key.outcome)
	m.series.Store(key, c)
	c.Inc()
}

func since(o prometheus.Observer, from time.Time) time.Time {
	now := time.Now()
	o.Observe(now.Sub(from).Seconds())
	return now
}
