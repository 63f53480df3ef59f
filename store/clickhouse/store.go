package clickhouse

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Store is a client of one server or cluster. Its methods may be called from
// any goroutine. It owns no goroutine; Close frees its connections.
type Store struct {
	cfg     Config
	log     *slog.Logger
	writer  driver.Conn
	analyst driver.Conn // writer itself when there is no analyst user
	http    *http.Client
	metrics *metrics
	next    atomic.Uint32 // index of the HTTP address in use
}

// Open returns a client. It connects to nothing yet; Migrate does.
func Open(cfg Config, log *slog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, log: log}
	var err error
	if s.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	if s.writer, err = ch.Open(cfg.options(cfg.Username, cfg.Password)); err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	s.analyst = s.writer
	if cfg.AnalystUsername != "" {
		// People write FROM requests; the writer connects before the database is.
		analyst := cfg.options(cfg.AnalystUsername, cfg.AnalystPassword)
		analyst.Auth.Database = Database
		if s.analyst, err = ch.Open(analyst); err != nil {
			_ = s.writer.Close()
			return nil, fmt.Errorf("clickhouse: %w", err)
		}
	}
	dialer := &net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 15 * time.Second}
	s.http = &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: cfg.TLS, TLSHandshakeTimeout: cfg.DialTimeout,
		MaxIdleConnsPerHost: 8,
		// Shorter than the server's keep-alive, so that we close first and an
		// insert never meets a connection that is being closed.
		IdleConnTimeout: 5 * time.Second,
		// Bodies are Arrow with dictionaries already; the log carried them packed.
		DisableCompression: true,
		WriteBufferSize:    256 << 10,
	}}
	return s, nil
}

func (c Config) options(username, password string) *ch.Options {
	return &ch.Options{
		Addr: c.Addr, Auth: ch.Auth{Username: username, Password: password},
		TLS: c.TLS, DialTimeout: c.DialTimeout, ReadTimeout: 5 * time.Minute,
		MaxOpenConns: 8, MaxIdleConns: 2, ConnMaxLifetime: 10 * time.Minute,
		ConnOpenStrategy: ch.ConnOpenInOrder,
		ClientInfo:       ch.ClientInfo{Products: []struct{ Name, Version string }{{Name: "weir"}}},
	}
}

// Close frees all connections. Close before stopping the embedded engine, which
// otherwise waits for them.
func (s *Store) Close() error {
	s.http.CloseIdleConnections()
	err := s.writer.Close()
	if s.analyst != s.writer {
		if e := s.analyst.Close(); err == nil {
			err = e
		}
	}
	return err
}

// Ping reports whether the server answers and accepts weir's login.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.writer.Ping(ctx); err != nil {
		return fmt.Errorf("clickhouse at %v: %w", s.cfg.Addr, err)
	}
	return nil
}

// scalar reads one value.
func (s *Store) scalar(ctx context.Context, dest any, sql string, args ...any) error {
	if err := s.writer.QueryRow(ctx, sql, args...).Scan(dest); err != nil {
		return fmt.Errorf("clickhouse: %w", err)
	}
	return nil
}
