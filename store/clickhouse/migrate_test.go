package clickhouse_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/weirproject/weir/store/clickhouse"
)

func TestMigrateFromEmptyAndAgain(t *testing.T) {
	_, s := newStore(t, nil)
	tables := table(t, s, clickhouse.Writer, "SELECT name FROM system.tables WHERE database = 'weir' ORDER BY name")
	for _, want := range []string{
		"events", "verdicts", "decisions", "losses", "baselines", "routes_by_hour", "actors_by_hour",
		"requests", "actors", "sessions", "accounts", "shadow", "schema_migrations",
	} {
		if !slices.Contains(tables, want) {
			t.Errorf("no table or view %s among %v", want, tables)
		}
	}
	const log = "SELECT version, name, count() FROM weir.schema_migrations GROUP BY ALL ORDER BY ALL"
	before := table(t, s, clickhouse.Writer, log)
	mutations := one(t, s, "SELECT count() FROM system.mutations WHERE database = 'weir'")
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := table(t, s, clickhouse.Writer, log); !slices.Equal(before, after) {
		t.Errorf("a second run applied something: %v, before %v", after, before)
	}
	if got := one(t, s, "SELECT count() FROM system.mutations WHERE database = 'weir'"); got != mutations {
		t.Errorf("a second run started mutations: %s, before %s", got, mutations)
	}
}

// TestRequestsColumns holds the view to CONTRACTS.md section 5.
func TestRequestsColumns(t *testing.T) {
	_, s := newStore(t, nil)
	types := map[string]string{}
	for _, row := range table(t, s, clickhouse.Analyst, "SELECT name, type FROM system.columns WHERE database = 'weir' AND table = 'requests'") {
		name, typ, _ := strings.Cut(row, " ")
		types[name] = typ
	}
	promised := strings.FieldsSeq(`time id source node site client_ip client_asn country method host path route query_keys status request_bytes
		response_bytes duration_us user_agent ja4 header_order session account device actor role outcome objects action mode verdict workload flags`)
	for name := range promised {
		if types[name] == "" {
			t.Errorf("requests has no column %s", name)
		}
	}
	for name, want := range map[string]string{
		"time": "DateTime64(9, 'UTC')", "client_ip": "IPv6", "objects": "Map(String, String)", "session": "String", "actor": "String", "header_order": "String",
	} {
		if types[name] != want {
			t.Errorf("requests.%s is %s, want %s", name, types[name], want)
		}
	}
	for _, secret := range []string{"secret", "ephemeral_names", "ephemeral_keys"} {
		if got := one(t, s, "SELECT count() FROM system.columns WHERE database = 'weir' AND name = '"+secret+"'"); got != "0" {
			t.Errorf("a table holds the log-only column %s", secret)
		}
	}
}

// TestMigrateAfterCrash cuts the schema at every statement, as a crash would,
// and runs the migration on what is left.
func TestMigrateAfterCrash(t *testing.T) {
	e := startEngine(t)
	cfg := configFor(e, nil)
	s := open(t, cfg)
	statements := clickhouse.Statements(t, cfg, true)
	if len(statements) < 15 {
		t.Fatalf("only %d statements", len(statements))
	}
	for cut := 0; cut <= len(statements); cut += 3 {
		exec(t, s, "DROP DATABASE IF EXISTS weir SYNC")
		for _, sql := range statements[:cut] {
			exec(t, s, sql)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatalf("after %d statements: %v", cut, err)
		}
	}
}

// TestEventsHaveTheirTiersFromTheStart: an engine that was killed while the table
// changed its policy refused that change for good.
func TestEventsHaveTheirTiersFromTheStart(t *testing.T) {
	e := startEngine(t)
	for _, tiered := range []bool{true, false} {
		cfg := configFor(e, nil)
		s := open(t, cfg)
		exec(t, s, "DROP DATABASE IF EXISTS weir SYNC")
		for _, sql := range clickhouse.Statements(t, cfg, tiered) {
			exec(t, s, sql)
		}
		const policy = "SELECT storage_policy = 'weir' FROM system.tables WHERE database = 'weir' AND name = 'events'"
		if got := one(t, s, policy); (got == "1") != tiered {
			t.Errorf("tiered %v: policy weir %s", tiered, got)
		}
		if err := s.Migrate(t.Context()); err != nil { // a server may be given the policy later
			t.Fatal(err)
		}
		if got := one(t, s, policy); got != "1" {
			t.Errorf("tiered %v: the policy is not weir after a migration", tiered)
		}
	}
}

func TestMigrateBySeveralProcessesAtOnce(t *testing.T) {
	e := startEngine(t)
	var group errgroup.Group
	for range 4 {
		s := open(t, configFor(e, nil))
		group.Go(func() error { return s.Migrate(t.Context()) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	s := open(t, configFor(e, nil))
	insertEvents(t, s, "t", makeEvents("m", 100, recently()), 1)
	checkRollups(t, s)
}

func TestMigrateChangesViewsAndRetention(t *testing.T) {
	e, s := newStore(t, nil)
	exec(t, s, "INSERT INTO weir.schema_migrations (version, name, digest) VALUES (0, 'views', 'of another version')")
	exec(t, s, "DROP VIEW weir.shadow")
	longer := open(t, configFor(e, func(c *clickhouse.Config) { c.Retention.Events = 40 * 24 * 3600e9 }))
	if err := longer.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := one(t, s, "SELECT count() FROM weir.shadow"); got != "0" {
		t.Errorf("shadow has %s rows", got)
	}
	engine := one(t, s, "SELECT engine_full FROM system.tables WHERE database = 'weir' AND name = 'events'")
	if !strings.Contains(engine, "toIntervalSecond(3456000) TO VOLUME 'cold'") || !strings.Contains(engine, "storage_policy = 'weir'") {
		t.Errorf("retention was not changed: %s", engine)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	_, s := newStore(t, nil)
	exec(t, s, "INSERT INTO weir.schema_migrations (version, name, digest) VALUES (9999, 'future', '')")
	if err := s.Migrate(t.Context()); !errors.Is(err, clickhouse.ErrNewerSchema) {
		t.Errorf("Migrate on a newer schema: %v, want ErrNewerSchema", err)
	}
}

// TestClusterStatements checks the text for a cluster; no cluster runs here.
func TestClusterStatements(t *testing.T) {
	cfg := clickhouse.Config{Addr: []string{"ch1:9000"}, Username: "weir", Cluster: "main"}
	seen := 0
	for _, sql := range clickhouse.Statements(t, cfg, false) {
		if !strings.Contains(sql, "ON CLUSTER main") {
			t.Errorf("not on the cluster: %s", sql)
		}
		if _, engine, ok := strings.Cut(sql, "ENGINE = "); ok {
			seen++
			if !strings.HasPrefix(engine, "Replicated") {
				t.Errorf("not replicated: %s", sql)
			}
		}
	}
	if seen == 0 {
		t.Error("no statement has an engine")
	}
}
