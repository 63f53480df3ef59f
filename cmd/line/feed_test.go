package line

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/config"
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
	k := &keyPair{files: config.ServerTLS{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k")}}
	if _, err := k.get(nil); err == nil {
		t.Error("no files are a pair")
	}
	serial := func(looked time.Time) int64 {
		t.Helper()
		k.looked = looked
		pair, err := k.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	long := time.Now().Add(-time.Hour)
	pairFiles(t, k.files, 1)
	if n := serial(long); n != 1 {
		t.Errorf("certificate %d, want 1", n)
	}
	pairFiles(t, k.files, 2)
	if n := serial(time.Now()); n != 1 {
		t.Errorf("certificate %d a moment later, want 1", n)
	}
	if n := serial(long); n != 2 {
		t.Errorf("certificate %d, want 2", n)
	}
	if err := os.WriteFile(k.files.Key, []byte("half a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := serial(long); n != 2 {
		t.Errorf("certificate %d beside a broken key, want 2", n)
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
