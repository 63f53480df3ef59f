package line

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/enforcer/ingress"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// Keyring loads the installation's pseudonym keys, making one at the first
// start.
func Keyring(cfg *config.Loaded) (*flow.Keyring, error) {
	keys, _, err := config.EnsureKeyring(cfg.Keys.Pseudonym, os.LookupEnv)
	return keys, err
}

// sharedKey makes sure that a part on a machine of its own has the installation's
// key: with a new one it would name everybody otherwise than the verdicts do,
// and nothing would ever match.
func sharedKey(cfg *config.Loaded) error {
	_, err := config.Keyring(cfg.Keys.Pseudonym, os.LookupEnv)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: copy it from the machine that runs weir process or weir up, and name it in keys.pseudonym: every part of an installation shares it", err)
	}
	return err
}

// ExistingKeyring loads the keys for a question about what is stored; making one
// would only give an answer that fits nothing.
func ExistingKeyring(cfg *config.Loaded) (*flow.Keyring, error) {
	keys, err := config.Keyring(cfg.Keys.Pseudonym, os.LookupEnv)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: weir up or weir process makes it at its first start; name its directory with --data", err)
	}
	return keys, err
}

// kafkaConnection is how to reach a configured Apache Kafka.
func kafkaConnection(k config.Kafka, client string) (stream.Connection, error) {
	c := stream.Connection{Brokers: k.Brokers, ClientID: "weir-" + client}
	var err error
	if c.TLS, err = clientTLS(k.TLS); err != nil {
		return c, fmt.Errorf("kafka.tls: %w", err)
	}
	if k.SASL.Mechanism != "" {
		c.SASL = &stream.SASL{Mechanism: k.SASL.Mechanism, User: k.SASL.Username, Password: k.SASL.Password}
	}
	return c, nil
}

// snapshotStore is where the engines' states are kept.
func snapshotStore(cfg *config.Loaded) (stream.SnapshotStore, error) {
	bucket, prefix, ok := cfg.Process.Bucket()
	if !ok {
		return stream.NewDirectory(cfg.Process.Snapshots), nil
	}
	s := &cfg.Process.S3
	trust, err := trusting(s.CA)
	if err != nil {
		return nil, fmt.Errorf("process.s3.ca: %w", err)
	}
	return stream.NewBucket(stream.BucketConfig{
		Endpoint: s.Endpoint, Region: s.Region, Bucket: bucket, Prefix: prefix, AccessKey: s.AccessKey, SecretKey: s.SecretKey, TLS: trust,
	})
}

// trusting is a client's TLS that trusts the authorities in a file, or the
// system's.
func trusting(ca string) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca == "" {
		return out, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("authorities: %w", err)
	}
	out.RootCAs = x509.NewCertPool()
	if !out.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	return out, nil
}

// clientTLS is nil when TLS is off.
func clientTLS(t config.TLS) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil //nolint:nilnil // nil is plain text
	}
	out, err := trusting(t.CA)
	if err != nil {
		return nil, err
	}
	out.ServerName = t.ServerName
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// mode reads a mode; the configuration has been checked.
func mode(s string) event.Mode {
	m, err := event.ParseMode(s)
	if err != nil {
		return event.ModeShadow
	}
	return m
}

// effectiveMode is what a site's requests are decided in: shadow wins. A site that
// is not declared, nil, has the mode of all.
func effectiveMode(cfg *config.Loaded, s *config.Site) event.Mode {
	if cfg.Enforce.KillSwitch || s != nil && mode(s.Mode) == event.ModeShadow || mode(cfg.Enforce.Mode) != event.ModeEnforce {
		return event.ModeShadow
	}
	return event.ModeEnforce
}

// hasUpstream reports whether the ingress has anything to protect.
func hasUpstream(cfg *config.Loaded) bool {
	for i := range cfg.Sites {
		if cfg.Sites[i].Upstream != "" {
			return true
		}
	}
	return false
}

// Watches reports whether the configuration names anything to watch.
func Watches(cfg *config.Loaded) bool { return hasUpstream(cfg) || len(cfg.Collect.AccessLogs) > 0 }

// capturePorts are the local ports the kernel source watches: the configured
// ones, else those of declared upstreams on this machine.
func capturePorts(cfg *config.Loaded) []uint16 {
	if len(cfg.Collect.EBPF.Ports) > 0 {
		return cfg.Collect.EBPF.Ports
	}
	var out []uint16
	for i := range cfg.Sites {
		u, err := url.Parse(cfg.Sites[i].Upstream)
		if err != nil || u.Host == "" || u.Scheme == "https" {
			continue
		}
		host, port := u.Hostname(), u.Port()
		if port == "" {
			port = "80"
		}
		if a, err := netip.ParseAddr(host); err == nil && !a.IsLoopback() && !isLocal(a) || err != nil && host != "localhost" {
			continue
		}
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			out = append(out, uint16(n))
		}
	}
	return out
}

