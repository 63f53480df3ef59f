package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"syscall"
)

// ErrNotRunning says that no weir serves the data directory.
var ErrNotRunning = errors.New("no weir is running there: start one with `weir up`, or name its directory with --data")

// Client talks to one socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client of the first of the sockets that somebody serves;
// it connects when used.
func NewClient(paths ...string) *Client {
	return &Client{path: paths[0], http: &http.Client{Transport: transport(paths...)}}
}

func transport(paths ...string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			var first error
			for _, path := range paths {
				c, err := d.DialContext(ctx, "unix", path)
				if err == nil {
					return c, nil
				}
				if first == nil {
					first = err
				}
			}
			return nil, first
		},
		MaxIdleConns: 4,
	}
}

// Open performs a request and returns the body of a 200 answer, for the caller
// to close. Any other status is an error with the server's words.
func (c *Client) Open(ctx context.Context, method, target string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://weir"+target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", target, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%s: %w", c.path, ErrNotRunning)
		}
		return nil, fmt.Errorf("ask the running weir: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes))
	if err != nil {
		return nil, fmt.Errorf("answer of the running weir: %w", err)
	}
	var e struct{ Error string }
	if json.Unmarshal(text, &e) == nil && e.Error != "" {
		return nil, &Error{Status: resp.StatusCode, Err: errors.New(e.Error)}
	}
	return nil, &Error{Status: resp.StatusCode, Err: fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))}
}

// Get decodes the JSON answer of a GET into v.
func (c *Client) Get(ctx context.Context, target string, v any) error {
	return c.do(ctx, http.MethodGet, target, nil, v)
}

// Post sends in as JSON and decodes the answer into out, unless that is nil.
func (c *Client) Post(ctx context.Context, target string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return c.do(ctx, http.MethodPost, target, body, out)
}

func (c *Client) do(ctx context.Context, method, target string, body []byte, out any) error {
	rc, err := c.Open(ctx, method, target, body)
	if err != nil {
		return err
	}
	defer func() { _ = rc.Close() }()
	if out == nil {
		return nil
	}
	dec := json.NewDecoder(rc)
	dec.UseNumber() // a table's 64-bit numbers would not survive as floats
	if err := dec.Decode(out); err != nil {
		return fmt.Errorf("answer of the running weir: %w", err)
	}
	return nil
}

// Forward returns a handler that passes requests on to the socket at path; the
// supervisor uses it to offer its parts' interfaces as its own.
func Forward(path string) http.Handler {
	target := &url.URL{Scheme: "http", Host: "weir"}
	return &httputil.ReverseProxy{
		Transport:     transport(path),
		FlushInterval: -1, // server-sent events must not wait for a full buffer
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			JSON(w, nil, Errorf(http.StatusServiceUnavailable, "the part that answers this is not running: %w", err))
		},
	}
}
