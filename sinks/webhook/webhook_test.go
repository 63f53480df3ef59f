package webhook_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/sinks/webhook"
)

var (
	ids  = []string{"a", "b"}
	docs = [][]byte{[]byte(`{"n":1}`), []byte(`{"n":2}`)}
)

func TestARequestCanBeRecognised(t *testing.T) {
	secret := []byte("shared secret")
	var got *http.Request
	var body []byte
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer srv.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	d, err := webhook.New(webhook.Config{URL: srv.URL + "/hook", Token: "tok", Secret: secret, Headers: map[string]string{"X-Source": "weir"}, CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Deliver(t.Context(), ids, docs); err != nil {
		t.Fatal(err)
	}
	if string(body) != `[{"n":1},{"n":2}]` || got.Method != http.MethodPost || got.URL.Path != "/hook" {
		t.Errorf("%s %s: %s", got.Method, got.URL, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Authorization": "Bearer tok", "X-Source": "weir", webhook.HeaderCount: "2",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	signature := got.Header.Get(webhook.HeaderSignature)
	at, err := strconv.ParseInt(strings.TrimPrefix(strings.Split(signature, ",")[0], "t="), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)) > time.Minute || signature != webhook.Sign(secret, time.Unix(at, 0), body) {
		t.Errorf("signature %q: %v", signature, err)
	}
	key := got.Header.Get(webhook.HeaderKey)
	if err := d.Deliver(t.Context(), ids, docs); err != nil || got.Header.Get(webhook.HeaderKey) != key || key == "" {
		t.Errorf("a repeated batch has the key %q, not %q (%v)", got.Header.Get(webhook.HeaderKey), key, err)
	}
	if err := d.Deliver(t.Context(), []string{"ab", ""}, docs); err != nil || got.Header.Get(webhook.HeaderKey) == key {
		t.Error("another batch has the same key")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheSignatureIsFixed(t *testing.T) {
	// printf 1700000000.body | openssl dgst -sha256 -hmac key
	const want = "t=1700000000,v1=47b6ce0fca59474308e2921c247cb2493dce6b8101d90ac05bd0c6a37d0e046e"
	got := webhook.Sign([]byte("key"), time.Unix(1_700_000_000, 0), []byte("body"))
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got == webhook.Sign([]byte("key"), time.Unix(1_700_000_001, 0), []byte("body")) || got == webhook.Sign([]byte("kez"), time.Unix(1_700_000_000, 0), []byte("body")) {
		t.Error("the signature does not depend on time and key")
	}
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		status    int
		after     string
		permanent bool
		pause     time.Duration
	}{
		{http.StatusBadRequest, "", true, 0},
		{http.StatusRequestEntityTooLarge, "", true, 0},
		{http.StatusUnprocessableEntity, "", true, 0},
		{http.StatusUnauthorized, "", false, 0},
		{http.StatusNotFound, "", false, 0},
		{http.StatusFound, "", false, 0},
		{http.StatusTooManyRequests, "7", false, 7 * time.Second},
		{http.StatusServiceUnavailable, time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat), false, 80 * time.Second},
		{http.StatusServiceUnavailable, "soon", false, 0},
		{http.StatusServiceUnavailable, "-5", false, 0},
	} {
		hits := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			hits++
			w.Header().Set("Retry-After", c.after)
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, strings.Repeat("no ", 100_000))
		}))
		d, err := webhook.New(webhook.Config{URL: srv.URL + "?token=secret"})
		if err != nil {
			t.Fatal(err)
		}
		err = d.Deliver(t.Context(), ids, docs)
		var r *webhook.RefusalError
		if !errors.As(err, &r) || r.Status != c.status || r.Permanent() != c.permanent || r.RetryAfter() < c.pause || c.pause == 0 && r.RetryAfter() != 0 || hits != 1 {
			t.Errorf("%d %q: %v, permanent %v, after %s, %d requests", c.status, c.after, err, r != nil && r.Permanent(), r.RetryAfter(), hits)
		}
		if len(err.Error()) > 400 || strings.Contains(err.Error(), "secret") {
			t.Errorf("the message is long or tells the URL's token: %v", err)
		}
		_ = d.Close()
		srv.Close()
	}
}

func TestFailuresOfTheNetworkAreTemporaryAndTellNoSecret(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	d, err := webhook.New(webhook.Config{URL: srv.URL + "?token=secret"})
	if err != nil {
		t.Fatal(err)
	}
	err = d.Deliver(t.Context(), ids, docs)
	var p interface{ Permanent() bool }
	if err == nil || errors.As(err, &p) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Deliver(ctx, ids, docs); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestFaultyConfigurationIsRefused(t *testing.T) {
	for name, c := range map[string]webhook.Config{
		"no host":            {URL: "https:///x"},
		"another scheme":     {URL: "ftp://host/"},
		"token in clear":     {URL: "http://siem.example/", Token: "x"},
		"a split header":     {URL: "https://siem.example/", Headers: map[string]string{"X": "a\r\nb"}},
		"rubbish as CA":      {URL: "https://siem.example/", CA: []byte("x")},
		"half a key pair":    {URL: "https://siem.example/", Certificate: []byte("x")},
		"a negative timeout": {URL: "https://siem.example/", Timeout: -1},
	} {
		if _, err := webhook.New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
