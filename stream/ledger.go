package stream

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/stream/event"
)

// Causes of loss at a producer.
const (
	// LostUnavailable: the log did not answer and the buffer was full.
	LostUnavailable = "log_unavailable"
	// LostSlow: the log answered, but too slowly for what came in.
	LostSlow = "log_slow"
	// LostTooLarge: the event fits into no record.
	LostTooLarge = "too_large"
	// LostRefused: the log refused a record for good.
	LostRefused = "refused"
	// LostClosed: the producer was closed before the log took it.
	LostClosed = "closed"
)

var lossCauses = [...]string{LostUnavailable, LostSlow, LostTooLarge, LostRefused, LostClosed}

const numSources = int(event.SourceReplay) + 1

// Ledger is the account of a producer: produced = delivered + lost + in flight,
// for each source of events.
type Ledger struct {
	Produced, Delivered uint64
	// Lost has an entry per cause that occurred.
	Lost     map[string]uint64
	InFlight uint64
}

// ledger keeps the account in atomics and shows it as metrics. In flight is
// the difference, so that a scrape in between never shows more delivered and
// lost than produced.
type ledger struct {
	produced, delivered [numSources]atomic.Uint64
	lost                [numSources][len(lossCauses)]atomic.Uint64

	producedDesc, deliveredDesc, lostDesc, flightDesc *prometheus.Desc
}

func newLedger() *ledger {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &ledger{
		producedDesc:  desc("weir_events_produced_total", "Events handed to the producer.", "source"),
		deliveredDesc: desc("weir_events_delivered_total", "Events that the log has acknowledged.", "source"),
		lostDesc:      desc("weir_events_lost_total", "Events that did not reach the log, by cause.", "source", "cause"),
		flightDesc:    desc("weir_events_in_flight", "Events waiting for the log: produced - delivered - lost.", "source"),
	}
}

func sourceIndex(s event.Source) int {
	if int(s) < numSources {
		return int(s)
	}
	return 0
}

func (l *ledger) lose(source int, cause string, n uint64) {
	for i, c := range lossCauses {
		if c == cause {
			l.lost[source][i].Add(n)
		}
	}
}

// sum reads one source's account. What settles is read before what was produced,
// so that in flight is never negative.
func (l *ledger) sum(source int, into *Ledger) {
	d := l.delivered[source].Load()
	var lost uint64
	for i, c := range lossCauses {
		if n := l.lost[source][i].Load(); n > 0 {
			if into.Lost == nil {
				into.Lost = make(map[string]uint64)
			}
			into.Lost[c] += n
			lost += n
		}
	}
	p := l.produced[source].Load()
	into.Produced += p
	into.Delivered += d
	into.InFlight += p - d - lost
}

func (l *ledger) total() Ledger {
	var sum Ledger
	for s := range numSources {
		l.sum(s, &sum)
	}
	return sum
}

// Describe implements prometheus.Collector.
func (l *ledger) Describe(ch chan<- *prometheus.Desc) {
	ch <- l.producedDesc
	ch <- l.deliveredDesc
	ch <- l.lostDesc
	ch <- l.flightDesc
}

// Collect implements prometheus.Collector. Sources that never spoke are left
// out; of the others every cause is shown, so that a zero can be seen.
func (l *ledger) Collect(ch chan<- prometheus.Metric) {
	for s := range numSources {
		var sum Ledger
		l.sum(s, &sum)
		if sum.Produced == 0 {
			continue
		}
		name := event.Source(s).String()
		if name == "" {
			name = "unknown"
		}
		ch <- prometheus.MustNewConstMetric(l.producedDesc, prometheus.CounterValue, float64(sum.Produced), name)
		ch <- prometheus.MustNewConstMetric(l.deliveredDesc, prometheus.CounterValue, float64(sum.Delivered), name)
		ch <- prometheus.MustNewConstMetric(l.flightDesc, prometheus.GaugeValue, float64(sum.InFlight), name)
		for _, c := range lossCauses {
			ch <- prometheus.MustNewConstMetric(l.lostDesc, prometheus.CounterValue, float64(sum.Lost[c]), name, c)
		}
	}
}
