package wasm_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weirproject/weir/enforcer/wasm/emit"
	"github.com/weirproject/weir/enforcer/wasm/fuel"
	"github.com/weirproject/weir/enforcer/wasm/policy"
)

const (
	i32 = emit.I32
	i64 = emit.I64
	f32 = emit.F32
	f64 = emit.F64
)

// signature is what a range of instructions takes and gives.
type signature struct {
	from, to byte
	in       []emit.ValueType
	out      emit.ValueType
}

// numeric lists all comparisons, arithmetic and conversions of WebAssembly 2.0
// (core specification 5.4.9, without SIMD).
var numeric = []signature{
	{0x45, 0x45, []emit.ValueType{i32}, i32},
	{0x46, 0x4f, []emit.ValueType{i32, i32}, i32},
	{0x50, 0x50, []emit.ValueType{i64}, i32},
	{0x51, 0x5a, []emit.ValueType{i64, i64}, i32},
	{0x5b, 0x60, []emit.ValueType{f32, f32}, i32},
	{0x61, 0x66, []emit.ValueType{f64, f64}, i32},
	{0x67, 0x69, []emit.ValueType{i32}, i32},
	{0x6a, 0x78, []emit.ValueType{i32, i32}, i32},
	{0x79, 0x7b, []emit.ValueType{i64}, i64},
	{0x7c, 0x8a, []emit.ValueType{i64, i64}, i64},
	{0x8b, 0x91, []emit.ValueType{f32}, f32},
	{0x92, 0x98, []emit.ValueType{f32, f32}, f32},
	{0x99, 0x9f, []emit.ValueType{f64}, f64},
	{0xa0, 0xa6, []emit.ValueType{f64, f64}, f64},
	{0xa7, 0xa7, []emit.ValueType{i64}, i32},
	{0xa8, 0xa9, []emit.ValueType{f32}, i32},
	{0xaa, 0xab, []emit.ValueType{f64}, i32},
	{0xac, 0xad, []emit.ValueType{i32}, i64},
	{0xae, 0xaf, []emit.ValueType{f32}, i64},
	{0xb0, 0xb1, []emit.ValueType{f64}, i64},
	{0xb2, 0xb3, []emit.ValueType{i32}, f32},
	{0xb4, 0xb5, []emit.ValueType{i64}, f32},
	{0xb6, 0xb6, []emit.ValueType{f64}, f32},
	{0xb7, 0xb8, []emit.ValueType{i32}, f64},
	{0xb9, 0xba, []emit.ValueType{i64}, f64},
	{0xbb, 0xbb, []emit.ValueType{f32}, f64},
	{0xbc, 0xbc, []emit.ValueType{f32}, i32},
	{0xbd, 0xbd, []emit.ValueType{f64}, i64},
	{0xbe, 0xbe, []emit.ValueType{i32}, f32},
	{0xbf, 0xbf, []emit.ValueType{i64}, f64},
	{0xc0, 0xc1, []emit.ValueType{i32}, i32},
	{0xc2, 0xc4, []emit.ValueType{i64}, i64},
}

// one returns a module whose function "f" runs the code on its parameters.
func one(in []emit.ValueType, out emit.ValueType, body emit.Code) *emit.Module {
	m := emit.NewModule()
	m.Data = []emit.Data{{At: 8, Bytes: []byte("some bytes of data to load from")}}
	m.Funcs = []emit.Func{{Export: "f", Params: in, Results: []emit.ValueType{out}, Body: body}}
	return m
}

