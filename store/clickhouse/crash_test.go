package clickhouse_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirproject/weir/store/clickhouse"
)

// TestKilledEngineLosesAndDoublesNothing kills the engine at random moments of
// inserts that are repeated until they succeed.
func TestKilledEngineLosesAndDoublesNothing(t *testing.T) {
	batches, kills, rows := 16, 4, 4000
	if os.Getenv("WEIR_E2E") != "" {
		batches, kills = 400, 100
	}
	e, s := newStore(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var retries int
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killed := 0
	killer.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		for killed < kills {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(50+random.IntN(150)) * time.Millisecond):
			}
			e.Kill()
			killed++
			if err := e.Start(ctx); err != nil {
				t.Errorf("start after kill: %v", err)
				return
			}
		}
	})
	for i := range batches {
		events := makeEvents(fmt.Sprintf("k%02d", i), rows, recently().Add(time.Duration(i%3-1)*24*time.Hour))
		body := stitch(t, events, int64(10*i))
		insert := func(ctx context.Context) error {
			return s.InsertEvents(ctx, fmt.Sprintf("i/weir.events/3/%d/events", i), bytes.NewReader(body))
		}
		for n := range 3 { // also when nothing went wrong: the answer may have been lost
			if n > 0 && i%4 != 0 {
				break
			}
			if err := clickhouse.Retry(ctx, insert, func(error) { retries++ }); err != nil {
				t.Fatalf("batch %d: %v", i, err)
			}
		}
	}
	close(stop)
	killer.Wait()
	if got, want := one(t, s, "SELECT count(), uniqExact(id) FROM weir.events"), fmt.Sprintf("%d %[1]d", batches*rows); got != want {
		t.Errorf("rows and ids: %s, want %s", got, want)
	}
	checkRollups(t, s)
	if got := one(t, s, "SELECT count() FROM system.detached_parts"); got != "0" {
		t.Errorf("%s detached parts", got)
	}
	t.Logf("%d kills, %d failed inserts repeated", killed, retries)
	if killed == 0 || retries == 0 {
		t.Error("no kill met an insert")
	}
}

// tlsFront puts TLS in front of a plain port, as a ClickHouse server's secure
// port would be; the embedded engine has none.
func tlsFront(t *testing.T, cert tls.Certificate, target string) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = in.Close() }()
				out, err := new(net.Dialer).DialContext(t.Context(), "tcp", target)
				if err != nil {
					return
				}
				defer func() { _ = out.Close() }()
				go func() { _, _ = io.Copy(out, in) }()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return l.Addr().String()
}

// TestOwnServer uses the engine as the server that clickhouse.addr names: over
// TLS, with a second address that is down, and without an analyst user.
func TestOwnServer(t *testing.T) {
	e := startEngine(t)
	site := httptest.NewUnstartedServer(nil)
	site.StartTLS() // for its certificate
	defer site.Close()
	roots := x509.NewCertPool()
	roots.AddCert(site.Certificate())
	cert := site.TLS.Certificates[0]
	s := open(t, configFor(e, func(c *clickhouse.Config) {
		c.Addr = []string{"127.0.0.1:1", tlsFront(t, cert, c.Addr[0])}
		c.HTTPAddr = []string{"127.0.0.1:1", tlsFront(t, cert, c.HTTPAddr[0])}
		c.AnalystUsername = ""
		c.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		c.QueryTimeout = time.Second
	}))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := stitch(t, makeEvents("o", 1000, recently()), 1)
	insert := func(ctx context.Context) error { return s.InsertEvents(ctx, "t", bytes.NewReader(body)) }
	if err := clickhouse.Retry(t.Context(), insert, nil); err != nil {
		t.Fatal(err)
	}
	if got := table(t, s, clickhouse.Analyst, "SELECT count() FROM weir.requests"); !slices.Equal(got, []string{"1000"}) {
		t.Errorf("requests: %v", got)
	}
	for _, c := range []struct {
		name, sql string
		code      int
	}{
		{"a person writes nothing", "INSERT INTO weir.losses (node) VALUES ('x')", 164},
		{"drops nothing", "DROP TABLE weir.events", 164},
		{"cannot leave read-only", "SELECT 1 SETTINGS readonly = 0", 164},
		{"is limited in time", "SELECT count() FROM numbers(400000000) WHERE NOT ignore(sipHash64(repeat(toString(number), 50)))", 159},
		{"and in rows", "SELECT count() FROM numbers(600000000) WHERE NOT ignore(number)", 158},
	} {
		if _, err := readAll(t.Context(), s, clickhouse.Analyst, c.sql); clickhouse.Code(err) != c.code {
			t.Errorf("%s: %v, want code %d", c.name, err, c.code)
		}
	}
	plain := open(t, configFor(e, func(c *clickhouse.Config) {
		c.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12} // the port speaks no TLS
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := plain.Ping(ctx); err == nil {
		t.Error("TLS on a plain port worked")
	}
}

func TestQueryEndsWithItsContext(t *testing.T) {
	_, s := newStore(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := readAll(ctx, s, clickhouse.Analyst, "SELECT count() FROM numbers(400000000) WHERE NOT ignore(sipHash64(repeat(toString(number), 50)))")
	if err == nil {
		t.Error("the query outlived its context")
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v to end", took)
	}
	running := func() string {
		return one(t, s, "SELECT count() FROM system.processes WHERE user = 'analyst'")
	}
	eventually(t, 30*time.Second, func() bool { return running() == "0" }, func() string { return running() + " queries of the analyst still run" })
}
