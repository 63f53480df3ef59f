// Package bots models the 21 OWASP automated threats as campaigns against a
// shop, each at three levels. It shares nothing with the model of people but
// the application, the market of browsers and the addresses that both use.
//
// Plain is a tool as it is downloaded: one address, its own headers, as fast as
// it goes. Evasive rents shared home lines, copies a browser's header values,
// keeps a session for a few attempts and a human pace. Hard has a new home
// address, a real browser and a new session for every attempt or small group,
// browses like a person and takes 14 to 60 hours.
package bots

import (
	"fmt"
	"net/netip"
	"sort"
	"time"

	"github.com/weirproject/weir/bench/traffic"
)

// Level is how hard a campaign tries to look like people.
type Level string

// The levels. Rotating is the stated scenario of OAT-008: 400 logins to 12
// accounts in 90 minutes, address, fingerprint and cookie changing between
// attempts.
const (
	Plain    Level = "plain"
	Evasive  Level = "evasive"
	Hard     Level = "hard"
	Rotating Level = "rotating"
)

// World is what a campaign finds outside itself.
type World struct {
	Site *traffic.Site
	// Accounts is the number of accounts that people have; Spare ones after them
	// belong to nobody.
	Accounts, Spare int
	Software        *traffic.Software
	// HomeAddr and CarrierAddr are addresses that people use at the time.
	HomeAddr    func(r *traffic.Rand, t int64) netip.Addr
	CarrierAddr func(r *traffic.Rand) netip.Addr
	// LotCloses is when a lot's auction ends next.
	LotCloses func(t int64, lot int) int64
	// NextDrop is the limited article that scalpers want and when its sale
	// opens, the first after t; 0 when there is none.
	NextDrop func(t int64) (item int, opens int64)
}

// Campaign is one attack.
type Campaign struct {
	// Threat is "OAT-001" to "OAT-021".
	Threat string
	Level  Level
	Seed   uint64
	Start  int64
	// Attempts 0 is the level's default.
	Attempts int
	// Trainers are own accounts of the attacker, as old as the site, that log in
	// and look around with the campaign's software from its lines, twice a day
	// from TrainFrom until Start, so that both have proved owners.
	Trainers  int
	TrainFrom int64
	// Name is the truth actor; default threat and level.
	Name string
}

// Threats lists the codes that Plan knows.
func Threats() []string {
	var all []string
	for t := range acts {
		all = append(all, t)
	}
	sort.Strings(all)
	return all
}

// act plays attempt k inside a visit.
type act struct {
	// group is how many attempts one visit holds at the hard level.
	group int
	// attempts per level (plain, evasive, hard); 0 is the default.
	attempts [3]int
	// before is played once at a visit's begin by evasive and hard bots.
	before func(b *bot, v *traffic.Visit)
	play   func(b *bot, v *traffic.Visit, k int)
	tool   string
}

// bot is a campaign in progress.
type bot struct {
	*World
	c     Campaign
	r     *traffic.Rand
	base  uint64
	lines []netip.Addr
	faces []*traffic.Browser
}

// Plan lays a campaign out in visits, in order of start.
func Plan(w *World, c Campaign) ([]traffic.Planned, error) {
	a, ok := acts[c.Threat]
	if !ok {
		return nil, fmt.Errorf("threat %q is not known, want one of %v", c.Threat, Threats())
	}
	if c.Name == "" {
		c.Name = c.Threat + "-" + string(c.Level)
	}
	b := &bot{World: w, c: c, r: traffic.NewRand(c.Seed, 11)}
	b.base = b.r.Uint64()
	var plan []traffic.Planned
	switch c.Level {
	case Plain:
		plan = b.plain(a)
	case Evasive:
		plan = b.evasive(a)
	case Hard:
		plan = b.hard(a)
	case Rotating:
		plan = b.rotating(a)
	default:
		return nil, fmt.Errorf("level %q is not known, want plain, evasive, hard or rotating", c.Level)
	}
	return append(b.train(), plan...), nil
}

