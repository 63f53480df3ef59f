package clickhouse_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func residentMB(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	kb, _ := strconv.Atoi(strings.Fields(rest)[0])
	return kb / 1024
}

// TestIdleAndLoad measures what the engine takes when idle and under inserts of
// 20,000 events a second, in batches of a second.
func TestIdleAndLoad(t *testing.T) {
	if os.Getenv("WEIR_E2E") == "" {
		t.Skip("WEIR_E2E is not set: takes a minute and a half")
	}
	e, s := newStore(t, nil)
	measure := func(what string, d time.Duration, work func(i int)) {
		before, begin := cpuOf(t, e.PID()), time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for i := 0; time.Since(begin) < d; i++ {
			work(i)
			<-tick.C
		}
		cpu := cpuOf(t, e.PID()) - before
		t.Logf("%s: %.1f %% of a core, RSS %d MB", what, 100*cpu.Seconds()/time.Since(begin).Seconds(), residentMB(t, e.PID()))
	}
	measure("idle, empty", 20*time.Second, func(int) {})
	inserted := 0
	measure("20,000 events/s", 60*time.Second, func(i int) {
		body := stitch(t, makeEvents(strconv.Itoa(i), 20_000, recently().Add(time.Duration(i)*time.Second)), int64(100*i))
		if err := s.InsertEvents(t.Context(), strconv.Itoa(i), bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		inserted += 20_000
	})
	measure("idle, with rows", 20*time.Second, func(int) {})
	if got := one(t, s, "SELECT count(), uniqExact(id) FROM weir.events"); got != fmt.Sprintf("%d %[1]d", inserted) {
		t.Errorf("rows and ids: %s, want %d", got, inserted)
	}
}
