package people

import (
	"fmt"
	"sort"
	"time"

	"github.com/weirproject/weir/bench/traffic"
)

// hourWeight is the daily curve of visits, peak 1.45 at 20 h.
var hourWeight = [24]float64{.25, .14, .09, .07, .07, .1, .22, .45, .7, .85, .95, 1, 1.1, 1.05, .95, .9, .9, .95, 1.1, 1.3, 1.45, 1.35, .95, .5}

func drawTime(r *traffic.Rand, day int64) int64 {
	for {
		h := r.IntN(24)
		if r.Float64()*1.45 < hourWeight[h] {
			return day + int64(h)*Hour + int64(r.Float64()*float64(Hour))
		}
	}
}

// Visits plans all visits of day d (from 0), in order of start.
func (p *Population) Visits(d int) []traffic.Planned {
	r := traffic.NewRand(p.cfg.Seed, 1000+uint64(d))
	day := p.cfg.Start + int64(d)*Day
	weekend := 1.0
	if d%7 >= 5 {
		weekend = 1.15
	}
	var plan []traffic.Planned
	for i := range p.people {
		u := &p.people[i]
		if r.Chance(.01) { // a browser update
			k := &u.devices[r.IntN(len(u.devices))]
			k.client.Browser, k.client.Cached = p.software.Draw(r, k.mobile, k.client.Browser.App), false
		}
		if !u.dormant {
			for range r.Poisson(u.rate * weekend) {
				plan = append(plan, p.plan(r, u, drawTime(r, day)))
			}
			plan = append(plan, p.special(r, u, day)...)
		}
		if w := p.cfg.Flash; w.From < day+Day && w.To > day {
			mean := .7
			if u.dormant {
				mean = .55
			}
			for range r.Poisson(mean) {
				if at := w.From + int64(r.Float64()*float64(w.To-w.From)); at >= day && at < day+Day {
					plan = append(plan, p.plan(r, u, at))
				}
			}
		}
	}
	plan = append(plan, p.terminals(r, day)...)
	plan = append(plan, p.drops(r, day)...)
	if p.cfg.Services {
		plan = append(plan, p.services(day, d)...)
	}
	sort.SliceStable(plan, func(i, j int) bool { return plan[i].Start < plan[j].Start })
	return plan
}

func (p *Population) label(u *person, kind string) traffic.Label {
	p.sessions++
	return traffic.Label{Class: traffic.Person, Who: fmt.Sprintf("p%d", u.id), Kind: kind, Session: p.sessions}
}

func (p *Population) plan(r *traffic.Rand, u *person, at int64) traffic.Planned {
	seed := r.Uint64()
	return traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
		r := traffic.NewRand(seed, 2)
		c, kind := p.context(r, u, at)
		v := &traffic.Visit{Site: p.site, C: c, R: r, Time: at, Emit: emit}
		switch w := p.cfg.Flash; {
		case at >= w.From && at < w.To && u.dormant:
			kind = "dormant"
		case at >= w.From && at < w.To:
			kind = "flash_sale"
		}
		v.Label = p.label(u, kind)
		if len(u.agency) > 0 && r.Chance(.6) {
			p.agencyRound(v, u)
			return
		}
		p.session(v, u)
	}}
}

// session is one ordinary visit: look around, perhaps log in, perhaps buy.
func (p *Population) session(v *traffic.Visit, u *person) {
	r := v.R
	known := u.seen && v.C.Session != "" && r.Chance(.5)
	if known {
		v.User = traffic.UserName(u.account)
	}
	wants := !known && (r.Chance(.35) || u.dormant)
	pages := min(60, 1+int(r.LogNormal(3, 1)))
	at := r.IntN(pages)
	p.land(v)
	for i := range pages {
		if wants && i == at {
			if !p.login(v, u, u.account, &u.password) {
				continue
			}
			u.seen = true
		}
		p.browse(v)
		v.Think(16, 1.1)
		if r.Chance(.02) && v.Label.Kind == "cgnat" { // hand-over in mid visit
			v.C.Addr = p.CarrierAddr(r)
		}
	}
	if v.User != "" {
		p.member(v, u)
	}
	if v.User != "" && r.Chance(.25) || r.Chance(.04) {
		p.buy(v, u)
	}
	if v.User == "" && r.Chance(.012) {
		p.signup(v, u)
	}
}

