package clickhouse

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/weirproject/weir/stream/event"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

// ErrNewerSchema means that a newer weir has been at this database.
var ErrNewerSchema = errors.New("the database was made by a newer weir: upgrade this one, there is no way back")

// migration is one numbered file. Its statements are idempotent each, so a
// migration that was cut short is simply run again.
type migration struct {
	version    uint32
	name       string
	statements []string
	digest     string
}

// viewsVersion is the row of schema_migrations that holds the views' digest;
// they are not numbered.
const viewsVersion = 0

// Migrate brings the database to this version of weir: it creates what is
// missing, applies each numbered migration once, replaces views whose text
// changed and sets the retention. It may be cut short at any statement and run
// again, and several processes may run it at once.
func (s *Store) Migrate(ctx context.Context) error {
	tiered, err := s.tiered(ctx)
	if err != nil {
		return err
	}
	migrations, err := s.cfg.migrations(tiered)
	if err != nil {
		return err
	}
	for _, sql := range s.cfg.bootstrap() {
		if err := s.exec(ctx, sql); err != nil {
			return err
		}
	}
	applied, err := s.applied(ctx)
	if err != nil {
		return err
	}
	newest := slices.MaxFunc(migrations, func(a, b migration) int { return cmp.Compare(a.version, b.version) }).version
	for version := range applied {
		if version > newest {
			return fmt.Errorf("schema version %d, this weir knows %d: %w", version, newest, ErrNewerSchema)
		}
	}
	for _, m := range migrations {
		// A changed numbered migration would never reach existing databases, so
		// only the views' digest means anything here.
		if digest, done := applied[m.version]; done && (m.version != viewsVersion || digest == m.digest) {
			continue
		}
		for _, sql := range m.statements {
			if err := s.exec(ctx, sql); err != nil {
				return fmt.Errorf("migration %s: %w", m.name, err)
			}
		}
		const record = "INSERT INTO weir.schema_migrations (version, name, digest) VALUES (?, ?, ?)"
		if err := s.writer.Exec(ctx, record, m.version, m.name, m.digest); err != nil {
			return fmt.Errorf("migration %s: clickhouse: %w", m.name, err)
		}
		s.log.Info("clickhouse migration applied", "migration", m.name, "statements", len(m.statements))
	}
	return s.applyRetention(ctx, tiered)
}

func (s *Store) exec(ctx context.Context, sql string) error {
	if err := s.writer.Exec(ctx, sql); err != nil {
		return fmt.Errorf("clickhouse: %s: %w", firstLine(sql), err)
	}
	return nil
}

// applied returns the digest of each applied migration by its version.
func (s *Store) applied(ctx context.Context) (map[uint32]string, error) {
	rows, err := s.writer.Query(ctx, "SELECT version, argMax(digest, applied) FROM weir.schema_migrations GROUP BY version")
	if err != nil {
		return nil, fmt.Errorf("clickhouse: read schema_migrations: %w", err)
	}
	defer func() { _ = rows.Close() }()
	applied := map[uint32]string{}
	for rows.Next() {
		var version uint32
		var digest string
		if err := rows.Scan(&version, &digest); err != nil {
			return nil, fmt.Errorf("clickhouse: read schema_migrations: %w", err)
		}
		applied[version] = digest
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("clickhouse: read schema_migrations: %w", err)
	}
	return applied, nil
}

// bootstrap makes the database and the table of versions.
func (c Config) bootstrap() []string {
	f := schemaFields{c: c}
	return []string{
		"CREATE DATABASE IF NOT EXISTS " + Database + f.OnCluster(),
		"CREATE TABLE IF NOT EXISTS " + Database + ".schema_migrations" + f.OnCluster() +
			" (version UInt32, name String, digest String, applied DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')) ENGINE = " +
			f.Engine("MergeTree", "") + " ORDER BY (version, applied)",
	}
}

// schemaFields is what the SQL files may ask for.
type schemaFields struct {
	c      Config
	tiered bool
}

// DB is the database's name.
func (schemaFields) DB() string { return Database }

// OnCluster is the clause that makes a statement reach every replica.
func (f schemaFields) OnCluster() string {
	if f.c.Cluster == "" {
		return ""
	}
	return " ON CLUSTER " + f.c.Cluster
}