// train plans the visits of the attacker's own aged accounts. They keep their
// cookies, as a person does.
func (b *bot) train() []traffic.Planned {
	var plan []traffic.Planned
	if len(b.faces) == 0 || b.Spare == 0 {
		return nil
	}
	r := traffic.NewRand(b.c.Seed, 13)
	for i := range b.c.Trainers {
		account := b.Accounts + b.Spare - 1 - int(traffic.Mix(b.base, uint64(i))%uint64(b.Spare))
		c := &traffic.Client{Browser: b.faces[i%len(b.faces)], Addr: b.lines[i%len(b.lines)]}
		for at := b.c.TrainFrom; at < b.c.Start-int64(time.Hour); at += int64(8+r.IntN(8)) * int64(time.Hour) {
			seed := r.Uint64()
			plan = append(plan, traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
				r := traffic.NewRand(seed, 14)
				v := &traffic.Visit{Site: b.Site, C: c, R: r, Time: at, Emit: emit, Label: traffic.Label{
					Class: traffic.Bot, Who: b.c.Name, Kind: "trainer", Threat: b.c.Threat, Level: string(b.c.Level), Session: 1000000 + i,
				}}
				v.Home()
				v.Think(9, .6)
				v.LoginPage()
				v.Think(7, .5)
				if v.Login(traffic.UserName(account), traffic.Password(account), false) {
					for range 2 + r.IntN(4) {
						v.ViewItem(b.Site.PopularItem(r), false)
						v.Think(15, .8)
					}
					v.Logout()
				}
			}})
		}
	}
	sort.SliceStable(plan, func(i, j int) bool { return plan[i].Start < plan[j].Start })
	return plan
}

func (b *bot) attempts(a act, level, standard int) int {
	if b.c.Attempts > 0 {
		return b.c.Attempts
	}
	if a.attempts[level] > 0 {
		return a.attempts[level]
	}
	return standard
}

// visit plans one visit of attempts from..to-1.
func (b *bot) visit(at int64, a act, from, to int, client func(r *traffic.Rand) *traffic.Client, gap func(r *traffic.Rand) time.Duration) traffic.Planned {
	seed := b.r.Uint64()
	return traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
		r := traffic.NewRand(seed, 12)
		v := &traffic.Visit{
			Site: b.Site, C: client(r), R: r, Time: at, Emit: emit, Script: b.c.Level != Hard,
			Label: traffic.Label{Class: traffic.Bot, Who: b.c.Name, Kind: string(b.c.Level), Threat: b.c.Threat, Level: string(b.c.Level), Session: from + 1},
		}
		if b.c.Level != Plain && a.before != nil {
			a.before(b, v)
		}
		for k := from; k < to; k++ {
			if k > from {
				v.Wait(gap(r))
			}
			a.play(b, v, k)
		}
	}}
}

// plain: one visit from one data-centre address, a few requests a second.
func (b *bot) plain(a act) []traffic.Planned {
	n := b.attempts(a, 0, 300)
	tool := traffic.Tools[b.r.IntN(len(traffic.Tools)-1)]
	if a.tool != "" {
		tool = traffic.Tool(a.tool)
	}
	m := b.base
	c := &traffic.Client{Browser: tool, Addr: netip.AddrFrom4([4]byte{185, byte(m), byte(m >> 8), byte(1 + m>>16%250)}), NoJar: b.r.Chance(.5)}
	return []traffic.Planned{b.visit(b.c.Start, a, 0, n, func(*traffic.Rand) *traffic.Client { return c },
		func(r *traffic.Rand) time.Duration { return time.Duration(80+r.IntN(500)) * time.Millisecond })}
}

