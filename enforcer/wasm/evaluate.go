package wasm

import (
	"context"
	"fmt"

	"github.com/weirproject/weir/stream/event"
)

// noVerdict is the answer's verdict index for none.
const noVerdict = 255

// Evaluate runs the guest on one request. On an error the guest that failed is
// gone (its memory may be half written) and the proposal says only how much
// fuel it used.
func (p *Policy) Evaluate(f *Frame) (Proposal, error) {
	if err := p.admit(f.Event.Time); err != nil {
		return Proposal{}, err
	}
	p.calls.Add(1)
	in, err := p.acquire()
	if err != nil {
		return p.failed(Proposal{}, f.Event.Time, err)
	}
	out, err := in.call(p, f)
	p.fuelUsed.Add(out.Fuel)
	if err != nil {
		p.discard(in)
		return p.failed(Proposal{Fuel: out.Fuel}, f.Event.Time, err)
	}
	p.release(in)
	if p.inRow.Load() != 0 {
		p.inRow.Store(0)
	}
	return out, nil
}

// call writes the frame and runs weir_eval. A panic of the engine counts as a
// trap: a guest must not stop the process.
func (in *instance) call(p *Policy, f *Frame) (out Proposal, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: engine: %v", ErrTrap, r)
		}
	}()
	b, ok := in.memory.Read(in.frame, frameMax)
	if !ok { // a memory never shrinks
		return Proposal{}, ErrTrap
	}
	frame := f.append(b[:0:frameMax], p.manifest.fields)
	in.fuel.Set(uint64(p.cfg.Fuel))
	in.stack[0] = uint64(len(frame))
	err = in.eval.CallWithStack(context.Background(), in.stack[:])
	left := int64(in.fuel.Get())
	out.Fuel = p.cfg.Fuel - left
	if err != nil {
		if left < 0 {
			p.fuelOuts.Add(1)
			return out, ErrFuel
		}
		return out, fmt.Errorf("%w: %w", ErrTrap, firstLine(err))
	}
	answer := in.stack[0]
	out.Action, out.Verdict = event.Action(answer), int(uint8(answer>>8))
	out.Rule, out.Arg = uint16(answer>>16), uint32(answer>>32)
	if out.Verdict == noVerdict {
		out.Verdict = -1
	}
	if out.Action > event.ActionBlock || out.Verdict >= len(f.Verdicts) {
		return out, fmt.Errorf("%w: %#x", ErrAnswer, answer)
	}
	return out, nil
}

// acquire takes the instance that was used last, makes one, or waits for one.
func (p *Policy) acquire() (*instance, error) {
	p.mu.Lock()
	for {
		if p.closed {
			p.mu.Unlock()
			return nil, ErrClosed
		}
		if last := len(p.idle) - 1; last >= 0 {
			in := p.idle[last]
			p.idle = p.idle[:last]
			p.mu.Unlock()
			return in, nil
		}
		if p.total < p.cfg.MaxInstances {
			break
		}
		p.freed.Wait()
	}
	p.total++
	p.mu.Unlock()
	in, err := p.instantiate()
	if err != nil {
		p.gone()
		return nil, err
	}
	return in, nil
}

// release gives an instance back.
func (p *Policy) release(in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.total--
		_ = in.module.Close(context.Background())
		p.freed.Broadcast()
		return
	}
	p.idle = append(p.idle, in)
	p.freed.Signal()
}

// discard ends an instance that failed.
func (p *Policy) discard(in *instance) {
	_ = in.module.Close(context.Background())
	p.gone()
}

func (p *Policy) gone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	p.freed.Broadcast()
}

// admit asks the breaker. When its pause is over one caller may try.
func (p *Policy) admit(now int64) error {
	until := p.openUntil.Load()
	if until == 0 {
		return nil
	}
	if now < until || !p.openUntil.CompareAndSwap(until, 0) {
		return ErrBroken
	}
	// The trial's failure opens the breaker again at once.
	p.inRow.Store(int64(p.cfg.BreakerFailures) - 1)
	return nil
}

func (p *Policy) failed(out Proposal, now int64, err error) (Proposal, error) {
	p.failures.Add(1)
	if p.inRow.Add(1) >= int64(p.cfg.BreakerFailures) {
		p.openUntil.Store(max(now, 1) + int64(p.cfg.BreakerPause))
	}
	return out, err
}

// Close ends the policy once no call is in it, and frees its memory. Calls that
// come later fail with ErrClosed.
func (p *Policy) Close() error {
	ctx := context.Background()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.freed.Broadcast()
	for _, in := range p.idle {
		_ = in.module.Close(ctx)
		p.total--
	}
	p.idle = nil
	for p.total > 0 {
		p.freed.Wait()
	}
	if err := p.runtime.Close(ctx); err != nil {
		return fmt.Errorf("close policy: %w", err)
	}
	return nil
}
