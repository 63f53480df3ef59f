// Package probe attaches the kernel programs of collector/bpf, reads their ring
// buffer, and says what this kernel cannot do.
//
// It promises that the programs end when the Probe is closed or its process
// dies, that every record that was dropped in the kernel is counted there and
// shown by Counters, and that a kernel or a privilege that is missing is an
// error that wraps ErrNotSupported and names the remedy. It writes nothing into
// the watched processes.
package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/weirproject/weir/collector/bpf"
)

// ErrNotSupported says that this machine cannot capture from the kernel.
var ErrNotSupported = errors.New("kernel capture is not possible here")

// pollEvery is how long a record may wait in the ring: the programs do not wake
// the reader for each (a wake-up costs ten times the record).
const pollEvery = 5 * time.Millisecond

// Config of a Probe. The zero value watches all ports with the defaults.
type Config struct {
	// Ports limits capture to these local ports; empty watches all.
	Ports []uint16
	// BudgetBytes is captured per message and direction, 256 to 16384; 0 means
	// 4096. A larger head is kept truncated and its event marked.
	BudgetBytes uint32
	// RingBytes is the ring buffer's size, a power of two; 0 means 16 MiB.
	RingBytes uint32
}

// Validate returns what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.BudgetBytes != 0 && (c.BudgetBytes < 256 || c.BudgetBytes > 16384) {
		errs = append(errs, fmt.Errorf("collect.ebpf.budget: %d bytes, want 256 to 16384", c.BudgetBytes))
	}
	if c.RingBytes != 0 && (c.RingBytes < 1<<16 || c.RingBytes&(c.RingBytes-1) != 0) {
		errs = append(errs, fmt.Errorf("collect.ebpf.ring: %d bytes, want a power of two from 65536", c.RingBytes))
	}
	if len(c.Ports) > 256 {
		errs = append(errs, fmt.Errorf("collect.ebpf.ports: %d ports, at most 256", len(c.Ports)))
	}
	return errors.Join(errs...)
}

// Probe holds the attached programs. Use Open; Close it.
type Probe struct {
	coll   *ebpf.Collection
	links  []link.Link
	reader *ringbuf.Reader
}

// Open loads and attaches the programs.
func Open(cfg Config) (*Probe, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	spec, err := bpf.Load()
	if err != nil {
		return nil, unsupported("read the programs", err)
	}
	if err := configure(spec, cfg); err != nil {
		return nil, err
	}
	// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; the error is theirs to
	// tell when loading fails.
	_ = rlimit.RemoveMemlock()
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, unsupported("load the programs", err)
	}
	p := &Probe{coll: coll}
	for _, port := range cfg.Ports {
		if err := coll.Maps["ports"].Put(port, uint8(1)); err != nil {
			return nil, errors.Join(fmt.Errorf("set port %d: %w", port, err), p.Close())
		}
	}
	for _, name := range []string{"on_state", "on_recv", "on_send"} {
		l, err := link.AttachTracing(link.TracingOptions{Program: coll.Programs[name]})
		if err != nil {
			return nil, errors.Join(unsupported("attach "+name, err), p.Close())
		}
		p.links = append(p.links, l)
	}
	if p.reader, err = ringbuf.NewReader(coll.Maps["ring"]); err != nil {
		return nil, errors.Join(unsupported("open the ring buffer", err), p.Close())
	}
	return p, nil
}

func configure(spec *ebpf.CollectionSpec, cfg Config) error {
	budget, ring := cfg.BudgetBytes, cfg.RingBytes
	if budget == 0 {
		budget = 4096
	}
	if ring == 0 {
		ring = 1 << 24
	}
	allPorts := uint32(1)
	if len(cfg.Ports) > 0 {
		allPorts = 0
	}
	spec.Maps["ring"].MaxEntries = ring
	for name, value := range map[string]any{
		"budget": budget, "self_tgid": uint32(os.Getpid()), "all_ports": allPorts,
		"ring_bytes": uint64(ring), "wake_bytes": uint64(ring / 16),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s of the programs: %w", name, err)
		}
	}
	return nil
}

func unsupported(what string, err error) error {
	remedy := "run as root or with CAP_BPF and CAP_PERFMON, on Linux 6.3 or later with BTF (CONFIG_DEBUG_INFO_BTF)"
	if _, ok := errors.AsType[*ebpf.VerifierError](err); ok {
		remedy = "this kernel refuses the programs; please report the kernel's version"
	}
	return fmt.Errorf("%w: %s: %w: %s", ErrNotSupported, what, err, remedy)
}

// Run reads records until ctx ends and hands each to handle, which must not
// keep it. idle is called whenever the ring is empty, at least every 5 ms when
// nothing happens, so that the caller can flush.
func (p *Probe) Run(ctx context.Context, handle func(*bpf.Record), idle func()) error {
	stop := context.AfterFunc(ctx, func() { _ = p.reader.Flush() })
	defer stop()
	var raw ringbuf.Record
	var rec bpf.Record
	for ctx.Err() == nil {
		p.reader.SetDeadline(time.Now().Add(pollEvery))
		err := p.reader.ReadInto(&raw)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed):
			idle()
			continue
		case errors.Is(err, ringbuf.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("read ring buffer: %w", err)
		}
		if err := bpf.ParseRecord(raw.RawSample, &rec); err == nil {
			handle(&rec)
		}
		if raw.Remaining == 0 {
			idle()
		}
	}
	return nil
}

// Counters sums the programs' counts over processors.
func (p *Probe) Counters() (bpf.Counters, error) {
	var per []bpf.Counters
	if err := p.coll.Maps["stats"].Lookup(uint32(0), &per); err != nil {
		return bpf.Counters{}, fmt.Errorf("read the programs' counters: %w", err)
	}
	var sum bpf.Counters
	for _, c := range per {
		sum.Calls += c.Calls
		sum.Records += c.Records
		sum.Dropped += c.Dropped
		sum.Bytes += c.Bytes
		sum.Captured += c.Captured
		sum.Faults += c.Faults
		sum.Shed += c.Shed
		sum.NoData += c.NoData
		sum.TLSConns += c.TLSConns
		sum.Ignored += c.Ignored
		sum.HTTPConns += c.HTTPConns
		sum.VectorsCut += c.VectorsCut
	}
	return sum, nil
}

// Close detaches and frees everything.
func (p *Probe) Close() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	if p.reader != nil {
		errs = append(errs, p.reader.Close())
	}
	p.coll.Close()
	return errors.Join(errs...)
}
