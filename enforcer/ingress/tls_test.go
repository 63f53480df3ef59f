package ingress_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weirproject/weir/enforcer/ingress"
	"github.com/weirproject/weir/stream/event"
)

// writeCertificate writes a self-signed pair for name and returns its serial.
func writeCertificate(tb testing.TB, dir, name string) (cert, key string, serial int64) {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	serial = time.Now().UnixNano()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		tb.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return cert, key, serial
}

func startTLS(tb testing.TB, upstream string, b *brain) *proxy {
	tb.Helper()
	cert, key, _ := writeCertificate(tb, tb.TempDir(), "shop.example")
	return start(tb, upstream, b, func(c *ingress.Config) {
		c.CertFile, c.KeyFile = cert, key
	})
}

func tlsClient(tb testing.TB, p *proxy, protocols ...string) *http.Client {
	tb.Helper()
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: "shop.example"},
		ForceAttemptHTTP2: len(protocols) == 0,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, p.addr)
		},
	}
	if len(protocols) > 0 {
		tr.TLSClientConfig.NextProtos = protocols
	}
	tb.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestTLSCarriesBothProtocolsAndTheFingerprint(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		say(w, r.Proto, " ", r.Host, " ", r.Header.Get("X-Forwarded-Proto"), " ", r.Header.Get("Cookie"))
	})
	p := startTLS(t, "http://"+up, nil)
	for _, tc := range []struct {
		protocols []string
		want, ja4 string
		order     bool
	}{
		{nil, "HTTP/2", `^t13d\d\d\d\dh2_[0-9a-f]{12}_[0-9a-f]{12}$`, false},
		{[]string{"http/1.1"}, "HTTP/1.1", `^t13d\d\d\d\dh1_[0-9a-f]{12}_[0-9a-f]{12}$`, true},
	} {
		client := tlsClient(t, p, tc.protocols...)
		for range 2 {
			n := p.brain.count()
			req := request(t, "GET", "https://shop.example/", "")
			req.Header.Add("Cookie", "a=1")
			req.Header.Add("Cookie", "b=2")
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if !strings.HasPrefix(string(b), "HTTP/1.1 shop.example https a=1") || !strings.HasPrefix(res.Proto, tc.want) {
				t.Errorf("%s: %q over %s", tc.want, b, res.Proto)
			}
			ev := p.brain.wait(t, n+1)[n]
			if ev.Protocol != tc.want || ev.TLSVersion != "1.3" || ev.SNI != "shop.example" || !regexp.MustCompile(tc.ja4).MatchString(ev.JA4) {
				t.Errorf("event %+v", ev)
			}
			if x := p.brain.lastExchange(t); x.HeadersKnown != tc.order {
				t.Errorf("%s: headers known: %v", tc.want, x.HeadersKnown)
			}
		}
	}
}

func TestPlainTextOnTheTLSPort(t *testing.T) {
	p := startTLS(t, "http://127.0.0.1:1", nil)
	c, br := dial(t, p.addr)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	_, _ = io.ReadAll(br)
	eventually(t, func() bool { return p.counter(t, "weir_ingress_rejects_total", "cause", "tls_handshake") == 1 })
}

func TestCertificateIsReadAgainWhenItChanges(t *testing.T) {
	dir := t.TempDir()
	cert, key, first := writeCertificate(t, dir, "shop.example")
	p := start(t, "http://127.0.0.1:1", nil, func(c *ingress.Config) { c.CertFile, c.KeyFile = cert, key })
	serial := func() int64 {
		c, err := tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != first {
		t.Fatalf("serial %d, want %d", got, first)
	}
	if err := os.WriteFile(cert, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		return p.counter(t, "weir_ingress_certificate_reloads_total", "result", "error") > 0
	})
	if got := serial(); got != first {
		t.Error("a bad file replaced the good certificate")
	}
	_, _, second := writeCertificate(t, dir, "shop.example")
	eventually(t, func() bool { return serial() == second })
}

