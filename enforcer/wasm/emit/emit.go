// Package emit writes WebAssembly modules: the small assembler behind weir's
// own policies and behind the hostile guests of its tests, so that neither
// needs a C compiler.
//
// It promises that the same calls give the same bytes. It checks nothing: an
// invalid module is the caller's mistake (or its purpose) and the engine's to
// refuse.
package emit

import "encoding/binary"

// ValueType is a WebAssembly number type.
type ValueType byte

// The number types, and the empty block type.
const (
	I32  ValueType = 0x7f
	I64  ValueType = 0x7e
	F32  ValueType = 0x7d
	F64  ValueType = 0x7c
	Void ValueType = 0x40
)

// Instructions without operands that weir's modules use (core specification
// 5.4).
const (
	Unreachable byte = 0x00
	Else        byte = 0x05
	End         byte = 0x0b
	Return      byte = 0x0f
	Drop        byte = 0x1a
	Select      byte = 0x1b
	I32Eqz      byte = 0x45
	I32Eq       byte = 0x46
	I32LtS      byte = 0x48
	I32LtU      byte = 0x49
	I32GtU      byte = 0x4b
	I32GeU      byte = 0x4f
	I64GtS      byte = 0x55
	I32Add      byte = 0x6a
	I32Sub      byte = 0x6b
	I32Mul      byte = 0x6c
	I32And      byte = 0x71
	I32Or       byte = 0x72
	I64Add      byte = 0x7c
	I64DivS     byte = 0x7f
	I64Or       byte = 0x84
	I64Shl      byte = 0x86
	I64ExtendU  byte = 0xad
)

// Loads and stores.
const (
	Load32   byte = 0x28
	Load64   byte = 0x29
	Load8U   byte = 0x2d
	Load16U  byte = 0x2f
	Store32  byte = 0x36
	Store8   byte = 0x3a
	GrowOp   byte = 0x40
	BlockOp  byte = 0x02
	LoopOp   byte = 0x03
	IfOp     byte = 0x04
	bulkOp   byte = 0xfc
	fillOp   byte = 11
	customID byte = 0
)

// Code is a function body being written.
type Code []byte

// Op appends instructions without operands.
func (c *Code) Op(ops ...byte) { *c = append(*c, ops...) }

// I32 pushes a constant.
func (c *Code) I32(v int32) { *c = Signed(append(*c, 0x41), int64(v)) }

// I64 pushes a constant.
func (c *Code) I64(v int64) { *c = Signed(append(*c, 0x42), v) }

// Get pushes a local, Set pops into it, Tee copies into it.
func (c *Code) Get(local uint32) { *c = Unsigned(append(*c, 0x20), local) }

// Set pops into a local.
func (c *Code) Set(local uint32) { *c = Unsigned(append(*c, 0x21), local) }

// Tee copies the top of the stack into a local.
func (c *Code) Tee(local uint32) { *c = Unsigned(append(*c, 0x22), local) }

// GlobalGet pushes a global.
func (c *Code) GlobalGet(g uint32) { *c = Unsigned(append(*c, 0x23), g) }

// GlobalSet pops into a global.
func (c *Code) GlobalSet(g uint32) { *c = Unsigned(append(*c, 0x24), g) }

// Mem appends a load or store at a constant offset, without alignment claim.
func (c *Code) Mem(op byte, offset uint32) { *c = Unsigned(append(*c, op, 0), offset) }

// Open begins a block, loop or if of the given result.
func (c *Code) Open(op byte, result ValueType) { *c = append(*c, op, byte(result)) }

// Br jumps out of depth blocks, or to the head of a loop.
func (c *Code) Br(depth uint32) { *c = Unsigned(append(*c, 0x0c), depth) }

// BrIf is Br when the top of the stack is not zero.
func (c *Code) BrIf(depth uint32) { *c = Unsigned(append(*c, 0x0d), depth) }

// Call calls a function of the module.
func (c *Code) Call(f uint32) { *c = Unsigned(append(*c, 0x10), f) }

// Grow grows the memory by the pages on the stack.
func (c *Code) Grow() { *c = append(*c, GrowOp, 0) }

// Fill is memory.fill of the address, byte and size on the stack.
func (c *Code) Fill() { *c = append(*c, bulkOp, fillOp, 0) }

// Func is one function.
type Func struct {
	// Export is its name outside, "" for none.
	Export  string
	Params  []ValueType
	Results []ValueType
	Locals  []ValueType
	// Body ends without the final End, which Bytes adds.
	Body Code
}

// Global is one mutable global.
type Global struct {
	Export string
	Type   ValueType
	Init   int64
}

// Data is bytes at a constant address.
type Data struct {
	At    int32
	Bytes []byte
}

