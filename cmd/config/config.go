// Package config owns the installation's configuration: it reads weir.yaml and
// flow maps strictly (an unknown key is an error with file, line and the nearest
// known key), interpolates the environment, applies weir.yaml.local, states
// defaults, reports all faults at once, prints what is in effect without
// secrets, writes the JSON schema, tells which changes a running process can
// take, and loads or makes the pseudonym key.
//
// It promises that a configuration it returns is valid and that no error or
// print shows a password or key. It starts nothing, opens no port and changes
// no file but a missing key.
package config

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// The fixed head of a configuration file.
const (
	APIVersion = "weir/v1"
	Kind       = "Config"
)

// Config is weir.yaml. Tags: yaml names the key, doc explains it in the schema,
// enum lists the values, secret hides it when printed, and reload:"yes" marks
// what a running process takes over on SIGHUP; for everything else it says that
// a restart is needed.
type Config struct {
	APIVersion string      `yaml:"apiVersion" doc:"always weir/v1" enum:"weir/v1"`
	Kind       string      `yaml:"kind" doc:"always Config" enum:"Config"`
	Data       string      `yaml:"data" doc:"directory of embedded engines, snapshots and keys (0700)"`
	Node       string      `yaml:"node" doc:"name of this machine on events; default the host name"`
	Kafka      Kafka       `yaml:"kafka" doc:"Apache Kafka; without brokers the embedded log is used"`
	ClickHouse ClickHouse  `yaml:"clickhouse" doc:"ClickHouse; without addr the embedded engine is used"`
	Sites      []Site      `yaml:"sites" doc:"the protected applications" reload:"yes"`
	Enforce    Enforce     `yaml:"enforce" doc:"the ingress"`
	Allowlists []Allowlist `yaml:"allowlists" doc:"requests that are never acted on" reload:"yes"`
	Feed       Feed        `yaml:"feed" doc:"verdict feed for enforcers on other machines"`
	LAPI       Listener    `yaml:"lapi" doc:"CrowdSec compatible decisions feed; not built yet"`
	AppSec     Listener    `yaml:"appsec" doc:"CrowdSec AppSec compatible endpoint; not built yet"`
	Retention  Retention   `yaml:"retention" doc:"how long and how much is kept"`
	Collect    Collect     `yaml:"collect" doc:"collectors"`
	Sinks      []Sink      `yaml:"sinks" doc:"destinations of verdicts and decisions" reload:"yes"`
	Admin      Admin       `yaml:"admin" doc:"health, metrics and status; read-only"`
	Keys       Keys        `yaml:"keys" doc:"keys that all nodes of an installation share"`
	Process    Process     `yaml:"process" doc:"the processor"`
	Lookup     Lookup      `yaml:"lookup" doc:"data about client addresses, looked up at capture" reload:"yes"`
}

// Kafka is how to reach Apache Kafka.
type Kafka struct {
	Brokers []string `yaml:"brokers" doc:"HOST:PORT of some brokers; empty uses the embedded log"`
	TLS     TLS      `yaml:"tls" doc:"TLS towards the brokers"`
	SASL    SASL     `yaml:"sasl" doc:"authentication"`
	// Partitions and Replicas apply to topics that weir creates.
	Partitions int `yaml:"partitions" doc:"partitions of topics that weir creates; 0 is 8 on brokers and 1 embedded"`
	Replicas   int `yaml:"replicas" doc:"replicas of topics that weir creates; 0 is the brokers' default"`
}

// TLS is the client's side of a TLS connection.
type TLS struct {
	Enabled    bool   `yaml:"enabled" doc:"use TLS"`
	CA         string `yaml:"ca" doc:"file with the authorities to trust; default the system's"`
	Cert       string `yaml:"cert" doc:"file with the client certificate"`
	Key        string `yaml:"key" doc:"file with the client key"`
	ServerName string `yaml:"serverName" doc:"name that the server must prove; default its host"`
}

// SASL authenticates with Kafka.
type SASL struct {
	Mechanism string `yaml:"mechanism" doc:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty is none" enum:"PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"`
	Username  string `yaml:"username" doc:"user name"`
	Password  string `yaml:"password" doc:"password" secret:"yes"`
}

