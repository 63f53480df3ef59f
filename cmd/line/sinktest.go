package line

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/sinks"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// sinkTestTimeout bounds the test of one sink.
const sinkTestTimeout = 30 * time.Second

// TestSinks sends one sample to each configured sink; no role needs to run.
func TestSinks(ctx context.Context, env Env) (*admin.Table, error) {
	counts, err := sinks.NewMetrics(nil)
	if err != nil {
		return nil, fmt.Errorf("sink metrics: %w", err)
	}
	return testSinks(ctx, env.Config, func(ctx context.Context, c *config.Sink, sample sinks.Sample) error {
		s, err := newDestination(env, c, nil, counts)
		if err != nil {
			return err
		}
		return s.TestAlone(ctx, sample)
	}), nil
}

// test answers POST /sinks/test of a sink role: its destinations are open, and
// nobody else may write to them.
func (s *sinking) test(w http.ResponseWriter, r *http.Request) {
	running := map[string]*sinks.Sink{}
	if all := s.running.Load(); all != nil {
		for _, d := range *all {
			running[d.Name()] = d
		}
	}
	admin.JSON(w, testSinks(r.Context(), s.now.Load(), func(ctx context.Context, c *config.Sink, sample sinks.Sample) error {
		if d := running[c.Name]; d != nil {
			return d.Test(ctx, sample)
		}
		return errors.New("it does not run yet; see `weir status`")
	}), nil)
}

func testSinks(ctx context.Context, cfg *config.Loaded, one func(context.Context, *config.Sink, sinks.Sample) error) *admin.Table {
	t := &admin.Table{Columns: []string{"name", "type", "to", "ok", "result"}, Rows: [][]any{}}
	for i := range cfg.Sinks {
		c := &cfg.Sinks[i]
		began := time.Now()
		within, cancel := context.WithTimeout(ctx, sinkTestTimeout)
		err := one(within, c, sample(cfg, c))
		cancel()
		result := fmt.Sprintf("delivered in %d ms", time.Since(began).Milliseconds())
		if err != nil {
			result = err.Error()
		}
		t.Rows = append(t.Rows, []any{c.Name, c.Type, c.Path + c.URL, err == nil, result})
	}
	return t
}

// sample is what a test delivers: it says that it is one, accuses nobody and
// binds nothing.
func sample(cfg *config.Loaded, c *config.Sink) sinks.Sample {
	site := "default"
	switch {
	case len(c.Sites) > 0:
		site = c.Sites[0]
	case len(cfg.Sites) > 0:
		site = cfg.Sites[0].Name
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	now := verdict.Time(time.Now().UnixNano())
	const text = "Test of the sink by weir sinks test: nothing happened, nobody is accused."
	v := &verdict.Verdict{
		ID: "v_" + hex.EncodeToString(id[:]), Revision: 1, Site: site, Time: now, Expires: now, Scope: verdict.ScopeRequest,
		Action: event.ActionObserve, Mode: event.ModeShadow, Threats: []verdict.Threat{}, Bound: admin.BoundOperator, Binds: []verdict.Group{},
		Evidence: verdict.Evidence{Summary: text, Features: []verdict.Feature{}, Events: []string{}}, Engine: baseline.Version,
	}
	return sinks.Sample{Verdict: v, Decision: &verdict.Decision{
		ID: "test-" + hex.EncodeToString(id[:8]), Time: now, Site: site, Action: event.ActionAllow, Proposed: event.ActionObserve, Mode: event.ModeShadow,
		Verdict: v.ID, Scope: v.Scope, Threats: v.Threats, Reason: text, Rule: "test",
		Request: &verdict.Request{Client: "192.0.2.1", Method: http.MethodGet, Host: "shop.example", Path: "/"},
	}}
}