// cases returns one module per instruction that metering knows.
func cases() map[string][]byte {
	out := map[string][]byte{}
	for _, s := range numeric {
		for op := int(s.from); op <= int(s.to); op++ {
			out[fmt.Sprintf("%#x", op)] = one(s.in, s.out, code(func(c *emit.Code) {
				for i := range s.in {
					c.Get(uint32(i))
				}
				c.Op(byte(op))
			})).Bytes()
		}
	}
	for sub, t := range []struct{ in, out emit.ValueType }{{f32, i32}, {f32, i32}, {f64, i32}, {f64, i32}, {f32, i64}, {f32, i64}, {f64, i64}, {f64, i64}} {
		out[fmt.Sprintf("0xfc %d", sub)] = one([]emit.ValueType{t.in}, t.out, code(func(c *emit.Code) { c.Get(0); c.Op(0xfc, byte(sub)) })).Bytes()
	}
	memory := []emit.ValueType{i32, i64, f32, f64, i32, i32, i32, i32, i64, i64, i64, i64, i64, i64, i32, i64, f32, f64, i32, i32, i64, i64, i64}
	for i, t := range memory {
		op := byte(0x28 + i)
		if op < 0x36 {
			out[fmt.Sprintf("load %#x", op)] = one([]emit.ValueType{i32}, t, code(func(c *emit.Code) { c.Get(0); c.Mem(op, 300) })).Bytes()
			continue
		}
		out[fmt.Sprintf("store %#x", op)] = one([]emit.ValueType{i32, t}, i32, code(func(c *emit.Code) {
			c.Get(0)
			c.Get(1)
			c.Mem(op, 300)
			c.Get(0)
			c.Mem(emit.Load32, 300)
		})).Bytes()
	}
	for name, body := range control() {
		out[name] = withTable(body)
	}
	for name, body := range bulk() {
		out[name] = withTable(body)
	}
	return out
}

// control lists the instructions that are neither numeric nor loads, each as a
// body of (i32) -> i32 in the module of withTable.
func control() map[string]emit.Code {
	return map[string]emit.Code{
		"nop drop select": code(func(c *emit.Code) {
			c.Op(0x01)
			c.I32(1)
			c.Op(emit.Drop)
			c.I32(5)
			c.I32(6)
			c.Get(0)
			c.Op(emit.Select)
		}),
		"select with type": code(func(c *emit.Code) { c.I32(5); c.I32(6); c.Get(0); c.Op(0x1c, 1, byte(i32)) }),
		"constants": code(func(c *emit.Code) {
			c.Op(0x43, 0, 0, 0x80, 0x3f, emit.Drop, 0x44, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, emit.Drop)
			c.I64(-1 << 40)
			c.Op(emit.Drop)
			c.I32(-123456)
		}),
		"locals and globals": code(func(c *emit.Code) {
			c.Get(0)
			c.Tee(1)
			c.GlobalSet(0)
			c.GlobalGet(0)
			c.Set(1)
			c.Get(1)
		}),
		"if else": code(func(c *emit.Code) {
			c.Get(0)
			c.Open(emit.IfOp, i32)
			c.I32(1)
			c.Op(emit.Else)
			c.I32(2)
			c.Op(emit.End)
		}),
		"block of a type": code(func(c *emit.Code) { // (i32) -> i32 by type index 0
			c.Get(0)
			c.Op(emit.BlockOp, 0)
			c.I32(3)
			c.Op(emit.I32Add, emit.End)
		}),
		"br_table": code(func(c *emit.Code) {
			c.Open(emit.BlockOp, emit.Void)
			c.Open(emit.BlockOp, emit.Void)
			c.Get(0)
			c.Op(0x0e, 1, 0, 1)
			c.Op(emit.End)
			c.I32(1)
			c.Op(emit.Return, emit.End)
			c.I32(2)
		}),
		"br_if loop": code(func(c *emit.Code) {
			c.I32(9)
			c.Set(1)
			c.Open(emit.LoopOp, emit.Void)
			c.Get(1)
			c.I32(1)
			c.Op(emit.I32Sub)
			c.Tee(1)
			c.BrIf(0)
			c.Op(emit.End)
			c.Get(1)
		}),
		"nested loops": code(func(c *emit.Code) {
			c.Open(emit.LoopOp, emit.Void)
			c.Open(emit.LoopOp, emit.Void)
			c.Get(1)
			c.I32(1)
			c.Op(emit.I32Add)
			c.Tee(1)
			c.I32(50)
			c.Op(emit.I32LtU)
			c.BrIf(0)
			c.Op(emit.End)
			c.Get(1)
			c.I32(55)
			c.Op(emit.I32LtU)
			c.BrIf(0)
			c.Op(emit.End)
			c.Get(1)
		}),
		"call":            code(func(c *emit.Code) { c.Get(0); c.Call(1) }),
		"call_indirect":   code(func(c *emit.Code) { c.Get(0); c.I32(1); c.Op(0x11, 0, 0) }),
		"call_indirect 0": code(func(c *emit.Code) { c.Get(0); c.I32(7); c.Op(0x11, 0, 0) }), // traps: null
	}
}

