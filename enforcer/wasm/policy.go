package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproject/weir/enforcer/wasm/fuel"
)

// The ways in which a call fails. The request is then decided as its route
// fails, open or closed.
var (
	// ErrFuel: the guest used up its fuel.
	ErrFuel = errors.New("out of fuel")
	// ErrTrap: the guest trapped (unreachable, out of bounds, stack).
	ErrTrap = errors.New("trap")
	// ErrAnswer: the guest's answer is out of range.
	ErrAnswer = errors.New("answer out of range")
	// ErrBroken: the breaker is open, since the guest failed again and again.
	ErrBroken = errors.New("switched off after repeated failures")
	// ErrClosed: the policy was closed.
	ErrClosed = errors.New("closed")
)

// Config bounds a policy. The zero value means the defaults.
type Config struct {
	// Fuel per call, about one instruction each; default 1,000,000, which is
	// 0.03 to 0.25 ms. A call cannot be interrupted by the scheduler, so this is
	// also the longest that it can hold up the whole process.
	Fuel int64
	// StartFuel is for instantiation; default 200,000,000.
	StartFuel int64
	// MemoryPages of 64 KiB per instance; default 32 (2 MiB).
	MemoryPages uint32
	// Instances are made at once, default two per processor; at most
	// MaxInstances exist, default eight per processor. A call that finds none
	// free waits: calls are pure computation and end within their fuel.
	Instances, MaxInstances int
	// ModuleBytes bounds the module; default 8 MiB.
	ModuleBytes int
	// BreakerFailures in a row open the breaker; default 16. BreakerPause, in
	// event time, is how long it stays open before one call is tried; default
	// 10 s.
	BreakerFailures int
	BreakerPause    time.Duration
}

// Validate returns all faults.
func (c Config) Validate() error {
	var errs []error
	for name, v := range map[string]int64{
		"fuel": c.Fuel, "startFuel": c.StartFuel, "instances": int64(c.Instances), "maxInstances": int64(c.MaxInstances),
		"moduleBytes": int64(c.ModuleBytes), "breakerFailures": int64(c.BreakerFailures), "breakerPause": int64(c.BreakerPause),
	} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("%s %d: want 0 or more", name, v))
		}
	}
	if c.MemoryPages > 65_536 {
		errs = append(errs, fmt.Errorf("memoryPages %d: want at most 65536", c.MemoryPages))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	procs := runtime.GOMAXPROCS(0)
	set(&c.Instances, 2*procs)
	set(&c.MaxInstances, max(8*procs, c.Instances))
	set(&c.ModuleBytes, 8<<20)
	set(&c.BreakerFailures, 16)
	if c.Fuel == 0 {
		c.Fuel = 1_000_000
	}
	if c.StartFuel == 0 {
		c.StartFuel = 200_000_000
	}
	if c.MemoryPages == 0 {
		c.MemoryPages = 32
	}
	if c.BreakerPause == 0 {
		c.BreakerPause = 10 * time.Second
	}
	return c
}

// tableElements bounds a guest's tables; function tables of compiled languages
// stay well below.
const tableElements = 65_536

// Policy is one compiled module with its pool of instances. All methods are
// safe for concurrent use.
type Policy struct {
	cfg      Config
	manifest *Manifest
	hash     string
	runtime  wazero.Runtime
	compiled wazero.CompiledModule

	mu     sync.Mutex // guards idle, total, closed
	freed  *sync.Cond
	idle   []*instance // last in, first out: warm ones are used again
	total  int
	closed bool

	calls, failures, fuelOuts, fuelUsed atomic.Int64
	// inRow counts failures since the last success; openUntil is the event time
	// at which the breaker lets one call try.
	inRow     atomic.Int64
	openUntil atomic.Int64
}

// instance is one guest. It serves one call at a time.
type instance struct {
	module api.Module
	eval   api.Function
	memory api.Memory
	fuel   api.MutableGlobal
	frame  uint32
	stack  [1]uint64
}

// Compile checks, meters and compiles a module and makes its instances. The
// steps, in this order: size; validation of the original by the engine, without
// which an invalid index could name the fuel global; manifest, imports, exports
// and memory; metering; compilation; instances.
func Compile(cfg Config, module []byte) (*Policy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("policy limits: %w", err)
	}
	cfg = cfg.withDefaults()
	if len(module) > cfg.ModuleBytes {
		return nil, fmt.Errorf("policy module of %d bytes, at most %d", len(module), cfg.ModuleBytes)
	}
	sum := sha256.Sum256(module)
	p := &Policy{cfg: cfg, hash: "sha256:" + hex.EncodeToString(sum[:])}
	p.freed = sync.NewCond(&p.mu)
	if err := p.compile(module); err != nil {
		if p.runtime != nil {
			_ = p.runtime.Close(context.Background())
		}
		return nil, fmt.Errorf("policy module %s: %w", p.hash[:19], err)
	}
	return p, nil
}

