package linetest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/admin"
)

// certificate writes a self-signed certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "weir feed"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestEnforcerElsewhere runs an ingress that shares nothing with the line but
// the pseudonym key and the feed: no log, no store, a data directory of its own.
func TestEnforcerElsewhere(t *testing.T) {
	t.Parallel()
	needEngine(t)
	a, w := newApp(t), newWeir(t, "fd")
	cert, key := certificate(t)
	feed, siem := freePort(t), filepath.Join(t.TempDir(), "siem.ndjson")
	site := fmt.Sprintf("sites: [{name: shop, hosts: [\"*\"], upstream: %q, flows: %q}]\n", a.url, flowMap(t))
	w.up(t, "--config", w.config(t, site+fmt.Sprintf("enforce: {mode: enforce}\ncollect: {ebpf: {enabled: \"off\"}}\nfeed: {listen: %q, tls: {cert: %q, key: %q}}\nsinks: [{name: siem, type: file, path: %q}]\n", feed, cert, key, siem)))
	if !strings.Contains(w.out.String(), "feed https://"+feed) {
		t.Errorf("weir up does not say where the feed is:\n%s", w.out)
	}
	if out := w.ok(t, "sinks", "test"); !strings.Contains(out, "delivered in") {
		t.Errorf("sinks test:\n%s", out)
	}
	if b, err := os.ReadFile(siem); err != nil || !strings.Contains(string(b), "Test of the sink") {
		t.Errorf("%v: %s", err, b)
	}
	var made admin.EnforcerKey
	decode(t, w.ok(t, "enforcers", "add", "edge-1", "-o", "json"), &made)
	if r := w.run(t, "enforcers", "add", "edge-1"); r.code != 1 || !strings.Contains(r.stderr, "has a key already") {
		t.Errorf("the same name again: exit %d, %s", r.code, r.stderr)
	}
	// One verdict stands before the edge ever asks, in front of the line's own
	// ingress.
	before := w.blockedClient(t, newClient(t, w.listen, "127.64.9.1"), "127.64.9.1")

	edge := newWeir(t, "fe")
	ingress := startPart(t, "enforce", edge.data, site+fmt.Sprintf("enforce: {listen: %q, mode: enforce, feed: {url: \"https://%s\", key: %q, ca: %q}}\nkeys: {pseudonym: %q}\n",
		edge.listen, feed, made.Key, cert, filepath.Join(w.data, "keys", "pseudonym")))
	early, late := newClient(t, edge.listen, "127.64.9.1"), newClient(t, edge.listen, "127.64.9.2")
	until(t, 20*time.Second, "the edge acts on what stood on the feed", func() bool {
		r, err := early.do(t.Context(), http.MethodGet, "/item/1", "", nil)
		return err == nil && r.header.Get("X-Weir-Verdict") == before
	})
	if r := late.get(t, "/item/1"); r.status != http.StatusOK {
		t.Fatalf("another client: status %d", r.status)
	}
	live := w.addBlock(t, "127.64.9.2")
	until(t, 5*time.Second, "a new verdict reaches the edge", func() bool { return late.get(t, "/item/1").header.Get("X-Weir-Verdict") == live })
	w.ok(t, "verdicts", "revoke", before, "--reason", "test")
	until(t, 5*time.Second, "the edge lets the revoked one pass", func() bool { return early.get(t, "/item/1").status == http.StatusOK })
	w.enforcing(t, "edge-1", "connected")

	w.ok(t, "verdicts", "add", "--client", "127.64.9.6", "--action", "block", "--for", "8s", "--reason", "short")
	brief := newClient(t, edge.listen, "127.64.9.6")
	until(t, 8*time.Second, "the short verdict reaches the edge", func() bool { return brief.get(t, "/item/1").status == http.StatusForbidden })
	untilEvery(t, 200*time.Millisecond, 30*time.Second, "the short verdict ends there", func() bool { return brief.get(t, "/item/1").status == http.StatusOK })

	// The feed dies and comes back: the edge goes on meanwhile and has what it
	// missed afterwards.
	w.killPart(t, "process")
	if r := late.get(t, "/item/1"); r.header.Get("X-Weir-Verdict") != live {
		t.Errorf("with the feed away: status %d", r.status)
	}
	w.healthy(t)
	w.blockedClient(t, newClient(t, edge.listen, "127.64.9.3"), "127.64.9.3")

	// The edge dies and comes back with its saved table and resumes.
	ingress.end(t)
	after := w.addBlock(t, "127.64.9.4")
	if out := w.ok(t, "status"); !strings.Contains(out, "enforcer edge-1 is away since") {
		t.Errorf("status does not say that the edge is away:\n%s", out)
	}
	ingress.begin(t)
	until(t, 20*time.Second, "the edge resumes", func() bool {
		r, err := newClient(t, edge.listen, "127.64.9.4").do(t.Context(), http.MethodGet, "/item/1", "", nil)
		return err == nil && r.header.Get("X-Weir-Verdict") == after
	})
	if r := late.get(t, "/item/1"); r.header.Get("X-Weir-Verdict") != live {
		t.Errorf("after the edge's restart: status %d", r.status)
	}

	// Without its key it hears nothing new, keeps what it has, and says so.
	w.ok(t, "enforcers", "remove", "edge-1")
	unheard := w.addBlock(t, "127.64.9.5")
	until(t, 60*time.Second, "the edge says that its feed is away", func() bool {
		return strings.Contains(edge.run(t, "status").stdout, "the verdict feed at "+feed+" does not answer")
	})
	if r := newClient(t, edge.listen, "127.64.9.5").get(t, "/item/1"); r.header.Get("X-Weir-Verdict") == unheard {
		t.Error("a verdict reached an enforcer whose key was taken back")
	}
	if r := late.get(t, "/item/1"); r.header.Get("X-Weir-Verdict") != live {
		t.Errorf("without a key: status %d", r.status)
	}
	if out := edge.run(t, "status").stdout; !strings.Contains(out, "lost by no_log: ") {
		t.Errorf("the edge does not say that nothing is recorded:\n%s", out)
	}
	st := edge.ok(t, "enforcers", "list")
	if !strings.Contains(st, "away") {
		t.Errorf("the edge calls itself\n%s", st)
	}
	ingress.end(t)
	w.stop(t)
}

// enforcing checks that `weir enforcers list` on the line's machine knows an
// enforcer, level with the feed, and the line's own ingress.
func (w *weir) enforcing(t *testing.T, name, state string) {
	t.Helper()
	var all []struct {
		Name, Via, State, Sequence, From string
		Behind                           *int64
	}
	until(t, 10*time.Second, "every enforcer is level with the feed", func() bool {
		decode(t, w.ok(t, "enforcers", "list", "-o", "json"), &all)
		level := 0
		for _, e := range all {
			if e.Behind != nil && *e.Behind == 0 && e.Sequence != "" && e.State == "connected" {
				level++
			}
		}
		return level == 2
	})
	for _, e := range all {
		if e.Name == name && (e.State != state || e.Via != "feed" || !strings.HasPrefix(e.From, "127.0.0.1:")) {
			t.Errorf("enforcer %+v", e)
		}
	}
}

// addBlock adds a verdict and returns its id.
func (w *weir) addBlock(t *testing.T, client string) string {
	t.Helper()
	var v struct{ ID string }
	decode(t, w.ok(t, "verdicts", "add", "--client", client, "--action", "block", "--for", "1h", "--reason", "end to end test", "-o", "json"), &v)
	return v.ID
}
