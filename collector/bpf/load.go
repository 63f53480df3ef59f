//go:build amd64

package bpf

import "github.com/cilium/ebpf"

// Objects are the loaded programs and maps; the caller closes them.
type Objects = captureObjects

// Load reads the committed object; the caller may set its variables before it
// loads them into the kernel.
func Load() (*ebpf.CollectionSpec, error) { return loadCapture() }
