package main

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// The table that the ingress benchmark loads is one that the enforcer takes.
func TestVerdictsAreTaken(t *testing.T) {
	if err := writeVerdicts(filepath.Join(t.TempDir(), "enforce", "table"), 1000); err != nil {
		t.Fatal(err)
	}
}

// TestLinesAreHeldAgainstTheFloorsBesideThem pairs samples as they were taken.
func TestLinesAreHeldAgainstTheFloorsBesideThem(t *testing.T) {
	of := func(subject string, us float64) sample {
		return sample{Subject: subject, Values: map[string]float64{"cpu_us": us}}
	}
	got := besideFloors([]sample{of("line", 20), of("floor", 5), of("line", 24), of("floor", 7), of("line", 35)}, "line", "floor", "cpu_us")
	if want := []float64{4, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("ratios %v, want %v", got, want)
	}
	if got := besideFloors([]sample{of("line", 20)}, "line", "floor", "cpu_us"); len(got) != 0 {
		t.Errorf("a line without a floor has ratios %v", got)
	}
}

// TestALineIsOfOneDay begins lines at every quarter of an hour.
func TestALineIsOfOneDay(t *testing.T) {
	for day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC); day.Day() == 1; day = day.Add(15 * time.Minute) {
		start := lineStart(day)
		last := start.Add(lineSpan - time.Nanosecond)
		if start.Day() != last.Day() || day.Sub(start) > 23*time.Hour+30*time.Minute || last.After(day) {
			t.Errorf("at %v: %v to %v", day, start, last)
		}
	}
}
