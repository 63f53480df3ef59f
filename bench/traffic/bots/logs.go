package bots

import (
	"fmt"
	"net/netip"
	"sort"
	"time"

	"github.com/weirproject/weir/bench/traffic"
)

// A logFamily is an attack of which only an access log tells. The level of its
// labels is the family's name.
type logFamily struct {
	threat string
	// addresses and images the campaign has; perVisit requests go over one of
	// them before it changes.
	addresses, perVisit, requests int
	// gap is the mean pause between requests of the whole campaign; of each
	// address where parallel, and requests are then those of each address, which
	// start within spread.
	gap, spread time.Duration
	parallel    bool
	// uniform: no randomness in the pause.
	uniform bool
	// image: "tool", "copied" (a browser's agent, no sub-resources), "rotate"
	// (another agent for each request), "pool" (a browser's agent per address).
	image string
	play  func(b *bot, v *traffic.Visit, k int)
}

var logFamilies = map[string]logFamily{
	"scan-tool":       {threat: "OAT-014", addresses: 1, perVisit: 1 << 30, requests: 250, gap: 200 * time.Millisecond, image: "tool", play: scanning},
	"scan-copied":     {threat: "OAT-014", addresses: 1, perVisit: 1 << 30, requests: 250, gap: 700 * time.Millisecond, image: "copied", play: scanning},
	"scan-rotating":   {threat: "OAT-014", addresses: 1, perVisit: 1 << 30, requests: 250, gap: time.Second, image: "rotate", play: scanning},
	"wordlist":        {threat: "OAT-018", addresses: 1, perVisit: 1 << 30, requests: 400, gap: 60 * time.Millisecond, image: "copied", play: wordlist},
	"wordlist-slow":   {threat: "OAT-018", addresses: 1, perVisit: 1 << 30, requests: 220, gap: 4 * time.Minute, image: "copied", play: wordlist},
	"wordlist-spread": {threat: "OAT-018", addresses: 30, perVisit: 4, requests: 300, gap: 12 * time.Second, image: "copied", play: wordlist},
	"fingerprint":     {threat: "OAT-004", addresses: 20, perVisit: 3, requests: 60, gap: 20 * time.Second, image: "tool", play: fingerprinting},
	"scrape-fast":     {threat: "OAT-011", addresses: 1, perVisit: 1 << 30, requests: 600, gap: 250 * time.Millisecond, image: "copied", play: readPosts},
	"scrape-slow":     {threat: "OAT-011", addresses: 1, perVisit: 1 << 30, requests: 500, gap: 90 * time.Second, uniform: true, image: "copied", play: readPosts},
	"scrape-spread":   {threat: "OAT-011", addresses: 100, perVisit: 3, requests: 900, gap: 12 * time.Second, image: "copied", play: readPosts},
	"scrape-rotating": {threat: "OAT-011", addresses: 1, perVisit: 1 << 30, requests: 500, gap: 4 * time.Second, image: "rotate", play: readPosts},
	"flood":           {threat: "OAT-015", addresses: 50, perVisit: 1, requests: 6000, gap: 15 * time.Millisecond, image: "copied", play: searchFlood},
	"enumerate":       {threat: "OAT-011", addresses: 1, perVisit: 1 << 30, requests: 500, gap: 800 * time.Millisecond, image: "copied", play: enumerate},
	"stuffing":        {threat: "OAT-008", addresses: 1, perVisit: 1 << 30, requests: 150, gap: 700 * time.Millisecond, image: "tool", play: formLogin},
	"stuffing-slow":   {threat: "OAT-008", addresses: 1, perVisit: 1 << 30, requests: 150, gap: 3 * time.Minute, image: "copied", play: formLogin},
	"stuffing-spread": {threat: "OAT-008", addresses: 40, perVisit: 1, requests: 200, gap: 15 * time.Second, image: "copied", play: formLogin},
	"stuffing-many":   {threat: "OAT-008", addresses: 500, requests: 4, gap: 15 * time.Minute, spread: 3 * time.Hour, parallel: true, image: "pool", play: formLogin},
	"scrape-many":     {threat: "OAT-011", addresses: 100, requests: 60, gap: 30 * time.Second, spread: time.Hour, parallel: true, image: "pool", play: readAnyPost},
	"flood-root":      {threat: "OAT-015", addresses: 50, requests: 300, gap: 100 * time.Millisecond, spread: 5 * time.Second, parallel: true, image: "pool", play: frontPage},
	"enumerate-found": {threat: "OAT-011", addresses: 5, requests: 200, gap: 500 * time.Millisecond, spread: 30 * time.Minute, parallel: true, image: "pool", play: orders},
	"agents":          {threat: "OAT-011", addresses: 5, requests: 80, gap: 5 * time.Second, spread: 30 * time.Minute, parallel: true, image: "rotate", play: readAnyPost},
	"path-slow":       {threat: "OAT-018", addresses: 5, requests: 60, gap: 90 * time.Second, spread: 10 * time.Minute, uniform: true, parallel: true, image: "pool", play: wordlist},
	"stuffing-45s":    {threat: "OAT-008", addresses: 5, requests: 80, gap: 45 * time.Second, spread: 10 * time.Minute, uniform: true, parallel: true, image: "pool", play: apiLogin},
}