func isLocal(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, n := range list {
		if p, err := netip.ParsePrefix(n.String()); err == nil && p.Addr().Unmap() == a.Unmap() {
			return true
		}
	}
	return false
}

// EnforcerConfig is how requests are decided in this installation; keys name the
// accounts of allowlists.
func EnforcerConfig(cfg *config.Loaded, keys *flow.Keyring) (enforcer.Config, error) {
	out := enforcer.Config{
		Mode: mode(cfg.Enforce.Mode), KillSwitch: cfg.Enforce.KillSwitch, StaleAfter: time.Duration(cfg.Enforce.StaleAfter),
		Actions: []event.Action{event.ActionRateLimit, event.ActionRedirect}, // challenge and rewrite come later
	}
	var errs []error
	for i := range cfg.Sites {
		s := &cfg.Sites[i]
		fail, err := enforcer.ParseFail(s.Fail)
		errs = append(errs, err)
		site := enforcer.Site{Name: s.Name, Fail: fail, Rollout: s.Rollout * 100, RedirectTo: s.RedirectTo}
		if s.Mode != "" {
			site.Mode = mode(s.Mode)
		}
		for _, r := range s.Routes {
			route := enforcer.Route{Method: r.Match.Method, Path: r.Match.Path, Rollout: r.Rollout * 100}
			route.Fail, err = enforcer.ParseFail(r.Fail)
			errs = append(errs, err)
			if r.Mode != "" {
				route.Mode = mode(r.Mode)
			}
			site.Routes = append(site.Routes, route)
		}
		out.Sites = append(out.Sites, site)
	}
	out.Allowlists = allowlists(cfg, keys)
	return out, errors.Join(errs...)
}

// allowlists returns the configured lists as an enforcer takes them.
func allowlists(cfg *config.Loaded, keys *flow.Keyring) (out []enforcer.Allowlist) {
	for i := range cfg.Allowlists {
		out = append(out, allowlist(&cfg.Allowlists[i], keys))
	}
	return out
}

func allowlist(a *config.Allowlist, keys *flow.Keyring) enforcer.Allowlist {
	out := enforcer.Allowlist{
		Name: a.Name, Reason: a.Reason, Sites: a.Sites, Clients: a.Clients, UserAgents: a.UserAgents,
		ASNs: a.ASNs, VerifiedBots: a.VerifiedBots,
	}
	if !a.Expires.IsZero() {
		out.Expires = a.Expires.UnixNano()
	}
	for _, name := range a.Accounts {
		out.Binds = append(out.Binds, verdict.Bind{Kind: "account", Value: keys.Pseudonym("account", name)})
	}
	return out
}

// Allowed returns the name of the allowlist that fits a client's address alone,
// or "".
func Allowed(cfg *config.Loaded, client netip.Addr) string {
	for i := range cfg.Allowlists {
		a := &cfg.Allowlists[i]
		for _, p := range a.Clients {
			if p.Contains(client.Unmap()) {
				return a.Name
			}
		}
	}
	return ""
}

// ingressConfig is how the ingress listens and forwards.
func ingressConfig(cfg *config.Loaded) ingress.Config {
	e := &cfg.Enforce
	out := ingress.DefaultConfig()
	out.Listen, out.CertFile, out.KeyFile = e.Listen, e.TLS.Cert, e.TLS.Key
	out.Mode, out.TrustedProxies, out.ClientHeader, out.ProxyProtocol = mode(e.Mode), e.TrustedProxies, e.ClientHeader, e.ProxyProtocol
	out.BodyLimit = int64(e.BodyLimit)
	t := &e.Timeouts
	out.Timeouts.Header, out.Timeouts.Idle, out.Timeouts.Upstream = time.Duration(t.Header), time.Duration(t.Idle), time.Duration(t.Upstream)
	out.Node, out.Enforcer = node(cfg), "ingress"
	for i := range cfg.Sites {
		s := &cfg.Sites[i]
		if s.Upstream == "" {
			continue
		}
		site := ingress.Site{Name: s.Name, Hosts: s.Hosts, Upstream: s.Upstream, FailClosed: s.Fail == "closed"}
		if s.Mode != "" {
			site.Mode = mode(s.Mode)
		}
		for _, r := range s.Routes {
			site.Routes = append(site.Routes, ingressRoute(r))
		}
		out.Sites = append(out.Sites, site)
	}
	return out
}

func ingressRoute(r config.Route) ingress.Route {
	out := ingress.Route{Method: r.Match.Method, Path: r.Match.Path, BodyLimit: int64(r.BodyLimit)}
	if r.Fail != "" {
		closed := r.Fail == "closed"
		out.FailClosed = &closed
	}
	if r.Mode != "" {
		out.Mode = mode(r.Mode)
	}
	if r.Unreadable != "" {
		reject := r.Unreadable == flow.UnreadableReject
		out.Unreadable = &reject
	}
	return out
}
