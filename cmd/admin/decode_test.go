package admin

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestRequestBodiesAreBounded goes over the real socket, which is where the
// bound stands.
func TestRequestBodiesAreBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	path := filepath.Join(t.TempDir(), "s.sock")
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q VerdictRequest
		err := Decode(r, &q)
		JSON(w, q.Reason, err)
	})
	ln, err := listenUnix(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, h) }()
	c := NewClient(path)
	for _, x := range []struct {
		name, body string
		status     int
	}{
		{"a small one", `{"reason":"x"}`, 0},
		{"one at the bound", `{"reason":"` + strings.Repeat("x", maxBodyBytes-13) + `"}`, 0},
		{"one above it", `{"reason":"` + strings.Repeat("x", maxBodyBytes) + `"}`, http.StatusRequestEntityTooLarge},
		{"an unknown field", `{"reson":"x"}`, http.StatusBadRequest},
		{"two values", `{"reason":"x"}{}`, http.StatusBadRequest},
		{"no JSON", `reason`, http.StatusBadRequest},
		{"nothing", ``, http.StatusBadRequest},
	} {
		body, err := c.Open(ctx, http.MethodPost, "/", []byte(x.body))
		if err == nil {
			_ = body.Close()
		}
		status := 0
		if e, ok := errors.AsType[*Error](err); ok {
			status = e.Status
		}
		if status != x.status || err != nil && x.status == 0 {
			t.Errorf("%s: status %d, %v", x.name, status, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
