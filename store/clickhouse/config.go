package clickhouse

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Database is the name of weir's database.
const Database = "weir"

// Config says where the server is and how long rows are kept.
type Config struct {
	// Addr are the native addresses (HOST:PORT, usually 9000, with TLS 9440);
	// the first that answers is used (clickhouse.addr).
	Addr []string
	// HTTPAddr are the HTTP addresses for inserts. Empty: the hosts of Addr with
	// port 8123, with TLS 8443 (clickhouse.httpAddr).
	HTTPAddr []string
	// Username and Password own the database.
	Username string
	Password string
	// AnalystUsername and AnalystPassword run people's queries. Empty: they run
	// as Username with readonly=1 and the limits sent along.
	AnalystUsername string
	AnalystPassword string
	// TLS is used for both protocols; nil is plain text.
	TLS *tls.Config
	// Cluster names a cluster with one shard and macros {shard} and {replica}:
	// statements run ON CLUSTER and tables are replicated. Empty for one server.
	Cluster string
	// StoragePolicy has the volumes default (the disk that tables are on without
	// it) and cold; where the server has no such policy, rows stay on one disk
	// until they expire. Default "weir".
	StoragePolicy string
	Retention     Retention
	// DialTimeout bounds a connection (default 5 s), InsertTimeout one insert
	// whose context has no deadline (default 60 s), QueryTimeout a person's
	// query on a server without an analyst user (default 10 s).
	DialTimeout   time.Duration
	InsertTimeout time.Duration
	QueryTimeout  time.Duration
	// Metrics receives weir_store_inserts_total and weir_store_insert_seconds;
	// nil exports none. Two Stores cannot share one.
	Metrics prometheus.Registerer
}

// Retention says how long rows are kept; the configuration's retention.
type Retention struct {
	// Events is the age at which events move to the cold volume, or, when Cold
	// is not longer, are deleted. Default 30 days.
	Events time.Duration
	// Cold is the age at which events and roll-ups are deleted. Default 90 days.
	Cold time.Duration
	// Decisions is the age at which decisions, verdicts and losses are deleted.
	// Default 90 days.
	Decisions time.Duration
}

const day = 24 * time.Hour

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.Retention.Events, 30*day)
	set(&c.Retention.Cold, max(90*day, c.Retention.Events))
	set(&c.Retention.Decisions, 90*day)
	set(&c.DialTimeout, 5*time.Second)
	set(&c.InsertTimeout, time.Minute)
	set(&c.QueryTimeout, 10*time.Second)
	if c.StoragePolicy == "" {
		c.StoragePolicy = "weir"
	}
	if len(c.HTTPAddr) == 0 {
		port := "8123"
		if c.TLS != nil {
			port = "8443"
		}
		for _, addr := range c.Addr {
			if host, _, err := net.SplitHostPort(addr); err == nil {
				c.HTTPAddr = append(c.HTTPAddr, net.JoinHostPort(host, port))
			}
		}
	}
	return c
}

// identifier is what may stand in a statement without quotes.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// Validate returns all faults of the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	add := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	add(len(c.Addr) > 0, "clickhouse.addr: no address")
	for _, addr := range append(append([]string(nil), c.Addr...), c.HTTPAddr...) {
		_, _, err := net.SplitHostPort(addr)
		add(err == nil, "clickhouse.addr: %q is not HOST:PORT", addr)
	}
	add(c.Username != "", "clickhouse.username: missing")
	add(c.Cluster == "" || identifier.MatchString(c.Cluster), "clickhouse.cluster: %q is not a plain name", c.Cluster)
	add(identifier.MatchString(c.StoragePolicy), "clickhouse.storagePolicy: %q is not a plain name", c.StoragePolicy)
	for path, d := range map[string]time.Duration{
		"events": c.Retention.Events, "cold": c.Retention.Cold, "decisions": c.Retention.Decisions,
	} {
		add(d >= time.Second, "retention.%s: %v is less than a second", path, d)
	}
	add(c.Retention.Cold >= c.Retention.Events, "retention.cold: %v is less than retention.events, %v", c.Retention.Cold, c.Retention.Events)
	add(c.DialTimeout > 0 && c.InsertTimeout > 0 && c.QueryTimeout > 0, "clickhouse: timeouts must be positive")
	return errors.Join(errs...)
}
