package main

import (
	"path/filepath"
	"testing"
)

// The table that the ingress benchmark loads is one that the enforcer takes.
func TestVerdictsAreTaken(t *testing.T) {
	if err := writeVerdicts(filepath.Join(t.TempDir(), "enforce", "table"), 1000); err != nil {
		t.Fatal(err)
	}
}
