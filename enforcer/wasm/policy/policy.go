// Package policy owns the policy modules that come with weir, as compiled
// WebAssembly beside the Go code that writes them.
//
// It promises that regenerating gives the committed bytes. It never runs them:
// see enforcer/wasm.
package policy

import (
	_ "embed" // the committed module

	"github.com/weirproject/weir/enforcer/wasm/emit"
)

//go:generate go run generate.go

// Strongest acts on the strongest verdict of a request; wasm.Strongest states
// it in Go.
//
//go:embed strongest.wasm
var Strongest []byte

// frameAt is where Strongest keeps its frame in memory.
const frameAt = 1024

// EmitStrongest writes the module Strongest.
func EmitStrongest() []byte {
	m := emit.NewModule()
	m.MaxPages = 1
	var frame emit.Code
	frame.I32(frameAt)
	m.Funcs = []emit.Func{
		{Export: "weir_frame", Results: []emit.ValueType{emit.I32}, Body: frame},
		{
			Export: "weir_eval", Params: []emit.ValueType{emit.I32}, Results: []emit.ValueType{emit.I64},
			Locals: []emit.ValueType{emit.I32, emit.I32, emit.I32, emit.I32, emit.I32, emit.I64, emit.I64},
			Body:   strongest(),
		},
	}
	m.Custom = []emit.Section{{Name: "weir.manifest", Bytes: []byte(
		`{"abi":"weir_v1","name":"strongest","version":"1","when":"verdict","rules":{"1":"verdict"}}`)}}
	return m.Bytes()
}

// Offsets in the frame of ABI weir_v1 (package enforcer/wasm).
const (
	frameVerdicts = 30 // u16
	frameEntries  = 32 // u32
	verdictAction = 0  // u8
	verdictScore  = 8  // i64
	verdictSize   = 40
)

// Locals of weir_eval. The parameter, the frame's length, is not needed and
// holds the strongest action so far.
const (
	bestAction = iota
	left       // verdicts in the frame
	at         // address of the current one
	index
	action
	best // 1 + index of the strongest so far, 0 for none
	score
	bestScore
)

// strongest walks the verdicts and packs the answer.
func strongest() emit.Code {
	var c emit.Code
	c.I32(frameAt)
	c.Mem(emit.Load16U, frameVerdicts)
	c.Set(left)
	c.I32(frameAt)
	c.Mem(emit.Load32, frameEntries)
	c.I32(frameAt)
	c.Op(emit.I32Add)
	c.Set(at)
	c.I32(0)
	c.Set(bestAction)
	c.Open(emit.BlockOp, emit.Void)
	c.Open(emit.LoopOp, emit.Void)
	c.Get(index)
	c.Get(left)
	c.Op(emit.I32GeU)
	c.BrIf(1)
	compare(&c)
	c.Get(at)
	c.I32(verdictSize)
	c.Op(emit.I32Add)
	c.Set(at)
	c.Get(index)
	c.I32(1)
	c.Op(emit.I32Add)
	c.Set(index)
	c.Br(0)
	c.Op(emit.End, emit.End)
	c.Get(best)
	c.Op(emit.I32Eqz)
	c.Open(emit.IfOp, emit.I64)
	c.I64(255<<8 | 1) // no verdict, allow
	c.Op(emit.Else)
	c.Get(best)
	c.I32(1)
	c.Op(emit.I32Sub)
	c.I32(256)
	c.Op(emit.I32Mul)
	c.Get(bestAction)
	c.Op(emit.I32Or, emit.I64ExtendU)
	c.I64(1 << 16) // rule 1
	c.Op(emit.I64Or, emit.End)
	return c
}

// compare takes the current verdict for the best when there is none yet, its
// action is stronger, or the action is equal and its score higher.
func compare(c *emit.Code) {
	c.Get(at)
	c.Mem(emit.Load8U, verdictAction)
	c.Set(action)
	c.Get(at)
	c.Mem(emit.Load64, verdictScore)
	c.Set(score)
	c.Get(best)
	c.Op(emit.I32Eqz)
	c.Get(action)
	c.Get(bestAction)
	c.Op(emit.I32GtU, emit.I32Or)
	c.Get(action)
	c.Get(bestAction)
	c.Op(emit.I32Eq)
	c.Get(score)
	c.Get(bestScore)
	c.Op(emit.I64GtS, emit.I32And, emit.I32Or)
	c.Open(emit.IfOp, emit.Void)
	c.Get(index)
	c.I32(1)
	c.Op(emit.I32Add)
	c.Set(best)
	c.Get(action)
	c.Set(bestAction)
	c.Get(score)
	c.Set(bestScore)
	c.Op(emit.End)
}
