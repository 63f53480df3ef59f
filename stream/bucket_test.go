package stream

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/prometheus/client_golang/prometheus"
)

// objectStore is an S3 server in this process and what can go wrong with it.
type objectStore struct {
	*httptest.Server
	// away answers every request with 501; cut ends bodies of GETs half way, hung
	// sends no more of them.
	away, cut, hung atomic.Bool
	// unsigned counts requests without an AWS signature, unhashed those whose
	// body nobody vouches for.
	unsigned, unhashed atomic.Int32
	clock              atomic.Int64 // seconds that the server's clock is off
}

type shiftedTime struct{ s *objectStore }

func (c shiftedTime) Now() time.Time {
	return time.Now().Add(time.Duration(c.s.clock.Load()) * time.Second)
}

func (c shiftedTime) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// startObjectStore serves a bucket named "weir".
func startObjectStore(t *testing.T, secure bool) *objectStore {
	t.Helper()
	s := &objectStore{}
	backend := s3mem.New()
	if err := backend.CreateBucket("weir"); err != nil {
		t.Fatal(err)
	}
	server := gofakes3.New(backend, gofakes3.WithTimeSource(shiftedTime{s}), gofakes3.WithTimeSkewLimit(0)).Server()
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=key/") {
			s.unsigned.Add(1)
		}
		if r.Method == http.MethodPut && len(r.Header.Get("X-Amz-Content-Sha256")) != 2*sha256.Size {
			s.unhashed.Add(1)
		}
		switch {
		case s.away.Load():
			w.WriteHeader(http.StatusNotImplemented) // one that the client does not try again
		case (s.cut.Load() || s.hung.Load()) && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, snapSuffix):
			whole := httptest.NewRecorder()
			server.ServeHTTP(whole, r)
			w.Header().Set("Content-Length", strconv.Itoa(whole.Body.Len()))
			for _, name := range []string{"ETag", "Last-Modified"} {
				w.Header().Set(name, whole.Header().Get(name))
			}
			_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
			if s.hung.Load() {
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
		default:
			server.ServeHTTP(w, r)
		}
	}))
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *objectStore) bucket(t *testing.T) *Bucket {
	t.Helper()
	cfg := BucketConfig{Endpoint: s.URL, Region: "eu-west-1", Bucket: "weir", Prefix: "a/b", AccessKey: "key", SecretKey: "secret"}
	if s.TLS != nil {
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		cfg.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	b, err := NewBucket(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func save(t *testing.T, s SnapshotStore, id SnapshotID, data []byte) {
	t.Helper()
	w, err := s.Create(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := range slices.Chunk(data, 300_000) {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotStores holds what the interface promises for each kind of place.
func TestSnapshotStores(t *testing.T) {
	for name, s := range map[string]SnapshotStore{
		"directory": NewDirectory(t.TempDir()), "bucket": startObjectStore(t, false).bucket(t), "bucket over TLS": startObjectStore(t, true).bucket(t),
	} {
		t.Run(name, func(t *testing.T) { snapshotStore(t, s) })
	}
}

func snapshotStore(t *testing.T, s SnapshotStore) {
	t.Helper()
	id := SnapshotID{Topic: "weir.events", Partition: 2, Offset: 5, Saved: time.Unix(100, 0).UTC()}
	list := func() []SnapshotID {
		t.Helper()
		ids, err := s.List(t.Context(), id.Topic, id.Partition)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if got := list(); len(got) != 0 {
		t.Fatalf("an empty store lists %v", got)
	}
	if _, err := s.Open(t.Context(), id); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrSnapshotStore) {
		t.Errorf("what is not there: %v", err)
	}
	w, err := s.Create(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), partBytes/8) // two parts and no rest
	data = append(data, "and a rest"...)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if got := list(); len(got) != 0 {
		t.Errorf("an uncommitted snapshot is listed: %v", got)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := list(); !slices.Equal(got, []SnapshotID{id}) {
		t.Errorf("listed %v, want %v", got, id)
	}
	r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes of %d, %v", len(got), len(data), err)
	}
	if w, err = s.Create(t.Context(), SnapshotID{Topic: id.Topic, Partition: 2, Offset: 6}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Errorf("abort: %v", err)
	}
	other := id
	other.Partition = 21 // begins with the digits of 2
	save(t, s, other, []byte("x"))
	if got := list(); !slices.Equal(got, []SnapshotID{id}) {
		t.Errorf("listed %v, want %v only", got, id)
	}
	save(t, s, id, []byte("again")) // two members may save the same
	if got := list(); !slices.Equal(got, []SnapshotID{id}) {
		t.Errorf("listed %v after saving again, want %v", got, id)
	}
	if err := errors.Join(s.Remove(t.Context(), id), s.Remove(t.Context(), id)); err != nil {
		t.Errorf("removing twice: %v", err)
	}
}

func TestBucketThatFailsIsNoCorruptSnapshot(t *testing.T) {
	s := startObjectStore(t, false)
	b := s.bucket(t)
	v := &vault{store: b, topic: "t", partition: 3, newEngine: newCountEngine, log: quiet}
	v.metrics, _ = newGroupMetrics(nil)
	newest := func() (int64, error) {
		f, _, err := v.newest(t.Context(), 1000, func(string) bool { return true })
		if f == nil {
			return 0, err
		}
		return f.next, err
	}
	at := func(offset int64) SnapshotID {
		return SnapshotID{Topic: "t", Partition: 3, Offset: offset, Saved: time.Unix(offset, 0)}
	}
	good := sampleSnapshot(t)
	save(t, b, at(77), good)
	if next, err := newest(); next != 77 || err != nil {
		t.Fatalf("restored %d, %v", next, err)
	}
	damaged := slices.Clone(good)
	damaged[len(damaged)/2] ^= 1
	save(t, b, at(90), damaged)
	if next, err := newest(); next != 77 || err != nil {
		t.Errorf("beside a damaged one: restored %d, %v", next, err)
	}
	for fault, on := range map[string]*atomic.Bool{"away": &s.away, "cut off": &s.cut, "hung": &s.hung} {
		on.Store(true)
		if b.stall = bucketTimeout; fault == "hung" {
			b.stall = 100 * time.Millisecond
		}
		if next, err := newest(); next != 0 || !errors.Is(err, ErrSnapshotStore) {
			t.Errorf("%s: restored %d, %v", fault, next, err)
		}
		on.Store(false)
	}
	b.stall = bucketTimeout
	s.away.Store(true)
	if _, err := b.Create(t.Context(), at(91)); !errors.Is(err, ErrSnapshotStore) {
		t.Errorf("create: %v", err)
	}
	s.away.Store(false)
	w, err := b.Create(t.Context(), at(92))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(good)
	s.away.Store(true)
	if err := w.Commit(); !errors.Is(err, ErrSnapshotStore) {
		t.Errorf("commit: %v", err)
	}
	s.away.Store(false)
	if ids, err := b.List(t.Context(), "t", 3); err != nil || len(ids) != 2 {
		t.Errorf("listed %v, %v", ids, err)
	}
	if s.unsigned.Load() > 0 || s.unhashed.Load() > 0 {
		t.Errorf("%d requests were not signed, %d parts not hashed", s.unsigned.Load(), s.unhashed.Load())
	}
}

// TestBucketSweepsWhatKilledWritersLeft begins an upload an hour and more ago.
func TestBucketSweepsWhatKilledWritersLeft(t *testing.T) {
	s := startObjectStore(t, false)
	b := s.bucket(t)
	id := SnapshotID{Topic: "t", Partition: 1, Offset: 1}
	uploads := func() int {
		left, err := b.core.ListMultipartUploads(t.Context(), "weir", "", "", "", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(left.Uploads)
	}
	s.clock.Store(-2 * 3600)
	if _, err := b.Create(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	s.clock.Store(0)
	if n := uploads(); n != 1 {
		t.Fatalf("%d uploads, want the abandoned one", n)
	}
	w, err := b.Create(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if n := uploads(); n != 1 {
		t.Errorf("%d uploads, want only the new one", n)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
}

// TestMemberTakesOverFromABucket runs a group, ends it, and lets another member
// go on from the bucket alone.
func TestMemberTakesOverFromABucket(t *testing.T) {
	c, _ := cluster(t, 1)
	s, store, reg := startObjectStore(t, false), newMemStore(), prometheus.NewRegistry()
	cfg := groupConfig(t, c, store, "")
	cfg.Snapshots = s.bucket(t)
	put(t, c, "p", 1, 10, events("shop", 0, 500)...)
	_, stop := startGroup(t, cfg, nil)
	waitFor(t, "500 rows", func() bool { return store.count() >= 500 })
	stop()
	put(t, c, "p", 501, 10, events("shop", 500, 600)...)
	cfg.Member, cfg.Snapshots = "m1", s.bucket(t)
	_, stop = startGroup(t, cfg, reg)
	waitFor(t, "600 rows", func() bool { return store.count() >= 600 })
	stop()
	checkRows(t, store.rows, 600)
	if got := series(t, reg, "weir_stream_snapshots_total"); got["restored,"+TopicEvents] == 0 || got["corrupt,"+TopicEvents] != 0 {
		t.Errorf("snapshots %v", got)
	}
}

func TestBucketConfigs(t *testing.T) {
	for _, c := range []BucketConfig{
		{}, {Bucket: "b", AccessKey: "only"}, {Bucket: "b", Endpoint: "127.0.0.1:9000"}, {Bucket: "b", Endpoint: "ftp://h"}, {Bucket: "b", Endpoint: "http://h/path"},
	} {
		if _, err := NewBucket(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	b, err := NewBucket(BucketConfig{Bucket: "b", Prefix: "/x/"})
	if err != nil || b.dir("t", 3) != "x/t/3/" {
		t.Errorf("%v, names begin with %q", err, b.dir("t", 3))
	}
	if b, err = NewBucket(BucketConfig{Bucket: "b"}); err != nil || b.dir("t", 3) != "t/3/" {
		t.Errorf("%v, names begin with %q", err, b.dir("t", 3))
	}
}