// Engine is a table engine with its argument, replicated on a cluster.
func (f schemaFields) Engine(name, argument string) string {
	if f.c.Cluster == "" {
		return name + "(" + argument + ")"
	}
	path := "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
	if argument != "" {
		path += ", " + argument
	}
	return "Replicated" + name + "(" + path + ")"
}

// Dedup is the settings that make insert tokens last: 10,000 inserts, and on a
// cluster a week instead of the default hour, longer than any outage to survive.
func (f schemaFields) Dedup() string {
	if f.c.Cluster == "" {
		return "non_replicated_deduplication_window = 10000"
	}
	return "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800"
}

// StoragePolicy is the setting that gives a new table its cold tier. An engine that is
// killed while a table changes its policy may refuse that change for good: it
// finds the directories that it had begun to make.
func (f schemaFields) StoragePolicy() string {
	if !f.tiered {
		return ""
	}
	return ", storage_policy = '" + f.c.StoragePolicy + "'"
}

// migrations renders the SQL files, numbered ones first, then the views.
func (c Config) migrations(tiered bool) ([]migration, error) {
	paths, err := fs.Glob(sqlFiles, "sql/*.sql")
	if err != nil {
		return nil, fmt.Errorf("clickhouse schema: %w", err)
	}
	slices.Sort(paths) // digits sort before the v of views
	list := make([]migration, 0, len(paths))
	for _, path := range paths {
		text, err := sqlFiles.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("clickhouse schema: %w", err)
		}
		tmpl, err := template.New(path).Funcs(schemaFuncs).Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("clickhouse schema: %w", err)
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, schemaFields{c, tiered}); err != nil {
			return nil, fmt.Errorf("clickhouse schema: %w", err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(path, "sql/"), ".sql")
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if err != nil && name != "views" {
			return nil, fmt.Errorf("clickhouse schema: %s: no number", path)
		}
		sum := sha256.Sum256([]byte(b.String()))
		list = append(list, migration{
			version: uint32(version), name: name, statements: splitStatements(b.String()), digest: hex.EncodeToString(sum[:]),
		})
	}
	return list, nil
}

// splitStatements cuts a file at each semicolon that ends a line; our files
// hold none inside a string.
func splitStatements(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ";\n") {
		var lines []string
		for line := range strings.Lines(part) {
			if !strings.HasPrefix(line, "--") {
				lines = append(lines, line)
			}
		}
		if sql := strings.TrimSpace(strings.Join(lines, "")); sql != "" {
			list = append(list, sql)
		}
	}
	return list
}

// schemaFuncs are the expressions that several statements share. The skip
// indexes of events are on the very same expressions as the columns of the
// views, or a filter on a view would not use them.
var schemaFuncs = template.FuncMap{
	"hex": hexColumn,
	"actor": func(column string) string {
		return "if(" + column + " = 0, '', concat('a_', " + hexDigits(column) + "))"
	},
	"flag": func(name string) (uint32, error) {
		for i := range 32 {
			if event.Flags(1<<i).String() == name {
				return 1 << i, nil
			}
		}
		return 0, fmt.Errorf("no flag %q", name)
	},
	"names": bitNames,
}

func hexDigits(column string) string { return "lower(leftPad(hex(" + column + "), 16, '0'))" }

func hexColumn(column string) string { return "if(" + column + " = 0, '', " + hexDigits(column) + ")" }

// bitNames is an expression for the names of the set bits, as event.Flags and
// event.Payload print them.
func bitNames(column, set string) (string, error) {
	nameOf := map[string]func(int) string{
		"flags":   func(i int) string { return event.Flags(1 << i).String() },
		"payload": func(i int) string { return event.Payload(1 << i).String() },
	}[set]
	if nameOf == nil {
		return "", fmt.Errorf("no set of bits %q", set)
	}
	var bits, names []string
	for i := 0; i < 16 && nameOf(i) != ""; i++ {
		bits = append(bits, strconv.Itoa(1<<i))
		names = append(names, "'"+nameOf(i)+"'")
	}
	// The first array's type must be the bits' own, UInt32 or UInt16.
	return fmt.Sprintf("arrayStringConcat(arrayMap(b -> transform(toUInt32(b), [%s], [%s], toString(b)), bitmaskToArray(%s)), ',')",
		strings.Join(bits, ", "), strings.Join(names, ", "), column), nil
}

func firstLine(sql string) string {
	line, _, _ := strings.Cut(sql, "\n")
	return strings.TrimSuffix(line, " (")
}
