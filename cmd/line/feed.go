package line

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/enforcer/ingress"
)

// enforcersFile keeps the hashes of the keys that may follow the feed.
func enforcersFile(data string) string { return filepath.Join(data, "keys", "enforcers.json") }

// serveFeed opens feed.listen, where enforcers on other machines follow the
// verdicts; nothing else is served there. It returns what to say of it.
func (p *processor) serveFeed(ctx context.Context) (string, error) {
	var err error
	if p.enforcers, err = admin.OpenEnforcers(enforcersFile(p.Config.Data), p.feed); err != nil {
		return "", err
	}
	p.metrics.MustRegister(p.enforcers)
	p.mux.HandleFunc("GET /v1/enforcers", func(w http.ResponseWriter, _ *http.Request) { admin.JSON(w, p.enforcers.List(), nil) })
	p.mux.HandleFunc("POST /v1/enforcers", p.changeEnforcers(func(name string) (any, error) { return p.enforcers.Add(name) }))
	p.mux.HandleFunc("POST /v1/enforcers/remove", p.changeEnforcers(func(name string) (any, error) {
		return admin.EnforcerRequest{Name: name}, p.enforcers.Remove(name)
	}))
	cfg := &p.Config.Feed
	if cfg.Listen == "" {
		return "", nil
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: choose another address in feed.listen", err)
	}
	if err != nil {
		return "", fmt.Errorf("verdict feed: %w", err)
	}
	ln = &boundedListener{Listener: ln, most: maxFeedConnections, refused: p.enforcers.RefuseConnection}
	scheme := "http"
	if cfg.TLS.Cert != "" {
		cert, err := ingress.LoadCertificate(cfg.TLS.Cert, cfg.TLS.Key)
		if err != nil {
			return "", errors.Join(fmt.Errorf("feed.tls: %w", err), ln.Close())
		}
		p.group.Go(func() error { return refresh(ctx, cert, refreshEvery, p.Log) })
		scheme = "https"
		ln = tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.Get, NextProtos: []string{"http/1.1"}})
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+config.FeedPath, p.enforcers)
	p.group.Go(func() error { return admin.Serve(ctx, ln, mux) })
	return fmt.Sprintf("feed %s://%s", scheme, ln.Addr()), nil
}

// maxFeedConnections bounds those that hold a connection to the feed, with a key
// or not yet: the processor needs its descriptors for the log.
const maxFeedConnections = 2048

// boundedListener closes what comes while most connections are open.
type boundedListener struct {
	net.Listener
	most    int64
	open    atomic.Int64
	refused func()
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &boundedConn{Conn: c, done: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		l.refused()
		_ = c.Close()
	}
}

type boundedConn struct {
	net.Conn
	done func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.done()
	return c.Conn.Close()
}

func (p *processor) changeEnforcers(change func(name string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q admin.EnforcerRequest
		if err := admin.Decode(r, &q); err != nil {
			admin.JSON(w, nil, err)
			return
		}
		out, err := change(q.Name)
		admin.JSON(w, out, err)
	}
}

// refreshEvery is how often the feed's certificate files are looked at.
const refreshEvery = 5 * time.Second

// refresh reads a certificate again whenever its files have changed.
func refresh(ctx context.Context, cert *ingress.Certificate, every time.Duration, log *slog.Logger) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		switch changed, err := cert.Refresh(); {
		case err != nil:
			log.Warn("feed.tls changed but cannot be read; the last good certificate stays in force", "err", err)
		case changed:
			log.Info("certificate of the verdict feed reloaded")
		}
	}
}