// bulk lists the instructions on memory and tables, in the same form.
func bulk() map[string]emit.Code {
	return map[string]emit.Code{
		"memory.size": code(func(c *emit.Code) { c.Op(0x3f, 0) }),
		"memory.grow": code(func(c *emit.Code) { c.I32(1); c.Grow() }),
		"memory.fill": code(func(c *emit.Code) {
			c.I32(0)
			c.I32(7)
			c.I32(16)
			c.Fill()
			c.I32(3)
			c.Mem(emit.Load8U, 0)
		}),
		"memory.copy": code(func(c *emit.Code) {
			c.I32(0)
			c.I32(8)
			c.I32(9)
			c.Op(0xfc, 10, 0, 0)
			c.I32(3)
			c.Mem(emit.Load8U, 0)
		}),
		"memory.init": code(func(c *emit.Code) {
			c.I32(0)
			c.I32(0)
			c.I32(2)
			c.Op(0xfc, 8, 0, 0)
			c.I32(1)
			c.Mem(emit.Load8U, 0)
		}),
		"data.drop":             code(func(c *emit.Code) { c.Op(0xfc, 9, 0); c.I32(4) }),
		"table.size":            code(func(c *emit.Code) { c.Op(0xfc, 16, 0) }),
		"table.get ref.is_null": code(func(c *emit.Code) { c.Get(0); c.Op(0x25, 0, 0xd1) }),
		"table.set ref.null":    code(func(c *emit.Code) { c.I32(1); c.Op(0xd0, 0x70, 0x26, 0); c.I32(1); c.Op(0x25, 0, 0xd1) }),
		"table.fill ref.func": code(func(c *emit.Code) {
			c.I32(2)
			c.Op(0xd2, 1)
			c.I32(3)
			c.Op(0xfc, 17, 0)
			c.I32(4)
			c.Op(0x25, 0, 0xd1)
		}),
		"table.init": code(func(c *emit.Code) {
			c.I32(3)
			c.I32(0)
			c.I32(1)
			c.Op(0xfc, 12, 1, 0)
			c.I32(3)
			c.Op(0x25, 0, 0xd1)
		}),
		"table.copy": code(func(c *emit.Code) {
			c.I32(3)
			c.I32(0)
			c.I32(2)
			c.Op(0xfc, 14, 0, 0)
			c.I32(4)
			c.Op(0x25, 0, 0xd1)
		}),
		"elem.drop": code(func(c *emit.Code) { c.Op(0xfc, 13, 1); c.I32(4) }),
	}
}