// LogFamilies lists the names PlanLog knows.
func LogFamilies() []string {
	var all []string
	for name := range logFamilies {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

// PlanLog lays out an attack on a site of which only an access log is known.
func PlanLog(w *World, family string, seed uint64, start int64) ([]traffic.Planned, error) {
	f, ok := logFamilies[family]
	if !ok {
		return nil, fmt.Errorf("family %q is not known, want one of %v", family, LogFamilies())
	}
	b := &bot{World: w, c: Campaign{Threat: f.threat, Level: Level(family), Seed: seed, Start: start, Name: family}, r: traffic.NewRand(seed, 13)}
	b.base = b.r.Uint64()
	image := traffic.Tools[b.r.IntN(5)]
	if f.image != "tool" {
		image = traffic.Copied(w.Software.Draw(b.r, false, false), b.r, "")
	}
	if family == "scan-tool" {
		image = traffic.Tool("nuclei")
	}
	for range f.addresses {
		m := b.r.Uint64()
		b.lines = append(b.lines, netip.AddrFrom4([4]byte{byte(40 + m%150), byte(m >> 8), byte(m >> 16), byte(1 + m>>24%250)}))
	}
	if f.parallel {
		return b.parallel(f, family, image), nil
	}
	var plan []traffic.Planned
	next := start
	for k := range f.requests {
		plan = append(plan, b.request(f, family, image, next, k/f.perVisit%len(b.lines), k, k/f.perVisit+1))
		next += b.pauseOf(f)
	}
	return plan, nil
}

// parallel lays out addresses that work side by side, each on its own.
func (b *bot) parallel(f logFamily, family string, image *traffic.Browser) []traffic.Planned {
	var plan []traffic.Planned
	for line := range b.lines {
		if f.image == "pool" {
			image = traffic.Copied(b.Software.Draw(b.r, b.r.Chance(.3), false), b.r, "")
		}
		next := b.c.Start + int64(b.r.Float64()*float64(f.spread))
		for k := range f.requests {
			plan = append(plan, b.request(f, family, image, next, line, k, line+1))
			next += b.pauseOf(f)
		}
	}
	return plan
}

func (b *bot) pauseOf(f logFamily) int64 {
	if f.uniform {
		return int64(f.gap)
	}
	return int64(b.r.Exp(float64(f.gap)))
}

// request is the k-th request of the campaign, or of its address where those
// work side by side.
func (b *bot) request(f logFamily, family string, image *traffic.Browser, at int64, line, k, session int) traffic.Planned {
	seed := b.r.Uint64()
	return traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
		r := traffic.NewRand(seed, 14)
		c := &traffic.Client{Browser: image, Addr: b.lines[line], NoJar: true}
		if f.image == "rotate" {
			c.Browser = traffic.Copied(b.Software.Draw(r, r.Chance(.5), false), r, "")
		}
		f.play(b, &traffic.Visit{
			Site: b.Site, C: c, R: r, Time: at, Emit: emit, Script: true,
			Label: traffic.Label{Class: traffic.Bot, Who: family, Kind: family, Threat: f.threat, Level: family, Session: session},
		}, k)
	}}
}

func wordlist(_ *bot, v *traffic.Visit, k int) {
	t := guesses[(k*7)%len(guesses)]
	if n := k / len(guesses); n > 0 {
		t += fmt.Sprintf("%s%d", []string{"", "-old", ".bak", ".zip", "/config"}[n%5], n)
	}
	status := 404
	if t == "/robots.txt" {
		status = 200
	}
	v.Raw("GET", t, status, 300, true)
}

func readPosts(b *bot, v *traffic.Visit, k int) {
	i := k % len(b.Site.Items)
	v.Raw("GET", traffic.PostPath(b.Site.SlugOf(i), i), 200, 12000, true)
}

func searchFlood(_ *bot, v *traffic.Visit, _ int) {
	v.Raw("GET", fmt.Sprintf("/?s=%x", v.R.Uint32()), 200, 9000, true)
}

func enumerate(_ *bot, v *traffic.Visit, k int) {
	status := 404
	if k%3 == 0 {
		status = 200
	}
	v.Raw("GET", fmt.Sprintf("/download/%d", 4000+k), status, 700, true)
}

func formLogin(_ *bot, v *traffic.Visit, _ int) { v.AuthorLogin(false, true) }

// readAnyPost reads without an order.
func readAnyPost(b *bot, v *traffic.Visit, _ int) { readPosts(b, v, v.R.IntN(len(b.Site.Items))) }

func frontPage(_ *bot, v *traffic.Visit, _ int) { v.Raw("GET", "/", 200, 9000, true) }

func orders(b *bot, v *traffic.Visit, k int) {
	v.Raw("GET", fmt.Sprintf("/orders/%d", 70000+int(b.base%1000)+k*len(b.lines)+v.Label.Session), 200, 1400, true)
}

// apiLogin is refused by status, as interfaces do.
func apiLogin(_ *bot, v *traffic.Visit, _ int) { v.Raw("POST", "/account/login", 401, 120, true) }
