package admin

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// keyed opens the feed with a key and returns the status and a reader of lines.
func keyed(t *testing.T, url, key string) (int, *bufio.Scanner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp.StatusCode, bufio.NewScanner(resp.Body)
}

func TestEnforcersNeedTheirKeys(t *testing.T) {
	feed := NewFeed(func() time.Time { return noon })
	feed.Add(0, 0, sample("a", 1, time.Hour))
	feed.Current()
	path := filepath.Join(t.TempDir(), "keys", "enforcers.json")
	all, err := OpenEnforcers(path, feed)
	if err != nil {
		t.Fatal(err)
	}
	made, err := all.Add("edge-1")
	if err != nil || !strings.HasPrefix(made.Key, keyPrefix) || len(made.Key) < 40 {
		t.Fatalf("%v %+v", err, made)
	}
	for _, name := range []string{"edge-1", "", "a b", strings.Repeat("x", 65)} {
		if _, err := all.Add(name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if b, err := os.ReadFile(path); err != nil || strings.Contains(string(b), made.Key[len(keyPrefix):]) {
		t.Errorf("the file: %v, %s", err, b)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", err, info)
	}
	// As after a restart.
	if all, err = OpenEnforcers(path, feed); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(all)
	defer srv.Close()
	for _, key := range []string{"", "weir_", made.Key + "x", "edge-1"} {
		if status, _ := keyed(t, srv.URL, key); status != http.StatusUnauthorized {
			t.Errorf("key %q: status %d", key, status)
		}
	}
	if l := all.List(); len(l.Enforcers) != 1 || l.Enforcers[0].State != "never seen" || l.Enforcers[0].Behind != 1 {
		t.Errorf("before: %+v", l)
	}
	status, lines := keyed(t, srv.URL, made.Key)
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	for lines.Text() != "id: 0:0" && lines.Scan() {
		continue
	}
	if l := all.List(); l.Enforcers[0].State != "connected" || l.Enforcers[0].From == "" {
		t.Errorf("connected: %+v", l)
	}
	if err := all.Remove("edge-1"); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // ends, since the key's connections do
	}
	if status, _ := keyed(t, srv.URL, made.Key); status != http.StatusUnauthorized {
		t.Errorf("with a key taken back: status %d", status)
	}
	if err := all.Remove("edge-1"); err == nil {
		t.Error("removed twice")
	}
}

func TestOneKeyOpensFewConnections(t *testing.T) {
	feed := NewFeed(func() time.Time { return noon })
	feed.Current()
	all, err := OpenEnforcers(filepath.Join(t.TempDir(), "enforcers.json"), feed)
	if err != nil {
		t.Fatal(err)
	}
	made, err := all.Add("edge")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(all)
	t.Cleanup(srv.Close) // after the requests' own
	for i := range maxSessions + 1 {
		want := http.StatusOK
		if i == maxSessions {
			want = http.StatusTooManyRequests
		}
		if status, _ := keyed(t, srv.URL, made.Key); status != want {
			t.Errorf("connection %d: status %d, want %d", i, status, want)
		}
	}
	if status, _ := keyed(t, srv.URL, "weir_x"); status != http.StatusUnauthorized {
		t.Errorf("a made-up key: status %d", status)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(all)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			got[f.GetName()+" "+m.Label[0].GetValue()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	if got["weir_feed_enforcers connected"] != 1 || got["weir_feed_enforcers away"] != 0 || got["weir_feed_refused_total connections"] != 1 || got["weir_feed_refused_total key"] != 1 {
		t.Errorf("metrics %v", got)
	}
	if err := all.Remove("edge"); err != nil { // ends them
		t.Fatal(err)
	}
}

func TestABrokenKeyFileIsToldOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "enforcers.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenEnforcers(path, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}

func TestBehind(t *testing.T) {
	for _, c := range []struct {
		newest, seen string
		want         int64
	}{
		{"0:5,1:2", "0:5,1:2", 0}, {"0:5,1:2", "0:3", 5}, {"0:5", "", 6}, {"0:5", "0:9", 0}, {"", "0:1", -1}, {"0:5", "junk", 6},
	} {
		if got := Behind(c.newest, c.seen); got != c.want {
			t.Errorf("behind %q at %q: %d, want %d", c.newest, c.seen, got, c.want)
		}
	}
}
