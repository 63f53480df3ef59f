package clickhouse

import (
	"context"
	"testing"
)

// Exec runs a statement without an answer as the writer.
func (s *Store) Exec(ctx context.Context, sql string) error { return s.exec(ctx, sql) }

// Statements returns every statement of a migration from nothing.
func Statements(t *testing.T, cfg Config, tiered bool) []string {
	t.Helper()
	cfg = cfg.withDefaults()
	list := cfg.bootstrap()
	migrations, err := cfg.migrations(tiered)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range migrations {
		list = append(list, m.statements...)
	}
	return list
}