func (p *Policy) compile(module []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the engine failed on it: %v", r)
		}
	}()
	ctx := context.Background()
	// SIMD is left out: no policy needs it and its NaN bits differ by machine.
	// WithCloseOnContextDone is never used: it costs ten times the call and can
	// be evaded; fuel bounds the time.
	features := api.CoreFeaturesV2 &^ api.CoreFeatureSIMD
	check := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	original, err := check.CompileModule(ctx, module)
	if err == nil {
		err = checkShape(original)
	}
	_ = check.Close(ctx)
	if err != nil {
		return err
	}
	if p.manifest, err = readManifest(module); err != nil {
		return err
	}
	if f := p.manifest.Fuel; f > 0 {
		p.cfg.Fuel = min(p.cfg.Fuel, f)
	}
	if pages := p.manifest.MemoryPages; pages > 0 {
		p.cfg.MemoryPages = min(p.cfg.MemoryPages, pages)
	}
	metered, err := fuel.Instrument(module, fuel.Limits{
		Start: p.cfg.StartFuel, MemoryPages: p.cfg.MemoryPages, TableElements: tableElements,
	})
	if err != nil {
		return err
	}
	p.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(features).
		WithMemoryLimitPages(p.cfg.MemoryPages).WithDebugInfoEnabled(false))
	if p.compiled, err = p.runtime.CompileModule(ctx, metered); err != nil {
		return fmt.Errorf("after metering: %w", err)
	}
	for range p.cfg.Instances {
		in, err := p.instantiate()
		if err != nil {
			return err
		}
		p.idle = append(p.idle, in)
		p.total++
	}
	return nil
}

// checkShape holds a validated module against the ABI.
func checkShape(m wazero.CompiledModule) error {
	if n := len(m.ImportedFunctions()) + len(m.ImportedMemories()); n > 0 {
		return fmt.Errorf("it imports %d things; a policy may import nothing", n)
	}
	if _, ok := m.ExportedMemories()["memory"]; !ok {
		return errors.New("it does not export its memory as \"memory\"")
	}
	funcs := m.ExportedFunctions()
	for name, want := range map[string][2][]api.ValueType{
		"weir_frame": {nil, {api.ValueTypeI32}},
		"weir_eval":  {{api.ValueTypeI32}, {api.ValueTypeI64}},
	} {
		f, ok := funcs[name]
		if !ok || string(f.ParamTypes()) != string(want[0]) || string(f.ResultTypes()) != string(want[1]) {
			return fmt.Errorf("it does not export %s of the type that ABI %s asks for", name, ABI)
		}
	}
	return nil
}

// instantiate makes one guest and asks where its frame is.
func (p *Policy) instantiate() (*instance, error) {
	ctx := context.Background()
	// Without a name many instances of one module can exist.
	mod, err := p.runtime.InstantiateModule(ctx, p.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("instantiate: %w", firstLine(err))
	}
	in := &instance{module: mod, eval: mod.ExportedFunction("weir_eval"), memory: mod.Memory()}
	in.fuel, _ = mod.ExportedGlobal(fuel.Global).(api.MutableGlobal)
	if init := mod.ExportedFunction("_initialize"); init != nil { // WASI reactors
		if _, err := init.Call(ctx); err != nil {
			_ = mod.Close(ctx)
			return nil, fmt.Errorf("_initialize: %w", firstLine(err))
		}
	}
	in.fuel.Set(uint64(p.cfg.Fuel))
	out, err := mod.ExportedFunction("weir_frame").Call(ctx)
	if err == nil {
		in.frame = uint32(out[0])
		if _, ok := in.memory.Read(in.frame, frameMax); !ok {
			err = fmt.Errorf("no room for %d bytes at %d", frameMax, in.frame)
		}
	}
	if err != nil {
		_ = mod.Close(ctx)
		return nil, fmt.Errorf("weir_frame: %w", firstLine(err))
	}
	return in, nil
}

// firstLine drops the stack trace that the engine puts behind an error.
func firstLine(err error) error {
	s := err.Error()
	for i := range len(s) {
		if s[i] == '\n' {
			return errors.New(s[:i])
		}
	}
	return err
}

// NeedsVerdict says that without a verdict it proposes to allow.
func (p *Policy) NeedsVerdict() bool { return p.manifest.When == "verdict" }

// Name is the manifest's.
func (p *Policy) Name() string { return p.manifest.Name }

// Version is the manifest's.
func (p *Policy) Version() string { return p.manifest.Version }

// Hash is "sha256:" and the hash of the module as it was given to Compile.
func (p *Policy) Hash() string { return p.hash }

// RuleName names a rule as the manifest does, "other" where it does not.
func (p *Policy) RuleName(rule uint16) string {
	if name, ok := p.manifest.rules[rule]; ok {
		return name
	}
	return "other"
}

// Stats are counts since Compile.
type Stats struct {
	Calls, Failures, FuelOuts, FuelUsed int64
	// Instances exist, Idle of them wait.
	Instances, Idle int
}

// Stats returns the policy's counts.
func (p *Policy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{
		Calls: p.calls.Load(), Failures: p.failures.Load(), FuelOuts: p.fuelOuts.Load(), FuelUsed: p.fuelUsed.Load(),
		Instances: p.total, Idle: len(p.idle),
	}
}