func (p *Population) land(v *traffic.Visit) {
	switch x := v.R.Float64(); {
	case x < .45:
		v.Home()
	case x < .85: // from a search engine or a link
		v.ViewItem(p.site.PopularItem(v.R), false)
	case x < .87: // an old link
		v.Missing("old-lamp-17", false)
		v.Think(5, .6)
		v.Home()
	default:
		v.Category(v.R.IntN(p.site.Categories), 1, false)
	}
	v.Think(9, .9)
}

var searches = []string{"red lamp", "oak table", "tent 2 person", "kettle", "radio", "gift for dad", "ladder 3m", "O'Neill jacket", "bike helmet kids", "select from union catalogue", "canvas <60cm>"}

func (p *Population) browse(v *traffic.Visit) {
	switch x := v.R.Float64(); {
	case x < .5:
		v.ViewItem(p.site.PopularItem(v.R), false)
	case x < .75:
		v.Category(v.R.IntN(p.site.Categories), 1+v.R.IntN(3), false)
	case x < .92:
		v.Search(searches[v.R.IntN(len(searches))], false)
	case x < .96:
		v.Like(p.site.PopularItem(v.R), false)
	default:
		v.Static([]string{"/about", "/delivery", "/returns", "/contact", "/help"}[v.R.IntN(5)])
	}
}

// login plays a login with mistakes: typos, a forgotten password, a reset.
func (p *Population) login(v *traffic.Visit, u *person, account int, password *string) bool {
	r := v.R
	name := traffic.UserName(account)
	v.LoginPage()
	v.Think(7, .6)
	fails := u.fails
	if !u.seen {
		fails = min(.7, fails*2+.05)
	}
	forgot := 0
	if r.Chance(.012) || u.dormant && r.Chance(.12) {
		v.Label.Kind = "forgotten_password"
		forgot = 2
		for forgot < 17 && r.Chance(.65) {
			forgot++
		}
	}
	for try := range 25 {
		typed, who := *password, name
		switch {
		case forgot > 0:
			forgot--
			typed = fmt.Sprintf("old-%d-%d", u.id, r.IntN(6))
			if forgot == 0 && r.Chance(.6) {
				v.Login(who, typed, false)
				v.Think(20, .5)
				fresh := fmt.Sprintf("new-%x", r.Uint64())
				v.Reset(name, fresh, false)
				*password, u.password = fresh, fresh
				v.Think(150, .6)
				return v.Login(name, fresh, false)
			}
		case r.Chance(.01):
			who = "x" + name
		case r.Chance(fails):
			typed += "x"
		}
		if v.Login(who, typed, false) {
			return true
		}
		if r.Chance(.15) || try > 3 && forgot == 0 && r.Chance(.35) {
			return false
		}
		v.Think(9, .7)
	}
	return false
}

// member does what logged-in people do now and then.
func (p *Population) member(v *traffic.Visit, u *person) {
	r := v.R
	switch x := r.Float64(); {
	case x < .04:
		v.Review(p.site.PopularItem(r), fmt.Sprintf("Bought it for number %d and it is %s. %x", u.id, []string{"fine", "good", "too small", "as shown"}[r.IntN(4)], r.Uint32()), false)
	case x < .12:
		for range 1 + r.IntN(4) {
			v.Vote(r.IntN(300), false)
			v.Think(12, .9)
		}
	case x < .15:
		v.Address(fmt.Sprintf("%d Mill Lane %d", 1+r.IntN(90), u.id), false)
		v.Think(30, .8)
	case x < .17:
		v.Export(false)
	case x < .20:
		v.Quote(10000+u.id%80000, false)
	case x < .23:
		for range 1 + r.IntN(5) {
			v.Chat(fmt.Sprintf("where is my parcel %d", r.IntN(1000)), false)
			v.Think(25, .7)
		}
	case x < .25:
		v.OTPSend(phone(u.id), false)
		v.Think(18, .5)
		v.OTPVerify(phone(u.id), !r.Chance(.1))
	case x < .28:
		p.bid(v)
	case x < .30:
		event := r.IntN(4)
		seat := r.IntN(400)
		v.Reserve(event, seat, false)
		v.Think(90, .7)
		if r.Chance(.25) {
			v.Release(event, seat)
		} else {
			v.Pay(v.Order(false), u.card, 4500, false)
		}
	case x < .31:
		v.Transfer(traffic.UserName(r.IntN(p.cfg.People)), 500+r.IntN(4000), false)
	case x < .315:
		v.Payout(fmt.Sprintf("IBAN%d", u.id), 2000+r.IntN(9000), false)
	case x < .34:
		v.Click(r.IntN(12), false)
	}
}

