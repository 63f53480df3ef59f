package enforcer_test

import (
	"fmt"
	"testing"

	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/enforcer/wasm"
	"github.com/weirproject/weir/enforcer/wasm/policy"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

func TestThePlainPathAllocatesNothing(t *testing.T) {
	e := newEnforcer(t, enforcer.Config{Mode: event.ModeEnforce, Sites: []enforcer.Site{{Name: "shop", Routes: []enforcer.Route{{Path: "/x/{id}"}}}}})
	for i := range 100 {
		e.Apply(give(i, event.ActionBlock, func(v *verdict.Verdict) { v.Binds[0].All[0].Value = event.Hash(i + 100) }))
	}
	ev := request()
	if n := testing.AllocsPerRun(200, func() { e.Decide(ev) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	p, err := wasm.Compile(wasm.Config{}, policy.Strongest)
	if err != nil {
		b.Fatal(err)
	}
	e, err := enforcer.New(enforce, p, nil)
	if err != nil {
		b.Fatal(err)
	}
	v := give(0, event.ActionBlock)
	const n = 1_000_000
	for i := range n {
		v.ID = fmt.Sprintf("v_%032x", i)
		v.Binds[0].All[0].Value = hash(i)
		e.Apply(v)
	}
	ev := request()
	ev.Keys[event.KindSession] = 0
	for _, hit := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "block"}[hit], func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				ev.Keys[event.KindSession] = hash(n + i)
				if hit {
					ev.Keys[event.KindSession] = hash(int(uint64(hash(i)) % n))
				}
				if d := e.Decide(ev); (d.Action == event.ActionBlock) != hit {
					b.Fatal(d.Action)
				}
			}
		})
	}
}

func hash(i int) event.Hash {
	h := uint64(i+1) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	return event.Hash(h * 0xbf58476d1ce4e5b9)
}
