package fuel

import (
	"errors"
	"fmt"
)

// mark is a place where a charge is inserted.
type mark struct {
	at     int // in the body
	region int // whose cost is charged
	bulk   bool
}

// meter rewrites one function body. A region is the function or a loop without
// the loops inside it; its cost is the number of instructions it holds, charged
// each time the region is entered or the loop repeats. That counts untaken
// branches too: fuel is an upper bound of the work, not a count of it.
func meter(body []byte, global, params uint32) ([]byte, error) {
	r := &reader{b: body}
	groups := r.u32()
	first := r.at
	locals := uint64(params)
	for n := groups; n > 0 && r.err == nil; n-- {
		locals += uint64(r.u32())
		r.u8()
	}
	if r.err != nil {
		return nil, r.err
	}
	if locals >= 50_000 { // what wazero takes
		return nil, fmt.Errorf("%d locals: %w", locals, ErrUnsupported)
	}
	scratch := uint32(locals)
	start := r.at
	costs, marks, err := regions(r)
	if err != nil {
		return nil, err
	}
	out := appendUnsigned(make([]byte, 0, len(body)+32*len(marks)), groups+1)
	out = append(out, body[first:start]...)
	out = append(out, 1, 0x7f) // one more local, an i32 that holds a bulk size
	last := start
	for _, m := range marks {
		out = append(out, body[last:m.at]...)
		if m.bulk {
			out = chargeBulk(out, global, scratch)
		} else {
			out = charge(out, global, costs[m.region])
		}
		last = m.at
	}
	return append(out, body[last:]...), nil
}

// regions walks the instructions and returns the cost of each region and where
// charges belong.
func regions(r *reader) ([]int64, []mark, error) {
	costs := []int64{EntryCost}
	marks := []mark{{at: r.at}}
	stack := []int{0} // region of each open block
	for !r.end() {
		if len(stack) == 0 {
			return nil, nil, errors.New("code after the function's end")
		}
		region := stack[len(stack)-1]
		costs[region]++
		at := r.at
		switch op := r.u8(); op {
		case 0x02, 0x04: // block, if
			r.leb()
			stack = append(stack, region)
		case 0x03: // loop
			r.leb()
			costs = append(costs, 1)
			stack = append(stack, len(costs)-1)
			marks = append(marks, mark{at: r.at, region: len(costs) - 1})
		case 0x0b: // end
			stack = stack[:len(stack)-1]
		case 0xfc:
			bulk, err := prefixed(r)
			if err != nil {
				return nil, nil, err
			}
			if bulk {
				marks = append(marks, mark{at: at, bulk: true})
			}
		default:
			if err := immediates(r, op); err != nil {
				return nil, nil, err
			}
		}
	}
	if r.err == nil && len(stack) != 0 {
		return nil, nil, errors.New("a block is not closed")
	}
	return costs, marks, r.err
}

// immediates skips the operands of a plain instruction (WebAssembly core
// specification 2.0, 5.4).
func immediates(r *reader, op byte) error {
	switch {
	case op == 0x00 || op == 0x01 || op == 0x05 || op == 0x0f, // unreachable nop else return
		op == 0x1a || op == 0x1b, // drop select
		op >= 0x45 && op <= 0xc4, // comparisons, arithmetic, conversions
		op == 0xd1:               // ref.is_null
	case op == 0x0c || op == 0x0d || op == 0x10, // br br_if call
		op >= 0x20 && op <= 0x26, // locals, globals, table.get table.set
		op == 0x41 || op == 0x42, // i32.const i64.const
		op == 0xd2:               // ref.func
		r.leb()
	case op == 0x0e: // br_table
		for n := uint64(r.u32()) + 1; n > 0 && r.err == nil; n-- {
			r.leb()
		}
	case op == 0x11, op >= 0x28 && op <= 0x3e: // call_indirect, loads and stores
		r.leb()
		r.leb()
	case op == 0x1c: // select with types
		r.skip(r.u32())
	case op == 0x3f || op == 0x40 || op == 0xd0: // memory.size memory.grow ref.null
		r.u8()
	case op == 0x43:
		r.skip(4)
	case op == 0x44:
		r.skip(8)
	case op == 0xfd:
		return fmt.Errorf("SIMD instructions: %w", ErrUnsupported)
	default:
		return fmt.Errorf("instruction %#x: %w", op, ErrUnsupported)
	}
	return nil
}

// prefixed skips the operands of a 0xfc instruction and says whether its work
// grows with a size on the stack.
func prefixed(r *reader) (bulk bool, err error) {
	switch sub := r.u32(); {
	case sub <= 7: // saturating conversions
	case sub == 9 || sub == 13: // data.drop elem.drop
		r.leb()
	case sub == 11: // memory.fill
		r.leb()
		return true, nil
	case sub == 8 || sub == 10 || sub == 12 || sub == 14: // memory.init memory.copy table.init table.copy
		r.leb()
		r.leb()
		return true, nil
	case sub == 16: // table.size
		r.leb()
	case sub == 17: // table.fill
		r.leb()
		return true, nil
	default: // 15 is table.grow
		return false, fmt.Errorf("instruction 0xfc %d: %w", sub, ErrUnsupported)
	}
	return false, nil
}

// charge draws a constant and traps below zero:
//
//	global.get F; i64.const cost; i64.sub; global.set F
//	global.get F; i64.const 0; i64.lt_s; if; unreachable; end
func charge(out []byte, global uint32, cost int64) []byte {
	out = appendUnsigned(append(out, 0x23), global)
	out = appendSigned(append(out, 0x42), cost)
	out = appendUnsigned(append(out, 0x7d, 0x24), global)
	return trapBelowZero(out, global)
}

func trapBelowZero(out []byte, global uint32) []byte {
	out = appendUnsigned(append(out, 0x23), global)
	return append(out, 0x42, 0, 0x53, 0x04, 0x40, 0x00, 0x0b)
}

// chargeBulk draws a quarter of the size that is on the stack, and leaves it
// there:
//
//	local.tee S; global.get F; local.get S; i32.const 2; i32.shr_u
//	i64.extend_i32_u; i64.sub; global.set F; trap below zero
func chargeBulk(out []byte, global, scratch uint32) []byte {
	out = appendUnsigned(append(out, 0x22), scratch)
	out = appendUnsigned(append(out, 0x23), global)
	out = appendUnsigned(append(out, 0x20), scratch)
	out = append(out, 0x41, 2, 0x76, 0xad, 0x7d, 0x24)
	out = appendUnsigned(out, global)
	return trapBelowZero(out, global)
}
