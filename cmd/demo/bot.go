package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Bot tries stolen passwords against twelve accounts through the ingress. Each
// attempt comes from another of 120 addresses, with another browser's header
// order and no cookie of the last attempt; what it cannot change is that its
// script signs in without looking at anything else. It ends with ctx or after
// attempts tries.
func Bot(ctx context.Context, ingress string, attempts int, count func(status int)) {
	attack(ctx, counting{wire: live{ingress: ingress}, count: count}, attempts, func() bool { return ctx.Err() == nil })
}

func attack(ctx context.Context, w wire, attempts int, goOn func() bool) {
	rng := rand.New(rand.NewPCG(11, 12))
	for i := range attempts {
		if !goOn() {
			return
		}
		b := &browser{
			profile: botProfile(rng), language: "en-US,en;q=0.9", wire: w,
			client: netip.AddrFrom4([4]byte{127, 30, byte(rng.IntN(4)), byte(10 + rng.IntN(30))}),
		}
		target := account(rng.IntN(12) * 17)
		_, _ = b.post(ctx, "/api/login", fmt.Appendf(nil, `{"user":%q,"password":"leaked-%d"}`, target, i))
		w.pause(ctx, time.Duration(300+rng.IntN(900))*time.Millisecond)
	}
}

// botProfile copies a browser's agent and most of its fields, with a version
// that changes each time.
func botProfile(rng *rand.Rand) profile {
	p := profiles[rng.IntN(len(profiles))]
	agent := fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.%d.%d Safari/537.36", 120+rng.IntN(14), 6000+rng.IntN(999), rng.IntN(200))
	own := profile{agent: agent}
	for _, f := range p.fields {
		switch f.Name {
		case "Referer", "sec-ch-ua-mobile":
			continue
		case "User-Agent":
			f.Value = agent
		}
		own.fields = append(own.fields, f)
	}
	return own
}
