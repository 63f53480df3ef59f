// Package admin owns how weir's processes are asked about themselves: HTTP over
// a unix socket in the data directory (0600, may change state), the read-only
// listener on TCP, the client the command line uses, and the joining of several
// processes' metrics into one page.
//
// It promises that the TCP side answers only safe methods to a Host it knows
// (DNS rebinding), that a socket left by a dead process is replaced and one of
// a living process is not, and that handlers never see a body larger than
// maxBodyBytes.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof" // registers itself on a mux that nothing serves
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxBodyBytes bounds a request body: SQL text or one verdict.
const maxBodyBytes = 1 << 20

// Socket returns the path of a part's socket; the supervisor's is "weir".
func Socket(data, part string) string {
	if part == "weir" {
		return filepath.Join(data, "weir.sock")
	}
	return filepath.Join(data, "run", part+".sock")
}

// ServeUnix serves h on a unix socket at path until ctx ends. The socket's mode
// is 0600. It fails when a living process already serves there.
func ServeUnix(ctx context.Context, path string, h http.Handler) error {
	ln, err := listenUnix(ctx, path)
	if err != nil {
		return err
	}
	return Serve(ctx, ln, h)
}

func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("socket directory: %w", err)
	}
	if len(path) > 100 {
		return nil, fmt.Errorf("socket path %s is longer than the 100 bytes that unix sockets allow: choose a shorter --data directory", path)
	}
	var d net.Dialer
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("another weir already serves %s: stop it, or use another --data directory", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("stale socket: %w", err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("protect %s: %w", path, err)
	}
	return ln, nil
}

// ServeTCP serves the read-only side of h on addr until ctx ends and tells the
// bound address through ready.
func ServeTCP(ctx context.Context, addr string, h http.Handler, ready func(net.Addr)) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("admin listener: %w (choose another with --admin ADDR or admin.listen)", err)
	}
	ready(ln.Addr())
	return Serve(ctx, ln, ReadOnly(h))
}

// Serve serves h on ln, which it closes, until ctx ends.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(h, maxBodyBytes),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return fmt.Errorf("admin server: %w", err)
	case <-ctx.Done():
	}
	// Streams end with ctx (BaseContext); the rest gets a moment.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin server: %w", err)
	}
	return nil
}

// ReadOnly passes GET and HEAD for a loopback or literal-address Host only, so
// that a page in an operator's browser cannot reach it by rebinding a name.
func ReadOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "this listener is read-only; state changes go through the socket in the data directory", http.StatusMethodNotAllowed)
			return
		}
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
			http.Error(w, "unknown Host", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Profiler serves this process's /debug/pprof.
func Profiler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// JSON answers v, or err as {"error": ...} with the status that fits.
func JSON(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusInternalServerError
		if e, ok := errors.AsType[*Error](err); ok {
			status = e.Status
		}
		w.WriteHeader(status)
		v = map[string]string{"error": err.Error()}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the peer is gone when this fails
}

// Decode reads a request's JSON body into v: one value, no unknown fields. Its
// errors carry the status; bodies above maxBodyBytes give 413.
func Decode(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil && dec.More() {
		err = errors.New("more than one value")
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Errorf(http.StatusRequestEntityTooLarge, "request: more than %d bytes", large.Limit)
	}
	if err != nil {
		return Errorf(http.StatusBadRequest, "request: %w", err)
	}
	return nil
}

// Error is an error with an HTTP status.
type Error struct {
	Status int
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Err: fmt.Errorf(format, args...)}
}
