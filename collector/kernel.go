// Package collector owns the node agent's kernel source: it joins the attached
// programs (collector/probe) and the assembler (collector/assembly) and accounts
// for every message that the kernel saw.
//
// It promises that Run returns with the programs detached, that the reader is
// never blocked by what comes after it (the exchange handler must not block),
// and that Counters tell what was lost by cause.
package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirproject/weir/collector/assembly"
	"github.com/weirproject/weir/collector/bpf"
	"github.com/weirproject/weir/collector/probe"
	"github.com/weirproject/weir/stream/flow"
)

// ErrNotSupported says that this machine cannot capture from the kernel.
var ErrNotSupported = probe.ErrNotSupported

// KernelConfig of a Kernel source.
type KernelConfig struct {
	Probe probe.Config
	// Node is written to each exchange.
	Node string
}

// Counters of a kernel source: the programs' own and the assembler's.
type Counters struct {
	Kernel   bpf.Counters
	Assembly assembly.Counters
}

// Lost returns what was seen to be missed, by cause; the sum is in records for
// ring_drop and in messages for the rest.
func (c Counters) Lost() map[string]uint64 {
	return map[string]uint64{
		"ring_drop": c.Kernel.Dropped, "orphan": c.Assembly.Orphans, "incomplete": c.Assembly.Incomplete,
		"malformed": c.Assembly.Malformed, "overflow": c.Assembly.Overflowed,
	}
}

// Kernel captures plain HTTP/1.1 from unmodified servers. Use OpenKernel.
type Kernel struct {
	probe *probe.Probe
	cfg   KernelConfig
	last  atomic.Pointer[assembly.Counters]
	// mu guards the probe's end against who reads its counters.
	mu     sync.Mutex
	closed bool
}

// OpenKernel attaches the programs. The error wraps ErrNotSupported where the
// machine cannot.
func OpenKernel(cfg KernelConfig) (*Kernel, error) {
	p, err := probe.Open(cfg.Probe)
	if err != nil {
		return nil, err
	}
	k := &Kernel{probe: p, cfg: cfg}
	k.last.Store(&assembly.Counters{})
	return k, nil
}

// Run hands each exchange to out, which must not keep it nor block, until ctx
// ends; then it detaches the programs.
func (k *Kernel) Run(ctx context.Context, out func(*flow.Exchange)) error {
	a := assembly.New(assembly.Config{Node: k.cfg.Node, Wall: wallClock(), Workload: workload}, out)
	var handled int
	publish := func() {
		c := a.Counters()
		k.last.Store(&c)
		handled = 0
	}
	err := k.probe.Run(ctx, func(r *bpf.Record) {
		a.Handle(r)
		if handled++; handled == 4096 {
			publish()
		}
	}, func() {
		a.Idle(monotonic())
		publish()
	})
	a.Flush()
	publish()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	return errors.Join(err, k.probe.Close())
}

// Counters returns the counts so far, an error once Run has ended. It may be
// called at any time.
func (k *Kernel) Counters() (Counters, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return Counters{}, errors.New("kernel source: closed")
	}
	n, err := k.probe.Counters()
	if err != nil {
		return Counters{}, fmt.Errorf("kernel source: %w", err)
	}
	return Counters{Kernel: n, Assembly: *k.last.Load()}, nil
}

func monotonic() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}

// wallClock converts the kernel's monotonic time. The offset is measured again
// every second, because the wall clock is stepped and slewed.
func wallClock() func(uint64) time.Time {
	var offset int64
	var until uint64
	return func(at uint64) time.Time {
		if at >= until {
			now := monotonic()
			offset = time.Now().UnixNano() - int64(now)
			until = now + uint64(time.Second)
		}
		return time.Unix(0, int64(at)+offset).UTC()
	}
}

// workload names the process behind a connection by what the kernel calls it.
func workload(_ uint32, comm string) string { return comm }
