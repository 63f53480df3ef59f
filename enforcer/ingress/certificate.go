package ingress

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Certificate is a server's key pair from files, read again by Refresh when
// either file changed. A pair that cannot be read leaves the last good one in
// force. It is safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
	mu                sync.Mutex // guards seen: maintenance and a reload both look
	seen              [2]fileMark
}

// fileMark tells whether a file changed; a replaced one differs in size, time or
// both.
type fileMark struct {
	size int64
	time time.Time
}

// LoadCertificate reads a certificate and its key, PEM files.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	c.seen = c.marks()
	return c, c.load()
}

func (c *Certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read TLS certificate %s and key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return nil
}

func (c *Certificate) marks() (m [2]fileMark) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if st, err := os.Stat(name); err == nil {
			m[i] = fileMark{st.Size(), st.ModTime()}
		}
	}
	return m
}

// Get implements tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// Refresh reads the files again when they changed and reports whether it did.
func (c *Certificate) Refresh() (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.marks()
	if m == c.seen {
		return false, nil
	}
	if err := c.load(); err != nil {
		// Not marked as seen: a pair is often replaced one file after the other.
		return false, err
	}
	c.seen = m
	return true, nil
}

// config is the server's TLS configuration. It notes the ClientHello's
// fingerprint on the connection's info before the handshake goes on.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: c.Get,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if hc, ok := h.Conn.(*helloConn); ok {
				hc.info.tls.JA4 = ja4(h)
				hc.info.tls.SNI = h.ServerName
			}
			return nil, nil //nolint:nilnil // nil keeps the configuration as it is
		},
	}
}

func tlsVersionName(v uint16) string {
	switch v {
	case tls.VersionTLS13:
		return "1.3"
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS11:
		return "1.1"
	case tls.VersionTLS10:
		return "1.0"
	default:
		return ""
	}
}
