package stream

import (
	"strings"
	"testing"
	"time"
)

func TestConfigurationNamesAllFaults(t *testing.T) {
	good := Connection{Brokers: []string{"127.0.0.1:9092"}}
	for _, c := range []struct {
		name string
		err  error
		want []string // none: it is valid
	}{
		{"no broker", Connection{}.Validate(), []string{"kafka.brokers"}},
		{"two faults", Connection{Brokers: []string{"here"}, SASL: &SASL{Mechanism: "GSSAPI"}}.Validate(), []string{`"here"`, "GSSAPI"}},
		{"producer", ProducerConfig{Connection: good, Linger: time.Second, BufferBytes: 5}.Validate(), []string{"linger", "bufferBytes", "logger"}},
		{"a good producer", ProducerConfig{Connection: good, Log: quiet}.Validate(), nil},
		{"publisher", PublisherConfig{Connection: good, Buffer: -1}.Validate(), []string{"topic", "logger", "negative"}},
		{"tail", TailConfig{Connection: good}.Validate(), []string{"topic", "logger"}},
		{"group", GroupConfig{Connection: good, FlushRows: -1, KeepSnapshots: 1, SessionTimeout: 1}.Validate(), []string{"nothing to do", "flushRows", "keepSnapshots", "sessionTimeout"}},
		{"engine without snapshots", GroupConfig{Connection: good, Log: quiet, NewEngine: newCountEngine}.Validate(), []string{"process.snapshots"}},
		{"a good group", GroupConfig{Connection: good, Log: quiet, Store: newMemStore()}.Validate(), nil},
	} {
		if (c.err == nil) != (len(c.want) == 0) {
			t.Errorf("%s: %v", c.name, c.err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(c.err.Error(), w) {
				t.Errorf("%s: %q does not name %s", c.name, c.err, w)
			}
		}
	}
	for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"} {
		if err := (Connection{Brokers: good.Brokers, SASL: &SASL{Mechanism: m}}).Validate(); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
}
