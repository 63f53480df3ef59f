package people

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weirproject/weir/bench/traffic"
)

// agencyRound logs in to several of the agency's own accounts one after the
// other from one device.
func (p *Population) agencyRound(v *traffic.Visit, u *person) {
	v.Label.Kind = "agency"
	for range 3 + v.R.IntN(len(u.agency)-2) {
		a := u.agency[v.R.IntN(len(u.agency))]
		password := traffic.Password(a)
		if p.login(v, u, a, &password) {
			for range 2 {
				v.Think(15, .8)
				p.browse(v)
			}
			v.Logout()
		}
		v.Think(10, .6)
	}
}

// special plans what a few people's software and jobs add to a day.
func (p *Population) special(r *traffic.Rand, u *person, day int64) []traffic.Planned {
	var plan []traffic.Planned
	add := func(at int64, kind string, run func(v *traffic.Visit)) {
		seed := r.Uint64()
		plan = append(plan, traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
			r := traffic.NewRand(seed, 3)
			c, _ := p.context(r, u, at)
			run(&traffic.Visit{Site: p.site, C: c, R: r, Time: at, Emit: emit, Label: p.label(u, kind)})
		}})
	}
	switch {
	case u.stale && r.Chance(.35):
		// An app with an old stored password tries all day.
		at := drawTime(r, day)
		for range 50 + r.IntN(200) {
			add(at, "stale_client", func(v *traffic.Visit) {
				v.Login(traffic.UserName(u.account), "old-password", false)
			})
			at += Minute + int64(r.Float64()*float64(Minute))
		}
	case u.qa && r.Chance(.7):
		add(day+10*Hour+int64(r.IntN(int(5*Hour))), "qa_team", func(v *traffic.Visit) { p.qa(v, u) })
	case u.support && r.Chance(.7):
		add(day+9*Hour+int64(r.IntN(int(3*Hour))), "support", func(v *traffic.Visit) { p.support(v, u) })
	case u.watcher:
		// A price-watcher extension polls a few articles through the day.
		item := p.site.PopularItem(r)
		at := day + 8*Hour + int64(r.IntN(int(Hour)))
		for at < day+22*Hour {
			add(at, "price_watcher", func(v *traffic.Visit) {
				for k := range 3 {
					v.Stock(item+k*17, false)
				}
			})
			at += 30*Minute + int64(r.IntN(int(2*Minute)))
		}
	case u.hoarder && r.Chance(.5):
		// A restart reloads dozens of open tabs at once.
		add(drawTime(r, day), "tab_hoarder", func(v *traffic.Visit) {
			if v.C.Browser.App { // apps have no tabs
				v.C = &traffic.Client{Browser: p.software.Draw(v.R, true, false), Addr: v.C.Addr}
			}
			for k := range 25 + v.R.IntN(40) {
				v.ViewItem(k*13, false)
				v.Wait(time.Duration(20+v.R.IntN(300)) * time.Millisecond)
			}
		})
	}
	return plan
}

// qa tests a release by hand: odd input, fast repeats, missing pages.
func (p *Population) qa(v *traffic.Visit, u *person) {
	p.login(v, u, u.account, &u.password)
	for range 20 + v.R.IntN(20) {
		switch v.R.IntN(6) {
		case 0:
			v.Missing(fmt.Sprintf("no-such-item-%d", v.R.IntN(50)), false)
		case 1:
			v.Search("<b>test</b> ' \"", false)
		case 2:
			v.AddToCart(v.R.IntN(50), 99, false)
		case 3:
			v.ApplyCoupon("TEST", false)
		default:
			p.browse(v)
		}
		v.Think(3, .7)
	}
}

// support looks at many customers' orders from one desk.
func (p *Population) support(v *traffic.Visit, u *person) {
	if !p.login(v, u, u.account, &u.password) {
		return
	}
	for range 30 + v.R.IntN(50) {
		v.Static(fmt.Sprintf("/desk/customer/%d", v.R.IntN(p.cfg.People)))
		v.Think(40, .9)
	}
}

// terminals are public machines: one device and address, many people.
func (p *Population) terminals(r *traffic.Rand, day int64) []traffic.Planned {
	var plan []traffic.Planned
	for k := range p.kiosks {
		for range min(60, 10+p.cfg.People/100) {
			at, seed, who := drawTime(r, day), r.Uint64(), r.IntN(len(p.people))
			plan = append(plan, traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
				r := traffic.NewRand(seed, 4)
				u, c := &p.people[who], &p.kiosks[k].client
				if p.kiosks[k].wiped {
					c = &traffic.Client{Browser: c.Browser, Addr: c.Addr}
				}
				v := &traffic.Visit{Site: p.site, C: c, R: r, Time: at, Emit: emit, Label: p.label(u, "kiosk")}
				p.land(v)
				if p.login(v, u, u.account, &u.password) {
					for range 3 {
						p.browse(v)
						v.Think(25, 1)
					}
					v.Logout()
				}
			}})
		}
	}
	return plan
}

