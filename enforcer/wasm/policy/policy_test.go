package policy_test

import (
	"bytes"
	"testing"

	"github.com/weirproject/weir/enforcer/wasm/policy"
)

func TestRegeneratingGivesTheCommittedBytes(t *testing.T) {
	if !bytes.Equal(policy.EmitStrongest(), policy.Strongest) {
		t.Error("strongest.wasm is out of date: run go generate ./enforcer/wasm/policy")
	}
}
