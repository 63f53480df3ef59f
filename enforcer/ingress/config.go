package ingress

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// Bounds that no configuration changes.
const (
	// maxCapture bounds the request and response body bytes that extraction
	// sees (CONTRACTS.md section 7).
	maxCapture = flow.MaxBody
	// maxTrailerBytes bounds the trailer section of a chunked message. net/http
	// takes less than its buffer of 4 KiB and would not say why.
	maxTrailerBytes = 3 << 10
	// maxResponseHead bounds the head of an upstream's response.
	maxResponseHead = 256 << 10
	// partialAfter is when an exchange that still runs gives its event.
	partialAfter = 5 * time.Second
)

// Config says where to listen, whom to believe and which sites to serve.
type Config struct {
	// Listen is the TCP address, "127.0.0.1:8080". It is not reloadable.
	Listen string
	// CertFile and KeyFile hold PEM; both empty: plain HTTP. They are read again
	// when either changes.
	CertFile, KeyFile string
	// Mode is the mode of all sites; ModeShadow wins over a site's ModeEnforce.
	Mode event.Mode
	// TrustedProxies are the peers whose forwarding fields are believed.
	TrustedProxies []netip.Prefix
	// ClientHeader names a field that carries the client's address
	// ("CF-Connecting-IP"), believed from trusted proxies only.
	ClientHeader string
	// ProxyProtocol makes a PROXY header (v1 or v2) required from trusted
	// proxies; with no TrustedProxies, from every peer.
	ProxyProtocol bool
	// BodyLimit bounds a request body in bytes; 0 is the default, negative is no
	// bound.
	BodyLimit int64
	// HeadLimit bounds a request head in bytes, MaxFields its field lines.
	HeadLimit, MaxFields int
	Timeouts             Timeouts
	// MaxUpstreamConns bounds the connections to one upstream.
	MaxUpstreamConns int
	// MaxConns bounds the client connections; more wait in the accept queue.
	MaxConns int
	// DrainTimeout bounds how long a stop waits for requests in flight.
	DrainTimeout time.Duration
	// Node names this machine in events; Enforcer is the metrics label.
	Node, Enforcer string
	Sites          []Site
}

// Timeouts of the front and the way to the upstream.
type Timeouts struct {
	// Header bounds the time from a head's first byte to its last, and a TLS
	// handshake.
	Header time.Duration
	// Idle bounds the wait for the next request, and how long a client may
	// neither send nor take a byte of a body.
	Idle time.Duration
	// Upstream bounds the wait for a response head and between two reads of a
	// response body that is no event stream.
	Upstream time.Duration
	// Connect bounds the way to an upstream connection, queueing included.
	Connect time.Duration
}

// Site is one protected application.
type Site struct {
	Name string
	// Hosts are names without port; "*" serves what no other site names,
	// "*.example.org" all names below example.org.
	Hosts []string
	// Upstream is the application's address: http and https speak HTTP/1.1,
	// h2c and h2 speak HTTP/2. gRPC requests use HTTP/2 with any of them.
	Upstream string
	// FailClosed refuses requests that cannot be decided.
	FailClosed bool
	// Mode of the site; ModeNone takes Config.Mode.
	Mode   event.Mode
	Routes []Route
}

// Route overrides the site's settings; the first that matches counts.
type Route struct {
	// Method is empty for all.
	Method string
	// Path is a template: literal segments, "{name}" for one segment, a final
	// "/*" for everything below. It is matched against the decoded, cleaned path.
	Path string
	// FailClosed nil takes the site's.
	FailClosed *bool
	Mode       event.Mode
	// BodyLimit 0 takes Config.BodyLimit.
	BodyLimit int64
	// Unreadable overrides what the flow map says about requests whose claims
	// cannot be read: true answers 413 in enforce mode, false passes them. nil
	// leaves it to the map.
	Unreadable *bool
}

// DefaultConfig returns the settings of CONTRACTS.md section 3.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:8080", Mode: event.ModeShadow, BodyLimit: 10 << 20, HeadLimit: 64 << 10, MaxFields: 200,
		Timeouts:         Timeouts{Header: 10 * time.Second, Idle: time.Minute, Upstream: time.Minute, Connect: 5 * time.Second},
		MaxUpstreamConns: 512, MaxConns: 20000, DrainTimeout: 30 * time.Second, Enforcer: "ingress",
	}
}

// Validate reports all faults with their configuration path.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if (c.CertFile == "") != (c.KeyFile == "") {
		bad("enforce.tls: cert and key must be given together")
	}
	if strings.ContainsAny(c.ClientHeader, " :\r\n\t") {
		bad("enforce.clientHeader: %q is no field name", c.ClientHeader)
	}
	if c.HeadLimit < 1024 || c.HeadLimit > 1<<20 {
		bad("enforce.headLimit: %d is outside 1 KiB to 1 MiB", c.HeadLimit)
	}
	if c.MaxFields < 16 {
		bad("enforce.maxFields: %d is below 16", c.MaxFields)
	}
	if c.MaxUpstreamConns < 1 || c.MaxConns < 1 {
		bad("enforce: maxUpstreamConns and maxConns must be positive")
	}
	for _, t := range []struct {
		name string
		d    time.Duration
	}{
		{"header", c.Timeouts.Header},
		{"idle", c.Timeouts.Idle},
		{"upstream", c.Timeouts.Upstream},
		{"connect", c.Timeouts.Connect},
	} {
		if t.d <= 0 {
			bad("enforce.timeouts.%s: %v must be positive", t.name, t.d)
		}
	}
	hosts := map[string]string{}
	names := map[string]bool{}
	for i, s := range c.Sites {
		at := fmt.Sprintf("sites[%d]", i)
		if s.Name == "" {
			bad("%s.name: must not be empty", at)
		}
		if names[s.Name] {
			bad("%s.name: %q is used twice", at, s.Name)
		}
		names[s.Name] = true
		if len(s.Hosts) == 0 {
			bad("%s.hosts: name at least one host, or \"*\" for all", at)
		}
		for _, h := range s.Hosts {
			h = strings.ToLower(h)
			if other, ok := hosts[h]; ok {
				bad("%s.hosts: %q belongs to site %q already", at, h, other)
			}
			hosts[h] = s.Name
		}
		errs = append(errs, validateUpstream(at, s.Upstream)...)
		for j, r := range s.Routes {
			if !strings.HasPrefix(r.Path, "/") {
				bad("%s.routes[%d].match.path: %q must begin with /", at, j, r.Path)
			}
		}
	}
	return errors.Join(errs...)
}

func validateUpstream(at, raw string) []error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return []error{fmt.Errorf("%s.upstream: %w", at, err)}
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c" && u.Scheme != "h2":
		return []error{fmt.Errorf("%s.upstream: scheme %q is none of http, https, h2c, h2", at, u.Scheme)}
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return []error{fmt.Errorf("%s.upstream: want SCHEME://HOST[:PORT], got %q", at, raw)}
	case u.Path != "" && u.Path != "/":
		return []error{fmt.Errorf("%s.upstream: a path (%q) is not supported, requests keep theirs", at, u.Path)}
	}
	return nil
}
