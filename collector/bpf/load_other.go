//go:build !amd64

package bpf

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
)

// Objects are the loaded programs and maps; there are none for this processor.
type Objects struct{ OnRecv, OnSend, OnState *ebpf.Program }

// Load fails: where a task's registers hold its system call's arguments is
// written for amd64 only.
func Load() (*ebpf.CollectionSpec, error) {
	return nil, fmt.Errorf("kernel capture on %s: %w", runtime.GOARCH, ebpf.ErrNotSupported)
}
