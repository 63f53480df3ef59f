package clickhouse_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/store/clickhouse"
	"github.com/weirproject/weir/store/embedded"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/wire"
)

const childArg = "test-child-clickhouse"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childArg {
		if err := embedded.ChildMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// startEngine starts an engine on a new directory, or skips the test.
func startEngine(tb testing.TB) *embedded.Engine {
	tb.Helper()
	path := os.Getenv("WEIR_CHDB")
	if path == "" {
		dir, err := embedded.CacheDir()
		if err != nil {
			tb.Fatal(err)
		}
		path = filepath.Join(dir, "libchdb.so")
	}
	if _, err := os.Stat(path); err != nil { //nolint:gosec // G703: the tester's own environment
		if slices.Contains(strings.Split(os.Getenv("WEIR_REQUIRE"), ","), "clickhouse") {
			tb.Fatalf("clickhouse engine library required: %v", err)
		}
		tb.Skipf("clickhouse engine library missing: %v (make run fetches it)", err)
	}
	e, err := embedded.New(embedded.Config{
		Dir: tb.TempDir(), Engine: embedded.Binary{Path: path}, Command: []string{"/proc/self/exe", childArg},
		MemoryBytes: 512 << 20, StopTimeout: time.Second,
	}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := e.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(e.Kill)
	return e
}

// configFor is the configuration for an engine; change may be nil.
func configFor(e *embedded.Engine, change func(*clickhouse.Config)) clickhouse.Config {
	p := e.Endpoint()
	cfg := clickhouse.Config{
		Addr: []string{p.TCP}, HTTPAddr: []string{p.HTTP}, Username: embedded.Writer, Password: p.Users[embedded.Writer],
		AnalystUsername: embedded.Analyst, AnalystPassword: p.Users[embedded.Analyst],
	}
	if change != nil {
		change(&cfg)
	}
	return cfg
}

func open(tb testing.TB, cfg clickhouse.Config) *clickhouse.Store {
	tb.Helper()
	s, err := clickhouse.Open(cfg, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// newStore starts an engine and migrates it.
func newStore(tb testing.TB, change func(*clickhouse.Config)) (*embedded.Engine, *clickhouse.Store) {
	tb.Helper()
	e := startEngine(tb)
	s := open(tb, configFor(e, change))
	if err := s.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return e, s
}

// table reads a whole answer, each row as space separated text.
func table(tb testing.TB, s *clickhouse.Store, as clickhouse.Role, sql string, args ...any) []string {
	tb.Helper()
	list, err := readAll(tb.Context(), s, as, sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return list
}

func readAll(ctx context.Context, s *clickhouse.Store, as clickhouse.Role, sql string, args ...any) ([]string, error) {
	rows, err := s.Query(ctx, as, sql, args...)
	if err != nil {
		return nil, err
	}
	var list []string
	for rows.Next() {
		cells := make([]string, len(rows.Values()))
		for i, v := range rows.Values() {
			cells[i] = clickhouse.Text(v)
		}
		list = append(list, strings.Join(cells, " "))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return list, rows.Close()
}

// one reads an answer of one row.
func one(tb testing.TB, s *clickhouse.Store, sql string) string {
	tb.Helper()
	list := table(tb, s, clickhouse.Writer, sql)
	if len(list) != 1 {
		tb.Fatalf("%s: %d rows, want 1", sql, len(list))
	}
	return list[0]
}

func exec(tb testing.TB, s *clickhouse.Store, sql string) {
	tb.Helper()
	if err := s.Exec(tb.Context(), sql); err != nil {
		tb.Fatal(err)
	}
}

// makeEvents returns n events of two sites, 10 a second from start. Ids are
// unique per prefix; actors repeat every 50 events.
func makeEvents(prefix string, n int, start time.Time) []event.Event {
	list := make([]event.Event, n)
	for i := range list {
		ev := &list[i]
		*ev = event.Event{
			ID: fmt.Sprintf("%s-%06d", prefix, i), Time: start.Add(time.Duration(i) * 100 * time.Millisecond).UnixNano(),
			Duration: int64(1000+i%7) * 1000, Source: event.SourceEnforcer, Node: "n1", Site: []string{"shop", "blog"}[i%2],
			Client: netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 50)}), ClientPort: uint16(40000 + i%1000), Country: "NO", ASN: 64500,
			TLSVersion: "1.3", SNI: "shop.example", JA4: "t13d1516h2_8daaf6152771_b186095e22b6", Protocol: "HTTP/2",
			Method: "GET", Host: "shop.example", Path: fmt.Sprintf("/item/%d", i%300), Status: 200, RequestBytes: 431, ResponseBytes: int64(1000 + i),
			UserAgent: "Mozilla/5.0 (X11; Linux x86_64)", AcceptLanguage: "nb-NO", ContentType: "text/html", HeaderOrder: 0x1f,
			Role: event.RoleItemView, Action: event.ActionAllow, Mode: event.ModeShadow, KeyID: "k1",
			Objects: []event.Object{{Name: "item", Value: strconv.Itoa(i % 300), Hash: event.Hash(1000 + i%300)}},
		}
		ev.Keys[event.KindSession] = event.Hash(0xa000 + i%50)
		ev.Keys[event.KindDevice] = event.Hash(0xb000 + i%50)
		ev.Keys[event.KindClient] = event.Hash(0xc000 + i%50)
		if i%5 == 0 { // a login attempt on one of 40 accounts
			ev.Role, ev.Method, ev.Path, ev.Route, ev.Status = event.RoleLogin, "POST", "/api/login", "/api/login", 401
			ev.Outcome, ev.Claimed = event.OutcomeFailure, event.Hash(0xd000+i%40)
			ev.Keys[event.KindTargetAccount] = event.Hash(0xe000 + i%40)
			ev.Objects = append(ev.Objects, event.Object{Name: "card", Hash: 0xabcdef},
				event.Object{Name: "csc", Hash: 0x5ec4e7, Ephemeral: true})
			ev.Secret = 0x5ec4e7
		} else if i%3 == 0 {
			ev.Keys[event.KindAccount] = event.Hash(0xd000 + i%40)
		}
		if i%100 == 99 {
			ev.Action, ev.Mode, ev.Status, ev.Verdict = event.ActionBlock, event.ModeEnforce, 403, "v_00000000000000000000000000000001"
		}
	}
	return list
}

func actorOf(i int) event.Hash { return event.Hash(0xf000 + i%50) }

// stitch makes the body of one insert, in records of at most 700 events, the
// first at offset.
func stitch(tb testing.TB, events []event.Event, offset int64) []byte {
	tb.Helper()
	var out bytes.Buffer
	st := wire.NewStitcher(&out)
	enc, dec := wire.NewEncoder(wire.EncoderConfig{}), wire.NewDecoder(wire.Limits{})
	done := 0
	for part := range slices.Chunk(events, 700) {
		for i := range part {
			if err := enc.Append(&part[i]); err != nil {
				tb.Fatal(err)
			}
		}
		rec, _ := enc.Flush("test", 1)
		batch, err := dec.DecodeValue(rec.Value)
		if err != nil {
			tb.Fatal(err)
		}
		actors, routes := make([]event.Hash, len(part)), make([]string, len(part))
		for i := range part {
			actors[i] = actorOf(done + i)
			if part[i].Route == "" {
				routes[i] = "/item/{id}"
			}
		}
		if err := st.Add(batch, 3, offset, actors, routes); err != nil {
			tb.Fatal(err)
		}
		done += len(part)
		offset++
	}
	if err := st.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// eventually waits until condition holds, for what the server does in the background.
func eventually(tb testing.TB, within time.Duration, condition func() bool, explain func() string) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("after %v: %s", within, explain())
		}
	}
}

// recently is a whole hour in the near past, inside every retention.
func recently() time.Time { return time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour) }

func insertEvents(tb testing.TB, s *clickhouse.Store, token string, events []event.Event, offset int64) {
	tb.Helper()
	body := stitch(tb, events, offset)
	if err := s.InsertEvents(tb.Context(), token, bytes.NewReader(body)); err != nil {
		tb.Fatal(err)
	}
}
