package stream

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// register adds c to reg, or returns the equal one that another part of this
// process registered before; several groups and tails share one set.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	if dup, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, ok := dup.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("register metrics: %w", err)
	}
	return c, nil
}

type groupMetrics struct {
	lag      *prometheus.GaugeVec   // topic, stage
	records  *prometheus.CounterVec // topic, stage
	events   *prometheus.CounterVec // topic
	rows     *prometheus.CounterVec // topic
	verdicts *prometheus.CounterVec // topic
	// republished counts the verdicts in force that were repeated.
	republished *prometheus.CounterVec // topic
	lost        *prometheus.CounterVec // topic, cause
	repeated    *prometheus.CounterVec // topic
	late        *prometheus.CounterVec // topic
	deferred    *prometheus.CounterVec // topic
	retries     *prometheus.CounterVec // topic
	snapshots   *prometheus.CounterVec // topic, result
	alarms      *prometheus.CounterVec // topic, alarm
	owned       *prometheus.GaugeVec   // topic
}

func newGroupMetrics(reg prometheus.Registerer) (*groupMetrics, error) {
	var m groupMetrics
	var errs []error
	counter := func(dst **prometheus.CounterVec, name, help string, labels ...string) {
		c, err := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
		*dst, errs = c, append(errs, err)
	}
	gauge := func(dst **prometheus.GaugeVec, name, help string, labels ...string) {
		g, err := register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
		*dst, errs = g, append(errs, err)
	}
	gauge(&m.lag, "weir_stream_lag_seconds", "Age of the oldest record that a stage has not passed, 0 when it is level with the log; the largest of the owned partitions.", "topic", "stage")
	gauge(&m.owned, "weir_stream_partitions_owned", "Partitions that this process owns.", "topic")
	counter(&m.records, "weir_stream_records_total", "Records that a stage has passed.", "topic", "stage")
	counter(&m.events, "weir_stream_events_total", "New events that the engine has taken.", "topic")
	counter(&m.rows, "weir_stream_rows_stored_total", "Rows that the store has acknowledged.", "topic")
	counter(&m.verdicts, "weir_stream_verdicts_total", "Verdicts that the engine gave and the log acknowledged.", "topic")
	counter(&m.republished, "weir_stream_verdicts_republished_total", "Verdicts in force that were put on the topic again, before the log forgets them.", "topic")
	counter(&m.lost, "weir_stream_lost_total", "Events found missing or unusable while reading: missing (a gap in a producer's numbers), undecodable, rejected (by the store), expired (records that retention took first, in records), unpublished (verdicts the log refused).", "topic", "cause")
	counter(&m.repeated, "weir_stream_repeated_total", "Events dropped because the log held them twice.", "topic")
	counter(&m.late, "weir_stream_late_total", "Events that came after they had been counted as missing.", "topic")
	counter(&m.deferred, "weir_stream_deferred_total", "Records that the store stage will read from the log again, because it is behind.", "topic")
	counter(&m.retries, "weir_stream_store_retries_total", "Inserts that failed and are tried again.", "topic")
	counter(&m.snapshots, "weir_stream_snapshots_total", "Snapshots by result: saved, failed, restored, corrupt.", "topic", "result")
	counter(&m.alarms, "weir_stream_alarms_total", "Conditions an operator should look at: rewound (the log lost its end), recreated (the topic is another one), state_lost (no usable snapshot), bad_note (foreign commit metadata).", "topic", "alarm")
	return &m, errors.Join(errs...)
}

// Causes of loss while reading.
const (
	causeMissing     = "missing"
	causeUndecodable = "undecodable"
	causeRejected    = "rejected"
	causeExpired     = "expired"
	causeUnpublished = "unpublished"
)

// Stages of the processor.
const (
	stageEngine = "engine"
	stageStore  = "store"
)
