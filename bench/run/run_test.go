package main

import (
	"path/filepath"
	"slices"
	"testing"
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
	got := besideFloors([]sample{of("line", 20), of("floor", 5), of("line", 24), of("floor", 7), of("line", 35)})
	if want := []float64{4, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("ratios %v, want %v", got, want)
	}
	if got := besideFloors([]sample{of("line", 20)}); len(got) != 0 {
		t.Errorf("a line without a floor has ratios %v", got)
	}
}
