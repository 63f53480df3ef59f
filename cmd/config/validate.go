package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// checker collects faults.
type checker struct{ faults []*FileError }

func (k *checker) fault(path, format string, args ...any) {
	k.faults = append(k.faults, &FileError{Path: path, Text: fmt.Sprintf(format, args...)})
}

// Validate fills what depends on other keys, also of what was added since the files
// were read, and returns all faults, each with its YAML path.
func (c *Config) Validate() error {
	c.complete()
	var errs []error
	for _, f := range c.check() {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

func (c *Config) check() []*FileError {
	k := &checker{}
	if c.APIVersion != APIVersion {
		k.fault("apiVersion", "%q is not supported, want %q", c.APIVersion, APIVersion)
	}
	if c.Kind != Kind {
		k.fault("kind", "%q is no configuration, want %q", c.Kind, Kind)
	}
	if c.Data == "" {
		k.fault("data", "is required: a directory")
	}
	c.checkEngines(k)
	c.checkSites(k)
	c.checkEnforce(k)
	c.checkAllowlists(k)
	c.checkListeners(k)
	c.checkCollect(k)
	c.checkSinks(k)
	r := c.Retention
	if r.Cold < r.Events {
		k.fault("retention.cold", "%v is less than retention.events (%v): it counts from the event, both tiers together", r.Cold, r.Events)
	}
	k.positive("retention.events", time.Duration(r.Events))
	k.positive("retention.decisions", time.Duration(r.Decisions))
	if r.Log < 128<<20 { // as stream/broker has it
		k.fault("retention.log", "%v is less than 128MiB", r.Log)
	}
	if r.Disk < r.Log {
		k.fault("retention.disk", "%v is less than retention.log (%v)", r.Disk, r.Log)
	}
	if name, ok := strings.CutPrefix(c.Keys.Pseudonym, "env:"); ok && name == "" {
		k.fault("keys.pseudonym", "env: names no variable")
	}
	c.Process.check(k)
	return k.faults
}

func (p *Process) check(k *checker) {
	k.positive("process.every", time.Duration(p.Every))
	scheme, _, isURL := strings.Cut(p.Snapshots, "://")
	if isURL && scheme != "s3" {
		// Taken for a directory it would hold every processor's own snapshots.
		k.fault("process.snapshots", "%s:// is no place for snapshots: want a directory or s3://BUCKET/PREFIX", scheme)
	}
	bucket, prefix, inBucket := p.Bucket()
	if s := p.S3; !inBucket {
		if s != (S3{}) {
			k.fault("process.s3", "is set, but process.snapshots does not begin with s3://")
		}
		return
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789.-"
	if len(bucket) < 3 || len(bucket) > 63 || strings.Trim(bucket, letters) != "" || strings.ContainsAny(prefix, "?#") {
		k.fault("process.snapshots", "%q: want s3://BUCKET/PREFIX, the bucket of 3 to 63 lower-case letters, digits, . or -", p.Snapshots)
	}
	if p.S3.Endpoint != "" {
		k.url("process.s3.endpoint", p.S3.Endpoint, "https", "http")
	}
	if (p.S3.AccessKey == "") != (p.S3.SecretKey == "") {
		k.fault("process.s3", "needs both accessKey and secretKey, or none")
	}
}

// Bucket takes an s3:// address of snapshots apart.
func (p *Process) Bucket() (bucket, prefix string, ok bool) {
	rest, ok := strings.CutPrefix(p.Snapshots, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	return bucket, prefix, ok
}

func (k *checker) positive(path string, d time.Duration) {
	if d <= 0 {
		k.fault(path, "must be more than 0")
	}
}

func (c *Config) checkEngines(k *checker) {
	for i, b := range c.Kafka.Brokers {
		k.address(fmt.Sprintf("kafka.brokers[%d]", i), b, true)
	}
	for i, a := range c.ClickHouse.Addr {
		k.address(fmt.Sprintf("clickhouse.addr[%d]", i), a, true)
	}
	for i, a := range c.ClickHouse.HTTPAddr {
		k.address(fmt.Sprintf("clickhouse.httpAddr[%d]", i), a, true)
	}
	if p := c.ClickHouse.EmbeddedHTTP; p < 0 || p > 65535 {
		k.fault("clickhouse.embeddedHTTP", "%d is no port", p)
	}
	if c.Kafka.Partitions < 0 || c.Kafka.Partitions > 1024 {
		k.fault("kafka.partitions", "%d is not between 0 and 1024", c.Kafka.Partitions)
	}
	if c.Kafka.Replicas < 0 || c.Kafka.Replicas > 15 {
		k.fault("kafka.replicas", "%d is not between 0 and 15", c.Kafka.Replicas)
	}
	if s := c.Kafka.SASL; (s.Mechanism == "") != (s.Username == "") {
		k.fault("kafka.sasl", "needs both mechanism and username")
	}
	for path, t := range map[string]TLS{"kafka.tls": c.Kafka.TLS, "clickhouse.tls": c.ClickHouse.TLS} {
		k.clientTLS(path, t)
	}
}

func (k *checker) clientTLS(path string, t TLS) {
	if (t.Cert == "") != (t.Key == "") {
		k.fault(path, "needs both cert and key")
	}
	if !t.Enabled && (t.CA != "" || t.Cert != "" || t.ServerName != "") {
		k.fault(path+".enabled", "is false, but other keys of it are set: did you mean enabled: true?")
	}
}

func (k *checker) serverTLS(path string, t ServerTLS) {
	if (t.Cert == "") != (t.Key == "") {
		k.fault(path, "needs both cert and key")
	}
}

// address checks HOST:PORT; full needs a host and a port other than 0.
func (k *checker) address(path, s string, full bool) {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || full && (host == "" || n == 0) {
		k.fault(path, "%q is no HOST:PORT such as 127.0.0.1:8080", s)
	}
}

func (c *Config) checkSites(k *checker) {
	names, hosts := map[string]bool{}, map[string]string{}
	for i := range c.Sites {
		s := &c.Sites[i]
		path := fmt.Sprintf("sites[%d]", i)
		switch {
		case s.Name == "":
			k.fault(path+".name", "is required")
		case len(s.Name) > 64 || strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "":
			k.fault(path+".name", "%q must be letters, digits, - _ or ., at most 64", s.Name)
		case names[s.Name]:
			k.fault(path+".name", "%q is taken by an earlier site", s.Name)
		}
		names[s.Name] = true
		for j, h := range s.Hosts {
			at := fmt.Sprintf("%s.hosts[%d]", path, j)
			if strings.ContainsAny(h, "/: ") || h == "" || strings.Contains(strings.TrimPrefix(h, "*"), "*") {
				k.fault(at, "%q is no host name: no scheme, port or path, * at the beginning only", h)
			}
			if other, taken := hosts[strings.ToLower(h)]; taken {
				k.fault(at, "%q belongs to site %q already", h, other)
			}
			hosts[strings.ToLower(h)] = s.Name
		}
		if s.Upstream != "" {
			k.url(path+".upstream", s.Upstream, "http", "https", "h2c", "h2")
		}
		if s.RedirectTo != "" && !strings.HasPrefix(s.RedirectTo, "/") {
			k.url(path+".redirectTo", s.RedirectTo, "http", "https")
		}
		k.rollout(path, s.Rollout)
		var table flow.Table[int]
		for j, r := range s.Routes {
			at := fmt.Sprintf("%s.routes[%d]", path, j)
			if err := table.Add(r.Match.Method, r.Match.Path, j); err != nil {
				k.fault(at+".match", "%v", err)
			}
			k.rollout(at, r.Rollout)
		}
	}
}

func (k *checker) rollout(path string, percent int) {
	if percent < 0 || percent > 100 {
		k.fault(path+".rollout", "%d is not between 0 and 100", percent)
	}
}

func (k *checker) url(path, s string, schemes ...string) {
	u, err := url.Parse(s)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" {
		k.fault(path, "want a URL with %s, such as %s://127.0.0.1:9000", strings.Join(schemes, ", "), schemes[0])
		return
	}
	if u.User != nil {
		k.fault(path, "must not carry a user name or password")
	}
}

func (c *Config) checkEnforce(k *checker) {
	e := &c.Enforce
	if e.Listen != "" {
		k.address("enforce.listen", e.Listen, false)
	}
	k.serverTLS("enforce.tls", e.TLS)
	if e.BodyLimit <= 0 {
		k.fault("enforce.bodyLimit", "must be more than 0")
	}
	k.positive("enforce.timeouts.header", time.Duration(e.Timeouts.Header))
	k.positive("enforce.timeouts.idle", time.Duration(e.Timeouts.Idle))
	k.positive("enforce.timeouts.upstream", time.Duration(e.Timeouts.Upstream))
	k.positive("enforce.staleAfter", time.Duration(e.StaleAfter))
	e.Feed.check(k)
	if e.ProxyProtocol && len(e.TrustedProxies) == 0 {
		k.fault("enforce.proxyProtocol", "is expected from trusted proxies only: name them in enforce.trustedProxies")
	}
	if e.ClientHeader != "" && len(e.TrustedProxies) == 0 {
		k.fault("enforce.clientHeader", "is honoured from trusted proxies only: name them in enforce.trustedProxies")
	}
}

func (f *FeedClient) check(k *checker) {
	if f.URL == "" {
		if f.Key != "" || f.CA != "" {
			k.fault("enforce.feed.url", "is empty, but other keys of it are set")
		}
		return
	}
	k.url("enforce.feed.url", f.URL, "https", "http")
	u, err := url.Parse(f.URL)
	if err != nil {
		return
	}
	if u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "0")) {
		k.fault("enforce.feed.url", "must begin with https://: it carries a key and leaves this machine")
	}
	if u.Path != "" && u.Path != "/" && u.Path != FeedPath || u.RawQuery != "" {
		k.fault("enforce.feed.url", "must end with the port, or with %s", FeedPath)
	}
	if f.Key == "" {
		k.fault("enforce.feed.key", "is required: `weir enforcers add NAME` on the processor's machine prints one")
	}
}

// FeedPath is where the feed stands on feed.listen.
const FeedPath = "/v1/verdicts/stream"

func (c *Config) checkAllowlists(k *checker) {
	names := map[string]bool{}
	for i := range c.Allowlists {
		a := &c.Allowlists[i]
		path := fmt.Sprintf("allowlists[%d]", i)
		if a.Name == "" || names[a.Name] {
			k.fault(path+".name", "%q is empty or taken", a.Name)
		}
		names[a.Name] = true
		if len(a.Clients)+len(a.ASNs)+len(a.Accounts)+len(a.UserAgents) == 0 && !a.VerifiedBots {
			k.fault(path, "names nothing: want clients, asns, accounts, userAgents or verifiedBots")
		}
		for j, s := range a.Sites {
			k.site(c, fmt.Sprintf("%s.sites[%d]", path, j), s)
		}
		for j, p := range a.Clients {
			if p.IsValid() && p.Bits() == 0 {
				k.fault(fmt.Sprintf("%s.clients[%d]", path, j), "%v is everybody: switch enforce.mode to shadow instead", p)
			}
		}
	}
}

func (k *checker) site(c *Config, path, name string) {
	var names []string
	for i := range c.Sites {
		names = append(names, c.Sites[i].Name)
	}
	if !slices.Contains(names, name) {
		k.fault(path, "site %q is not declared%s", name, flow.Nearest(name, names))
	}
}

func (c *Config) checkListeners(k *checker) {
	k.serverTLS("feed.tls", c.Feed.TLS)
	used := map[string]string{}
	for _, l := range []struct{ path, listen string }{
		{"enforce.listen", c.Enforce.Listen},
		{"feed.listen", c.Feed.Listen},
		{"admin.listen", c.Admin.Listen},
	} {
		if l.listen == "" {
			continue
		}
		if l.path != "enforce.listen" {
			k.address(l.path, l.listen, false)
		}
		if other := used[l.listen]; other != "" && !strings.HasSuffix(l.listen, ":0") {
			k.fault(l.path, "%s is used by %s already", l.listen, other)
		}
		used[l.listen] = l.path
	}
	// A key that would do nothing is worse than one that is refused.
	for path, listen := range map[string]string{"lapi.listen": c.LAPI.Listen, "appsec.listen": c.AppSec.Listen} {
		if listen != "" {
			k.fault(path, "is not built yet: leave it empty; a proxy in front can pass requests through enforce.listen")
		}
	}
	if c.Feed.Listen != "" && c.Feed.TLS.Cert == "" && !loopback(c.Feed.Listen) {
		k.fault("feed.tls", "is required: the feed carries keys and leaves this machine on %s", c.Feed.Listen)
	}
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func (c *Config) checkCollect(k *checker) {
	seen := map[string]bool{}
	for i, l := range c.Collect.AccessLogs {
		path := fmt.Sprintf("collect.accessLogs[%d]", i)
		if l.Path == "" || seen[filepath.Clean(l.Path)] {
			k.fault(path+".path", "%q is empty or named twice", l.Path)
		}
		seen[filepath.Clean(l.Path)] = true
		if l.Site != "" {
			k.site(c, path+".site", l.Site)
		}
	}
}

func (c *Config) checkSinks(k *checker) {
	names := map[string]bool{}
	for i := range c.Sinks {
		s := &c.Sinks[i]
		path := fmt.Sprintf("sinks[%d]", i)
		if s.Name == "" || names[s.Name] {
			k.fault(path+".name", "%q is empty or taken", s.Name)
		}
		names[s.Name] = true
		switch s.Type {
		case "":
			k.fault(path+".type", "is required: file or webhook")
		case "file":
			if s.Path == "" {
				k.fault(path+".path", "is required for type file")
			}
		case "webhook":
			k.url(path+".url", s.URL, "http", "https")
		}
		for j, r := range s.Records {
			if r != "verdicts" && r != "decisions" {
				k.fault(fmt.Sprintf("%s.records[%d]", path, j), "%q is neither verdicts nor decisions", r)
			}
		}
		for j, site := range s.Sites {
			k.site(c, fmt.Sprintf("%s.sites[%d]", path, j), site)
		}
		k.clientTLS(path+".tls", s.TLS)
		if s.Keep < 0 {
			k.fault(path+".keep", "%d is less than 0", s.Keep)
		}
	}
}
