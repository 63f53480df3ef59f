package demo

import (
	"slices"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

func TestRecordIsOrderedRepeatableAndFullOfPeople(t *testing.T) {
	until := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	var got []*flow.Exchange
	n, err := Record(t.Context(), 2, until, func(x *flow.Exchange) { got = append(got, x) })
	if err != nil {
		t.Fatal(err)
	}
	if n != len(got) || n < 3000 {
		t.Fatalf("%d exchanges, want some thousands", n)
	}
	if !slices.IsSortedFunc(got, func(a, b *flow.Exchange) int { return a.Time.Compare(b.Time) }) {
		t.Fatal("not in order of time")
	}
	var logins, failures int
	for _, x := range got {
		if x.Target == "/api/login" {
			logins++
			if x.Status == 401 {
				failures++
			}
		}
		if x.Time.After(until) {
			t.Fatalf("exchange at %s, after the end of the record", x.Time)
		}
	}
	if logins < 100 || failures == 0 || failures > logins/4 {
		t.Fatalf("%d of %d logins failed", failures, logins)
	}
	t.Logf("%d exchanges, %d logins, %d failed", n, logins, failures)
}
