package feed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weirproject/weir/enforcer/feed"
	"github.com/weirproject/weir/stream/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder notes what a client does, and closes done at a wanted line.
type recorder struct {
	mu   sync.Mutex
	got  []string
	want string
	done chan struct{}
}

func (r *recorder) add(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, s)
	if s == r.want {
		close(r.done)
	}
}

func (r *recorder) Receive(v *verdict.Verdict, live bool) error {
	r.add(fmt.Sprintf("%s %v", v.ID, live))
	if v.ID == "bad" {
		return errors.New("refused")
	}
	return nil
}
func (r *recorder) BeginSnapshot()   { r.add("begin") }
func (r *recorder) EndSnapshot() int { r.add("end"); return 0 }
func (r *recorder) Touch(now int64, position string) {
	if now == 0 {
		position = "no time"
	}
	r.add("at " + position)
}

func data(id string) string {
	b, _ := json.Marshal(verdict.Verdict{ID: id, Revision: 1, Site: "shop"})
	return string(b)
}

// serve answers the n-th connection with the n-th script and then keeps it open
// until the client goes, unless the script ends in "\x00".
func serve(t *testing.T, scripts ...string) (string, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n := len(asked)
		asked = append(asked, r.Header.Get("Last-Event-ID")+"|"+r.Header.Get("Authorization"))
		mu.Unlock()
		if n >= len(scripts) {
			<-r.Context().Done()
			return
		}
		if scripts[n] == "401" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		script, ends := strings.CutSuffix(scripts[n], "\x00")
		_, _ = w.Write([]byte(script))
		_ = http.NewResponseController(w).Flush()
		if !ends {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(asked)
	}
}

// follow runs a client until the sink has seen want.
func follow(t *testing.T, cfg feed.Config, want string) (*recorder, *feed.Client) {
	t.Helper()
	r := &recorder{want: want, done: make(chan struct{})}
	if cfg.BackOff == 0 {
		cfg.BackOff = time.Millisecond
	}
	c, err := feed.New(cfg, r, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	select {
	case <-r.done:
	case <-ctx.Done():
		t.Errorf("never saw %q, only %q", want, r.got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return r, c
}

func TestASnapshotThenVerdictsThenResume(t *testing.T) {
	url, asked := serve(t,
		"event: gap\ndata: no position\n\nevent: snapshot\ndata: {\"verdicts\":1}\n\nevent: verdict\ndata: "+data("a")+"\n\n"+
			"event: snapshot-end\nid: 7\ndata: {}\n\nid: 8\ndata: "+data("b")+"\n\n\x00",
		"id: 9\r\nevent: verdict\r\ndata: "+data("c")+"\r\n\r\n: heartbeat\n\n")
	r, c := follow(t, feed.Config{URL: url, Key: "k"}, "c true")
	want := []string{"at ", "begin", "a false", "end", "at 7", "b true", "at 8", "c true"}
	if diff := cmp.Diff(want, r.got[:len(want)]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"|Bearer k", "8|Bearer k"}, asked()); diff != "" {
		t.Error(diff)
	}
	if n := c.Counts(); n.Verdicts != 3 || n.Gaps != 1 || n.Connects != 2 {
		t.Errorf("%+v", n)
	}
}

func TestAnInterruptedSnapshotIsAskedForAgain(t *testing.T) {
	url, asked := serve(t,
		"event: snapshot\ndata: {}\n\nid: 3\ndata: "+data("a")+"\n\n\x00",
		"event: snapshot\ndata: {}\n\nid: 3\ndata: "+data("a")+"\n\nevent: snapshot-end\ndata: {}\n\n")
	r, _ := follow(t, feed.Config{URL: url, Position: "1"}, "at 3")
	if diff := cmp.Diff([]string{"begin", "a false", "begin", "a false", "end", "at 3"}, r.got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"1|", "1|"}, asked()); diff != "" {
		t.Error(diff)
	}
}

func TestFaultsAreCountedAndDoNotStopTheFeed(t *testing.T) {
	url, _ := serve(t, "401",
		"data: {not json\n\nid: 1\ndata: "+data("bad")+"\n\nunknown: x\nevent: news\ndata: y\n\nid: 2\ndata: "+data("ok")+"\n\n")
	_, c := follow(t, feed.Config{URL: url}, "at 2")
	if n := c.Counts(); n.Malformed != 1 || n.Refused != 1 || n.Verdicts != 2 || n.Failures != 1 {
		t.Errorf("%+v", n)
	}
}

func TestAnOverlongEventEndsTheConnection(t *testing.T) {
	url, _ := serve(t, "id: 1\ndata: "+strings.Repeat("x", 200_000)+"\n\n",
		strings.Repeat("data: y\n", 50_000), "id: 5\ndata: "+data("ok")+"\n\n")
	_, c := follow(t, feed.Config{URL: url, MaxEventBytes: 100_000}, "at 5")
	if n := c.Counts(); n.Failures != 2 || n.Verdicts != 1 {
		t.Errorf("%+v", n)
	}
}

func TestSilenceIsNoticed(t *testing.T) {
	url, asked := serve(t, ": hello\n", "id: 1\ndata: "+data("ok")+"\n\n")
	follow(t, feed.Config{URL: url, Silence: 50 * time.Millisecond}, "at 1")
	if n := len(asked()); n < 2 {
		t.Errorf("%d connections", n)
	}
}

func TestTheAddressIsChecked(t *testing.T) {
	for _, u := range []string{"", "ftp://x/", "http:///v1", "::"} {
		if _, err := feed.New(feed.Config{URL: u}, nil, nil, nil); err == nil {
			t.Errorf("%q is accepted", u)
		}
	}
}
