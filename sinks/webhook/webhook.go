// Package webhook delivers documents by HTTP POST.
//
// It promises that a receiver can tell weir's requests from others (HMAC over
// time and body), can recognise a repetition (the same key for the same batch,
// the same id for the same document), and sets the pace (Retry-After). It
// follows no redirect and reads a bounded part of the answer.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Header fields of a delivery.
const (
	// HeaderSignature is "t=UNIX,v1=HEX": HMAC-SHA-256 under the shared secret
	// of the decimal time, a full stop and the body. Receivers refuse old times.
	HeaderSignature = "X-Weir-Signature"
	// HeaderKey is the same for a repeated batch.
	HeaderKey = "Idempotency-Key"
	// HeaderCount is the number of documents.
	HeaderCount = "X-Weir-Documents"
)

// Config says where and how.
type Config struct {
	URL string
	// Headers are sent with each request.
	Headers map[string]string
	// Token, if set, is sent as "Authorization: Bearer".
	Token string
	// Secret, if set, signs each request.
	Secret []byte
	// Lines sends newline-delimited JSON (application/x-ndjson) instead of a
	// JSON array (application/json).
	Lines bool
	// Timeout of one delivery; default 10 s.
	Timeout time.Duration
	// CA, in PEM, replaces the system's certificate authorities. Certificate
	// and Key, in PEM, are the client's own.
	CA, Certificate, Key []byte
}

// Validate returns all faults.
func (c Config) Validate() error {
	var errs []error
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		errs = append(errs, fmt.Errorf("webhook sink: url %q: want http(s)://host/path", redact(c.URL)))
	case u.Scheme == "http" && (c.Token != "" || len(c.Headers) > 0) && !loopback(u.Hostname()):
		errs = append(errs, errors.New("webhook sink: a token or header would cross the network in the clear: use https"))
	}
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("webhook sink: timeout %s: want 0 or more", c.Timeout))
	}
	for name, value := range c.Headers {
		if name == "" || strings.ContainsAny(name, " \r\n:") || strings.ContainsAny(value, "\r\n") {
			errs = append(errs, fmt.Errorf("webhook sink: header %q cannot be sent", name))
		}
	}
	if _, err := c.tls(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// redact drops what may be secret in a URL.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)"
	}
	u.RawQuery = ""
	return u.Redacted()
}

func (c Config) tls() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CA) > 0 {
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, errors.New("webhook sink: no certificate in the CA file")
		}
	}
	if len(c.Certificate) > 0 || len(c.Key) > 0 {
		pair, err := tls.X509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return nil, fmt.Errorf("webhook sink: client certificate: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// Destination posts documents. It is not safe for concurrent use.
type Destination struct {
	cfg    Config
	client *http.Client
	body   bytes.Buffer
	now    func() time.Time
}

// New checks the configuration; nothing is sent before the first delivery.
func New(cfg Config) (*Destination, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	return &Destination{
		cfg: cfg, now: time.Now,
		client: &http.Client{
			Timeout: cfg.Timeout,
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true,
				MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: cfg.Timeout,
			},
			// A redirect would send documents and token to an address that nobody
			// has configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// RefusalError is an answer other than 2xx.
type RefusalError struct {
	Status int
	// Body is the beginning of the answer.
	Body  string
	after time.Duration
}

func (r *RefusalError) Error() string {
	hint := ""
	switch {
	case r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden:
		hint = " (is the sink's token right?)"
	case r.Status >= 300 && r.Status < 400:
		hint = " (a redirect is not followed: configure the final URL)"
	}
	return fmt.Sprintf("webhook sink: answered %d%s: %.200q", r.Status, hint, r.Body)
}

// Permanent says that the same documents would be refused again. Wrong keys and
// paths are an operator's to mend, and lose nothing meanwhile.
func (r *RefusalError) Permanent() bool {
	switch r.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// RetryAfter is the pause that the receiver asked for, 0 for none.
func (r *RefusalError) RetryAfter() time.Duration { return r.after }

// Deliver posts the documents in one request.
func (d *Destination) Deliver(ctx context.Context, ids []string, documents [][]byte) error {
	d.compose(documents)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.cfg.URL, bytes.NewReader(d.body.Bytes()))
	if err != nil {
		return fmt.Errorf("webhook sink: %w", err)
	}
	for name, value := range d.cfg.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/json")
	if d.cfg.Lines {
		req.Header.Set("Content-Type", "application/x-ndjson")
	}
	req.Header.Set("User-Agent", "weir")
	req.Header.Set(HeaderCount, strconv.Itoa(len(documents)))
	req.Header.Set(HeaderKey, key(ids))
	if d.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+d.cfg.Token)
	}
	if len(d.cfg.Secret) > 0 {
		req.Header.Set(HeaderSignature, Sign(d.cfg.Secret, d.now(), d.body.Bytes()))
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return fmt.Errorf("webhook sink: %w", withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &RefusalError{Status: resp.StatusCode, Body: string(answer), after: d.pause(resp.Header.Get("Retry-After"))}
	}
	return nil
}

// withoutURL drops the address from a client's error: it may hold a secret.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func (d *Destination) compose(documents [][]byte) {
	d.body.Reset()
	if d.cfg.Lines {
		for _, doc := range documents {
			d.body.Write(doc)
			d.body.WriteByte('\n')
		}
		return
	}
	d.body.WriteByte('[')
	for i, doc := range documents {
		if i > 0 {
			d.body.WriteByte(',')
		}
		d.body.Write(doc)
	}
	d.body.WriteByte(']')
}

// key names a batch by its documents.
func key(ids []string) string {
	h := sha256.New()
	for _, id := range ids {
		_, _ = io.WriteString(h, id) // a hash takes everything
		_, _ = h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// pause reads Retry-After (RFC 9110 10.2.3): seconds or a date.
func (d *Destination) pause(s string) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(t.Sub(d.now()), 0)
	}
	return 0
}

// Sign returns the signature of a body at a time.
func Sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, secret)
	_, _ = io.WriteString(m, t+".")
	_, _ = m.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// Sync does nothing: a 2xx answer says that the receiver has the documents.
func (d *Destination) Sync() error { return nil }

// Close ends idle connections.
func (d *Destination) Close() error {
	d.client.CloseIdleConnections()
	return nil
}
