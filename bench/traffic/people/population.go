// Package people models those who use a shop as it is meant to be used, and the
// automation that they or the shop want (services). It knows nothing of how
// bots are made. Hard negatives, the people whom detection hurts first, are
// there by construction and carry their class as a label.
//
// The shares below are invented within what is published about real sites
// (failure and reuse of addresses from login studies, popularity of software
// from market shares); they are not fitted to one.
package people

import (
	"fmt"
	"net/netip"

	"github.com/weirproject/weir/bench/traffic"
)

// Day and Hour are spans of event time in nanoseconds.
const (
	Second = int64(1e9)
	Minute = 60 * Second
	Hour   = 60 * Minute
	Day    = 24 * Hour
)

// Variant is a population's make-up. Tune on normal; test on all.
type Variant string

// The variants. Shifted: twice the failures, a third of the CGNAT addresses,
// more incognito and kiosks. Hostile: still more shared addresses, failures and
// privacy browsers, and more of every hard negative.
const (
	Normal  Variant = "normal"
	Shifted Variant = "shifted"
	Hostile Variant = "hostile"
)

// Config describes a population.
type Config struct {
	Seed    uint64
	People  int
	Variant Variant
	// Start is midnight of the first day.
	Start int64
	// Flash is a sale: regulars come more often, the dormant return.
	Flash traffic.Window
	// Drops are limited articles whose sale opens at a known time.
	Drops []Drop
	// Services switches monitors, partners, readers and declared bots on.
	Services bool
}

// Drop is a limited article; the site's Item carries the time.
type Drop struct {
	Item  int
	Opens int64
	Fans  int
}

type person struct {
	id                     int
	account                int
	password               string
	home, office, carrier  int
	rate, fails            float64
	incognito, vpn         float64
	devices                []device
	agency                 []int
	shared, stale, dormant bool
	watcher, hoarder, qa   bool
	support                bool
	seen                   bool
	card                   traffic.Card
}

type device struct {
	client traffic.Client
	mobile bool
}

type household struct {
	addr   netip.Addr
	until  int64
	mean   float64
	tablet *traffic.Client
	v6     bool
}

type office struct {
	addr  netip.Addr
	image *traffic.Browser
}

// Population is a set of people with their devices, homes and places.
type Population struct {
	cfg      Config
	site     *traffic.Site
	software *traffic.Software
	people   []person
	homes    []household
	offices  []office
	carriers [][]netip.Addr
	exits    []netip.Addr
	kiosks   []kiosk
	sessions int
	addr     uint64
}

type kiosk struct {
	client traffic.Client
	wiped  bool
}

// shares are the make-up of a variant.
type shares struct {
	fails, incognito                        float64
	cgnat, offices, kiosks, agencies, stale int
	tablets, shared                         float64
}

func (v Variant) shares(n int) shares {
	s := shares{fails: 1, incognito: .12, cgnat: max(6, n/250), offices: max(4, n/500), kiosks: max(1, n/3000), agencies: max(1, n/500), stale: max(1, n/2000), tablets: .06, shared: .05}
	switch v {
	case Normal:
	case Shifted:
		s.fails, s.incognito, s.cgnat, s.kiosks = 2, .3, max(3, s.cgnat/3), 3*s.kiosks
	case Hostile:
		s.fails, s.incognito, s.cgnat, s.kiosks = 2.5, .4, max(3, s.cgnat/5), 4*s.kiosks
		s.offices, s.agencies, s.stale, s.tablets, s.shared = s.offices/2+1, 2*s.agencies, 3*s.stale, .12, .1
	}
	return s
}

// New makes a population for a site made with as many accounts as Accounts says.
func New(cfg Config, site *traffic.Site) *Population {
	p := &Population{cfg: cfg, site: site, software: traffic.NewSoftware(), addr: cfg.Seed << 20}
	r := traffic.NewRand(cfg.Seed, 1)
	sh := cfg.Variant.shares(cfg.People)
	for c := range 3 {
		var pool []netip.Addr
		for range max(2, sh.cgnat/(c+2)) {
			pool = append(pool, p.address(100+c))
		}
		p.carriers = append(p.carriers, pool)
	}
	for range 12 {
		p.exits = append(p.exits, p.address(200))
	}
	for i := range sh.offices {
		o := office{addr: p.address(60)}
		if i%2 == 0 {
			o.image = p.software.Draw(r, false, false)
		}
		p.offices = append(p.offices, o)
	}
	for i := range sh.kiosks {
		p.kiosks = append(p.kiosks, kiosk{traffic.Client{Browser: p.software.Draw(r, false, false), Addr: p.address(61)}, i%3 != 0})
	}
	p.populate(r, sh)
	return p
}

// Accounts is how many accounts a population of n people needs.
func Accounts(n int) int { return n + 40*max(2, n/250) }

