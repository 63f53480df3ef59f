// Package fuel rewrites a WebAssembly module so that it meters itself: every
// function entry and every loop head draws on a global, and the module traps
// when that is used up. It also bounds the module's memory.
//
// It promises that a metered module computes what the original did, that its
// fuel is the same on every machine, that no path runs on without drawing fuel,
// and that work done by one instruction (bulk memory) is charged by its size.
// It depends on a valid input: a module must have been validated before, since
// an index that is out of range in the original could name the fuel global.
// It never runs a module.
package fuel

import (
	"errors"
	"fmt"
)

// Global is the export under which the host finds the fuel that is left, a
// mutable i64. Below zero the module has trapped for lack of it.
const Global = "weir_fuel"

// EntryCost is charged on each call beside the instructions of the function, so
// that recursion is bounded in depth too.
const EntryCost = 50

// ErrUnsupported is wrapped when a module uses what a policy may not: imports,
// SIMD, threads, growing tables, several memories.
var ErrUnsupported = errors.New("not supported in a policy")

// Limits bounds the rewritten module.
type Limits struct {
	// Start is the fuel that instantiation (a start function) may use.
	Start int64
	// MemoryPages bounds the memory, in pages of 64 KiB.
	MemoryPages uint32
	// TableElements bounds the tables together.
	TableElements uint32
}

// Section ids of the binary format (WebAssembly core specification 5.5.2).
const (
	secCustom, secType, secImport, secFunction, secTable, secMemory      = 0, 1, 2, 3, 4, 5
	secGlobal, secExport, secStart, secElement, secCode, secData, secCnt = 6, 7, 8, 9, 10, 11, 12
)

// order is where a section stands in a module; the data count goes before code.
var order = [13]int{
	secType: 1, secImport: 2, secFunction: 3, secTable: 4, secMemory: 5, secGlobal: 6, secExport: 7,
	secStart: 8, secElement: 9, secCnt: 10, secCode: 11, secData: 12,
}

const headBytes = 8

// section is one section of a module.
type section struct {
	id   byte
	body []byte
}

// rewriter holds what must be known of a module to rewrite its code.
type rewriter struct {
	limits  Limits
	params  []uint32 // number of parameters per type
	funcs   []uint32 // type per function
	globals uint32
}

// Instrument returns the metered module. Custom sections are dropped.
func Instrument(module []byte, limits Limits) ([]byte, error) {
	sections, err := split(module)
	if err != nil {
		return nil, fmt.Errorf("meter module: %w", err)
	}
	w := &rewriter{limits: limits}
	for _, s := range sections {
		if err := w.learn(s); err != nil {
			return nil, fmt.Errorf("meter module: section %d: %w", s.id, err)
		}
	}
	out := append(make([]byte, 0, len(module)+len(module)/4+64), module[:headBytes]...)
	added := [13]bool{}
	for _, s := range sections {
		out = w.addMissing(out, &added, order[s.id])
		body, err := w.rewrite(s)
		if err != nil {
			return nil, fmt.Errorf("meter module: section %d: %w", s.id, err)
		}
		added[s.id] = true
		out = appendSection(out, s.id, body)
	}
	return w.addMissing(out, &added, len(order)), nil
}

// Custom returns the bytes of the custom section of that name, nil if there is
// none.
func Custom(module []byte, name string) ([]byte, error) {
	if len(module) < headBytes {
		return nil, errShort
	}
	r := reader{b: module[headBytes:]}
	for !r.end() {
		id, body := r.section()
		if r.err != nil {
			return nil, r.err
		}
		if id == secCustom {
			q := reader{b: body}
			if n := q.name(); q.err == nil && n == name {
				return q.b[q.at:], nil
			}
		}
	}
	return nil, nil //nolint:nilnil // absence is no error
}

// split reads the sections that matter.
func split(module []byte) ([]section, error) {
	if len(module) < headBytes || string(module[:headBytes]) != "\x00asm\x01\x00\x00\x00" {
		return nil, errors.New("not a WebAssembly module of version 1")
	}
	var out []section
	r := reader{b: module[headBytes:]}
	last := 0
	for !r.end() {
		id, body := r.section()
		switch {
		case r.err != nil:
			return nil, r.err
		case id == secCustom:
			continue
		case id > secCnt:
			return nil, fmt.Errorf("section %d: %w", id, ErrUnsupported)
		case order[id] <= last:
			return nil, fmt.Errorf("section %d is repeated or out of order", id)
		}
		last = order[id]
		out = append(out, section{id, body})
	}
	return out, nil
}

