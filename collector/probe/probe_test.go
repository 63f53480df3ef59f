package probe

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weirproject/weir/collector/bpf"
)

// open skips, or fails where the capability is required, when the kernel
// cannot capture.
func open(t *testing.T, cfg Config) *Probe {
	t.Helper()
	p, err := Open(cfg)
	if errors.Is(err, ErrNotSupported) {
		if slices.Contains(strings.Split(os.Getenv("WEIR_REQUIRE"), ","), "bpf") {
			t.Fatal(err)
		}
		t.Skipf("bpf: %v", err)
	}
	if err != nil {
		if v, ok := errors.AsType[*ebpf.VerifierError](err); ok {
			t.Logf("%+v", v)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestProgramsStayWithinTheVerifierBudget(t *testing.T) {
	const budget = 20_000 // the verifier itself stops at 1,000,000
	p := open(t, Config{Ports: []uint16{1}})
	for name, prog := range p.coll.Programs {
		info, err := prog.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		if !ok {
			t.Skip("bpf: this kernel does not tell verified instructions")
		}
		t.Logf("%s: %d instructions verified", name, n)
		if n > budget {
			t.Errorf("%s: %d instructions verified, budget %d", name, n, budget)
		}
	}
	if _, err := p.Counters(); err != nil {
		t.Fatal(err)
	}
}

func TestWrongConfigurationIsRefused(t *testing.T) {
	err := Config{BudgetBytes: 1, RingBytes: 3, Ports: make([]uint16, 300)}.Validate()
	for _, want := range []string{"collect.ebpf.budget", "collect.ebpf.ring", "collect.ebpf.ports"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

func TestDiagnoseNamesARemedyForWhatIsMissing(t *testing.T) {
	got := Diagnose()
	if len(got) < 5 {
		t.Fatalf("only %d findings", len(got))
	}
	for _, f := range got {
		t.Logf("%+v", f)
		if !f.OK && f.Remedy == "" {
			t.Errorf("%s is missing and has no remedy", f.Name)
		}
	}
}

func TestParseRecordRefusesShortRecords(t *testing.T) {
	var r bpf.Record
	for n := range bpf.RecordBytes {
		if err := bpf.ParseRecord(make([]byte, n), &r); !errors.Is(err, bpf.ErrShort) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}