func (p *Population) populate(r *traffic.Rand, sh shares) {
	extra := p.cfg.People
	dormantFrom := p.cfg.People - p.cfg.People/5
	for i := range p.cfg.People {
		u := person{id: i, account: i, password: traffic.Password(i), office: -1, carrier: r.IntN(3), rate: min(6, r.LogNormal(.5, 1))}
		u.card = traffic.NewCard(uint64(i), r.Uint64N(300), !r.Chance(.03))
		u.fails = min(.7, sh.fails*(.015+r.Exp(.06)))
		if r.Chance(.25) {
			u.office = r.IntN(len(p.offices))
		}
		if r.Chance(sh.incognito) {
			u.incognito = .5 + r.Float64()/2
		}
		if r.Chance(.03) {
			u.vpn = .5
		}
		switch {
		case i < sh.agencies:
			for range 5 + r.IntN(26) {
				u.agency = append(u.agency, extra)
				extra++
			}
			u.rate = 2
		case i < sh.agencies+sh.stale:
			u.stale = true
		case i < sh.agencies+sh.stale+max(1, p.cfg.People/2000):
			u.qa = true
		case i < sh.agencies+sh.stale+2*max(1, p.cfg.People/2000):
			u.support = true
		}
		u.watcher, u.hoarder = r.Chance(.01), r.Chance(.01)
		if i > 60 && r.Chance(sh.shared) {
			of := r.IntN(i)
			u.account, u.password, u.shared = p.people[of].account, p.people[of].password, true
		}
		u.dormant = i >= dormantFrom
		p.devices(r, &u)
		p.people = append(p.people, u)
	}
	for i := 0; i < len(p.people); {
		h := household{mean: 14 * float64(Day), v6: r.Chance(.2)}
		if r.Chance(.2) {
			h.mean = float64(Day)
		}
		n := 1 + r.IntN(4)
		if n > 1 && r.Chance(sh.tablets) {
			h.tablet = &traffic.Client{Browser: p.software.Draw(r, true, false)}
		}
		for k := 0; k < n && i < len(p.people); k++ {
			p.people[i].home = len(p.homes)
			i++
		}
		p.homes = append(p.homes, h)
	}
}

func (p *Population) devices(r *traffic.Rand, u *person) {
	n := 1
	if r.Chance(.55) {
		n = 2
	}
	for d := range n {
		mobile := d == 1 || r.Chance(.55)
		app := mobile && r.Chance(.15) || u.stale
		c := traffic.Client{Browser: p.software.Draw(r, mobile || app, app)}
		if app {
			c.AppID = fmt.Sprintf("%016x", r.Uint64())
		}
		u.devices = append(u.devices, device{client: c, mobile: mobile || app})
	}
}

// address gives an address nobody had before, in the block of a provider.
func (p *Population) address(provider int) netip.Addr {
	p.addr++
	h := traffic.Mix(p.addr, 21)
	return netip.AddrFrom4([4]byte{byte(20 + provider%180), byte(h >> 8), byte(h >> 16), byte(1 + h>>24%254)})
}

// homeAddr is the household's address at t; leases end at random times. It
// draws from a source of its own, so that bots that rent a home line do not
// change what people do.
func (p *Population) homeAddr(home int, t int64) netip.Addr {
	h := &p.homes[home]
	for t >= h.until {
		if h.until == 0 {
			h.until = p.cfg.Start
		}
		r := traffic.NewRand(p.cfg.Seed+uint64(home), uint64(h.until))
		h.until += int64(r.Exp(h.mean)) + Hour
		m := r.Uint64()
		h.addr = netip.AddrFrom4([4]byte{byte(20 + home%12), byte(m >> 8), byte(m >> 16), byte(1 + m>>24%254)})
		if h.v6 {
			h.addr = netip.AddrFrom16([16]byte{0x2a, 0x02, byte(home % 12), byte(m), byte(m >> 8), byte(m >> 16), byte(m >> 24), 1, 15: 1})
		}
	}
	return h.addr
}

// HomeAddr gives bots that rent home lines an address that people use as well.
func (p *Population) HomeAddr(r *traffic.Rand, t int64) netip.Addr {
	return p.homeAddr(r.IntN(len(p.homes)), t)
}

// CarrierAddr gives an address of a mobile carrier's NAT.
func (p *Population) CarrierAddr(r *traffic.Rand) netip.Addr {
	pool := p.carriers[r.IntN(len(p.carriers))]
	return pool[r.IntN(len(pool))]
}

// Software is the market of browsers that this population uses.
func (p *Population) Software() *traffic.Software { return p.software }

// context picks device and place of a visit at t, and says its class.
func (p *Population) context(r *traffic.Rand, u *person, t int64) (c *traffic.Client, kind string) {
	d := &u.devices[r.IntN(len(u.devices))]
	c = &d.client
	hour, weekday := (t-p.cfg.Start)%Day/Hour, (t-p.cfg.Start)/Day%7
	switch {
	case u.office >= 0 && weekday < 5 && hour >= 9 && hour < 17 && r.Chance(.65):
		o := &p.offices[u.office]
		if o.image != nil && !d.mobile {
			// A terminal's profile is wiped: the cookie is new, the image everyone's.
			c = &traffic.Client{Browser: o.image}
		}
		c.Addr, kind = o.addr, "office"
	case d.mobile && r.Chance(.45):
		pool := p.carriers[u.carrier]
		c.Addr, kind = pool[r.IntN(len(pool))], "cgnat"
	default:
		h := &p.homes[u.home]
		if h.tablet != nil && r.Chance(.4) {
			c, kind = h.tablet, "family_tablet"
		}
		c.Addr = p.homeAddr(u.home, t)
	}
	if r.Chance(u.vpn) {
		c.Addr, kind = p.exits[r.IntN(len(p.exits))], "vpn"
	}
	if r.Chance(u.incognito) {
		c, kind = &traffic.Client{Browser: c.Browser, Addr: c.Addr, AppID: c.AppID}, "incognito"
	}
	if kind == "" && u.shared {
		kind = "shared_account"
	}
	return c, kind
}
