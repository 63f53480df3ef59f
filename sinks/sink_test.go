package sinks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/weirproject/weir/sinks"
	"github.com/weirproject/weir/sinks/file"
	"github.com/weirproject/weir/sinks/webhook"
	"github.com/weirproject/weir/stream/verdict"
)

func TestMain(m *testing.M) {
	if os.Getenv("WEIR_TEST_SINK_DIR") != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// record i of a topic; every third verdict is of site blog.
// list is a Source with n records per topic, over two partitions. It waits for
// the end of ctx after the last one, as a log does.
// run serves until every topic was handled, then stops the sink.
func run(t *testing.T, s *sinks.Sink, l *list) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		l.reached.Wait()
		cancel()
	}()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatal("not delivered in time")
	}
}

func newSink(t *testing.T, cfg sinks.Config, src sinks.Source, dest sinks.Destination, reg prometheus.Registerer) *sinks.Sink {
	t.Helper()
	m, err := sinks.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Name == "" {
		cfg.Name = "siem"
	}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.BackOff == 0 {
		cfg.BackOff = time.Millisecond
	}
	s, err := sinks.New(cfg, src, sinks.JSON{}, dest, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// figures reads weir_sink_events_total by result.
// receiver is a webhook's other end that answers by a script and keeps what it
// accepted.
// destinations are opened by the conformance test; each returns the lines that
// have arrived.
func destinations(t *testing.T) map[string]func(t *testing.T) (sinks.Destination, func() [][]byte) {
	t.Helper()
	return map[string]func(t *testing.T) (sinks.Destination, func() [][]byte){
		"file": func(t *testing.T) (sinks.Destination, func() [][]byte) {
			t.Helper()
			path := filepath.Join(t.TempDir(), "sub", "siem.ndjson")
			d, err := file.New(file.Config{Path: path, MaxBytes: 4096, Keep: 100})
			if err != nil {
				t.Fatal(err)
			}
			return d, func() [][]byte { return fileLines(t, path) }
		},
		"webhook": func(t *testing.T) (sinks.Destination, func() [][]byte) {
			t.Helper()
			// One in three deliveries fails in one way or another.
			r := &receiver{answer: func(n int, _ []byte) (int, string) {
				switch n % 9 {
				case 1:
					return http.StatusServiceUnavailable, "0"
				case 4:
					return 0, ""
				case 7:
					return http.StatusTooManyRequests, ""
				}
				return http.StatusOK, ""
			}}
			srv := httptest.NewServer(r)
			t.Cleanup(srv.Close)
			d, err := webhook.New(webhook.Config{URL: srv.URL, Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			return d, func() [][]byte {
				r.mu.Lock()
				defer r.mu.Unlock()
				return r.got
			}
		},
	}
}

// fileLines reads a file and its rotated predecessors, the oldest first.
// TestEveryDestinationGetsEveryRecord is the conformance test: all records
// arrive in order, whole, once where nothing dies, and a restart goes on where
// the first run ended.
func TestEveryDestinationGetsEveryRecord(t *testing.T) {
	all := destinations(t)
	if len(all) == 0 {
		t.Fatal("no destination")
	}
	for name, open := range all {
		t.Run(name, func(t *testing.T) {
			dest, arrived := open(t)
			reg := prometheus.NewRegistry()
			cfg := sinks.Config{Dir: t.TempDir(), BatchDocuments: 3, Topics: []string{sinks.Verdicts}}
			first := newList(40, 1)
			run(t, newSink(t, cfg, first, dest, reg), first)
			second := newList(100, 1)
			run(t, newSink(t, cfg, second, dest, nil), second)
			var got, want []string
			for _, line := range arrived() {
				var v verdict.Verdict
				if err := json.Unmarshal(line, &v); err != nil {
					t.Fatalf("%v in %q", err, line)
				}
				got = append(got, v.ID)
			}
			for i := range 100 {
				want = append(want, fmt.Sprintf("v_%d", i))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(map[string]float64{"delivered": 40}, figures(t, reg)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSitesTopicsAndMalformedRecordsAreCounted(t *testing.T) {
	r := &receiver{}
	srv := httptest.NewServer(r)
	defer srv.Close()
	d, err := webhook.New(webhook.Config{URL: srv.URL, Lines: true})
	if err != nil {
		t.Fatal(err)
	}
	reg, dir := prometheus.NewRegistry(), t.TempDir()
	l := newList(30, 2)
	l.spoil = map[int64][]byte{3: []byte("{not json"), 6: []byte(`{"site":"shop"}`)}
	l.gap = &sinks.Lost{Topic: sinks.Verdicts, From: 5, To: 9}
	run(t, newSink(t, sinks.Config{Dir: dir, Sites: []string{"shop"}}, l, d, reg), l)
	want := map[string]float64{"delivered": 38, "filtered": 20, "malformed": 2, "lost": 4}
	if diff := cmp.Diff(want, figures(t, reg)); diff != "" {
		t.Error(diff)
	}
	if len(r.got) != 38 {
		t.Errorf("%d documents arrived", len(r.got))
	}
	dead := fileLines(t, filepath.Join(dir, "siem.dead.ndjson"))
	if len(dead) != 2 || !bytes.Contains(dead[0], []byte(`"offset":1`)) || !bytes.Contains(dead[0], []byte("not a verdict")) {
		t.Errorf("dead letters %s", dead)
	}
}

func TestARefusedDocumentIsFoundAndKept(t *testing.T) {
	r := &receiver{answer: func(_ int, body []byte) (int, string) {
		if bytes.Contains(body, []byte(`"v_17"`)) || bytes.Contains(body, []byte(`"v_18"`)) {
			return http.StatusUnprocessableEntity, ""
		}
		return http.StatusOK, ""
	}}
	srv := httptest.NewServer(r)
	defer srv.Close()
	d, err := webhook.New(webhook.Config{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	reg, dir := prometheus.NewRegistry(), t.TempDir()
	l := newList(50, 1)
	l.fetch = 50
	run(t, newSink(t, sinks.Config{Dir: dir, Topics: []string{sinks.Verdicts}}, l, d, reg), l)
	if diff := cmp.Diff(map[string]float64{"delivered": 48, "dead_letter": 2}, figures(t, reg)); diff != "" {
		t.Error(diff)
	}
	dead := fileLines(t, filepath.Join(dir, "siem.dead.ndjson"))
	if len(dead) != 2 || !bytes.Contains(dead[0], []byte(`"id":"v_17:1"`)) || !bytes.Contains(dead[0], []byte(`answered 422`)) ||
		!bytes.Contains(dead[0], []byte(`"document":{"id":"v_17"`)) {
		t.Errorf("dead letters %s", dead)
	}
}

// TestADestinationThatRefusesAllIsAProblem: a receiver that was set up wrongly
// turns everything into dead letters, and nobody would look there.
func TestADestinationThatRefusesAllIsAProblem(t *testing.T) {
	for _, c := range []struct {
		name    string
		refuses func(n int) bool
		problem bool
		note    bool
	}{
		{"all", func(int) bool { return true }, true, false},
		{"none", func(int) bool { return false }, false, false},
		{"the first", func(n int) bool { return n < 40 }, false, false},
		{"the last", func(n int) bool { return n > 45 }, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &picky{refuses: c.refuses}
			l := newList(50, 1)
			dir := t.TempDir()
			s := newSink(t, sinks.Config{Dir: dir, Topics: []string{sinks.Verdicts}, BatchDocuments: 1}, l, d, nil)
			run(t, s, l)
			problem, note := s.Health()
			if (problem != "") != c.problem || (note != "") != c.note {
				t.Errorf("problem %q, note %q", problem, note)
			}
			if text := problem + note; text != "" && (!strings.Contains(text, "never again") || !strings.Contains(text, dir)) {
				t.Errorf("%q names neither the reason nor the file", text)
			}
		})
	}
}

// picky refuses some documents for good.
type picky struct {
	n       int
	refuses func(n int) bool
}

func (p *picky) Deliver(context.Context, []string, [][]byte) error {
	if p.n++; p.refuses(p.n) {
		return never{}
	}
	return nil
}

type never struct{}

func (never) Error() string   { return "never again" }
func (never) Permanent() bool { return true }

func (*picky) Sync() error  { return nil }
func (*picky) Close() error { return nil }

// stuck fails until it is let go.
func TestAnAbsentDestinationHoldsUpOnlyItself(t *testing.T) {
	s := &stuck{permit: make(chan struct{})}
	good, arrived := destinations(t)["file"](t)
	dir := t.TempDir()
	bad, fine := newList(20, 1), newList(20, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		fine.reached.Wait()
		<-s.permit
		cancel()
	}()
	topics := []string{sinks.Verdicts}
	err := sinks.RunAll(ctx,
		newSink(t, sinks.Config{Name: "bad", Dir: dir, Topics: topics, BackOffMax: 2 * time.Millisecond}, bad, s, nil),
		newSink(t, sinks.Config{Name: "good", Dir: dir, Topics: topics}, fine, good, nil))
	if err != nil {
		t.Error(err)
	}
	if n := len(arrived()); n != 20 {
		t.Errorf("%d documents at the good destination", n)
	}
	if _, err := os.Stat(filepath.Join(dir, "bad.position")); !os.IsNotExist(err) {
		t.Errorf("a position was saved for what was never delivered: %v", err)
	}
}

func TestStateIsGuarded(t *testing.T) {
	d, arrived := destinations(t)["file"](t)
	dir := t.TempDir()
	cfg := sinks.Config{Dir: dir, Topics: []string{sinks.Verdicts}}
	l := newList(10, 1)
	run(t, newSink(t, cfg, l, d, nil), l)
	t.Run("a corrupt position means again from the start", func(t *testing.T) {
		path := filepath.Join(dir, "siem.position")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Replace(b, []byte(`:5`), []byte(`:9`), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		again := newList(10, 1)
		run(t, newSink(t, cfg, again, d, nil), again)
		if n := len(arrived()); n != 20 {
			t.Errorf("%d documents, want the ten twice", n)
		}
	})
	t.Run("two sinks of one name exclude each other", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		held := newList(0, 1)
		done := make(chan error, 1)
		go func() { done <- newSink(t, cfg, held, d, nil).Run(ctx) }()
		held.reached.Wait()
		if err := newSink(t, cfg, newList(1, 1), d, nil).Run(ctx); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("the second: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestKillNine kills a child that delivers to a file again and again: at the end
// every document has arrived, whole.
// child is the process that TestKillNine kills: it tells of its progress.
// talking prints a line for each delivery.
