package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sort"
	"sync"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

// person is one customer with a home, a browser and mostly an account.
type person struct {
	id       int
	account  string
	home     netip.Addr
	profile  profile
	language string
	cookies  []flow.Field
}

var languages = []string{"en-GB,en;q=0.9", "de-DE,de;q=0.9,en;q=0.6", "fr-FR,fr;q=0.9", "en-US,en;q=0.9"}

// population makes n people. Two or three share a home address, as families
// do, and one in eight sits behind one of four office addresses.
func population(n int, rng *rand.Rand) []*person {
	people := make([]*person, n)
	for i := range people {
		home := netip.AddrFrom4([4]byte{127, 10, byte(i / 2 / 200), byte(10 + i/2%200)})
		if rng.IntN(8) == 0 {
			home = netip.AddrFrom4([4]byte{127, 20, 0, byte(10 + rng.IntN(4))})
		}
		people[i] = &person{
			id: i, account: account(i), home: home,
			profile: profiles[rng.IntN(len(profiles))], language: languages[rng.IntN(len(languages))],
		}
	}
	return people
}

// livePace lets the running demo's people think four times as fast as real ones,
// so that there is something to see.
const livePace = 0.25

// visit is one visit to the shop. pace scales the thinking: 1 is a person's.
func (p *person) visit(ctx context.Context, w wire, rng *rand.Rand, pace float64) error {
	b := &browser{profile: p.profile, language: p.language, client: p.home, cookies: p.cookies, wire: w}
	think := func(seconds float64) {
		w.pause(ctx, time.Duration((0.4+rng.ExpFloat64())*seconds*pace*float64(time.Second)))
	}
	steps := []func() error{
		func() error { return open(ctx, b, "/") },
	}
	if len(p.cookies) == 0 || rng.IntN(3) == 0 {
		steps = append(steps, func() error { return p.signIn(ctx, b, rng, think) })
	}
	for range 1 + rng.IntN(4) {
		steps = append(steps, func() error { return open(ctx, b, fmt.Sprintf("/list/%d", rng.IntN(items/pageSize))) })
		for range 1 + rng.IntN(3) {
			steps = append(steps, func() error { return open(ctx, b, fmt.Sprintf("/item/%d", rng.IntN(items))) })
		}
	}
	if rng.IntN(4) == 0 {
		steps = append(steps, func() error { return p.buy(ctx, b, rng, think) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		think(6)
	}
	p.cookies = b.cookies
	return nil
}

// open loads a page and, as browsers do, its style sheet now and then.
func open(ctx context.Context, b *browser, target string) error {
	if _, err := b.get(ctx, target); err != nil {
		return err
	}
	_, err := b.get(ctx, "/static/shop.css")
	return err
}

// signIn mistypes in one of seven cases, and then tries again.
func (p *person) signIn(ctx context.Context, b *browser, rng *rand.Rand, think func(float64)) error {
	if err := open(ctx, b, "/login"); err != nil {
		return err
	}
	for range 3 {
		think(8)
		secret := password(p.account)
		if rng.IntN(7) == 0 {
			secret += "x"
		}
		status, err := b.post(ctx, "/api/login", fmt.Appendf(nil, `{"user":%q,"password":%q}`, p.account, secret))
		if err != nil || status == 200 {
			return err
		}
	}
	return nil
}

func (p *person) buy(ctx context.Context, b *browser, rng *rand.Rand, think func(float64)) error {
	if _, err := b.post(ctx, "/api/cart", fmt.Appendf(nil, `{"item":"%d"}`, rng.IntN(items))); err != nil {
		return err
	}
	think(10)
	card := fmt.Sprintf("4%015d", 1000+p.id*7)
	_, err := b.post(ctx, fmt.Sprintf("/api/orders/%d/pay", rng.IntN(1e6)),
		fmt.Appendf(nil, `{"card":{"number":%q},"amount":"%d.00"}`, card, 5+rng.IntN(90)))
	return err
}

// Record simulates days of the people's visits to the shop that end at until,
// calls keep with each exchange in order of time, and returns how many.
func Record(ctx context.Context, days int, until time.Time, keep func(*flow.Exchange)) (int, error) {
	rng := rand.New(rand.NewPCG(1, 2))
	shop := NewShop()
	var all []*flow.Exchange
	begin := until.Add(-time.Duration(days) * 24 * time.Hour)
	for _, p := range population(accounts, rng) {
		// About one and a half visits a day, more by day than by night.
		for at := begin.Add(time.Duration(rng.ExpFloat64() * 16 * float64(time.Hour))); at.Before(until.Add(-time.Hour)); at = at.Add(time.Duration((0.2 + rng.ExpFloat64()) * 16 * float64(time.Hour))) {
			if h := at.Hour(); h < 6 && rng.IntN(4) != 0 {
				continue
			}
			w := &recorder{shop: shop, clock: at, rng: rng, keep: func(x *flow.Exchange) { all = append(all, x) }}
			if err := p.visit(ctx, w, rng, 1); err != nil {
				return 0, err
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Time.Before(all[j].Time) })
	for i, x := range all {
		x.ID = fmt.Sprintf("demo-%06d", i)
		keep(x)
	}
	return len(all), nil
}

// People lets n visitors at a time use the shop through the ingress until ctx
// ends, and calls count with the status of each answer.
func People(ctx context.Context, ingress string, n int, count func(status int)) {
	rng := rand.New(rand.NewPCG(1, 2))
	people := population(accounts, rng)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			own := rand.New(rand.NewPCG(uint64(i), 7))
			w := counting{wire: live{ingress: ingress}, count: count}
			for round := 0; ctx.Err() == nil; round++ {
				p := people[(i+round*n)%len(people)]
				if err := p.visit(ctx, w, own, livePace); err != nil {
					w.pause(ctx, time.Second)
				}
			}
		})
	}
	wg.Wait()
}

