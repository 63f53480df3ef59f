package line

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/enforcer/ingress"
)

// pairFiles writes a certificate with a serial number.
func pairFiles(t *testing.T, files config.ServerTLS, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if at := time.Now().Add(time.Duration(serial) * time.Second); os.Chtimes(path, at, at) != nil {
			t.Fatal("times of", path)
		}
	}
}

func TestTheFeedsCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	files := config.ServerTLS{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k")}
	pairFiles(t, files, 1)
	cert, err := ingress.LoadCertificate(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		pair, _ := cert.Get(nil)
		return pair.Leaf.SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d, want 1", n)
	}
	said := make(lines, 100)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- refresh(ctx, cert, time.Millisecond, slog.New(slog.NewTextHandler(said, nil))) }()
	said.after(t, func() { pairFiles(t, files, 2) }, "reloaded")
	if n := serial(); n != 2 {
		t.Errorf("certificate %d, want 2", n)
	}
	said.after(t, func() {
		if err := os.WriteFile(files.Key, []byte("half a"), 0o600); err != nil {
			t.Fatal(err)
		}
	}, "cannot be read")
	if n := serial(); n != 2 {
		t.Errorf("certificate %d beside a broken key, want 2", n)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// lines are what was logged; what nobody waits for is dropped.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

// after does something and waits until a line with some words follows.
func (l lines) after(t *testing.T, do func(), words string) {
	t.Helper()
	do()
	limit := time.After(30 * time.Second)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, words) {
				return
			}
		case <-limit:
			t.Fatalf("%q was never logged", words)
		}
	}
}

func TestConnectionsToTheFeedAreBounded(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan struct{}, 8)
	b := &boundedListener{Listener: ln, most: 2, refused: func() { refused <- struct{}{} }}
	accepted := make(chan net.Conn, 8)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() {
		t.Helper()
		var d net.Dialer
		c, err := d.DialContext(context.Background(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	dial()
	dial()
	first := <-accepted
	second := <-accepted
	dial()
	<-refused
	_ = first.Close()
	_ = first.Close() // counts once
	dial()
	third := <-accepted
	dial()
	<-refused
	_, _ = second.Close(), third.Close()
	_ = ln.Close()
	<-ended
	if n := b.open.Load(); n != 0 {
		t.Errorf("%d are open", n)
	}
}
