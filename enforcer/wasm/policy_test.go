package wasm_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/enforcer/wasm"
	"github.com/weirproject/weir/enforcer/wasm/emit"
	"github.com/weirproject/weir/enforcer/wasm/policy"
	"github.com/weirproject/weir/stream/event"
)

func compile(tb testing.TB, cfg wasm.Config, module []byte) *wasm.Policy {
	tb.Helper()
	p, err := wasm.Compile(cfg, module)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

func request() *event.Event {
	ev := &event.Event{Time: 1_772_442_900_000_000_000, Site: "shop", Method: "POST", Path: "/api/login", Client: netip.MustParseAddr("2001:db8::1")}
	for k := range ev.Keys {
		ev.Keys[k] = event.Hash(k + 100)
	}
	return ev
}

// guest returns a module whose weir_eval is the given code, with extra
// functions behind weir_frame (0) and weir_eval (1).
func guest(manifest string, body emit.Code, more ...emit.Func) *emit.Module {
	m := emit.NewModule()
	var frame emit.Code
	frame.I32(1024)
	m.Funcs = append([]emit.Func{
		{Export: "weir_frame", Results: []emit.ValueType{emit.I32}, Body: frame},
		{
			Export: "weir_eval", Params: []emit.ValueType{emit.I32}, Results: []emit.ValueType{emit.I64},
			Locals: []emit.ValueType{emit.I32, emit.I64}, Body: body,
		},
	}, more...)
	if manifest == "" {
		manifest = `{"abi":"weir_v1","name":"test","version":"1","when":"request"}`
	}
	m.Custom = []emit.Section{{Name: "weir.manifest", Bytes: []byte(manifest)}}
	return m
}

func code(f func(c *emit.Code)) emit.Code {
	var c emit.Code
	f(&c)
	return c
}

// answer is a guest that returns a constant.
func answer(v int64) *emit.Module { return guest("", code(func(c *emit.Code) { c.I64(v) })) }

// TestTheModuleIsTheGoPolicy compares the compiled first policy with its
// statement in Go on random frames.
func TestTheModuleIsTheGoPolicy(t *testing.T) {
	p := compile(t, wasm.Config{}, policy.Strongest)
	if p.Name() != "strongest" || p.Version() != "1" || !p.NeedsVerdict() || p.RuleName(1) != "verdict" || p.RuleName(9) != "other" || !strings.HasPrefix(p.Hash(), "sha256:") {
		t.Errorf("manifest: %s %s %v %s", p.Name(), p.Version(), p.NeedsVerdict(), p.RuleName(1))
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range 20_000 {
		f := wasm.Frame{Event: request(), Verdicts: make([]wasm.Verdict, rng.IntN(wasm.MaxVerdicts+1))}
		for j := range f.Verdicts {
			f.Verdicts[j] = wasm.Verdict{
				Action: event.Action(rng.IntN(int(event.ActionBlock)) + 1), Score: rng.Int64N(7) - 3, Scope: uint8(rng.IntN(6)),
				Mode: event.Mode(rng.IntN(3)), Revision: rng.Uint32(), Confidence: rng.Uint32(), Kinds: rng.Uint32(), Expires: rng.Int64(),
			}
		}
		want, _ := wasm.Strongest{}.Evaluate(&f)
		got, err := p.Evaluate(&f)
		if err != nil || got.Fuel <= 0 {
			t.Fatalf("frame %d: %v, fuel %d", i, err, got.Fuel)
		}
		got.Fuel = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("frame %d: %s", i, diff)
		}
	}
}

// TestTheFrameCarriesWhatTheManifestAsksFor reads the frame back through a
// guest that sums chosen bytes.
func TestTheFrameCarriesWhatTheManifestAsksFor(t *testing.T) {
	load := func(f func(c *emit.Code)) emit.Code {
		return code(func(c *emit.Code) {
			f(c)
			c.Op(emit.I64ExtendU)
			c.I64(32)
			c.Op(emit.I64Shl)
			c.I64(255<<8 | 1)
			c.Op(emit.I64Or)
		})
	}
	ev := request()
	ev.UserAgent = strings.Repeat("u", 5000)
	ev.Role = event.RoleLogin
	f := &wasm.Frame{Event: ev, Verdicts: []wasm.Verdict{{Action: event.ActionBlock, Kinds: 0xabcd}}}
	at := func(op byte, offset uint32) emit.Code {
		return load(func(c *emit.Code) { c.I32(1024); c.Mem(op, offset) })
	}
	through := func(slot uint32) emit.Code { // first byte of a string
		return load(func(c *emit.Code) {
			c.I32(1024)
			c.I32(1024)
			c.Mem(emit.Load32, slot)
			c.Op(emit.I32Add)
			c.Mem(emit.Load8U, 0)
		})
	}
	const fields = `{"abi":"weir_v1","name":"t","version":"1","when":"request","fields":["path","user_agent","client"]}`
	for _, c := range []struct {
		name string
		body emit.Code
		want uint32
	}{
		{"version", at(emit.Load32, 0), 1},
		{"role", at(emit.Load8U, 22), uint32(event.RoleLogin)},
		{"verdicts", at(emit.Load16U, 30), 1},
		{"first verdict", at(emit.Load32, 32), 248},
		{"session", at(emit.Load32, 136), 100},
		{"template", at(emit.Load32, 136+8*uint32(event.KindRequestTemplate)), 100 + uint32(event.KindRequestTemplate)},
		{"action", at(emit.Load8U, 248), uint32(event.ActionBlock)},
		{"kinds", at(emit.Load32, 248+20), 0xabcd},
		{"path", through(40 + 8*3), '/'},
		{"path length", at(emit.Load32, 40+8*3+4), 10},
		{"client", through(40 + 8*11), '2'},
		{"user agent cut", at(emit.Load32, 40+8*6+4), 1024},
		{"host not asked for", at(emit.Load32, 40+8*2+4), 0},
		{"length is the argument", load(func(c *emit.Code) { c.Get(0); c.I32(1024); c.Mem(emit.Load32, 4); c.Op(emit.I32Sub) }), 0},
	} {
		p := compile(t, wasm.Config{Instances: 1}, guest(fields, c.body).Bytes())
		got, err := p.Evaluate(f)
		if err != nil || got.Arg != c.want {
			t.Errorf("%s: %d, %v; want %d", c.name, got.Arg, err, c.want)
		}
	}
}

type hostile struct {
	name string
	m    *emit.Module
	want error
}

// endless are guests that never return.
func endless() []hostile {
	return []hostile{
		{"infinite loop", guest("", code(func(c *emit.Code) { c.Open(emit.LoopOp, emit.Void); c.Br(0); c.Op(emit.End); c.I64(0) })), wasm.ErrFuel},
		{"division loop", guest("", code(func(c *emit.Code) {
			c.Open(emit.LoopOp, emit.Void)
			c.I64(1 << 60)
			c.I64(7)
			c.Op(emit.I64DivS, emit.Drop)
			c.Br(0)
			c.Op(emit.End)
			c.I64(0)
		})), wasm.ErrFuel},
		{"loop over cold memory", guest("", code(func(c *emit.Code) {
			c.Open(emit.LoopOp, emit.Void)
			c.Get(1)
			c.I32(0xffff)
			c.Op(emit.I32And)
			c.Mem(emit.Load8U, 0)
			c.Op(emit.Drop)
			c.Get(1)
			c.I32(4099)
			c.Op(emit.I32Add)
			c.Set(1)
			c.Br(0)
			c.Op(emit.End)
			c.I64(0)
		})), wasm.ErrFuel},
		{"exponential recursion without a loop", guest("", code(func(c *emit.Code) { c.I32(40); c.Call(2); c.I64(0) }), emit.Func{
			Params: []emit.ValueType{emit.I32},
			Body: code(func(c *emit.Code) {
				c.Get(0)
				c.Open(emit.IfOp, emit.Void)
				for range 2 {
					c.Get(0)
					c.I32(1)
					c.Op(emit.I32Sub)
					c.Call(2)
				}
				c.Op(emit.End)
			}),
		}), wasm.ErrFuel},
		{"unbounded recursion", guest("", code(func(c *emit.Code) { c.Call(2); c.I64(0) }), emit.Func{Body: code(func(c *emit.Code) { c.Call(2) })}), wasm.ErrFuel},
	}
}

// harmful are guests that ask for too much or trap.
func harmful() []hostile {
	grow := func(pages int32) func(*emit.Code) {
		return func(c *emit.Code) { c.I32(pages); c.Grow(); c.Op(emit.Drop) }
	}
	return []hostile{
		{"memory.fill loop", guest("", code(func(c *emit.Code) {
			c.Open(emit.LoopOp, emit.Void)
			c.I32(0)
			c.I32(1)
			c.I32(65536)
			c.Fill()
			c.Br(0)
			c.Op(emit.End)
			c.I64(0)
		})), wasm.ErrFuel},
		{"one huge memory.fill", guest("", code(func(c *emit.Code) { c.I32(0); c.I32(1); c.I32(-1); c.Fill(); c.I64(0) })), wasm.ErrFuel},
		{"memory.grow loop", guest("", code(func(c *emit.Code) {
			c.Open(emit.LoopOp, emit.Void)
			grow(1)(c)
			c.Br(0)
			c.Op(emit.End)
			c.I64(0)
		})), wasm.ErrFuel},
		{"unreachable", guest("", code(func(c *emit.Code) { c.Op(emit.Unreachable) })), wasm.ErrTrap},
		{"out of bounds", guest("", code(func(c *emit.Code) { c.I32(0x7ffffff0); c.Mem(emit.Load64, 0) })), wasm.ErrTrap},
		{"out of bounds after a failed grow", guest("", code(func(c *emit.Code) { grow(60000)(c); c.I32(0x7ffffff0); c.Mem(emit.Load64, 0) })), wasm.ErrTrap},
		{"division by zero", guest("", code(func(c *emit.Code) { c.I64(1); c.I64(0); c.Op(emit.I64DivS) })), wasm.ErrTrap},
		{"unknown action", answer(255<<8 | 99), wasm.ErrAnswer},
		{"a verdict that is not there", answer(3<<8 | int64(event.ActionBlock)), wasm.ErrAnswer},
	}
}

// TestHostileGuests holds that whatever a guest does ends in an error within
// milliseconds and leaves the policy usable.
func TestHostileGuests(t *testing.T) {
	for _, h := range append(endless(), harmful()...) {
		t.Run(h.name, func(t *testing.T) {
			p := compile(t, wasm.Config{Instances: 2, BreakerFailures: 1000}, h.m.Bytes())
			begun := time.Now()
			for range 5 {
				if _, err := p.Evaluate(&wasm.Frame{Event: request()}); !errors.Is(err, h.want) {
					t.Fatalf("%v, want %v", err, h.want)
				}
			}
			if took := time.Since(begun); took > 20*time.Second { // 5 x 0.3 ms on a quiet machine
				t.Errorf("5 calls took %s", took)
			}
			if s := p.Stats(); s.Failures != 5 || s.Idle != s.Instances || (s.FuelOuts == 5) != (h.want == wasm.ErrFuel) { //nolint:errorlint // the table's own value
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestModulesThatAreRefused(t *testing.T) {
	imports := answer(0)
	imports.Import = [2]string{"env", "f"}
	forged := guest("", code(func(c *emit.Code) { c.I64(1 << 60); c.GlobalSet(0); c.I64(0) }))
	exported := answer(0)
	exported.Globals = []emit.Global{{Export: "weir_fuel", Type: emit.I64}}
	noMemory := answer(0)
	noMemory.NoMemory = true
	large := answer(0)
	large.MinPages = 33
	noRoom := answer(0)
	noRoom.Funcs[0].Body = code(func(c *emit.Code) { c.I32(65536 - 100) })
	start := answer(0)
	start.Funcs = append(start.Funcs, emit.Func{Body: code(func(c *emit.Code) { c.Open(emit.LoopOp, emit.Void); c.Br(0); c.Op(emit.End) })})
	start.Start = 2
	wrongType := answer(0)
	wrongType.Funcs[1].Params = nil
	wrongType.Funcs[1].Locals = nil
	for _, c := range []struct {
		name, want string
		module     []byte
	}{
		{"nothing", "invalid magic", nil},
		{"rubbish", "invalid magic", []byte("rubbish of some length")},
		{"cut short", "", answer(0).Bytes()[:60]},
		{"imports", "import nothing", imports.Bytes()},
		{"a store to the global that metering adds", "invalid global", forged.Bytes()},
		{"an export of the fuel's name", "weir_fuel", exported.Bytes()},
		{"no memory", "memory", noMemory.Bytes()},
		{"too much memory", "", large.Bytes()},
		{"a frame at the end of memory", "no room", noRoom.Bytes()},
		{"a start function that never ends", "instantiate", start.Bytes()},
		{"weir_eval of another type", "weir_eval", wrongType.Bytes()},
		{"no manifest", "weir.manifest", func() []byte { m := answer(0); m.Custom = nil; return m.Bytes() }()},
		{"another ABI", "abi", guest(`{"abi":"weir_v2","name":"t","version":"1","when":"request"}`, answer(0).Funcs[1].Body).Bytes()},
		{"an unknown key", "unknown field", guest(`{"abi":"weir_v1","name":"t","version":"1","when":"request","x":1}`, answer(0).Funcs[1].Body).Bytes()},
		{"an unknown field", "cookie", guest(`{"abi":"weir_v1","name":"t","version":"1","when":"request","fields":["cookie"]}`, answer(0).Funcs[1].Body).Bytes()},
		{"a name unfit as a label", "name", guest(`{"abi":"weir_v1","name":"a b","version":"1","when":"request"}`, answer(0).Funcs[1].Body).Bytes()},
		{"too large", "at most", make([]byte, 9<<20)},
	} {
		p, err := wasm.Compile(wasm.Config{StartFuel: 1_000_000}, c.module)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
		if err == nil {
			_ = p.Close()
		}
	}
}

func TestFuelIsAFunctionOfTheFrame(t *testing.T) {
	f := &wasm.Frame{Event: request(), Verdicts: make([]wasm.Verdict, 10)}
	used := map[int64]bool{}
	for range 3 {
		p := compile(t, wasm.Config{}, policy.Strongest)
		for range 20 {
			got, err := p.Evaluate(f)
			if err != nil {
				t.Fatal(err)
			}
			used[got.Fuel] = true
		}
	}
	if len(used) != 1 {
		t.Errorf("one frame used %v", used)
	}
}

func TestTheBreakerStopsAGuestThatFailsAgainAndAgain(t *testing.T) {
	p := compile(t, wasm.Config{BreakerFailures: 3, BreakerPause: 10 * time.Second},
		guest("", code(func(c *emit.Code) { // traps unless the request has a role
			c.I32(1024)
			c.Mem(emit.Load8U, 22)
			c.Op(emit.I32Eqz)
			c.Open(emit.IfOp, emit.Void)
			c.Op(emit.Unreachable, emit.End)
			c.I64(255<<8 | 1)
		})).Bytes())
	call := func(after time.Duration, role event.Role) error {
		ev := request()
		ev.Time += int64(after)
		ev.Role = role
		_, err := p.Evaluate(&wasm.Frame{Event: ev})
		return err
	}
	for i := range 3 {
		if err := call(0, 0); !errors.Is(err, wasm.ErrTrap) {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	for _, step := range []struct {
		after time.Duration
		role  event.Role
		want  error
	}{
		{9 * time.Second, event.RoleLogin, wasm.ErrBroken},
		{10 * time.Second, 0, wasm.ErrTrap}, // the trial fails
		{11 * time.Second, event.RoleLogin, wasm.ErrBroken},
		{21 * time.Second, event.RoleLogin, nil}, // the trial succeeds
		{21 * time.Second, event.RoleLogin, nil},
		{21 * time.Second, 0, wasm.ErrTrap},
		{21 * time.Second, event.RoleLogin, nil},
	} {
		if err := call(step.after, step.role); !errors.Is(err, step.want) {
			t.Fatalf("at %s: %v, want %v", step.after, err, step.want)
		}
	}
}

func TestInstancesAreSharedAndBounded(t *testing.T) {
	p := compile(t, wasm.Config{Instances: 1, MaxInstances: 2}, policy.Strongest)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 300 {
				f := wasm.Frame{Event: request(), Verdicts: []wasm.Verdict{{Action: event.ActionBlock}}}
				if got, err := p.Evaluate(&f); err != nil || got.Action != event.ActionBlock {
					t.Errorf("%+v %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s := p.Stats(); s.Instances > 2 || s.Idle != s.Instances || s.Calls != 16*300 {
		t.Errorf("%+v", s)
	}
}

func TestACallAllocatesNothing(t *testing.T) {
	p := compile(t, wasm.Config{}, policy.Strongest)
	f := &wasm.Frame{Event: request(), Verdicts: []wasm.Verdict{{Action: event.ActionBlock}}}
	if n := testing.AllocsPerRun(200, func() { _, _ = p.Evaluate(f) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func TestAClosedPolicySaysSo(t *testing.T) {
	p, err := wasm.Compile(wasm.Config{}, policy.Strongest)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Evaluate(&wasm.Frame{Event: request()}); !errors.Is(err, wasm.ErrClosed) {
		t.Error(err)
	}
}

// FuzzCompile mutates modules: whatever is accepted must run to an end.
func FuzzCompile(f *testing.F) {
	f.Add(policy.Strongest)
	f.Add(answer(1).Bytes())
	f.Add(guest("", code(func(c *emit.Code) { c.Call(2); c.I64(0) }), emit.Func{Body: code(func(c *emit.Code) { c.Call(2) })}).Bytes())
	f.Fuzz(func(t *testing.T, module []byte) {
		p, err := wasm.Compile(wasm.Config{Fuel: 100_000, StartFuel: 100_000, Instances: 1, MaxInstances: 1, ModuleBytes: 64 << 10}, bytes.Clone(module))
		if err != nil {
			return
		}
		_, _ = p.Evaluate(&wasm.Frame{Event: request(), Verdicts: make([]wasm.Verdict, 3)})
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	p := compile(b, wasm.Config{}, policy.Strongest)
	for _, n := range []int{0, 1, 8} {
		f := &wasm.Frame{Event: request(), Verdicts: make([]wasm.Verdict, n)}
		b.Run(fmt.Sprintf("verdicts=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Evaluate(f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