// counting tells each answer's status.
type counting struct {
	wire
	count func(status int)
}

func (c counting) send(ctx context.Context, b *browser, method, target string, fields []flow.Field, body []byte) (response, error) {
	resp, err := c.wire.send(ctx, b, method, target, fields, body)
	if err == nil {
		c.count(resp.status)
	}
	return resp, err
}

// RecordLive simulates what the running demo shows, n visitors at a time and the
// bot from quiet on, for span after start, and calls keep with each exchange in
// order of time; bot tells whose it is.
func RecordLive(ctx context.Context, start time.Time, span, quiet time.Duration, n int, keep func(x *flow.Exchange, bot bool)) error {
	people := population(accounts, rand.New(rand.NewPCG(1, 2)))
	shop := NewShop()
	type seen struct {
		x   *flow.Exchange
		bot bool
	}
	var all []seen
	end := start.Add(span)
	for i := range n {
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		w := &recorder{shop: shop, clock: start.Add(time.Duration(i) * 100 * time.Millisecond), rng: rng, keep: func(x *flow.Exchange) { all = append(all, seen{x, false}) }}
		for round := 0; w.clock.Before(end); round++ {
			if err := people[(i+round*n)%len(people)].visit(ctx, w, rng, livePace); err != nil {
				return err
			}
		}
	}
	w := &recorder{shop: shop, clock: start.Add(quiet), rng: rand.New(rand.NewPCG(3, 4)), keep: func(x *flow.Exchange) { all = append(all, seen{x, true}) }}
	attack(ctx, w, int(span/time.Second), func() bool { return w.clock.Before(end) })
	sort.SliceStable(all, func(i, j int) bool { return all[i].x.Time.Before(all[j].x.Time) })
	for i, s := range all {
		s.x.ID = fmt.Sprintf("live-%06d", i)
		keep(s.x, s.bot)
	}
	return nil
}