// ClickHouse is how to reach a ClickHouse server or cluster.
type ClickHouse struct {
	Addr            []string `yaml:"addr" doc:"native HOST:PORT; empty uses the embedded engine"`
	HTTPAddr        []string `yaml:"httpAddr" doc:"HTTP HOST:PORT for inserts; default the hosts of addr with port 8123, with TLS 8443"`
	Username        string   `yaml:"username" doc:"owner of the database"`
	Password        string   `yaml:"password" doc:"its password" secret:"yes"`
	AnalystUsername string   `yaml:"analystUsername" doc:"read-only user that runs people's queries"`
	AnalystPassword string   `yaml:"analystPassword" doc:"its password" secret:"yes"`
	TLS             TLS      `yaml:"tls" doc:"TLS towards the server"`
	Cluster         string   `yaml:"cluster" doc:"cluster name for replicated tables"`
	// EmbeddedHTTP is the embedded engine's HTTP port; 0 is a free one.
	EmbeddedHTTP int `yaml:"embeddedHTTP" doc:"port of the embedded engine for SQL clients and Grafana; 0 is a free one"`
}

// Site is one protected application.
type Site struct {
	Name     string   `yaml:"name" doc:"name of the application"`
	Hosts    []string `yaml:"hosts" doc:"host names; * is all, *.shop.example all below"`
	Upstream string   `yaml:"upstream" doc:"where the application listens, such as http://127.0.0.1:9000"`
	Flows    string   `yaml:"flows" doc:"file with the flow map, relative to this file"`
	Fail     string   `yaml:"fail" doc:"what happens to requests that cannot be decided" enum:"open,closed"`
	Mode     string   `yaml:"mode" doc:"narrows enforce.mode for the site" enum:"shadow,enforce"`
	// Rollout is the share of actors that verdicts act on; the others are
	// decided as in shadow.
	Rollout    int     `yaml:"rollout" doc:"per cent of actors that verdicts act on, 1 to 100; default 100"`
	RedirectTo string  `yaml:"redirectTo" doc:"where redirected requests are sent"`
	Routes     []Route `yaml:"routes" doc:"overrides per route; the first that fits counts"`
}

// Route overrides a site's settings for some requests.
type Route struct {
	Match      flow.Match `yaml:"match" doc:"which requests"`
	Fail       string     `yaml:"fail" doc:"what happens to requests that cannot be decided" enum:"open,closed"`
	Mode       string     `yaml:"mode" doc:"narrows the site's mode" enum:"shadow,enforce"`
	Rollout    int        `yaml:"rollout" doc:"per cent of actors that verdicts act on, 1 to 100; default the site's"`
	BodyLimit  Size       `yaml:"bodyLimit" doc:"largest request body; 0 is enforce.bodyLimit"`
	Unreadable string     `yaml:"unreadable" doc:"what happens when the flow map's claims cannot be read; reject answers 413" enum:"pass,reject"`
}

// Enforce is the ingress.
type Enforce struct {
	Listen         string         `yaml:"listen" doc:"HOST:PORT of the ingress"`
	TLS            ServerTLS      `yaml:"tls" doc:"certificate; read again when the files change"`
	Mode           string         `yaml:"mode" doc:"shadow records what would happen, enforce acts" enum:"shadow,enforce" reload:"yes"`
	KillSwitch     bool           `yaml:"killSwitch" doc:"pass every request and record what would have happened" reload:"yes"`
	TrustedProxies []netip.Prefix `yaml:"trustedProxies" doc:"peers whose forwarding headers are believed" reload:"yes"`
	ClientHeader   string         `yaml:"clientHeader" doc:"header with the client's address, honoured from trusted proxies only" reload:"yes"`
	ProxyProtocol  bool           `yaml:"proxyProtocol" doc:"expect the PROXY protocol from trusted proxies"`
	BodyLimit      Size           `yaml:"bodyLimit" doc:"largest request body" reload:"yes"`
	Timeouts       Timeouts       `yaml:"timeouts" doc:"time limits"`
	StaleAfter     Duration       `yaml:"staleAfter" doc:"a verdict feed older than this counts as absent for fail: closed" reload:"yes"`
	Feed           FeedClient     `yaml:"feed" doc:"where an ingress that does not read the log gets verdicts"`
}