// withTable is a module with all kinds of section: a function table, elements,
// data, a data count, a global and exports.
func withTable(body emit.Code) []byte {
	fn := func(locals int, c emit.Code) []byte {
		b := []byte{0}
		if locals > 0 {
			b = []byte{1, byte(locals), byte(i32)}
		}
		b = append(append(b, c...), emit.End)
		return append(emit.Unsigned(nil, uint32(len(b))), b...)
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = emit.AppendSection(out, 1, []byte{1, 0x60, 1, byte(i32), 1, byte(i32)})
	out = emit.AppendSection(out, 3, []byte{2, 0, 0})
	out = emit.AppendSection(out, 4, []byte{1, 0x70, 1, 8, 8})
	out = emit.AppendSection(out, 5, []byte{1, 1, 1, 2})
	out = emit.AppendSection(out, 6, []byte{1, byte(i32), 1, 0x41, 0, emit.End})
	out = emit.AppendSection(out, 7, append([]byte{1, 1}, 'f', 0, 0))
	// segment 0: active, function 1 at index 1; segment 1: passive, function 1
	out = emit.AppendSection(out, 9, []byte{2, 0, 0x41, 1, emit.End, 1, 1, 1, 0, 1, 1})
	out = emit.AppendSection(out, 12, []byte{1})
	double := code(func(c *emit.Code) { c.Get(0); c.I32(2); c.Op(emit.I32Mul) })
	out = emit.AppendSection(out, 10, append(append([]byte{2}, fn(1, body)...), fn(0, double)...))
	return emit.AppendSection(out, 11, []byte{1, 1, 2, 'h', 'i'}) // passive
}

// TestMeteringKeepsTheMeaning runs every instruction in its original and in its
// metered form on awkward operands.
func TestMeteringKeepsTheMeaning(t *testing.T) {
	ctx := context.Background()
	rt := wazero.NewRuntime(ctx)
	defer func() { _ = rt.Close(ctx) }()
	values := []uint64{0, 1, 7, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0x3f800000, 0x7fc00000, 0x4059000000000000}
	run := func(module []byte) []string {
		mod, err := rt.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			t.Fatalf("%x: %v", module, err)
		}
		defer func() { _ = mod.Close(ctx) }()
		f := mod.ExportedFunction("f")
		var out []string
		for i, v := range values {
			args := make([]uint64, len(f.Definition().ParamTypes()))
			for j, typ := range f.Definition().ParamTypes() {
				args[j] = v
				if j > 0 {
					args[j] = values[(i+3)%len(values)]
				}
				if typ == api.ValueTypeI32 || typ == api.ValueTypeF32 {
					args[j] = uint64(uint32(args[j]))
				}
			}
			got, err := f.Call(ctx, args...)
			out = append(out, fmt.Sprint(got, err != nil))
		}
		return out
	}
	n := 0
	for name, module := range cases() {
		metered, err := fuel.Instrument(module, fuel.Limits{Start: 1 << 40, MemoryPages: 4, TableElements: 100})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(run(module), run(metered)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		n++
	}
	if n < 180 {
		t.Fatalf("%d instructions were tried", n)
	}
}

// TestFuelFollowsTheWork holds the amounts drawn, which are part of a policy's
// observable behaviour.
func TestFuelFollowsTheWork(t *testing.T) {
	ctx := context.Background()
	rt := wazero.NewRuntime(ctx)
	defer func() { _ = rt.Close(ctx) }()
	const start = 1 << 40
	for _, c := range []struct {
		name string
		body emit.Code
		want int64
	}{
		{"constants", control()["constants"], fuel.EntryCost + 8},
		{"call", control()["call"], 2*fuel.EntryCost + 3 + 4},
		{"br_if loop", control()["br_if loop"], fuel.EntryCost + 5 + 9*7},
		{"memory.fill", bulk()["memory.fill"], fuel.EntryCost + 7 + 16/4},
		{"memory.copy", bulk()["memory.copy"], fuel.EntryCost + 7 + 9/4},
	} {
		metered, err := fuel.Instrument(withTable(c.body), fuel.Limits{Start: start, MemoryPages: 4, TableElements: 100})
		if err != nil {
			t.Fatal(err)
		}
		mod, err := rt.InstantiateWithConfig(ctx, metered, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mod.ExportedFunction("f").Call(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if used := start - int64(mod.ExportedGlobal(fuel.Global).Get()); used != c.want {
			t.Errorf("%s used %d, want %d", c.name, used, c.want)
		}
	}
}

func TestWhatMeteringRefuses(t *testing.T) {
	limits := fuel.Limits{Start: 1, MemoryPages: 4, TableElements: 4}
	for name, module := range map[string][]byte{
		"a large table":     withTable(code(func(c *emit.Code) { c.I32(1) })),
		"SIMD":              one(nil, i32, code(func(c *emit.Code) { c.Op(0xfd, 12) })).Bytes(),
		"table.grow":        one(nil, i32, code(func(c *emit.Code) { c.Op(0xfc, 15, 0) })).Bytes(),
		"an atomic":         one(nil, i32, code(func(c *emit.Code) { c.Op(0xfe, 0) })).Bytes(),
		"a tail call":       one(nil, i32, code(func(c *emit.Code) { c.Op(0x12, 0) })).Bytes(),
		"too large a start": func() []byte { m := one(nil, i32, nil); m.MinPages = 5; return m.Bytes() }(),
		"imports":           func() []byte { m := one(nil, i32, nil); m.Import = [2]string{"a", "b"}; return m.Bytes() }(),
	} {
		if _, err := fuel.Instrument(module, limits); !errors.Is(err, fuel.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzInstrument holds that no input makes metering panic, and that what the
// engine takes before it takes after.
func FuzzInstrument(f *testing.F) {
	f.Add(policy.Strongest)
	for _, m := range cases() {
		f.Add(m)
	}
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2&^api.CoreFeatureSIMD))
	f.Fuzz(func(t *testing.T, module []byte) {
		if len(module) > 1<<16 {
			return
		}
		metered, err := fuel.Instrument(module, fuel.Limits{Start: 1000, MemoryPages: 4, TableElements: 100})
		if err != nil {
			return
		}
		before, err := rt.CompileModule(ctx, module)
		if err != nil {
			return
		}
		_ = before.Close(ctx)
		after, err := rt.CompileModule(ctx, metered)
		if err != nil {
			t.Fatalf("%x became invalid: %v", module, err)
		}
		_ = after.Close(ctx)
	})
}