// h2cOrigin serves HTTP/2 in clear text with prior knowledge.
func h2cOrigin(tb testing.TB, h http.HandlerFunc) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	tb.Cleanup(func() { _ = srv.Close(); <-done })
	return l.Addr().String()
}

func h2cClient(tb testing.TB) *http.Client {
	tb.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	tb.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestGRPC sends a bidirectional stream with trailers through plain HTTP/2, to an
// http upstream (gRPC switches to HTTP/2 by itself) and to an h2c one.
func TestGRPC(t *testing.T) {
	up := h2cOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.(http.Flusher).Flush()
		buf := make([]byte, 64)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				sayf(w, "echo %s", buf[:n])
				w.(http.Flusher).Flush()
			}
			if err != nil {
				break
			}
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "te="+r.Header.Get("Te")+" "+r.Proto)
	})
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) {
			p := start(t, scheme+"://"+up, nil, nil)
			pr, pw := io.Pipe()
			req := request(t, "POST", p.url("/pkg.Service/Method"), "")
			req.Body, req.ContentLength = pr, -1
			req.Header.Set("Content-Type", "application/grpc")
			req.Header.Set("Te", "trailers")
			res, err := h2cClient(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			for _, m := range []string{"one", "two", "three"} {
				if _, err := io.WriteString(pw, m); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len("echo ")+len(m))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != "echo "+m {
					t.Fatalf("%q %v", got, err)
				}
			}
			_ = pw.Close()
			if _, err := io.ReadAll(res.Body); err != nil {
				t.Fatal(err)
			}
			if res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Grpc-Message") != "te=trailers HTTP/2.0" {
				t.Errorf("trailers %v", res.Trailer)
			}
			if ev := p.brain.wait(t, 1)[0]; ev.Protocol != "HTTP/2" || ev.Status != 200 {
				t.Errorf("event %+v", ev)
			}
		})
	}
}

func TestTargetsKeepTheirBytesOverHTTP2(t *testing.T) {
	up := h2cOrigin(t, func(w http.ResponseWriter, r *http.Request) { say(w, r.RequestURI, " ", r.Host) })
	p := start(t, "h2c://"+up, nil, nil)
	for _, target := range []string{"/", "//a/b", "/a%2Fb//c?d=%20&e", "/a;b?", "http://shop.example/x?y"} {
		got := ask(t, p.addr, "GET "+target+" HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
		want := strings.TrimPrefix(target, "http://shop.example") + " shop.example"
		if !strings.HasSuffix(got, "\r\n"+want) {
			t.Errorf("%s: %q", target, got)
		}
	}
}

func TestHTTP2UpstreamFaults(t *testing.T) {
	silent := h2cOrigin(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	p := start(t, "h2c://"+silent, nil, func(c *ingress.Config) { c.Timeouts.Upstream, c.BodyLimit = 50*time.Millisecond, 1000 })
	if res, _ := do(t, request(t, "GET", p.url("/"), "")); res.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("silent: %d", res.StatusCode)
	}
	req := request(t, "POST", p.url("/"), strings.Repeat("x", 5000))
	req.ContentLength = -1
	if res, _ := do(t, req); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("body limit: %d", res.StatusCode)
	}
	p = start(t, "h2c://127.0.0.1:1", nil, nil)
	if res, _ := do(t, request(t, "GET", p.url("/"), "")); res.StatusCode != http.StatusBadGateway {
		t.Errorf("refused: %d", res.StatusCode)
	}
	p = start(t, "h2c://"+h2cOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		say(w, "some")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}), nil, nil)
	res, err := noKeepAlive.Get(p.url("/"))
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	if err == nil {
		t.Error("a broken stream was passed on as whole")
	}
}