// FeedClient is where an ingress on another machine gets its verdicts instead of
// from the log.
type FeedClient struct {
	URL string `yaml:"url" doc:"https://HOST:PORT of the processor's feed.listen; empty reads verdicts from the log"`
	Key string `yaml:"key" doc:"key that weir enforcers add printed" secret:"yes"`
	CA  string `yaml:"ca" doc:"file with the authorities to trust; default the system's"`
}

// ServerTLS is a server's certificate.
type ServerTLS struct {
	Cert string `yaml:"cert" doc:"file with the certificate chain, PEM"`
	Key  string `yaml:"key" doc:"file with its key, PEM"`
}

// Timeouts of the ingress.
type Timeouts struct {
	Header   Duration `yaml:"header" doc:"to read a request's head"`
	Idle     Duration `yaml:"idle" doc:"between requests of a connection"`
	Upstream Duration `yaml:"upstream" doc:"until the application's answer begins"`
}

// Allowlist names requests that are never acted on: every criterion that is
// given must fit, any value within one does.
type Allowlist struct {
	Name         string         `yaml:"name" doc:"stands in decision records"`
	Sites        []string       `yaml:"sites" doc:"limits the list to some sites"`
	Clients      []netip.Prefix `yaml:"clients" doc:"addresses and networks"`
	ASNs         []uint32       `yaml:"asns" doc:"autonomous systems"`
	Accounts     []string       `yaml:"accounts" doc:"account names"`
	UserAgents   []string       `yaml:"userAgents" doc:"exact, or ending in *; anybody can send them"`
	VerifiedBots bool           `yaml:"verifiedBots" doc:"search bots whose address was verified"`
	Reason       string         `yaml:"reason" doc:"why"`
	Expires      time.Time      `yaml:"expires" doc:"RFC 3339 time or date; without it, never"`
}

// Feed serves verdicts to enforcers on other machines.
type Feed struct {
	Listen string    `yaml:"listen" doc:"HOST:PORT; empty is off"`
	TLS    ServerTLS `yaml:"tls" doc:"certificate; required unless the address is loopback"`
}

// Listener is a service with an address.
type Listener struct {
	Listen string `yaml:"listen" doc:"HOST:PORT; empty is off"`
}

// Admin is the read-only listener.
type Admin struct {
	Listen string `yaml:"listen" doc:"HOST:PORT; empty is off"`
	PProf  bool   `yaml:"pprof" doc:"serve /debug/pprof, of the part that ?part=NAME says"`
}

// Retention bounds what is kept.
type Retention struct {
	Events    Duration `yaml:"events" doc:"events on the hot tier"`
	Cold      Duration `yaml:"cold" doc:"events in all, hot and cold"`
	Decisions Duration `yaml:"decisions" doc:"decisions and verdicts"`
	Log       Size     `yaml:"log" doc:"embedded log"`
	Disk      Size     `yaml:"disk" doc:"data directory in all"`
}

// Collect is what is captured beside the ingress.
type Collect struct {
	EBPF       EBPF        `yaml:"ebpf" doc:"capture from unmodified servers in the kernel"`
	AccessLogs []AccessLog `yaml:"accessLogs" doc:"access logs to follow"`
}

// EBPF is the kernel collector.
type EBPF struct {
	Enabled string   `yaml:"enabled" doc:"auto uses it where the kernel allows" enum:"auto,on,off"`
	Ports   []uint16 `yaml:"ports" doc:"local ports; empty is the ports of the sites' upstreams"`
}

// AccessLog is one followed log file.
type AccessLog struct {
	Path   string `yaml:"path" doc:"file; rotation is followed"`
	Format string `yaml:"format" doc:"format of its lines" enum:"combined,common,json,exchange"`
	Site   string `yaml:"site" doc:"site of its requests; default by host"`
}

// Sink is a destination of verdicts and decisions.
type Sink struct {
	Name   string `yaml:"name" doc:"name in metrics and messages"`
	Type   string `yaml:"type" doc:"kind of destination" enum:"file,webhook"`
	Format string `yaml:"format" doc:"form of the records" enum:"ocsf,json"`
	Path   string `yaml:"path" doc:"file (type file)"`
	// MaxBytes and Keep rotate a file.
	MaxBytes Size              `yaml:"maxBytes" doc:"size at which the file is rotated; 0 is 100MiB"`
	Keep     int               `yaml:"keep" doc:"rotated files to keep; 0 is 5"`
	URL      string            `yaml:"url" doc:"address (type webhook)"`
	Headers  map[string]string `yaml:"headers" doc:"header fields to send" secret:"yes"`
	Token    string            `yaml:"token" doc:"bearer token" secret:"yes"`
	Sites    []string          `yaml:"sites" doc:"limits the sink to some sites"`
	Records  []string          `yaml:"records" doc:"verdicts, decisions; default both"`
	Timeout  Duration          `yaml:"timeout" doc:"of one delivery; 0 is 10s"`
	TLS      TLS               `yaml:"tls" doc:"TLS towards the destination"`
}

