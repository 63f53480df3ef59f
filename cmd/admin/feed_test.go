package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/verdict"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func sample(id string, revision uint32, until time.Duration) *verdict.Verdict {
	return &verdict.Verdict{
		ID: id, Revision: revision, Site: "shop", Time: verdict.Time(noon.UnixNano()),
		Expires: verdict.Time(noon.Add(until).UnixNano()), Scope: verdict.ScopeActor,
	}
}

// follow opens the feed and returns a function that reads the next n frames as
// "event id verdict", without comments.
func follow(t *testing.T, f *Feed, lastID string) func(n int) []string {
	t.Helper()
	srv := httptest.NewServer(f)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); srv.Close() })
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	return func(n int) []string {
		var out []string
		event, id, what := "", "", ""
		for len(out) < n && lines.Scan() {
			switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
			case "event":
				event = value
			case "id":
				id = value
			case "data":
				var v verdict.Verdict
				if err := json.Unmarshal([]byte(value), &v); err == nil && v.ID != "" {
					what = fmt.Sprintf("%s/%d", v.ID, v.Revision)
				}
			case "":
				if event != "" {
					out = append(out, strings.Join(strings.Fields(event+" "+id+" "+what), " "))
				}
				event, id, what = "", "", ""
			}
		}
		return out
	}
}

func TestFeed(t *testing.T) {
	fill := func(n int) *Feed {
		f := NewFeed(func() time.Time { return noon })
		f.Current()
		for i := range n {
			f.Add(int32(i%2), int64(i/2), sample(fmt.Sprintf("v%d", i), 1, time.Hour))
		}
		return f
	}
	expect := func(t *testing.T, got []string, want ...string) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	t.Run("a new client gets what is in force and then what follows", func(t *testing.T) {
		f := fill(1)
		next := follow(t, f, "")
		expect(t, next(3), "snapshot", "verdict v0/1", "snapshot-end 0:0")
		f.Add(0, 1, sample("v9", 1, time.Hour))
		expect(t, next(1), "verdict 0:1 v9/1")
	})
	t.Run("one that resumes gets only what it missed", func(t *testing.T) {
		next := follow(t, fill(4), "0:0,1:0")
		expect(t, next(2), "verdict 0:1,1:0 v2/1", "verdict 0:1,1:1 v3/1")
	})
	t.Run("one that missed more than is kept is told and gets a snapshot", func(t *testing.T) {
		f := fill(0)
		for i := range 2*feedHistory + 2 {
			f.Add(0, int64(i), sample("v", uint32(i+1), time.Hour))
		}
		next := follow(t, f, "0:5")
		expect(t, next(4), "gap", "snapshot", fmt.Sprintf("verdict v/%d", 2*feedHistory+2), fmt.Sprintf("snapshot-end 0:%d", 2*feedHistory+1))
	})
	t.Run("one from the future (the log was replaced) gets a snapshot", func(t *testing.T) {
		next := follow(t, fill(1), "0:77")
		expect(t, next(2), "gap", "snapshot")
	})
	t.Run("one that resumes gets the first verdict of a partition that was silent before", func(t *testing.T) {
		next := follow(t, fill(2), "0:0")
		expect(t, next(1), "verdict 0:0,1:0 v1/1")
	})
	t.Run("one that saw what a partition has lost gets a snapshot", func(t *testing.T) {
		f := fill(4)
		f.Rewind(1)
		expect(t, follow(t, f, "0:1,1:1")(2), "gap", "snapshot")
		f.Add(1, 0, sample("new", 1, time.Hour))
		if f.Get("new") == nil {
			t.Error("an offset that is given again was taken for a repeat")
		}
	})
	t.Run("nobody is served half a topic", func(t *testing.T) {
		f := NewFeed(func() time.Time { return noon })
		f.Add(0, 0, sample("a", 1, time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		early := httptest.NewRecorder()
		f.ServeHTTP(early, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		if early.Body.Len() > 0 {
			t.Errorf("before the topic was read: %q", early.Body)
		}
		f.Current()
		expect(t, follow(t, f, "")(3), "snapshot", "verdict a/1", "snapshot-end 0:0")
	})
	t.Run("what was taken back is known a while, and in force no more", func(t *testing.T) {
		f := fill(0)
		revoke := func(id string, at int64) {
			v := sample(id, 2, time.Hour)
			v.Revoked = true
			f.Add(0, at, v)
		}
		f.Add(0, 0, sample("a", 1, time.Hour))
		revoke("a", 1)
		if v := f.Last("a"); f.Get("a") != nil || v == nil || !v.Revoked || v.Revision != 2 {
			t.Errorf("in force %v, last %+v", f.Get("a"), v)
		}
		for i := range int64(len(f.revoked)) {
			revoke(fmt.Sprint("b", i), 2+i)
		}
		if f.Last("a") != nil || f.Last("b0") == nil {
			t.Error("the oldest one is kept, or others went")
		}
	})
	t.Run("one that does not read is cut off and resumes where it was", func(t *testing.T) {
		f := fill(0)
		_, _, _, live := f.subscribe(nil)
		for i := range feedQueue + 1 {
			f.Add(0, int64(i), sample("v", uint32(i+1), time.Hour))
		}
		last := ""
		for e := range live { // closed
			last = e.vector
		}
		if want := fmt.Sprintf("0:%d", feedQueue-1); last != want || len(f.subscribers) != 0 {
			t.Errorf("cut off at %s, want %s; %d subscribers are left", last, want, len(f.subscribers))
		}
		f.unsubscribe(live) // as its handler does
		expect(t, follow(t, f, last)(1), fmt.Sprintf("verdict 0:%d v/%d", feedQueue, feedQueue+1))
	})
	t.Run("revoked and ended verdicts are not in force", func(t *testing.T) {
		f := fill(2)
		gone := sample("v0", 2, time.Hour)
		gone.Revoked = true
		f.Add(0, 5, gone)
		f.Add(0, 6, sample("old", 1, -time.Second))
		f.Add(1, 5, sample("v1", 2, time.Hour))
		f.Add(1, 6, sample("v1", 1, time.Hour)) // an older revision changes nothing
		list := f.InForce()
		if len(list) != 1 || list[0].ID != "v1" || list[0].Revision != 2 {
			t.Errorf("in force: %+v", list)
		}
	})
	t.Run("a repeat of an offset is ignored", func(t *testing.T) {
		f := fill(1)
		f.Add(0, 0, sample("other", 1, time.Hour))
		if f.Get("other") != nil {
			t.Error("the repeat was taken")
		}
	})
	t.Run("a made-up id is refused", func(t *testing.T) {
		srv := httptest.NewServer(fill(1))
		defer srv.Close()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
		req.Header.Set("Last-Event-ID", "x'; DROP")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}
