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
	// gap is the mean pause between requests of the whole campaign.
	gap time.Duration
	// uniform: no randomness in the pause.
	uniform bool
	// image: "tool", "copied" (a browser's agent, no sub-resources), "rotate"
	// (another agent for each request).
	image string
	play  func(b *bot, v *traffic.Visit, k int)
}

var logFamilies = map[string]logFamily{
	"scan-tool":       {"OAT-014", 1, 1 << 30, 250, 200 * time.Millisecond, false, "tool", scanning},
	"scan-copied":     {"OAT-014", 1, 1 << 30, 250, 700 * time.Millisecond, false, "copied", scanning},
	"scan-rotating":   {"OAT-014", 1, 1 << 30, 250, time.Second, false, "rotate", scanning},
	"wordlist":        {"OAT-018", 1, 1 << 30, 400, 60 * time.Millisecond, false, "copied", wordlist},
	"wordlist-slow":   {"OAT-018", 1, 1 << 30, 220, 4 * time.Minute, false, "copied", wordlist},
	"wordlist-spread": {"OAT-018", 30, 4, 300, 12 * time.Second, false, "copied", wordlist},
	"fingerprint":     {"OAT-004", 20, 3, 60, 20 * time.Second, false, "tool", fingerprinting},
	"scrape-fast":     {"OAT-011", 1, 1 << 30, 600, 250 * time.Millisecond, false, "copied", readPosts},
	"scrape-slow":     {"OAT-011", 1, 1 << 30, 500, 90 * time.Second, true, "copied", readPosts},
	"scrape-spread":   {"OAT-011", 100, 3, 900, 12 * time.Second, false, "copied", readPosts},
	"scrape-rotating": {"OAT-011", 1, 1 << 30, 500, 4 * time.Second, false, "rotate", readPosts},
	"flood":           {"OAT-015", 50, 1, 6000, 15 * time.Millisecond, false, "copied", searchFlood},
	"enumerate":       {"OAT-011", 1, 1 << 30, 500, 800 * time.Millisecond, false, "copied", enumerate},
	"stuffing":        {"OAT-008", 1, 1 << 30, 150, 700 * time.Millisecond, false, "tool", formLogin},
	"stuffing-slow":   {"OAT-008", 1, 1 << 30, 150, 3 * time.Minute, false, "copied", formLogin},
	"stuffing-spread": {"OAT-008", 40, 1, 200, 15 * time.Second, false, "copied", formLogin},
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
	var plan []traffic.Planned
	next := start
	for k := range f.requests {
		seed, line, at := b.r.Uint64(), b.lines[k/f.perVisit%len(b.lines)], next
		plan = append(plan, traffic.Planned{Start: at, Run: func(emit func(traffic.Exchange, traffic.Label)) {
			r := traffic.NewRand(seed, 14)
			c := &traffic.Client{Browser: image, Addr: line, NoJar: true}
			if f.image == "rotate" {
				c.Browser = traffic.Copied(w.Software.Draw(r, r.Chance(.5), false), r, "")
			}
			f.play(b, &traffic.Visit{
				Site: b.Site, C: c, R: r, Time: at, Emit: emit, Script: true,
				Label: traffic.Label{Class: traffic.Bot, Who: family, Kind: family, Threat: f.threat, Level: family, Session: k/f.perVisit + 1},
			}, k)
		}})
		gap := float64(f.gap)
		if !f.uniform {
			gap = b.r.Exp(gap)
		}
		next += int64(gap)
	}
	return plan, nil
}

func wordlist(b *bot, v *traffic.Visit, k int) {
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

func searchFlood(b *bot, v *traffic.Visit, k int) {
	v.Raw("GET", fmt.Sprintf("/?s=%x", v.R.Uint32()), 200, 9000, true)
}

func enumerate(b *bot, v *traffic.Visit, k int) {
	status := 404
	if k%3 == 0 {
		status = 200
	}
	v.Raw("GET", fmt.Sprintf("/download/%d", 4000+k), status, 700, true)
}

func formLogin(b *bot, v *traffic.Visit, k int) { v.AuthorLogin(false, true) }