// bid follows a lot: most people bid minutes before its end, a few near it.
func (p *Population) bid(v *traffic.Visit) {
	lot := v.R.IntN(40)
	closes := LotCloses(v.Time, lot)
	for range 1 + v.R.IntN(3) {
		v.ViewLot(lot, false)
		v.Think(20, .8)
		if v.Time < closes {
			v.Bid(lot, 10+v.R.IntN(200), closes, false)
		}
		v.Think(60, .9)
	}
}

// LotCloses is the next time at which a lot's auction ends: each lot ends once
// an hour, at its own minute.
func LotCloses(t int64, lot int) int64 {
	at := t/Hour*Hour + int64(lot%60)*Minute
	if at <= t {
		at += Hour
	}
	return at
}

func phone(id int) string { return fmt.Sprintf("+4477%08d", traffic.Mix(uint64(id), 31)%100000000) }

// buy fills a cart and pays, or leaves it.
func (p *Population) buy(v *traffic.Visit, u *person) {
	r := v.R
	total := 0
	var first int
	for i := range 1 + r.IntN(3) {
		k := p.site.PopularItem(r)
		v.ViewItem(k, false)
		v.Think(20, .8)
		v.AddToCart(k, 1+r.IntN(2), false)
		total += p.site.Items[k].Price
		if i == 0 {
			first = k
		}
		v.Think(12, .8)
	}
	if r.Chance(.12) {
		v.RemoveFromCart(first)
	}
	if r.Chance(.35) { // a cart left behind
		return
	}
	if r.Chance(.12) {
		code := traffic.Coupon(r.IntN(40))
		if r.Chance(.35) {
			code = "SAVE-EXPIRED"
		}
		if !v.ApplyCoupon(code, false) && r.Chance(.5) {
			v.Think(9, .6)
			v.ApplyCoupon("SUMMER26", false)
		}
	}
	for step := 1; step <= 3; step++ {
		v.Think(22, .6)
		v.CheckoutStep(step, false)
	}
	v.Think(12, .5)
	order := v.Order(false)
	v.Think(25, .5)
	card := u.card
	for range 4 {
		if r.Chance(.05) {
			card.CSC = "000"
		}
		if v.Pay(order, card, total, false) || r.Chance(.4) {
			return
		}
		v.Think(25, .6)
		card = u.card
		if !card.Good && r.Chance(.7) {
			card = traffic.NewCard(uint64(u.id), 301+uint64(u.id%50), true) // the other card
		}
	}
}

func (p *Population) signup(v *traffic.Visit, u *person) {
	v.Static("/signup")
	v.Think(45, .5)
	if v.R.Chance(.5) {
		v.CaptchaVerify(v.CaptchaIssue(), !v.R.Chance(.2), false)
	}
	name := fmt.Sprintf("%s%d@mail.example", []string{"anna.berg", "t.hill", "jo", "maria-w", "k.lund"}[v.R.IntN(5)], v.R.IntN(1e6))
	if v.Signup(name, fmt.Sprintf("pw%x", v.R.Uint64()), phone(u.id), false) {
		v.Wait(time.Second)
		v.OTPSend(phone(u.id), false)
		v.Think(20, .5)
		v.OTPVerify(phone(u.id), true)
		p.browse(v)
	}
	v.User = ""
}
