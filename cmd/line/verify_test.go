package line

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/weirproject/weir/cmd/config"
)

// zone is a small domain name system.
type zone struct {
	names     map[string]string   // address -> name
	addresses map[string][]string // name -> addresses
	fails     atomic.Bool
	asked     atomic.Int64
}

func (z *zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	z.asked.Add(1)
	if z.fails.Load() {
		return nil, errors.New("server misbehaving")
	}
	if n := z.names[addr]; n != "" {
		return []string{n}, nil
	}
	return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}

func (z *zone) LookupNetIP(_ context.Context, _, host string) (out []netip.Addr, err error) {
	for _, a := range z.addresses[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	if out == nil {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	return out, nil
}

func newZone() *zone {
	return &zone{
		names: map[string]string{
			"203.0.113.1": "crawl-1.googlebot.com.", "203.0.113.2": "crawl-1.googlebot.com.", "203.0.113.3": "host.evil.example.",
			"203.0.113.4": "gone.googlebot.com.", "2001:db8::1": "crawl-6.googlebot.com.",
		},
		addresses: map[string][]string{
			"crawl-1.googlebot.com.": {"203.0.113.1"}, "host.evil.example.": {"203.0.113.3"}, "crawl-6.googlebot.com.": {"2001:db8::1"},
		},
	}
}

var googleRule = &config.BotRule{Name: "googlebot", Domains: []string{".googlebot.com", ".google.com"}}

func TestABotIsVerifiedByItsNameAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone()
		v := newVerifier(z, time.Now, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		for address, want := range map[string]bool{
			"203.0.113.1":        true,
			"::ffff:203.0.113.1": true,
			"2001:db8::1":        true,
			"203.0.113.2":        false, // the name leads to another address
			"203.0.113.3":        false, // a name of somebody else's
			"203.0.113.4":        false, // a name that leads nowhere
			"203.0.113.5":        false, // no name
		} {
			a := netip.MustParseAddr(address)
			first := v.verified(a, googleRule)
			synctest.Wait()
			if got := v.verified(a, googleRule); got != want {
				t.Errorf("%s: verified %v, want %v", address, got, want)
			}
			if first && !strings.HasPrefix(address, "::ffff") && address != "203.0.113.1" {
				t.Errorf("%s was taken for genuine before anybody asked", address)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAnswersAgeAndFailuresAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone()
		v := newVerifier(z, time.Now, nil)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = v.Run(ctx) }()
		a := netip.MustParseAddr("203.0.113.1")
		ask := func() bool { got := v.verified(a, googleRule); synctest.Wait(); return got }
		ask()
		for range 100 {
			ask()
		}
		if n := z.asked.Load(); n != 1 {
			t.Errorf("asked %d times for one address", n)
		}
		z.fails.Store(true)
		<-time.After(verifiedFor + time.Second) // virtual
		if !ask() {
			t.Error("a verified bot is not one while it is asked again")
		}
		if !ask() {
			t.Error("a bot is none any more because its name server is away")
		}
		z.fails.Store(false)
		delete(z.names, "203.0.113.1")
		<-time.After(failedFor + time.Second) // virtual
		ask()
		if ask() {
			t.Error("a bot stays verified although its address has changed hands")
		}
		stop()
		synctest.Wait()
	})
}

// TestAFloodOfClaimsStaysBounded: nobody answers, and anybody may claim.
func TestAFloodOfClaimsStaysBounded(t *testing.T) {
	v := newVerifier(newZone(), time.Now, nil) // Run is not called: the queue fills
	for i := range 4 * verifyQueue {
		v.verified(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), googleRule)
	}
	if n := len(v.queue); n != verifyQueue {
		t.Errorf("%d questions wait, want %d", n, verifyQueue)
	}
	var dropped dto.Metric
	if err := v.checks.WithLabelValues("dropped").Write(&dropped); err != nil || dropped.GetCounter().GetValue() != 3*verifyQueue {
		t.Errorf("%v dropped questions are counted, want %d (%v)", dropped.GetCounter().GetValue(), 3*verifyQueue, err)
	}
	for i := range 3 * verifyKnown {
		v.keep(question{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), googleRule}, answer{})
	}
	if n := len(v.young) + len(v.aging); n > 2*verifyKnown {
		t.Errorf("%d answers are kept, want at most %d", n, 2*verifyKnown)
	}
}

func TestLookupWithoutData(t *testing.T) {
	l := &lookup{}
	if n := l.find(netip.MustParseAddr("203.0.113.1"), "Googlebot"); n.VerifiedBot || n.ASN != 0 {
		t.Errorf("%+v", n)
	}
	if notes := l.describe(); len(notes) != 2 || !strings.Contains(notes[0], "lookup.asn") || !strings.Contains(notes[1], "lookup.verifiedBots") {
		t.Errorf("status says %q", notes)
	}
}
