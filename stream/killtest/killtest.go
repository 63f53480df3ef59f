// Package killtest drives kill tests: it runs a victim process again and again,
// kills it at named points and at random times, and kills and restarts the
// services it depends on, so that the caller can check afterwards that nothing
// was lost or doubled.
//
// It promises that every child is gone when Run returns, and reports how often
// each point was hit. It knows nothing of what the processes do and is for tests
// only.
package killtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Env is the environment variable that carries a crash to a victim, "point:n":
// die at the n-th pass of the point.
const Env = "WEIR_CRASH"

// Hook returns the function that a victim calls at its points. It kills the own
// process with SIGKILL when the environment says so.
func Hook() func(point string) {
	want, n, _ := strings.Cut(os.Getenv(Env), ":")
	left, err := strconv.Atoi(n)
	if want == "" || err != nil {
		return func(string) {}
	}
	var passes atomic.Int64
	return func(point string) {
		if point == want && passes.Add(1) == int64(left) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // cannot fail for oneself
			select {}
		}
	}
}

// Service is something that the victim depends on. It is started before the
// first life, and again whenever it was killed.
type Service struct {
	Name string
	// Every how many lives it is killed, at a random time; 0 for never.
	Every int
	// Start returns when the service is ready, Kill when it is gone.
	Start func(ctx context.Context) error
	Kill  func()
}

// Process makes a Service of a command; ready is polled until it returns nil.
func Process(name string, every int, command func() *exec.Cmd, ready func() error) *Service {
	var cmd *exec.Cmd
	start := func(ctx context.Context) error {
		cmd = command()
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		deadline := time.Now().Add(30 * time.Second)
		for {
			err := ready()
			switch {
			case err == nil:
				return nil
			case time.Now().After(deadline):
				return fmt.Errorf("%s is not ready after 30 s: %w", name, err)
			case !wait(ctx, 5*time.Millisecond):
				return ctx.Err()
			}
		}
	}
	kill := func() {
		if cmd == nil || cmd.Process == nil {
			return
		}
		_ = cmd.Process.Kill() // waited for next
		_ = cmd.Wait()         // "signal: killed" is what we want
		cmd = nil
	}
	return &Service{Name: name, Every: every, Start: start, Kill: kill}
}

// Plan is one kill test.
type Plan struct {
	// Kills of the victim to reach. Two of three lives end at a point, taken in
	// turn, at a pass between 1 and MaxPass; the others at a random time.
	Kills   int
	Points  []string
	MaxPass int
	// Life bounds a life whose point is not reached, and timed ones; a point that
	// no life has ended at yet gets four times as long.
	Life time.Duration
	Seed uint64
	// Victim makes the process for one life; its environment gets Env. In the
	// last life, without a crash, it must end by itself with status 0.
	Victim   func() *exec.Cmd
	Services []*Service
	// Before is called before each life, for work to arrive.
	Before func(life int) error
	// After, if set, is called after the last life, with the services still up.
	After func()
	// LastLife bounds the last life; default 60 s.
	LastLife time.Duration
}

// Report says what was killed.
type Report struct {
	Kills    int
	ByPoint  map[string]int
	Services map[string]int
	Took     time.Duration
}

// Run carries out the plan.
func (p *Plan) Run(ctx context.Context) (Report, error) {
	began := time.Now()
	rep := Report{ByPoint: make(map[string]int), Services: make(map[string]int)}
	random := rand.New(rand.NewPCG(p.Seed, 1))
	defer func() {
		for _, s := range p.Services {
			s.Kill()
		}
	}()
	for _, s := range p.Services {
		if err := s.Start(ctx); err != nil {
			return rep, err
		}
	}
	for life := 0; rep.Kills < p.Kills; life++ {
		if life > 3*p.Kills+10 {
			return rep, fmt.Errorf("%d lives gave only %d kills", life, rep.Kills)
		}
		if err := p.live(ctx, life, random, &rep); err != nil {
			return rep, err
		}
	}
	if err := p.Before(-1); err != nil {
		return rep, err
	}
	err := p.last(ctx)
	rep.Took = time.Since(began)
	if err == nil && p.After != nil {
		p.After()
	}
	return rep, err
}

// live is one life that is to end in a kill.
func (p *Plan) live(ctx context.Context, life int, random *rand.Rand, rep *Report) error {
	if err := p.Before(life); err != nil {
		return err
	}
	point, limit := "timer", p.Life/8+time.Duration(random.Int64N(int64(p.Life)/2))
	crash := point
	if life%3 != 2 {
		point, limit = p.Points[(life-life/3)%len(p.Points)], p.Life
		pass := 1 + random.IntN(p.MaxPass)
		if rep.ByPoint[point] == 0 {
			pass, limit = 1, 4*p.Life // however slow the machine is, each point has its turn
		}
		crash = fmt.Sprintf("%s:%d", point, pass)
	}
	cmd := p.Victim()
	cmd.Env = append(cmd.Environ(), Env+"="+crash)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("victim: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for _, s := range p.Services {
		if s.Every > 0 && life%s.Every == s.Every-1 {
			wait(ctx, time.Duration(random.Int64N(int64(p.Life)/4)))
			rep.Services[s.Name]++
			s.Kill()
			if err := s.Start(ctx); err != nil {
				return err
			}
		}
	}
	var err error
	select {
	case err = <-exited:
	case <-ctx.Done():
		_ = cmd.Process.Kill() // it is waited for next
		return errors.Join(ctx.Err(), <-exited)
	case <-time.After(limit):
		point = "timer"
		_ = cmd.Process.Kill() // it may have died this instant
		err = <-exited
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || !exit.Sys().(syscall.WaitStatus).Signaled() {
		return fmt.Errorf("life %d, crash %q: the victim ended by itself: %w", life, crash, errors.Join(err, errEnded))
	}
	rep.Kills++
	rep.ByPoint[point]++
	return nil
}

var errEnded = errors.New("a kill was expected")

func (p *Plan) last(ctx context.Context) error {
	limit := p.LastLife
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := p.Victim()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("victim: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // a Go program says where it is
		time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	})
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the last life did not end well: %w", errors.Join(err, ctx.Err()))
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
