package foreign

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/weirproject/weir/bench/traffic"
)

// machines are the site's regulars: automata that somebody wants, and people who
// work with the site all day.
type machines struct {
	monitor, partner         *device
	monitorAddr, partnerAddr netip.Addr
	tests                    []*device
	testsAddr                netip.Addr
	testers                  []*person
	feeds, robots            []automaton
	stale                    []*person
	desk                     *office
	agents                   []*person
	seats                    []*device
	watchers                 []*person
}

type automaton struct {
	dev  *device
	addr netip.Addr
}

func newMachines(w *world) *machines {
	r := w.r
	m := &machines{
		monitor:     w.device(library("Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", "t13d1812h1_85036bcba153_0a0a0a0a0a0a", false)),
		monitorAddr: w.net.hosted(r), partner: w.device(tools["java"]), partnerAddr: w.net.hosted(r), testsAddr: w.net.home4(r),
		desk: &office{w.net.home4(r), chrome("win", 146, "Microsoft Edge")},
	}
	for range 4 {
		m.tests = append(m.tests, w.device(chrome("win", 147, google)))
	}
	for i, agent := range []string{"Feedly/1.0 (+http://www.feedly.com/fetcher.html)", "NetNewsWire (RSS Reader; https://netnewswire.com/)", "Tiny Tiny RSS/24.03", "Inoreader/1.0"} {
		m.feeds = append(m.feeds, automaton{w.device(library(agent, fmt.Sprintf("t13d1812h1_85036bcba153_0b0b0b0b%04x", i), false)), w.net.home4(r)})
	}
	for i := range 4 {
		google := library("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "t13d1812h1_85036bcba153_0c0c0c0c0c0c", true)
		m.robots = append(m.robots, automaton{w.device(google), netip.AddrFrom4([4]byte{66, 249, 66, byte(i + 1)})})
	}
	group := func(n, from int, class string) (all []*person) {
		for i := range n {
			p := w.person(from+i, class)
			p.account = true
			all = append(all, p)
		}
		return all
	}
	m.testers, m.stale = group(6, 2000000, "qa"), group(4, 3000000, "app")
	m.agents, m.watchers = group(8, 4000000, "cc"), group(6, 5000000, "watcher")
	for range m.agents {
		m.seats = append(m.seats, w.device(m.desk.soft))
	}
	return m
}

// automata plays what runs from lo to hi.
func (w *world) automata(lo, hi float64) {
	if w.machines == nil {
		w.machines = newMachines(w)
	}
	r, m := w.r, w.machines
	every := func(first, period float64, play func(t float64)) {
		for t := lo + r.Float64()*first; t < hi; t += period {
			play(t)
		}
	}
	home := map[Kind]string{Tickets: "/", Forum: "/", Wallet: "/v2/config"}[w.c.Kind]
	every(300, 300, func(t float64) {
		method := "GET"
		if !r.Chance(.7) {
			method = "HEAD"
		}
		w.agent(r, m.monitor, m.monitorAddr, "monitor", "mon").do(t, method, home, call{kind: nav, bare: true})
	})
	if target := map[Kind]string{Tickets: "/api/v3/partner/events?since=%d", Forum: "/api/lots.json?after=%d"}[w.c.Kind]; target != "" {
		every(60, 60, func(t float64) {
			w.agent(r, m.partner, m.partnerAddr, "partner", "part").do(t, "GET", fmt.Sprintf(target, w.c.Start/1e9+int64(t)), call{kind: xhr, bare: true})
		})
	}
	if w.c.Kind != Wallet {
		w.readers(lo, hi, every)
	}
	for _, p := range m.stale {
		for t := lo + r.Float64()*hour; t < hi; t += 900 * uniform(r, .9, 1.1) {
			d := p.devices[0]
			w.agent(r, d, p.home.address(r, t, d), "stale", p.who).login(t, p.mail, fmt.Sprint("oldpw", p.n), false, false)
		}
	}
	for _, p := range m.testers {
		for t := lo + 9*hour + r.Float64()*2*hour; t < lo+17*hour; t += r.Exp(1500) {
			d := choice(r, m.tests)
			d.session, d.token, d.owner = "", "", ""
			a := w.agent(r, d, m.testsAddr, "qa", p.who)
			a.p = p
			a.stay(t)
		}
	}
	for i, p := range m.agents {
		w.callCentre(p, m.seats[i], lo)
	}
}

// readers plays feed readers, a search engine's robots and people who watch a
// few prices with a script.
func (w *world) readers(lo, hi float64, every func(first, period float64, play func(t float64))) {
	r, m := w.r, w.machines
	for _, f := range m.feeds {
		every(1800, 1800, func(t float64) {
			status := 304
			if !r.Chance(.7) {
				status = 200
			}
			w.agent(r, f.dev, f.addr, "feed", f.dev.soft.agent).do(t, "GET", "/feed.xml", call{kind: nav, bare: true, status: status, produces: "application/atom+xml"})
		})
	}
	for _, f := range m.robots {
		for t := lo + r.Float64()*200; t < hi; t += r.Exp(400) {
			target := "/e/" + choice(r, w.slugs)
			if w.c.Kind == Forum {
				target = choice(r, w.threads).path()
			}
			w.agent(r, f.dev, f.addr, "searchbot", "gbot").do(t, "GET", target, call{kind: nav, bare: true})
		}
	}
	for _, p := range m.watchers {
		d, watched := p.devices[0], sample(r, seq(articles), 5)
		for t := lo + r.Float64()*600; t < hi; t += 900 {
			if at := math.Mod(t, day) / hour; at <= 7 || at >= 23 {
				continue
			}
			for _, k := range watched {
				c, target := call{kind: xhr}, "/e/"+w.slugs[k]
				if w.c.Kind == Forum {
					target = fmt.Sprintf("/lot/%d", w.lots[k].n)
					c.headers = []traffic.Header{{Name: "X-Closes", Value: w.stamp(w.lots[k].closes)}}
				}
				w.agent(r, d, p.home.address(r, t, d), "watcher", p.who).do(t, "GET", target, c)
				t += 1.5
			}
		}
	}
}

func seq(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// callCentre is one agent's working day on other people's accounts.
func (w *world) callCentre(p *person, d *device, lo float64) {
	r := w.r
	t := lo + 8*hour + r.Float64()*hour
	a := w.agent(r, d, w.machines.desk.addr, "callcentre", p.who)
	for a.p = p; t < lo+17*hour; t += r.Exp(200) {
		if d.owner != p.mail {
			t = a.signin(t)
		}
		c := choice(r, w.accounts)
		switch w.c.Kind {
		case Wallet:
			a.do(t, "GET", "/v2/staff/customers?q="+c.mail, call{kind: xhr})
			t += a.pause(15)
			a.do(t, "GET", fmt.Sprintf("/v2/accounts/%d/transactions?page=1", r.IntN(1<<30)), call{kind: xhr})
			t += a.pause(60)
		case Tickets:
			a.do(t, "GET", fmt.Sprintf("/staff/customer/%d", c.n), call{kind: nav})
			t += a.pause(30)
			if r.Chance(.4) {
				a.do(t, "POST", "/api/v3/password/forgot", call{kind: xhr, json: object("email", c.mail), answer: object("sent", true)})
				t += a.pause(60)
			}
			if r.Chance(.25) {
				state := "captured"
				if !r.Chance(.85) {
					state = "declined"
				}
				a.do(t, "POST", "/api/v3/basket/pay", call{kind: xhr, json: object("pan", c.card, "exp", c.expiry, "cvc", c.csc, "total", between(r, 20, 300)), answer: object("state", state), seconds: 1})
				t += a.pause(60)
			}
		case Forum:
			a.do(t, "GET", fmt.Sprintf("/mod/user/%d", c.n), call{kind: nav})
			t += a.pause(30)
		}
	}
}
