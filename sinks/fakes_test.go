package sinks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/sinks"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

func record(topic string, i int64) sinks.Record {
	site := "shop"
	if i%3 == 2 {
		site = "blog"
	}
	var v any = verdict.Decision{ID: fmt.Sprintf("r-%d", i), Time: 1, Site: site, Action: event.ActionBlock, Proposed: event.ActionBlock, Mode: event.ModeEnforce}
	if topic == sinks.Verdicts {
		v = verdict.Verdict{ID: fmt.Sprintf("v_%d", i), Revision: 1, Site: site, Action: event.ActionBlock, Mode: event.ModeEnforce, Scope: verdict.ScopeActor}
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return sinks.Record{Topic: topic, Partition: int32(i % 2), Offset: i / 2, Value: b}
}

type list struct {
	n     int64
	fetch int64 // records per call
	spoil map[int64][]byte
	// reached is closed when every topic's last record has been handled.
	reached sync.WaitGroup
	gap     *sinks.Lost
}

func newList(n int64, topics int) *list {
	l := &list{n: n, fetch: 7}
	l.reached.Add(topics)
	return l
}

func (l *list) Follow(ctx context.Context, topic string, from map[int32]int64, handle func(context.Context, []sinks.Record) error, lost func(sinks.Lost)) error {
	if l.gap != nil && l.gap.Topic == topic {
		lost(*l.gap)
	}
	var batch []sinks.Record
	for i := range l.n {
		if i/2 < from[int32(i%2)] {
			continue
		}
		r := record(topic, i)
		if b, ok := l.spoil[i]; ok && topic == sinks.Verdicts {
			r.Value = b
		}
		batch = append(batch, r)
		if int64(len(batch)) == l.fetch {
			if err := handle(ctx, batch); err != nil {
				return err
			}
			batch = nil
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is a Source's ordinary end
		}
	}
	if len(batch) > 0 {
		if err := handle(ctx, batch); err != nil {
			return err
		}
	}
	l.reached.Done()
	<-ctx.Done()
	return nil
}

func figures(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "result" && m.GetCounter().GetValue() > 0 {
					out[l.GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
	}
	return out
}

type receiver struct {
	mu     sync.Mutex
	answer func(n int, body []byte) (status int, retryAfter string)
	n      int
	got    [][]byte
	seen   []*http.Request
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	r.seen = append(r.seen, req)
	status, after := http.StatusOK, ""
	if r.answer != nil {
		status, after = r.answer(r.n, body)
	}
	if status == 0 {
		panic(http.ErrAbortHandler) // the connection breaks
	}
	if after != "" {
		w.Header().Set("Retry-After", after)
	}
	w.WriteHeader(status)
	if status == http.StatusOK {
		var docs []json.RawMessage
		if json.Unmarshal(body, &docs) == nil {
			for _, d := range docs {
				r.got = append(r.got, d)
			}
		} else {
			r.got = append(r.got, bytes.Split(bytes.TrimSpace(body), []byte{'\n'})...)
		}
	}
}

func fileLines(t *testing.T, path string) [][]byte {
	t.Helper()
	var out [][]byte
	for i := 200; i >= 0; i-- {
		name := path + "." + strconv.Itoa(i)
		if i == 0 {
			name = path
		}
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if len(b) > 0 && b[len(b)-1] != '\n' {
			t.Errorf("%s ends in half a line", name)
		}
		for line := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte{'\n'}), []byte{'\n'}) {
			if len(line) > 0 {
				out = append(out, line)
			}
		}
	}
	return out
}

type stuck struct {
	mu     sync.Mutex
	tries  int
	permit chan struct{}
}

func (s *stuck) Deliver(context.Context, []string, [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.tries == 5 {
		close(s.permit)
	}
	return errors.New("connection refused")
}
func (s *stuck) Sync() error  { return nil }
func (s *stuck) Close() error { return nil }
