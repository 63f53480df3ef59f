package clickhouse_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
)

// cpuOf returns the CPU time of a process so far, in clock ticks of 10 ms.
func cpuOf(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// BenchmarkInsertEvents inserts batches of 50,000 stitched events and reports
// the engine's CPU per row, background merges included, and what the tables
// cost besides the bare one.
func BenchmarkInsertEvents(b *testing.B) {
	const rows = 50_000
	indexes := []string{"by_id", "by_offset", "by_verdict", "by_client_ip", "by_actor", "by_session", "by_account"}
	for _, c := range []struct {
		name string
		sql  []string
	}{
		{"full", nil},
		{"without roll-ups", []string{"DROP TABLE weir.routes_by_hour_feed", "DROP TABLE weir.actors_by_hour_feed"}},
		{"without routes", []string{"DROP TABLE weir.routes_by_hour_feed"}},
		{"without indexes", []string{"ALTER TABLE weir.events DROP INDEX " + strings.Join(indexes, ", DROP INDEX ")}},
		{"bare", []string{"DROP TABLE weir.routes_by_hour_feed", "DROP TABLE weir.actors_by_hour_feed", "ALTER TABLE weir.events DROP INDEX " + strings.Join(indexes, ", DROP INDEX ")}},
	} {
		b.Run(c.name, func(b *testing.B) {
			e, s := newStore(b, nil)
			for _, sql := range c.sql {
				exec(b, s, sql)
			}
			events := makeEvents("b", rows, recently())
			for i := range events { // 5,000 visitors of some ten requests each
				k := i * 7919 % 5000
				events[i].ID = fmt.Sprintf("%016x", uint64(i+1)*0x9e3779b97f4a7c15)
				events[i].Keys[event.KindSession], events[i].Keys[event.KindDevice] = event.Hash(k+1), event.Hash(k+7)
				events[i].Time = events[0].Time + int64(i)*int64(time.Millisecond)
			}
			body := stitch(b, events, 1)
			before := cpuOf(b, e.PID())
			for n := 0; b.Loop(); n++ {
				if err := s.InsertEvents(b.Context(), strconv.Itoa(n), bytes.NewReader(body)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuOf(b, e.PID())-before)/float64(b.N)/rows, "engine-ns/row")
			b.ReportMetric(float64(len(body))/rows, "bytes/row")
			sizes := table(b, s, 1, "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE active AND database = 'weir' AND table = 'events'")
			b.Logf("stored bytes per row: %v", sizes)
		})
	}
}