// Keys are shared by all nodes of an installation.
type Keys struct {
	// Pseudonym is a file, or env:NAME for an environment variable.
	Pseudonym string `yaml:"pseudonym" doc:"file of the pseudonym key, or env:NAME; default DATA/keys/pseudonym"`
}

// Process is the processor.
type Process struct {
	Snapshots string   `yaml:"snapshots" doc:"directory, or s3://BUCKET/PREFIX, that all processors reach; default DATA/snapshots"`
	S3        S3       `yaml:"s3" doc:"the object store of an s3:// address"`
	Every     Duration `yaml:"every" doc:"time between snapshots; a restart after a crash reads again at most this much, or 2,000,000 events"`
}

// S3 is how to reach an S3-compatible object store.
type S3 struct {
	Endpoint  string `yaml:"endpoint" doc:"https://HOST[:PORT]; default Amazon S3"`
	Region    string `yaml:"region" doc:"region, where the store asks for one"`
	AccessKey string `yaml:"accessKey" doc:"key id; default from AWS_ACCESS_KEY_ID, ~/.aws/credentials or the machine's role"`
	SecretKey string `yaml:"secretKey" doc:"its secret" secret:"yes"`
	CA        string `yaml:"ca" doc:"file with the authorities to trust; default the system's"`
}

// Lookup is data about client addresses.
type Lookup struct {
	ASN          string `yaml:"asn" doc:"file, relative to this one: first address, last address, AS number, country (tab separated, as iptoasn.com; .gz is unpacked)"`
	VerifiedBots string `yaml:"verifiedBots" doc:"file, relative to this one: network and bot name (tab separated), or *.domain and bot name for verification by reverse and forward DNS"`
}

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		APIVersion: APIVersion, Kind: Kind, Data: "./weir-data",
		Enforce: Enforce{
			Listen: "127.0.0.1:8080", Mode: "shadow", BodyLimit: 10 << 20, StaleAfter: Duration(10 * time.Minute),
			Timeouts: Timeouts{Header: Duration(10 * time.Second), Idle: Duration(time.Minute), Upstream: Duration(time.Minute)},
		},
		Retention: Retention{
			Events: days(30), Cold: days(90), Decisions: days(90), Log: 2 << 30, Disk: 50 << 30,
		},
		Collect: Collect{EBPF: EBPF{Enabled: "auto"}},
		Admin:   Admin{Listen: "127.0.0.1:6060"},
		Process: Process{Every: Duration(5 * time.Minute)},
	}
}

func days(n int) Duration { return Duration(time.Duration(n) * 24 * time.Hour) }

// Places below the data directory.
const (
	defaultKey       = "/keys/pseudonym"
	defaultSnapshots = "/snapshots"
)

// complete fills what depends on other keys.
func (c *Config) complete() {
	if c.Keys.Pseudonym == "" {
		c.Keys.Pseudonym = c.Data + defaultKey
	}
	if c.Process.Snapshots == "" {
		c.Process.Snapshots = c.Data + defaultSnapshots
	}
	for i := range c.Sites {
		s := &c.Sites[i]
		if s.Fail == "" {
			s.Fail = "open"
		}
		s.Rollout = cmp.Or(s.Rollout, 100)
		for j := range s.Routes {
			s.Routes[j].Rollout = cmp.Or(s.Routes[j].Rollout, s.Rollout)
		}
	}
	for i := range c.Collect.AccessLogs {
		if c.Collect.AccessLogs[i].Format == "" {
			c.Collect.AccessLogs[i].Format = "combined"
		}
	}
	for i := range c.Sinks {
		if c.Sinks[i].Format == "" {
			c.Sinks[i].Format = "ocsf"
		}
	}
}
