package clickhouse

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tiered reports whether the server has the policy with a volume named cold.
func (s *Store) tiered(ctx context.Context) (bool, error) {
	var volumes []string
	const sql = "SELECT groupArray(volume_name) FROM system.storage_policies WHERE policy_name = ?"
	if err := s.scalar(ctx, &volumes, sql, s.cfg.StoragePolicy); err != nil {
		return false, err
	}
	return slices.Contains(volumes, "cold"), nil
}

// applyRetention sets the tiers and lifetimes where they differ from the
// configuration. Parts that exist already are recalculated in the background.
func (s *Store) applyRetention(ctx context.Context, tiered bool) error {
	if tiered {
		if err := s.setStoragePolicy(ctx); err != nil {
			return err
		}
	} else {
		s.log.Info("clickhouse has no storage policy with a volume named cold: events stay on one disk", "policy", s.cfg.StoragePolicy)
	}
	for table, ttl := range s.cfg.lifetimes(tiered) {
		if err := s.setLifetime(ctx, table, ttl); err != nil {
			return err
		}
	}
	return nil
}

// lifetimes returns each table's TTL expression, written as ClickHouse prints it.
func (c Config) lifetimes(tiered bool) map[string]string {
	after := func(column string, age time.Duration) string {
		return fmt.Sprintf("%s + toIntervalSecond(%d)", column, int64(age/time.Second))
	}
	r := c.Retention
	events := after("toDateTime(time)", r.Cold)
	if tiered && r.Cold > r.Events {
		events = after("toDateTime(time)", r.Events) + " TO VOLUME 'cold', " + events
	}
	return map[string]string{
		"events":         events,
		"routes_by_hour": after("hour", r.Cold),
		"actors_by_hour": after("hour", r.Cold),
		"decisions":      after("toDateTime(time)", r.Decisions),
		"verdicts":       after("toDateTime(time)", r.Decisions),
		"losses":         after("toDateTime(time)", r.Decisions),
		"baselines":      after("toDateTime(time)", r.Cold),
	}
}

// setStoragePolicy gives a table that is older than the server's policy its cold
// tier.
func (s *Store) setStoragePolicy(ctx context.Context) error {
	var current string
	if err := s.scalar(ctx, &current, "SELECT storage_policy FROM system.tables WHERE database = ? AND name = 'events'", Database); err != nil {
		return err
	}
	if current == s.cfg.StoragePolicy {
		return nil
	}
	return s.exec(ctx, "ALTER TABLE "+Database+".events"+schemaFields{c: s.cfg}.OnCluster()+" MODIFY SETTING storage_policy = '"+s.cfg.StoragePolicy+"'")
}

func (s *Store) setLifetime(ctx context.Context, table, ttl string) error {
	var engine string
	if err := s.scalar(ctx, &engine, "SELECT engine_full FROM system.tables WHERE database = ? AND name = ?", Database, table); err != nil {
		return err
	}
	if strings.Contains(engine, " TTL "+ttl+" SETTINGS ") {
		return nil
	}
	return s.exec(ctx, "ALTER TABLE "+Database+"."+table+schemaFields{c: s.cfg}.OnCluster()+" MODIFY TTL "+ttl)
}

// Tier is what one table keeps on one disk.
type Tier struct {
	Table string
	Disk  string
	Rows  uint64
	Bytes uint64
	// Oldest and Newest are the event times of the first and last row; zero for
	// tables that are not partitioned by time.
	Oldest time.Time
	Newest time.Time
}

// Tiers lists what is stored where, by table and disk.
func (s *Store) Tiers(ctx context.Context) ([]Tier, error) {
	rows, err := s.writer.Query(ctx, `SELECT table, disk_name, sum(rows), sum(bytes_on_disk), min(min_time), max(max_time)
		FROM system.parts WHERE database = ? AND active GROUP BY table, disk_name ORDER BY table, disk_name`, Database)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: read parts: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var list []Tier
	for rows.Next() {
		var t Tier
		if err := rows.Scan(&t.Table, &t.Disk, &t.Rows, &t.Bytes, &t.Oldest, &t.Newest); err != nil {
			return nil, fmt.Errorf("clickhouse: read parts: %w", err)
		}
		list = append(list, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("clickhouse: read parts: %w", err)
	}
	return list, nil
}

// Trim drops the oldest days of events until the database takes at most
// maxBytes (retention.disk), and returns the dropped days as YYYYMMDD. The newest
// day always stays. Roll-ups, verdicts and decisions are never trimmed; they
// have their own lifetimes and are small.
func (s *Store) Trim(ctx context.Context, maxBytes uint64) (dropped []string, err error) {
	var total uint64
	if err := s.scalar(ctx, &total, "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = ? AND active", Database); err != nil {
		return nil, err
	}
	rows, err := s.writer.Query(ctx, `SELECT partition, sum(bytes_on_disk) FROM system.parts
		WHERE database = ? AND table = 'events' AND active GROUP BY partition ORDER BY partition`, Database)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: read partitions: %w", err)
	}
	type partition struct {
		name  string
		bytes uint64
	}
	var list []partition
	for rows.Next() {
		var p partition
		if err := rows.Scan(&p.name, &p.bytes); err != nil {
			_ = rows.Close()
			return nil, fmt.Errorf("clickhouse: read partitions: %w", err)
		}
		list = append(list, p)
	}
	if err := rows.Close(); err != nil {
		return nil, fmt.Errorf("clickhouse: read partitions: %w", err)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("clickhouse: read partitions: %w", err)
	}
	for i := 0; i < len(list)-1 && total > maxBytes; i++ {
		sql := "ALTER TABLE " + Database + ".events" + schemaFields{c: s.cfg}.OnCluster() + " DROP PARTITION " + list[i].name
		if err := s.exec(ctx, sql); err != nil {
			return dropped, err
		}
		s.log.Warn("retention.disk reached: dropped the oldest day of events", "day", list[i].name, "bytes", list[i].bytes)
		total -= min(total, list[i].bytes)
		dropped = append(dropped, list[i].name)
	}
	return dropped, nil
}