// TestHTTP2Smuggling sends frames that net/http accepts but HTTP/1 cannot carry.
func TestHTTP2Smuggling(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fields []string
		status string // "" is a stream reset by net/http itself
	}{
		{"fine", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"}, "200"},
		{"a space in the path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/x HTTP/1.1"}, "400"},
		{"a line break in the path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/x\r\nA: b"}, ""},
		{"a line break in a value", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "a", "b\r\nc: d"}, ""},
		{"a line break in a name", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "a\r\nb", "c"}, ""},
		{"a colon in a name", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "a: b\r\nc", "d"}, ""},
		{"transfer-encoding", []string{":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/", "transfer-encoding", "chunked"}, "400"},
		{"connection", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "connection", "close"}, "400"},
		{"a method with a space", []string{":method", "GET /x", ":scheme", "http", ":authority", "a", ":path", "/"}, "400"},
		{"an authority with user information", []string{":method", "GET", ":scheme", "http", ":authority", "u@a", ":path", "/"}, ""},
		{"an authority with a space", []string{":method", "GET", ":scheme", "http", ":authority", "a b", ":path", "/"}, "400"},
		{"host beside authority", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "host", "b"}, "400"},
		{"host instead of authority", []string{":method", "GET", ":scheme", "http", ":path", "/", "host", "a"}, "200"},
		{"no host at all", []string{":method", "GET", ":scheme", "http", ":path", "/"}, "400"},
		{"a relative path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "x"}, ""},
		{"an absolute path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "http://b/"}, "400"},
		{"a length that lies", []string{":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/", "content-length", "5"}, "400"},
		{"two lengths", []string{":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/", "content-length", "0", "content-length", "1"}, "400"},
		{"an expectation", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", "expect", "magic"}, "417"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRawRecorder(t)
			p := start(t, "http://"+r.addr, nil, nil)
			got := askHTTP2(t, p.addr, tc.fields)
			if got != tc.status {
				t.Errorf("status %q, want %q", got, tc.status)
			}
			if tc.status != "200" && r.bytes() != "" {
				t.Errorf("upstream got %q", r.bytes())
			}
		})
	}
}

// askHTTP2 sends one request head with END_STREAM and returns the status of the
// answer, or "" for a reset.
func askHTTP2(t *testing.T, addr string, fields []string) string {
	t.Helper()
	c, _ := dial(t, addr)
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return ""
		}
		switch fr := fr.(type) {
		case *http2.MetaHeadersFrame:
			return fr.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return ""
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				_ = f.WriteSettingsAck()
			}
		}
	}
}

func TestBlockOverHTTP2(t *testing.T) {
	p := startTLS(t, "http://127.0.0.1:1", &brain{decide: decided(event.ActionBlock)})
	res, err := tlsClient(t, p).Get("https://shop.example/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusForbidden || res.Header.Get("X-Weir-Verdict") != "v_1" || res.ProtoMajor != 2 {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

func TestUploadOverHTTP2(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		say(w, n, " ", r.ContentLength, " ", r.Trailer.Get("X-T"))
	})
	p := startTLS(t, "http://"+up, nil)
	client := tlsClient(t, p)
	for size, want := range map[int]string{0: "0 0 ", 10: "10 10 ", 1 << 20: "1048576 1048576 "} {
		req := request(t, "POST", "https://shop.example/", strings.Repeat("x", size))
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(b) != want {
			t.Errorf("%d: %q, want %q", size, b, want)
		}
	}
	req := request(t, "POST", "https://shop.example/", "abc")
	req.ContentLength, req.Trailer = -1, http.Header{"X-T": {"v"}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if b, _ := io.ReadAll(res.Body); string(b) != "3 -1 v" {
		t.Errorf("with trailers: %q", b)
	}
}

func TestHTTPSUpstream(t *testing.T) {
	cert, key, _ := writeCertificate(t, t.TempDir(), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = http.Serve(l, nil) }() //nolint:gosec // ends with the listener
	defer func() { _ = l.Close() }()
	p := start(t, "https://"+l.Addr().String(), nil, nil)
	// The certificate is signed by nobody we trust: the answer says so by 502.
	if res, _ := do(t, request(t, "GET", p.url("/"), "")); res.StatusCode != http.StatusBadGateway {
		t.Errorf("%d", res.StatusCode)
	}
}
