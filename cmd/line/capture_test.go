package line

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// captureOf makes the capture of a role from a configuration's text.
func captureOf(t *testing.T, data, text string) (*capture, *config.Loaded) {
	t.Helper()
	file := filepath.Join(data, "weir.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: weir/v1\nkind: Config\ndata: "+data+"\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	r := &role{Env: Env{Config: cfg, Log: slog.New(slog.DiscardHandler)}, name: "collect", metrics: prometheus.NewRegistry(), group: g}
	c, err := newCapture(ctx, r, filepath.Join(data, "collect"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = g.Wait() })
	return c, cfg
}

// logLine is one line of an access log.
func logLine(n int, client, agent, path string, status int) *flow.Exchange {
	return &flow.Exchange{
		ID: fmt.Sprint("access.log:", n), Source: event.SourceAccessLog, Site: "shop", Host: "shop.example", Method: "GET", Target: path, Status: status,
		Time:   time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC).Add(time.Duration(n) * 100 * time.Millisecond),
		Client: netip.AddrPortFrom(netip.MustParseAddr(client), 0), Headers: []flow.Field{{Name: "User-Agent", Value: agent}},
	}
}

// TestWhoIsKnownToBeGoodIsNeverAccused: the engine sees an access log, which no
// ingress has tagged.
func TestWhoIsKnownToBeGoodIsNeverAccused(t *testing.T) {
	const google, tool = "Mozilla/5.0 (compatible; Googlebot/2.1)", "nikto/2.5"
	for _, c := range []struct {
		name, client, agent string
		flag                event.Flags
		accused             bool
	}{
		{"an allowlisted scanner", "198.51.100.7", tool, event.FlagAllowlisted, false},
		{"the same tool from elsewhere", "203.0.113.7", tool, 0, true},
		{"a verified bot", "66.249.64.9", google, event.FlagVerifiedBot, false},
		{"an impostor", "203.0.113.8", google, 0, true},
	} {
		data := t.TempDir()
		if err := os.WriteFile(filepath.Join(data, "bots.tsv"), []byte("66.249.64.0/19\tGooglebot\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		live, _ := captureOf(t, data, "sites: [{name: shop, hosts: ['*']}]\nlookup: {verifiedBots: bots.tsv}\n"+
			"allowlists: [{name: scanner, clients: [198.51.100.0/24], reason: our own}]\n")
		engine := baseline.New(baseline.Config{Entities: 1 << 14, Cases: 512})
		verdicts := 0
		for i := range 400 {
			var ev event.Event
			x := logLine(i, c.client, c.agent, fmt.Sprintf("/admin/%d.php", i), 404)
			live.Begin(x, &ev)
			live.End(x, &ev)
			live.tag(&ev)
			if got := ev.Flags & (event.FlagAllowlisted | event.FlagVerifiedBot); got != c.flag {
				t.Fatalf("%s: flags %v, want %v", c.name, got, c.flag)
			}
			verdicts += len(engine.Observe(&ev, verdict.Position{Offset: int64(i)}).Verdicts)
		}
		if (verdicts > 0) != c.accused {
			t.Errorf("%s: %d verdicts", c.name, verdicts)
		}
	}
}

func TestAFaultyReloadChangesNothing(t *testing.T) {
	data := t.TempDir()
	asn := filepath.Join(data, "asn.tsv")
	write := func(text string) {
		if err := os.WriteFile(asn, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("203.0.113.0\t203.0.113.255\t64500\tDE\n")
	c, cfg := captureOf(t, data, "sites: [{name: shop, hosts: ['*']}]\nlookup: {asn: asn.tsv}\n")
	country := func() string {
		var ev event.Event
		c.Begin(logLine(1, "203.0.113.9", "x", "/", 200), &ev)
		return ev.Country
	}
	if got := country(); got != "DE" {
		t.Fatalf("country %q", got)
	}
	before := c.Extractor()
	write("203.0.113.0\t203.0.113.255\t64500\tFR\nrubbish\n")
	if _, err := c.reloading(cfg); err == nil || !strings.Contains(err.Error(), "asn.tsv:2") {
		t.Errorf("faulty data: %v", err)
	}
	if got := country(); got != "DE" || c.Extractor() != before {
		t.Errorf("after a refused reload: country %q, another extractor %v", got, c.Extractor() != before)
	}
	write("203.0.113.0\t203.0.113.255\t64500\tFR\n")
	put, err := c.reloading(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := country(); got != "DE" {
		t.Errorf("country %q before the reload is in force", got)
	}
	if put(); country() != "FR" {
		t.Errorf("country %q after the reload", country())
	}
}
