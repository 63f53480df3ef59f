package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maintenance is how often TLS files are looked at and idle upstream connections
// closed.
const maintenance = time.Second

// Options are what a Server works with.
type Options struct {
	Log       *slog.Logger
	Registry  prometheus.Registerer
	Extractor Extractor
	Decider   Decider
	Recorder  Recorder
}

// Server is the reverse proxy.
type Server struct {
	opt      Options
	log      *slog.Logger
	metrics  *metrics
	state    atomic.Pointer[state]
	fallback *http2Upstreams
	settler  Settler // the Decider, if it is one
	draining atomic.Bool
	hard     atomic.Bool // the drain's time is over
	exchange sync.Pool

	mu    sync.Mutex // guards reloads and addr
	addr  net.Addr
	ready chan struct{}
}

// state is one configuration made ready; requests take it once and keep it.
type state struct {
	cfg       Config
	sites     siteTable
	upstreams map[string]*upstream
	cert      *Certificate
	tls       *tls.Config
}

// New checks cfg and prepares a Server; Run starts it.
func New(cfg Config, opt Options) (*Server, error) {
	if opt.Extractor == nil || opt.Decider == nil || opt.Recorder == nil {
		return nil, errors.New("ingress: extractor, decider and recorder are required")
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Registry == nil {
		opt.Registry = prometheus.NewRegistry()
	}
	m, err := newMetrics(opt.Registry, cfg.Enforcer)
	if err != nil {
		return nil, fmt.Errorf("ingress: %w", err)
	}
	s := &Server{opt: opt, log: opt.Log, metrics: m, ready: make(chan struct{})}
	s.exchange.New = func() any { return newExchange(s) }
	s.settler, _ = opt.Decider.(Settler)
	s.fallback = newHTTP2Upstreams()
	if err := s.Reload(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload puts cfg in force for all requests that begin from now on. Requests in
// flight keep the configuration they began with. Listen, MaxConns and whether
// TLS is spoken cannot be reloaded: a change of them is an error, and nothing
// changes.
func (s *Server) Reload(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cfg.Validate(); err != nil {
		return err
	}
	old := s.state.Load()
	st := &state{
		cfg: cfg, upstreams: map[string]*upstream{},
		sites: siteTable{exact: map[string]*site{}, wildcard: map[string]*site{}},
	}
	if old != nil {
		if old.cfg.Listen != cfg.Listen || old.cfg.MaxConns != cfg.MaxConns || (old.cert == nil) != (cfg.CertFile == "") {
			return errors.New("enforce.listen, enforce.maxConns and switching TLS on or off need a restart")
		}
		if old.cfg.CertFile == cfg.CertFile && old.cfg.KeyFile == cfg.KeyFile {
			st.cert, st.tls = old.cert, old.tls
			if st.cert != nil {
				if _, err := st.cert.Refresh(); err != nil {
					return err
				}
			}
		}
	}
	if st.cert == nil && cfg.CertFile != "" {
		cert, err := LoadCertificate(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return err
		}
		st.cert, st.tls = cert, cert.config()
	}
	for _, c := range cfg.Sites {
		up := st.upstreams[c.Upstream]
		if up == nil && old != nil && old.upstreams[c.Upstream] != nil && old.upstreams[c.Upstream].same(cfg) {
			up = old.upstreams[c.Upstream]
		}
		if up == nil {
			var err error
			if up, err = newUpstream(c.Upstream, cfg); err != nil {
				return err
			}
		}
		st.upstreams[c.Upstream] = up
		st.sites.add(compileSite(&cfg, c, up))
	}
	s.state.Store(st)
	if old != nil {
		for name, up := range old.upstreams {
			if st.upstreams[name] != up {
				up.close()
			}
		}
	}
	return nil
}

// Addr waits for the listening socket and returns its address; nil when ctx ends
// first.
func (s *Server) Addr(ctx context.Context) net.Addr {
	select {
	case <-s.ready:
		return s.addr
	case <-ctx.Done():
		return nil
	}
}

// Run listens and serves until ctx ends, then drains: it stops accepting, tells
// clients to close by "Connection: close" and GOAWAY, and waits for requests in
// flight up to DrainTimeout. It returns nil after a stop that cut nothing off.
func (s *Server) Run(ctx context.Context) error {
	cfg := s.state.Load().cfg
	lc := net.ListenConfig{KeepAlive: time.Minute}
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("enforce.listen %s: %w (is another server on this port?)", cfg.Listen, err)
	}
	return s.Serve(ctx, l)
}

// Serve is Run on a listener that exists; it closes it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	cfg := s.state.Load().cfg
	f := newFront(s, l, cfg.MaxConns)
	srv := s.httpServer(cfg)
	background, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { s.maintain(background) })
	wg.Go(f.accept)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(f) }()
	s.addr = l.Addr()
	close(s.ready)

	var err error
	select {
	case <-ctx.Done():
		err = s.drain(f, srv, cfg.DrainTimeout)
		if stopped := <-served; err == nil && !errors.Is(stopped, http.ErrServerClosed) {
			err = stopped
		}
	case err = <-served:
	}
	_ = f.Close()
	f.closeAll() // none is left after a drain
	stop()
	wg.Wait()
	s.closeUpstreams()
	return err
}

// httpServer serves the connections that speak HTTP/2.
func (s *Server) httpServer(cfg Config) *http.Server {
	srv := &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            cfg.Timeouts.Header,
		IdleTimeout:                  cfg.Timeouts.Idle,
		MaxHeaderBytes:               cfg.HeadLimit,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(io.Discard, "", 0),
		Protocols:                    new(http.Protocols),
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: cfg.Timeouts.Idle},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, infoOf(c))
		},
	}
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}

// drain stops without cutting requests off: accept no more, let every answer
// tell its client to close, end idle connections, wait.
func (s *Server) drain(f *front, srv *http.Server, limit time.Duration) error {
	f.stopAccepting()
	// Only now: who is told to close connects again at once, and a connection made
	// between the last accept and the socket's close is reset by the kernel.
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	left := f.drain(ctx)
	err := srv.Shutdown(ctx)
	if left == 0 && err == nil {
		return nil
	}
	s.hard.Store(true)
	f.closeAll()
	_ = srv.Close()
	return fmt.Errorf("stop: requests or upgraded connections still ran after %v and were cut off (%d over HTTP/1)", limit, left)
}

// maintain reloads certificates and closes idle upstream connections.
func (s *Server) maintain(ctx context.Context) {
	t := time.NewTicker(maintenance)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.refresh()
		}
	}
}

func (s *Server) refresh() {
	st := s.state.Load()
	now := time.Now()
	for _, up := range st.upstreams {
		up.expire(now)
	}
	if st.cert == nil {
		return
	}
	switch changed, err := st.cert.Refresh(); {
	case err != nil:
		s.metrics.certReloads.WithLabelValues("error").Inc()
		s.log.Warn("TLS certificate changed but cannot be read; the last good one stays in force", "err", err)
	case changed:
		s.metrics.certReloads.WithLabelValues("ok").Inc()
		s.log.Info("TLS certificate reloaded", "cert", st.cfg.CertFile)
	}
}

func (s *Server) closeUpstreams() {
	for _, up := range s.state.Load().upstreams {
		up.close()
	}
	s.fallback.close()
}
