package linetest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestKillSoak kills log, store and processor at random moments for a minute or
// two while requests flow and bots are judged. Afterwards every event that the
// ingress produced stands in the store exactly once.
func TestKillSoak(t *testing.T) {
	if os.Getenv("WEIR_E2E") == "" {
		t.Skip("e2e: set WEIR_E2E=1 for the kill soak (two minutes)")
	}
	needEngine(t)
	a, w := newApp(t), newWeir(t, "soak")
	people := "127.80.0.2/32, 127.80.0.3/32, 127.80.0.4/32, 127.80.0.5/32, 127.80.0.6/32, 127.80.0.7/32, 127.80.0.8"
	w.up(t, "-c", w.config(t, fmt.Sprintf(friendly, a.url, flowMap(t), people)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var answered, refusals, faults atomic.Int64
	for i := range 8 {
		c := newClient(t, w.listen, fmt.Sprintf("127.80.0.%d", i+1))
		wg.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				method, target, body := "GET", fmt.Sprintf("/item/%d", n%50), ""
				if i == 0 {
					method, target, body = "POST", "/api/login", guess(n)
				}
				r, err := c.do(ctx, method, target, body, nil)
				switch {
				case ctx.Err() != nil:
				case err != nil:
					faults.Add(1)
				case refused(r.status):
					refusals.Add(1)
				default:
					answered.Add(1)
				}
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	kills := map[string]int{}
	for began := time.Now(); time.Since(began) < 100*time.Second; {
		part := []string{"log", "store", "process"}[rng.IntN(3)]
		w.killPart(t, part)
		kills[part]++
		wait := time.NewTimer(time.Duration(rng.IntN(2500)) * time.Millisecond)
		<-wait.C
	}
	cancel()
	wg.Wait()
	st := w.settled(t)
	t.Logf("seed %d: kills %v, answered %d, refused %d, served by the application %d", seed, kills, answered.Load(), refusals.Load(), a.served.Load())
	if faults.Load() > 0 {
		t.Errorf("%d requests were not answered", faults.Load())
	}
	for _, r := range st.Reports {
		for _, s := range r.Sources {
			if lost := sumOf(s.Lost); lost > 0 {
				t.Errorf("%s lost %v", s.Name, s.Lost)
			}
			w.counted(t, s.Produced)
		}
	}
	if refusals.Load() == 0 {
		t.Error("nothing was refused: detection did not go on")
	}
	w.stop(t)
}
