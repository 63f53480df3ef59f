package linetest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/demo"
	"github.com/weirproject/weir/cmd/supervise"
)

type partState = supervise.State

// app is the application behind the ingress. Its flow map is the demo shop's,
// but its answers depend on nothing but the request, so that one that came
// through weir can be compared with a direct one.
type app struct {
	url    string
	served atomic.Int64
}

func newApp(t *testing.T) *app {
	t.Helper()
	a := &app{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/login", a.login)
	mux.HandleFunc("POST /api/orders/{id}/pay", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w, http.StatusOK, `{"approved":true,"order":"`+r.PathValue("id")+`"}`)
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("GET /zip", zipped)
	mux.HandleFunc("GET /stream", streamed)
	mux.HandleFunc("GET /empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /cached", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.WriteHeader(http.StatusNotModified)
	})
	mux.HandleFunc("GET /moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/item/1?from=old", http.StatusFound)
	})
	mux.HandleFunc("GET /broken", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) })
	mux.HandleFunc("GET /", a.page)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.served.Add(1)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	a.url = srv.URL
	return a
}

// sum is a short stable name for some text.
func sum(s string) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, s)
	return fmt.Sprintf("%016x", h.Sum64())
}

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	var in struct{ User, Password string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, "malformed", http.StatusBadRequest)
		return
	}
	if in.Password != "right-"+in.User {
		answer(w, http.StatusUnauthorized, `{"ok":false}`)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "sid", Value: sum(in.User) + "." + in.User, Path: "/", HttpOnly: true}) //nolint:gosec // plain HTTP on loopback
	answer(w, http.StatusOK, `{"ok":true}`)
}

func (a *app) page(w http.ResponseWriter, r *http.Request) {
	sid, err := r.Cookie("sid")
	if err != nil {
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: "s" + sum(r.UserAgent()+r.URL.Path), Path: "/", HttpOnly: true}) //nolint:gosec // plain HTTP on loopback
		http.SetCookie(w, &http.Cookie{Name: "did", Value: "d" + sum(r.UserAgent()), Path: "/", HttpOnly: true})            //nolint:gosec // plain HTTP on loopback
	} else if _, account, ok := strings.Cut(sid.Value, "."); ok {
		w.Header().Set("X-User", account)
	}
	if strings.HasPrefix(r.URL.Path, "/missing") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Add("Link", "</a.css>; rel=preload")
	w.Header().Add("Link", "</b.js>; rel=preload")
	_, _ = fmt.Fprintf(w, "<!doctype html><h1>%s</h1>\n", r.URL.Path) //nolint:gosec // no browser reads it
}

func zipped(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	_, _ = io.WriteString(z, strings.Repeat("compressed ", 5000))
	_ = z.Close()
}

func streamed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Trailer", "X-Total")
	out := http.NewResponseController(w)
	for i := range 5 {
		_, _ = fmt.Fprintf(w, "part %d\n", i)
		_ = out.Flush()
	}
	w.Header().Set("X-Total", "5")
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body+"\n") //nolint:gosec // no browser reads it
}

// flowMap writes the demo shop's flow map and returns its path.
func flowMap(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flows.yaml")
	if err := os.WriteFile(path, demo.Flows, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// client is one client address; it keeps no cookies and follows no redirect.
type client struct {
	base string
	http *http.Client
	// header is sent with each request.
	header http.Header
}

// newClient connects to addr from a loopback address.
func newClient(t *testing.T, addr, from string) *client {
	t.Helper()
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: netip.MustParseAddr(from).AsSlice()}}
	tr := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{
		base:   "http://shop.example",
		header: http.Header{"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"}},
		http: &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
}

// reply is a whole answer.
type reply struct {
	status          int
	header, trailer http.Header
	body            []byte
}

func (r *reply) id() string { return r.header.Get("X-Weir-Request-Id") }

// do performs one request; err is about the connection only.
func (c *client) do(ctx context.Context, method, target, body string, header http.Header) (*reply, error) {
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+target, in)
	if err != nil {
		return nil, err
	}
	for _, h := range []http.Header{c.header, header} {
		maps.Copy(req.Header, h)
	}
	if body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	return &reply{status: resp.StatusCode, header: resp.Header, trailer: resp.Trailer, body: buf.Bytes()}, nil
}

// get performs a request that must be answered.
func (c *client) get(t *testing.T, target string) *reply {
	t.Helper()
	r, err := c.do(t.Context(), http.MethodGet, target, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// post performs a request that must be answered.
func (c *client) post(t *testing.T, target, body string) *reply {
	t.Helper()
	r, err := c.do(t.Context(), http.MethodPost, target, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// guess tries one password for one account, as a stuffing tool does.
func guess(i int) string {
	return fmt.Sprintf(`{"user":"victim%04d@shop.example","password":"leaked-%d"}`, i, i)
}
