package line

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/cmd/config"
)

// Bounds of verification by name. Anybody can declare a bot's name from any
// address, so that the work is bounded, not the demand: a full queue drops the
// question and counts it, and the request passes as that of anybody.
const (
	verifyWorkers = 4
	verifyQueue   = 1024
	// verifyKnown bounds each of two generations of answers, about 100 bytes an
	// answer; the older one goes when the younger is full.
	verifyKnown   = 1 << 15
	verifyTimeout = 5 * time.Second
	// An address seldom changes hands; a name server often fails for a moment.
	verifiedFor = 24 * time.Hour
	refutedFor  = time.Hour
	failedFor   = time.Minute
)

// resolver asks the domain name system; *net.Resolver is one.
type resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// verifier confirms that an address belongs to the bot that its user agent
// declares: the address's name must be below a domain of the bot's owner, and
// that name must lead back to the address (forward-confirmed reverse DNS). It
// answers at once from what it knows and asks in the background.
type verifier struct {
	resolver resolver
	clock    func() time.Time
	queue    chan question
	checks   *prometheus.CounterVec

	mu           sync.Mutex
	young, aging map[question]answer
}

type question struct {
	client netip.Addr
	rule   *config.BotRule
}

type answer struct {
	until   time.Time // zero: being asked
	genuine bool
	asking  bool
}

func newVerifier(r resolver, clock func() time.Time, reg prometheus.Registerer) *verifier {
	v := &verifier{
		resolver: r, clock: clock, queue: make(chan question, verifyQueue), young: map[question]answer{},
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_bot_checks_total", Help: "Verifications of declared bots by reverse and forward DNS, by result.",
		}, []string{"result"}),
	}
	for _, result := range []string{"verified", "refuted", "failed", "dropped"} {
		v.checks.WithLabelValues(result)
	}
	if reg != nil {
		reg.MustRegister(v.checks)
	}
	return v
}

// verified reports what is known; what is unknown or old is asked for. A bot
// that was verified stays so while it is asked again.
func (v *verifier) verified(client netip.Addr, rule *config.BotRule) bool {
	q := question{client.Unmap().WithZone(""), rule}
	v.mu.Lock()
	defer v.mu.Unlock()
	a := v.known(q)
	if a.asking || v.clock().Before(a.until) {
		return a.genuine
	}
	select {
	case v.queue <- q:
		a.asking = true
		v.keep(q, a)
	default:
		v.checks.WithLabelValues("dropped").Inc()
	}
	return a.genuine
}

// known returns the last answer; the caller holds mu.
func (v *verifier) known(q question) answer {
	if a, ok := v.young[q]; ok {
		return a
	}
	return v.aging[q]
}

// keep notes an answer; the caller holds mu.
func (v *verifier) keep(q question, a answer) {
	if _, ok := v.young[q]; !ok && len(v.young) >= verifyKnown {
		v.young, v.aging = map[question]answer{}, v.young
	}
	v.young[q] = a
}

// Run answers questions until ctx ends.
func (v *verifier) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range verifyWorkers {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case q := <-v.queue:
					v.settle(ctx, q)
				}
			}
		})
	}
	workers.Wait()
	return nil
}

func (v *verifier) settle(ctx context.Context, q question) {
	genuine, err := v.ask(ctx, q)
	a, result := answer{genuine: genuine, until: v.clock().Add(refutedFor)}, "refuted"
	switch {
	case err != nil:
		a.until, result = v.clock().Add(failedFor), "failed"
	case genuine:
		a.until, result = v.clock().Add(verifiedFor), "verified"
	}
	v.checks.WithLabelValues(result).Inc()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil { // name servers that are away make no impostors
		a.genuine = v.known(q).genuine
	}
	v.keep(q, a)
}

// ask does the look-ups. A name that does not exist is an answer, not a failure.
func (v *verifier) ask(ctx context.Context, q question) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	names, err := v.resolver.LookupAddr(ctx, q.client.String())
	if err != nil {
		return false, unlessNone(err)
	}
	const most = 4 // a bot's address has one name
	for _, name := range names[:min(len(names), most)] {
		if !q.rule.Owns(name) {
			continue
		}
		addresses, err := v.resolver.LookupNetIP(ctx, "ip", name)
		if err != nil {
			if err = unlessNone(err); err != nil {
				return false, err
			}
			continue
		}
		for _, a := range addresses {
			if a.Unmap() == q.client {
				return true, nil
			}
		}
	}
	return false, nil
}

func unlessNone(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return nil
	}
	return err
}
