package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzLastEventID: whatever a client says it has seen, it gets a refusal or a
// stream that begins with what it lacks, and Behind counts nothing below zero.
func FuzzLastEventID(f *testing.F) {
	for _, seed := range []string{"", "0:0", "0:1,1:0", "0:-5", "1:9223372036854775807", "x", "0:1,", "0:1,0:2", "-1:3", " 0:1", "4294967296:1"} {
		f.Add(seed)
	}
	feed := NewFeed(func() time.Time { return noon })
	for i := range int64(3) {
		feed.Add(0, i, sample("v", uint32(i+1), time.Hour))
	}
	feed.Current()
	ended := make(chan struct{})
	close(ended)
	f.Fuzz(func(t *testing.T, id string) {
		if Behind(feed.vector(), id) < 0 {
			t.Errorf("behind %q: less than nothing", id)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Last-Event-Id"] = []string{id}
		w := httptest.NewRecorder()
		feed.stream(w, r, ended, func(string) {})
		seen, err := parseVector(id)
		switch body := w.Body.String(); {
		case (w.Code == http.StatusBadRequest) != (err != nil && id != ""):
			t.Errorf("%q gives status %d, its error is %v", id, w.Code, err)
		case w.Code == http.StatusBadRequest:
		case len(seen) == 1 && seen[0] == 2:
			if body != "" {
				t.Errorf("level with the feed it gets %q", body)
			}
		case w.Code != http.StatusOK || !strings.Contains(body, `"revision":3`):
			t.Errorf("%q gives status %d, %q", id, w.Code, body)
		}
	})
}