// evasive: visits of a few attempts over a shared pool of home lines.
func (b *bot) evasive(a act) []traffic.Planned {
	n := b.attempts(a, 1, 300)
	for range 60 {
		if b.r.Chance(.2) {
			b.lines = append(b.lines, b.CarrierAddr(b.r))
		} else {
			b.lines = append(b.lines, b.HomeAddr(b.r, b.c.Start))
		}
	}
	ja4 := []string{"t13d1812h1_85036bcba153_375ca2c5e164", "t13d1516h2_8daaf6152771_d8a2da3f94cd"}[b.r.IntN(2)]
	for range 3 {
		b.faces = append(b.faces, traffic.Copied(b.Software.Draw(b.r, b.r.Chance(.4), false), b.r, ja4))
	}
	var plan []traffic.Planned
	at := b.c.Start
	for k := 0; k < n; {
		size := min(n-k, 3+b.r.IntN(5))
		plan = append(plan, b.visit(at, a, k, k+size, func(r *traffic.Rand) *traffic.Client {
			return &traffic.Client{Browser: b.faces[r.IntN(len(b.faces))], Addr: b.lines[r.IntN(len(b.lines))]}
		}, func(r *traffic.Rand) time.Duration { return time.Duration(r.LogNormal(9, .6) * float64(time.Second)) }))
		k += size
		at += int64(b.r.Exp(30) * float64(size) * float64(time.Second))
	}
	return plan
}

// hard: everything new for every small group, over 14 to 60 hours.
func (b *bot) hard(a act) []traffic.Planned {
	n := b.attempts(a, 2, 150)
	span := (14 + b.r.Float64()*46) * float64(time.Hour)
	group := max(1, a.group)
	var plan []traffic.Planned
	next := b.c.Start
	for k := 0; k < n; k += group {
		at := next
		plan = append(plan, b.visit(at, a, k, min(n, k+group), func(r *traffic.Rand) *traffic.Client {
			return &traffic.Client{Browser: b.Software.Draw(r, r.Chance(.5), false), Addr: b.HomeAddr(r, at)}
		}, func(r *traffic.Rand) time.Duration { return time.Duration(r.LogNormal(14, .8) * float64(time.Second)) }))
		next += int64(b.r.Exp(span * float64(group) / float64(n)))
	}
	return plan
}

// rotating: one attempt per visit, pools of addresses and copied images.
func (b *bot) rotating(a act) []traffic.Planned {
	n := 400
	if b.c.Attempts > 0 {
		n = b.c.Attempts
	}
	for range 120 {
		b.lines = append(b.lines, b.HomeAddr(b.r, b.c.Start))
	}
	script := traffic.Copied(b.Software.Draw(b.r, false, false), b.r, "t13d1516h2_8daaf6152771_d8a2da3f94cd")
	for range 60 {
		face := *script
		other := b.Software.Draw(b.r, b.r.Chance(.4), false)
		face.UserAgent, face.Language = other.UserAgent, other.Language
		face.JA4 = other.JA4
		b.faces = append(b.faces, &face)
	}
	var plan []traffic.Planned
	at := b.c.Start
	for k := range n {
		plan = append(plan, b.visit(at, a, k, k+1, func(r *traffic.Rand) *traffic.Client {
			return &traffic.Client{Browser: b.faces[r.IntN(len(b.faces))], Addr: b.lines[r.IntN(len(b.lines))]}
		}, func(*traffic.Rand) time.Duration { return 0 }))
		at += int64(b.r.Exp(90 * 60 / float64(n) * float64(time.Second)))
	}
	return plan
}

// person gives an account of people for attempt k; spread of them in all.
func (b *bot) person(k, spread int) int {
	return int(traffic.Mix(b.base, uint64(k%spread)) % uint64(b.Accounts))
}

// pause is what the level waits inside an attempt.
func (b *bot) pause(v *traffic.Visit, seconds float64) {
	switch b.c.Level {
	case Plain:
		v.Wait(time.Duration(30+v.R.IntN(120)) * time.Millisecond)
	default:
		v.Think(seconds, .5)
	}
}

// look browses a little, as evasive and hard bots do to warm a session up.
func look(b *bot, v *traffic.Visit) {
	if b.c.Level == Hard {
		v.Home()
		v.Think(8, .7)
		if v.R.Chance(.6) {
			v.ViewItem(b.Site.PopularItem(v.R), false)
			v.Think(12, .8)
		}
	}
}

func loginPage(b *bot, v *traffic.Visit) {
	look(b, v)
	v.LoginPage()
	v.Think(5, .5)
}