// Module is a module being written.
type Module struct {
	Funcs   []Func
	Globals []Global
	Data    []Data
	// MinPages and MaxPages bound the memory, exported as "memory"; MaxPages 0
	// declares no maximum. NoMemory leaves it out.
	MinPages, MaxPages uint32
	NoMemory           bool
	// Import declares an imported function "module.name" without parameters.
	Import [2]string
	// Start is the index of the start function, -1 for none: set by NewModule.
	Start int
	// Custom sections by name, in order.
	Custom []Section
}

// Section is a custom section.
type Section struct {
	Name  string
	Bytes []byte
}

// NewModule returns a module with one page of memory and no start function.
func NewModule() *Module { return &Module{MinPages: 1, Start: -1} }

// Bytes encodes the module.
func (m *Module) Bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	imports := 0
	if m.Import[0] != "" {
		imports = 1
	}
	types := Unsigned(nil, uint32(len(m.Funcs)+imports))
	funcs := Unsigned(nil, uint32(len(m.Funcs)))
	code := Unsigned(nil, uint32(len(m.Funcs)))
	exports, nExports := []byte(nil), uint32(0)
	for i, f := range m.Funcs {
		types = appendTypes(appendTypes(append(types, 0x60), f.Params), f.Results)
		funcs = Unsigned(funcs, uint32(i))
		body := append(encodeLocals(f.Locals), f.Body...)
		body = append(body, End)
		code = append(Unsigned(code, uint32(len(body))), body...)
		if f.Export != "" {
			exports, nExports = appendExport(exports, f.Export, 0, uint32(i+imports)), nExports+1
		}
	}
	if imports == 1 {
		types = append(types, 0x60, 0, 0)
	}
	out = AppendSection(out, 1, types)
	if imports == 1 {
		b := appendName(appendName([]byte{1}, m.Import[0]), m.Import[1])
		out = AppendSection(out, 2, Unsigned(append(b, 0), uint32(len(m.Funcs))))
	}
	out = AppendSection(out, 3, funcs)
	if !m.NoMemory {
		out = AppendSection(out, 5, m.memory())
		exports, nExports = appendExport(exports, "memory", 2, 0), nExports+1
	}
	if len(m.Globals) > 0 {
		b := Unsigned(nil, uint32(len(m.Globals)))
		for i, g := range m.Globals {
			b = append(Signed(append(b, byte(g.Type), 1, 0x41+(0x7f-byte(g.Type))), g.Init), End)
			if g.Export != "" {
				exports, nExports = appendExport(exports, g.Export, 3, uint32(i)), nExports+1
			}
		}
		out = AppendSection(out, 6, b)
	}
	out = AppendSection(out, 7, append(Unsigned(nil, nExports), exports...))
	if m.Start >= 0 {
		out = AppendSection(out, 8, Unsigned(nil, uint32(m.Start)))
	}
	out = AppendSection(out, 10, code)
	if len(m.Data) > 0 {
		out = AppendSection(out, 11, m.data())
	}
	for _, c := range m.Custom {
		out = AppendSection(out, customID, append(appendName(nil, c.Name), c.Bytes...))
	}
	return out
}

func (m *Module) memory() []byte {
	if m.MaxPages == 0 {
		return Unsigned([]byte{1, 0}, m.MinPages)
	}
	return Unsigned(Unsigned([]byte{1, 1}, m.MinPages), m.MaxPages)
}

func (m *Module) data() []byte {
	b := Unsigned(nil, uint32(len(m.Data)))
	for _, d := range m.Data {
		b = append(Signed(append(b, 0, 0x41), int64(d.At)), End)
		b = append(Unsigned(b, uint32(len(d.Bytes))), d.Bytes...)
	}
	return b
}

// encodeLocals declares each local by itself.
func encodeLocals(locals []ValueType) []byte {
	b := Unsigned(nil, uint32(len(locals)))
	for _, t := range locals {
		b = append(b, 1, byte(t))
	}
	return b
}

func appendTypes(b []byte, types []ValueType) []byte {
	b = Unsigned(b, uint32(len(types)))
	for _, t := range types {
		b = append(b, byte(t))
	}
	return b
}

func appendExport(b []byte, name string, kind byte, index uint32) []byte {
	return Unsigned(append(appendName(b, name), kind), index)
}

func appendName(b []byte, s string) []byte { return append(Unsigned(b, uint32(len(s))), s...) }

// AppendSection appends a section of that id.
func AppendSection(b []byte, id byte, body []byte) []byte {
	return append(Unsigned(append(b, id), uint32(len(body))), body...)
}

// Unsigned appends a LEB128 number.
func Unsigned(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

// Signed appends a signed LEB128 number.
func Signed(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
