//go:build amd64

package bpf

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestLayoutsInCAndGoAgree compares what record.go reads with the object's own
// type information.
func TestLayoutsInCAndGoAgree(t *testing.T) {
	spec, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	var scratch *btf.Struct
	if err := spec.Types.TypeByName("scratch", &scratch); err != nil {
		t.Fatal(err)
	}
	record, ok := btf.UnderlyingType(scratch.Members[0].Type).(*btf.Struct)
	if !ok || record.Size != RecordBytes {
		t.Fatalf("struct record is %v", record)
	}
	want := map[string]int{
		"kind": 0, "dir": 1, "flags": 2, "proto": 3, "role": 4, "tail_len": 5, "syscall": 6, "ts": 8, "conn": 16,
		"pos": 24, "len": 32, "captured": 36, "tgid": 40, "tid": 44, "lost": 48, "pad": 52, "tail": 56,
	}
	if len(record.Members) != len(want) {
		t.Fatalf("%d members, want %d", len(record.Members), len(want))
	}
	for _, m := range record.Members {
		if off, ok := want[m.Name]; !ok || off != int(m.Offset.Bytes()) {
			t.Errorf("%s stands at %d in C, at %d in Go", m.Name, m.Offset.Bytes(), off)
		}
	}
}

// FuzzParseRecord holds that no bytes make it read outside its input.
func FuzzParseRecord(f *testing.F) {
	b := make([]byte, RecordBytes+4)
	b[0], b[5] = KindData, 8
	binary.LittleEndian.PutUint32(b[32:], 4)
	binary.LittleEndian.PutUint32(b[36:], 4)
	f.Add(b)
	f.Add(append([]byte{KindOpen}, make([]byte, openBytes)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		if ParseRecord(b, &r) != nil {
			return
		}
		if len(r.Data) > len(b)-RecordBytes || len(r.Tail) > 8 || uint64(len(r.Data)) > uint64(r.Len) {
			t.Fatalf("%+v of %d bytes", r, len(b))
		}
		if r.Kind == KindOpen {
			_ = r.Open()
		}
	})
}
