package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The topics of CONTRACTS.md section 5.
const (
	TopicEvents    = "weir.events"
	TopicVerdicts  = "weir.verdicts"
	TopicDecisions = "weir.decisions"
)

// Connection says how to reach the log. The same settings serve the embedded
// log and Apache Kafka.
type Connection struct {
	// Brokers are seed addresses, "host:port"; at least one.
	Brokers []string
	// ClientID names this process to the broker; default "weir".
	ClientID string
	// TLS is nil for plain text.
	TLS *tls.Config
	// SASL is nil for no authentication.
	SASL *SASL
	// Dial replaces the network dialer; nil for the default. TLS is then the
	// dialer's own work.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Log, if set, receives what the client library has to say, at its levels.
	Log *slog.Logger
}

// SASL are the log's credentials.
type SASL struct {
	// Mechanism is "SCRAM-SHA-256", "SCRAM-SHA-512" or "PLAIN".
	Mechanism string
	User      string
	Password  string
}

// Validate reports all faults, each with its configuration path.
func (c Connection) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("kafka.brokers: at least one address is needed"))
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, fmt.Errorf("kafka.brokers: %q: want host:port: %w", b, err))
		}
	}
	if c.SASL != nil {
		if _, err := c.SASL.mechanism(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism(), nil
	case "PLAIN":
		return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism(), nil
	}
	return nil, fmt.Errorf("kafka.sasl.mechanism: %q is not known; want SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN", s.Mechanism)
}

// options turns c into client options. Callers have validated c.
func (c Connection) options() []kgo.Opt {
	id := c.ClientID
	if id == "" {
		id = "weir"
	}
	// Client metrics (KIP-714) are for the brokers' operators; a client gathers and
	// compresses them whether anybody asks or not.
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.ClientID(id), kgo.DisableClientMetrics()}
	if c.Log != nil {
		opts = append(opts, kgo.WithLogger(clientLog{c.Log}))
	}
	if c.SASL != nil {
		if m, err := c.SASL.mechanism(); err == nil {
			opts = append(opts, kgo.SASL(m))
		}
	}
	if c.Dial != nil {
		return append(opts, kgo.Dialer(c.Dial))
	}
	if c.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	return opts
}

// clientLog passes the client library's messages on.
type clientLog struct{ log *slog.Logger }

var clientLevels = map[slog.Level]kgo.LogLevel{
	slog.LevelDebug: kgo.LogLevelDebug, slog.LevelInfo: kgo.LogLevelInfo, slog.LevelWarn: kgo.LogLevelWarn,
	slog.LevelError: kgo.LogLevelError,
}

// Level implements kgo.Logger.
func (l clientLog) Level() kgo.LogLevel {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if l.log.Enabled(context.Background(), level) {
			return clientLevels[level]
		}
	}
	return kgo.LogLevelError
}

// Log implements kgo.Logger.
func (l clientLog) Log(level kgo.LogLevel, msg string, args ...any) {
	for to, from := range clientLevels {
		if from == level {
			l.log.Log(context.Background(), to, msg, args...)
		}
	}
}

func (c Connection) client(opts ...kgo.Opt) (*kgo.Client, error) {
	cl, err := kgo.NewClient(append(append(c.options(), kgo.WithDecompressor(newFrames(nil))), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("log client: %w", err)
	}
	return cl, nil
}
