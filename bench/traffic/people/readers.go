package people

import (
	"fmt"
	"sort"
	"time"

	"github.com/weirproject/weir/bench/traffic"
)

// Reading plans day d of a web log: people read, authors write, feeds and
// crawlers fetch.
func (p *Population) Reading(d int) []traffic.Planned {
	r := traffic.NewRand(p.cfg.Seed, 5000+uint64(d))
	day := p.cfg.Start + int64(d)*Day
	var plan []traffic.Planned
	for i := range p.people {
		u := &p.people[i]
		for range r.Poisson(u.rate) {
			at, seed := drawTime(r, day), r.Uint64()
			plan = append(plan, traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
				r := traffic.NewRand(seed, 6)
				c, kind := p.context(r, u, at)
				if kind == "shared_account" {
					kind = ""
				}
				if c.Browser.App { // an app's built-in browser
					c = &traffic.Client{Browser: p.software.Draw(r, true, false), Addr: c.Addr}
				}
				p.read(&traffic.Visit{Site: p.site, C: c, R: r, Time: at, Emit: emit, Label: p.label(u, kind)}, u)
			}})
		}
	}
	if p.cfg.Services {
		plan = append(plan, p.blogServices(day, d)...)
	}
	sort.SliceStable(plan, func(i, j int) bool { return plan[i].Start < plan[j].Start })
	return plan
}

func (p *Population) read(v *traffic.Visit, u *person) {
	r := v.R
	if u.id < 6 && r.Chance(.5) { // an author
		v.Label.Kind = "author"
		v.Raw("GET", "/wp-login.php", 200, 4200, false)
		v.Think(8, .5)
		for try := 0; !r.Chance(.75) && try < 5; try++ {
			v.AuthorLogin(false, false)
			v.Think(8, .5)
		}
		v.AuthorLogin(true, false)
		for range 10 + r.IntN(20) {
			v.Raw("POST", "/wp-admin/admin-ajax.php", 200, 200, false)
			v.Wait(time.Duration(15+r.IntN(3)) * time.Second)
		}
		return
	}
	if u.hoarder && r.Chance(.3) {
		v.Label.Kind = "tab_hoarder"
		for k := range 20 + r.IntN(20) {
			v.Post(k*7+u.id, false)
			v.Wait(time.Duration(20+r.IntN(200)) * time.Millisecond)
		}
		return
	}
	pages := min(25, 1+int(r.LogNormal(1.2, .9)))
	for range pages {
		switch x := r.Float64(); {
		case x < .6:
			v.Post(p.site.PopularItem(r), false)
		case x < .75:
			v.Static("/")
		case x < .88:
			v.Tag(r.IntN(30), 1+r.IntN(2), false)
		case x < .93:
			v.Static("/?s=" + []string{"kafka", "select+from+join", "<script>+tag", "../+in+paths", "union+jack", "etc+passwd"}[r.IntN(6)])
		case x < .96:
			v.Static("/about")
		case x < .985: // an old link
			v.Raw("GET", fmt.Sprintf("/old/%d.html", r.IntN(40)), 404, 900, false)
		default:
			v.Raw("GET", "/apple-touch-icon.png", 404, 300, false)
		}
		v.Think(40, 1.1)
	}
}

func (p *Population) blogServices(day int64, d int) []traffic.Planned {
	posts := len(p.site.Items)
	list := []service{
		{
			"monitor", "s-uptime", &traffic.Client{Browser: traffic.ServiceClient("UptimeRobot/2.0 (http://www.uptimerobot.com/)", ""), Addr: addr("216.144.250.150")}, Minute,
			func(v *traffic.Visit, _ int) { v.Raw("GET", "/", 200, 9000, false) },
		},
		{
			"feed_reader", "s-feeds", &traffic.Client{Browser: traffic.ServiceClient("Feedly/1.0 (+http://www.feedly.com/fetcher.html; like FeedFetcher-Google)", ""), Addr: addr("198.51.100.90")}, 20 * Minute,
			func(v *traffic.Visit, _ int) { v.Raw("GET", "/feed.xml", 200, 30000, false) },
		},
		{
			"feed_reader", "s-tinyrss", &traffic.Client{Browser: traffic.ServiceClient("Tiny Tiny RSS/21.05 (https://tt-rss.org/)", ""), Addr: addr("198.51.100.91")}, 15 * Minute,
			func(v *traffic.Visit, _ int) { v.Raw("GET", "/feed.xml", 304, 0, false) },
		},
		{
			"declared_bot", "s-search", &traffic.Client{Browser: traffic.ServiceClient("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", ""), Addr: addr("66.249.66.1")}, 12 * Minute,
			func(v *traffic.Visit, n int) {
				if n == 0 {
					v.Raw("GET", "/robots.txt", 200, 120, false)
				}
				for k := range 5 {
					i := (d*600 + n*5 + k) % posts
					v.Raw("GET", traffic.PostPath(p.site.SlugOf(i), i), 200, 12000, false)
					v.Wait(9 * time.Second)
				}
			},
		},
		{
			"link_previewer", "s-preview", &traffic.Client{Browser: traffic.ServiceClient("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", ""), Addr: addr("198.51.100.93")}, 25 * Minute,
			func(v *traffic.Visit, _ int) {
				i := p.site.PopularItem(v.R)
				v.Raw("GET", traffic.PostPath(p.site.SlugOf(i), i), 200, 12000, false)
			},
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
