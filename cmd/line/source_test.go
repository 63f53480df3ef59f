package line

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/stream/event"
)

// TestAFedIngressResumesOnlyFromTheFeed: a position of the topic is the next
// offset wanted, one of the feed the last seen; taken for the other it would
// lose a verdict.
func TestAFedIngressResumesOnlyFromTheFeed(t *testing.T) {
	const blocks = `{"id":"v_1","revision":1,"sequence":20,"site":"shop","time":"2026-03-02T12:00:00Z","expires":"2099-01-01T00:00:00Z","scope":"actor","action":"block","mode":"enforce","threats":[],"binds":[{"all":[{"kind":"client","value":"00000000000000ff"}]}],"evidence":{"summary":"","features":[],"events":[],"range":{"topic":"","partition":0,"from":0,"to":0}},"baseline":"","engine":"1"}`
	for saved, want := range map[string]string{"": "", "0:18": "", feedPosition + "0:17,1:3": "0:17,1:3", feedPosition: ""} {
		t.Run("saved "+saved, func(t *testing.T) {
			asked := make(chan *http.Request, 1)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- r
				_, _ = fmt.Fprintf(w, "event: snapshot\ndata: {}\n\nevent: verdict\ndata: %s\n\nevent: verdict\ndata: {]\n\nevent: snapshot-end\nid: 0:20\ndata: {}\n\n", blocks)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}))
			defer srv.Close()
			cfg := &config.Loaded{Config: config.Default()}
			cfg.Enforce.Feed = config.FeedClient{URL: srv.URL, Key: "weir_k"}
			e := &enforcing{role: &role{Env: Env{Config: cfg, Log: slog.New(slog.DiscardHandler)}, metrics: prometheus.NewRegistry()}, current: make(chan struct{})}
			var err error
			if e.decider, err = enforcer.New(enforcer.Config{Mode: event.ModeEnforce, Sites: []enforcer.Site{{Name: "shop"}}}, nil, nil); err != nil {
				t.Fatal(err)
			}
			e.decider.Touch(1, saved)
			s, err := newFeedSource(e)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			r := <-asked
			if got := r.Header.Get("Last-Event-ID"); got != want || r.URL.Path != config.FeedPath || r.Header.Get("Authorization") != "Bearer weir_k" {
				t.Errorf("asked for %s after %q, want %q", r.URL, got, want)
			}
			<-e.current
			if st := e.decider.Status(); st.Verdicts != 1 || e.decider.Position() != feedPosition+"0:20" || s.Sequence() != "0:20" || time.Since(s.Contact()) > time.Minute {
				t.Errorf("%d verdicts at %q, sequence %q, contact %s", st.Verdicts, e.decider.Position(), s.Sequence(), s.Contact())
			}
			families, err := e.metrics.Gather()
			if s.Rejected() != 1 || err != nil || len(families) != 1 || len(families[0].GetMetric()) != 4 {
				t.Errorf("%d rejected, metrics %v, %v: want 1, and what came of the feed", s.Rejected(), families, err)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
