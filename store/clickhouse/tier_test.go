package clickhouse_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/store/clickhouse"
)

// byDisk counts the events on each disk.
func byDisk(t *testing.T, s *clickhouse.Store) string {
	t.Helper()
	return strings.Join(table(t, s, clickhouse.Writer, `SELECT _disk, count() FROM (
		SELECT p.disk_name AS _disk FROM weir.events AS e JOIN (SELECT name, disk_name FROM system.parts WHERE database = 'weir' AND table = 'events' AND active) AS p
		ON e._part = p.name) GROUP BY ALL ORDER BY ALL`), ", ")
}

// TestRowsMoveToColdAndExpire moves time by inserting events of the past.
func TestRowsMoveToColdAndExpire(t *testing.T) {
	day := 24 * time.Hour
	_, s := newStore(t, func(c *clickhouse.Config) {
		c.Retention = clickhouse.Retention{Events: 10 * day, Cold: 30 * day, Decisions: 30 * day}
	})
	now := recently()
	for i, age := range []time.Duration{0, 5 * day, 20 * day, 60 * day} {
		insertEvents(t, s, "age"+age.String(), makeEvents("age"+age.String(), 1000, now.Add(-age)), int64(100*i))
	}
	// Parts are moved and dropped in the background; asking for it saves the wait.
	exec(t, s, "ALTER TABLE weir.events MATERIALIZE TTL SETTINGS mutations_sync = 2")
	exec(t, s, "OPTIMIZE TABLE weir.events FINAL")
	const want = "cold 1000, default 2000"
	eventually(t, time.Minute, func() bool { return byDisk(t, s) == want }, func() string { return "events by disk: " + byDisk(t, s) })
	// All three ages that are kept answer the same question on whatever disk.
	got := table(t, s, clickhouse.Analyst, "SELECT dateDiff('day', toDate(time), toDate(?)) AS age, count(), uniqExact(actor) FROM weir.requests GROUP BY age ORDER BY age", now)
	if wantRows := []string{"0 1000 50", "5 1000 50", "20 1000 50"}; !slices.Equal(got, wantRows) {
		t.Errorf("requests by age: %v, want %v", got, wantRows)
	}
	tiers, err := s.Tiers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, tier := range tiers {
		if tier.Table == "events" && tier.Disk == "cold" {
			found = tier.Rows == 1000 && tier.Bytes > 0 && tier.Newest.Before(now.Add(-19*day))
		}
	}
	if !found {
		t.Errorf("Tiers lacks the 1000 cold rows: %+v", tiers)
	}
}

func TestTrimDropsOldestDays(t *testing.T) {
	_, s := newStore(t, nil)
	now := recently()
	var newest string
	for i := range 4 {
		day := now.Add(-time.Duration(3-i) * 24 * time.Hour)
		insertEvents(t, s, day.String(), makeEvents(day.Format("0102"), 2000, day), int64(10*i))
		newest = day.Format("20060102")
	}
	if dropped, err := s.Trim(t.Context(), 1<<40); err != nil || len(dropped) != 0 {
		t.Errorf("with room: dropped %v, %v", dropped, err)
	}
	dropped, err := s.Trim(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(dropped) != 3 || !slices.IsSorted(dropped) || slices.Contains(dropped, newest) {
		t.Errorf("without room: dropped %v, want the three oldest days and not %s", dropped, newest)
	}
	if got := one(t, s, "SELECT count() FROM weir.events"); got != "2000" {
		t.Errorf("%s rows are left, want the newest day's 2000", got)
	}
}