// learn takes from a section what the rewriting needs, and refuses what a
// policy may not have.
func (w *rewriter) learn(s section) error {
	r := reader{b: s.body}
	switch s.id {
	case secType:
		for n := r.u32(); n > 0 && r.err == nil; n-- {
			if r.u8() != 0x60 {
				return errors.New("a type that is no function")
			}
			params := r.u32()
			r.skip(params)
			r.skip(r.u32())
			w.params = append(w.params, params)
		}
	case secImport:
		if r.u32() > 0 {
			return fmt.Errorf("imports: %w", ErrUnsupported)
		}
	case secFunction:
		for n := r.u32(); n > 0 && r.err == nil; n-- {
			w.funcs = append(w.funcs, r.u32())
		}
	case secTable:
		return w.checkTables(&r)
	case secGlobal:
		w.globals = r.u32()
	case secExport:
		for n := r.u32(); n > 0 && r.err == nil; n-- {
			if r.name() == Global {
				return fmt.Errorf("the export %s: %w", Global, ErrUnsupported)
			}
			r.u8()
			r.u32()
		}
	}
	return r.err
}

func (w *rewriter) checkTables(r *reader) error {
	total := uint64(0)
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		r.u8()
		flags := r.u8()
		total += uint64(r.u32())
		if flags&1 != 0 {
			r.u32()
		}
	}
	if total > uint64(w.limits.TableElements) {
		return fmt.Errorf("tables of %d elements, at most %d: %w", total, w.limits.TableElements, ErrUnsupported)
	}
	return r.err
}

// addMissing writes the global and the export section where the module has
// none, before the first section that stands behind them.
func (w *rewriter) addMissing(out []byte, added *[13]bool, before int) []byte {
	if !added[secGlobal] && before > order[secGlobal] {
		out = appendSection(out, secGlobal, append([]byte{1}, w.fuelGlobal()...))
		added[secGlobal] = true
	}
	if !added[secExport] && before > order[secExport] {
		out = appendSection(out, secExport, append([]byte{1}, w.fuelExport()...))
		added[secExport] = true
	}
	return out
}

// fuelGlobal is a mutable i64 with the start fuel.
func (w *rewriter) fuelGlobal() []byte {
	return append(appendSigned([]byte{0x7e, 1, 0x42}, w.limits.Start), 0x0b)
}

func (w *rewriter) fuelExport() []byte {
	b := append([]byte{byte(len(Global))}, Global...)
	return appendUnsigned(append(b, 3), w.globals)
}

func (w *rewriter) rewrite(s section) ([]byte, error) {
	r := reader{b: s.body}
	switch s.id {
	case secMemory:
		return w.memory(&r)
	case secGlobal:
		n := r.u32()
		b := append(appendUnsigned(nil, n+1), r.b[r.at:]...)
		return append(b, w.fuelGlobal()...), r.err
	case secExport:
		n := r.u32()
		b := append(appendUnsigned(nil, n+1), r.b[r.at:]...)
		return append(b, w.fuelExport()...), r.err
	case secCode:
		return w.code(&r)
	default:
		return s.body, nil
	}
}

// memory caps the memory's maximum.
func (w *rewriter) memory(r *reader) ([]byte, error) {
	if n := r.u32(); n != 1 {
		return nil, fmt.Errorf("%d memories: %w", n, ErrUnsupported)
	}
	flags, low := r.u8(), r.u32()
	high := w.limits.MemoryPages
	switch flags {
	case 0:
	case 1:
		high = min(high, r.u32())
	default:
		return nil, fmt.Errorf("shared or 64-bit memory: %w", ErrUnsupported)
	}
	if r.err == nil && low > w.limits.MemoryPages {
		return nil, fmt.Errorf("a memory of %d pages, at most %d: %w", low, w.limits.MemoryPages, ErrUnsupported)
	}
	return appendUnsigned(appendUnsigned([]byte{1, 1}, low), high), r.err
}

func (w *rewriter) code(r *reader) ([]byte, error) {
	n := r.u32()
	if r.err == nil && n != uint32(len(w.funcs)) {
		return nil, fmt.Errorf("%d bodies for %d functions", n, len(w.funcs))
	}
	out := appendUnsigned(make([]byte, 0, len(r.b)+len(r.b)/4), n)
	for i := range n {
		size := r.u32()
		body := r.take(size)
		if r.err != nil {
			return nil, r.err
		}
		if w.funcs[i] >= uint32(len(w.params)) {
			return nil, fmt.Errorf("function %d has no type", i)
		}
		b, err := meter(body, w.globals, w.params[w.funcs[i]])
		if err != nil {
			return nil, fmt.Errorf("function %d: %w", i, err)
		}
		out = append(appendUnsigned(out, uint32(len(b))), b...)
	}
	return out, nil
}

func appendSection(out []byte, id byte, body []byte) []byte {
	return append(appendUnsigned(append(out, id), uint32(len(body))), body...)
}
