package line

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
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
		pair := &keyPair{files: cfg.TLS}
		if _, err := pair.get(nil); err != nil {
			return "", errors.Join(fmt.Errorf("feed.tls: %w", err), ln.Close())
		}
		scheme = "https"
		ln = tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get, NextProtos: []string{"http/1.1"}})
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

// keyPair is a certificate from files, read again when they change.
type keyPair struct {
	files config.ServerTLS

	mu      sync.Mutex
	pair    *tls.Certificate
	looked  time.Time
	changed [2]time.Time
}

// keyPairEvery is how often handshakes look at the files.
const keyPairEvery = 5 * time.Second

// get implements tls.Config.GetCertificate. Files that cannot be read leave the
// last good pair in force.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pair != nil && time.Since(k.looked) < keyPairEvery {
		return k.pair, nil
	}
	k.looked = time.Now()
	var changed [2]time.Time
	for i, name := range []string{k.files.Cert, k.files.Key} {
		if st, err := os.Stat(name); err == nil {
			changed[i] = st.ModTime()
		}
	}
	if k.pair != nil && changed == k.changed {
		return k.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(k.files.Cert, k.files.Key)
	if err == nil {
		k.pair, k.changed = &pair, changed
	} else if k.pair == nil {
		return nil, err
	}
	return k.pair, nil
}
