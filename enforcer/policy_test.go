package enforcer_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/enforcer/wasm"
	"github.com/weirproject/weir/enforcer/wasm/policy"
	"github.com/weirproject/weir/stream/event"
)

func TestTheBuiltInPolicyIsAModule(t *testing.T) {
	e, err := enforcer.New(enforce, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.Apply(give(1, event.ActionBlock))
	d := e.Decide(request())
	if d.Action != event.ActionBlock || d.Rule != "verdict" || d.Fuel == 0 || !strings.HasPrefix(d.Policy, "sha256:") || e.Status().PolicyHash != d.Policy {
		t.Errorf("%+v", d)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

type brokenPolicy struct {
	wasm.Strongest
	answer func(*wasm.Frame) (wasm.Proposal, error)
	always bool
}

func (p brokenPolicy) Evaluate(f *wasm.Frame) (wasm.Proposal, error) { return p.answer(f) }
func (p brokenPolicy) NeedsVerdict() bool                            { return !p.always }

func TestABrokenPolicyFailsAsTheRouteSays(t *testing.T) {
	for name, answer := range map[string]func(*wasm.Frame) (wasm.Proposal, error){
		"error":    func(*wasm.Frame) (wasm.Proposal, error) { return wasm.Proposal{}, errors.New("trap") },
		"panic":    func(*wasm.Frame) (wasm.Proposal, error) { panic("bug") },
		"nonsense": func(*wasm.Frame) (wasm.Proposal, error) { return wasm.Proposal{Action: 99}, nil },
		"index": func(*wasm.Frame) (wasm.Proposal, error) {
			return wasm.Proposal{Action: event.ActionBlock, Verdict: 5}, nil
		},
	} {
		for _, closed := range []bool{false, true} {
			fail, want := enforcer.FailOpen, event.ActionAllow
			if closed {
				fail, want = enforcer.FailClosed, event.ActionBlock
			}
			e, err := enforcer.New(enforcer.Config{Mode: event.ModeEnforce, Sites: []enforcer.Site{{Name: "shop", Fail: fail}}},
				brokenPolicy{answer: answer}, nil)
			if err != nil {
				t.Fatal(err)
			}
			e.Apply(give(1, event.ActionBlock))
			if d := e.Decide(request()); d.Action != want {
				t.Errorf("%s, closed %v: %s because %s", name, closed, d.Action, d.Reason)
			}
		}
	}
}

func TestAPolicyMayActOnItsOwnAndIsMetered(t *testing.T) {
	p := brokenPolicy{always: true, answer: func(*wasm.Frame) (wasm.Proposal, error) {
		return wasm.Proposal{Action: event.ActionRateLimit, Verdict: -1, Rule: 3}, nil
	}}
	e, err := enforcer.New(enforce, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range 20 {
		if d := e.Decide(request()); d.Action == event.ActionAllow && d.Proposed == event.ActionRateLimit {
			n++
		}
	}
	if n != 10 {
		t.Errorf("%d of 20 passed, want the default allowance of 10", n)
	}
}

func TestPoliciesAreReplacedUnderLoad(t *testing.T) {
	load := func() *wasm.Policy {
		p, err := wasm.Compile(wasm.Config{Instances: 2}, policy.Strongest)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	e, err := enforcer.New(enforce, load(), nil)
	if err != nil {
		t.Fatal(err)
	}
	e.Apply(give(1, event.ActionBlock))
	var stop atomic.Bool
	var wg sync.WaitGroup
	var n atomic.Int64
	for range 3 {
		wg.Go(func() {
			for !stop.Load() {
				if d := e.Decide(request()); d.Action != event.ActionBlock || d.Rule != "verdict" || d.Fuel == 0 {
					t.Errorf("%s by %s: %s", d.Action, d.Rule, d.Reason)
					return
				}
				n.Add(1)
			}
		})
	}
	for range 40 {
		old, ok := e.SwapPolicy(load()).(*wasm.Policy)
		if !ok {
			t.Fatal("not the policy that was in force")
		}
		if err := old.Close(); err != nil {
			t.Error(err)
		}
		if s := old.Stats(); s.Instances != 0 {
			t.Errorf("%d instances left", s.Instances)
		}
	}
	stop.Store(true)
	wg.Wait()
	if n.Load() == 0 {
		t.Fatal("no request was decided")
	}
}