// drops are people who wait for a limited article: they reload before it opens
// and are quick, but not quicker than a hand.
func (p *Population) drops(r *traffic.Rand, day int64) []traffic.Planned {
	var plan []traffic.Planned
	for _, d := range p.cfg.Drops {
		if d.Opens < day || d.Opens >= day+Day {
			continue
		}
		for range d.Fans {
			at := d.Opens - int64(r.IntN(int(6*Minute)))
			seed, who := r.Uint64(), r.IntN(len(p.people))
			plan = append(plan, traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
				r := traffic.NewRand(seed, 5)
				u := &p.people[who]
				c, _ := p.context(r, u, at)
				v := &traffic.Visit{Site: p.site, C: c, R: r, Time: at, Emit: emit, Label: p.label(u, "flash_sale")}
				v.ViewItem(d.Item, false)
				for v.Time < d.Opens {
					v.Think(25, .6)
					v.ViewItem(d.Item, false)
				}
				v.Think(2.5, .7)
				for try := 0; try < 3 && !v.AddToCart(d.Item, 1, false); try++ {
					v.Think(3, .6)
				}
				if v.User == "" && r.Chance(.8) && !p.login(v, u, u.account, &u.password) {
					return
				}
				for step := 1; step <= 3; step++ {
					v.Think(9, .5)
					v.CheckoutStep(step, false)
				}
				v.Think(5, .5)
				v.Pay(v.Order(false), u.card, p.site.Items[d.Item].Price, false)
			}})
		}
	}
	return plan
}

type service struct {
	kind, who string
	client    *traffic.Client
	every     int64
	run       func(v *traffic.Visit, n int)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// services are automation the site wants or tolerates.
func (p *Population) services(day int64, d int) []traffic.Planned {
	slug := func(k int) string { return p.site.Items[k%len(p.site.Items)].Slug }
	list := []service{
		{
			"monitor", "s-uptime", &traffic.Client{Browser: traffic.ServiceClient("UptimeRobot/2.0 (http://www.uptimerobot.com/)", "t13d1011h1_61a7ad8aa9b6_3a8073edd8ef"), Addr: addr("216.144.250.150"), NoJar: true}, Minute,
			func(v *traffic.Visit, _ int) { v.Raw("GET", "/", 200, 9000, false) },
		},
		{
			"monitor", "s-synthetic", &traffic.Client{Browser: traffic.ServiceClient("Blackbox Exporter/0.25.0", "t13d1311h1_6666aaaa2222_3a8073edd8ef"), Addr: addr("198.51.100.20"), NoJar: true}, 5 * Minute,
			func(v *traffic.Visit, _ int) {
				v.Raw("GET", "/search?q=canary", 200, 9000, false)
				v.Raw("GET", "/item/"+slug(3), 200, 9000, false)
			},
		},
		{
			"partner", "s-partner", &traffic.Client{Browser: traffic.ServiceClient("price-partner/3.1 (+https://partner.example/bot)", "t13d1511h1_7777aaaa2222_3a8073edd8ef"), Addr: addr("198.51.100.77")}, 15 * Minute,
			func(v *traffic.Visit, n int) {
				for k := range 25 {
					v.Stock(k*11, false)
					v.Wait(400 * time.Millisecond)
				}
			},
		},
		{
			"feed_reader", "s-feeds", &traffic.Client{Browser: traffic.ServiceClient("Feedly/1.0 (+http://www.feedly.com/fetcher.html; like FeedFetcher-Google)", "t13d1811h1_8888aaaa2222_3a8073edd8ef"), Addr: addr("198.51.100.90"), NoJar: true}, 30 * Minute,
			func(v *traffic.Visit, n int) { v.Raw("GET", "/feed.xml", 200, 30000, false) },
		},
		{
			"declared_bot", "s-search", &traffic.Client{Browser: traffic.ServiceClient("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "t13d1517h2_9999aaaa2222_3a8073edd8ef"), Addr: addr("66.249.66.1"), NoJar: true}, 10 * Minute,
			func(v *traffic.Visit, n int) {
				for k := range 6 {
					v.ViewItem((d*600+n*6+k)*7, false)
					v.Wait(8 * time.Second)
				}
			},
		},
		{
			"link_previewer", "s-preview", &traffic.Client{Browser: traffic.ServiceClient("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "t13d1517h2_aaaabbbb2222_3a8073edd8ef"), Addr: addr("173.252.83.9"), NoJar: true}, 20 * Minute,
			func(v *traffic.Visit, n int) { v.ViewItem(p.site.PopularItem(v.R), false) },
		},
	}
	var plan []traffic.Planned
	for i, s := range list {
		for n := range int(Day / s.every) {
			at := day + int64(n)*s.every + int64(i)*Second
			plan = append(plan, traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
				p.sessions++
				s.run(&traffic.Visit{
					Site: p.site, C: s.client, R: traffic.NewRand(uint64(at), uint64(i)), Time: at, Emit: emit, Script: true,
					Label: traffic.Label{Class: traffic.Service, Who: s.who, Kind: s.kind, Session: p.sessions},
				}, n)
			}})
		}
	}
	return plan
}
