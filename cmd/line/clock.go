package line

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// stepAtLeast is what a clock that is disciplined as usual never moves by
	// between two looks, one second apart.
	stepAtLeast = time.Second
	// believeAfter is how long a step ahead must stand before what it ended is
	// forgotten: whoever set the clock wrong has set it right again by then.
	believeAfter = 10 * time.Minute
)

// wallClock watches the wall clock against the steady one. Leases end by the
// wall clock, since machines must agree on them; a step of it is told to the
// operator, and one ahead forgets nothing for a while, so that its correction
// finds everything as it was.
type wallClock struct {
	// read returns both clocks.
	read  func() (wall time.Time, steady time.Duration)
	steps *prometheus.CounterVec
	log   *slog.Logger

	mu         sync.Mutex
	wall       time.Time
	steady     time.Duration
	ahead      time.Duration // of steps ahead that are not believed yet
	disbelieve time.Duration // until this steady time
	last       string
}

func newWallClock(log *slog.Logger, metrics prometheus.Registerer) *wallClock {
	began := time.Now()
	c := &wallClock{
		log: log,
		read: func() (time.Time, time.Duration) {
			now := time.Now()
			return now.Round(0), now.Sub(began)
		},
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_clock_steps_total", Help: "Steps of the machine's wall clock by a second or more.",
		}, []string{"direction"}),
	}
	metrics.MustRegister(c.steps)
	c.steps.WithLabelValues("ahead")
	c.steps.WithLabelValues("back")
	c.wall, c.steady = c.read()
	return c
}

// run looks every second until ctx ends.
func (c *wallClock) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.forget()
		}
	}
}

// forget returns the time before which things may be forgotten: the wall clock,
// less the steps ahead of the last ten minutes.
func (c *wallClock) forget() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, steady := c.read()
	step := wall.Sub(c.wall) - (steady - c.steady)
	c.wall, c.steady = wall, steady
	if steady >= c.disbelieve {
		c.ahead = 0
	}
	if step.Abs() >= stepAtLeast {
		c.stepped(step)
	}
	return wall.Add(-c.ahead)
}

func (c *wallClock) stepped(step time.Duration) {
	direction := "ahead"
	if step < 0 {
		direction = "back"
	}
	if step > 0 || c.ahead > 0 {
		c.ahead = max(0, c.ahead+step)
		c.disbelieve = c.steady + believeAfter
	}
	c.last = fmt.Sprintf("the wall clock was set %s by %s at %s: times of events and ends of verdicts follow it; let a time service slew the clock",
		direction, step.Abs().Round(time.Millisecond), c.wall.UTC().Format(time.RFC3339))
	c.steps.WithLabelValues(direction).Inc()
	c.log.Warn("the wall clock was set", "direction", direction, "by", step.Abs().String())
}

// note tells of the last step, "" when there was none.
func (c *wallClock) note() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}
