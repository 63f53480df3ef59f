package scoreboard

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/stream/event"
)

// Peers are the defences that weir is compared with, run beside it on the same
// events and judged in the same way: decided on arrival, by what was seen
// before. They see what would have happened without weir.
type Peers struct {
	peers []*peer
}

type peer struct {
	name string
	// acts says whether the request would be refused, and learns from it after.
	acts func(ev *event.Event) bool
	// by threat and level: attempts and those acted on.
	attempts, acted map[string]int
	sessions, hit   map[string]bool
}

// bucket is a leaky bucket in event time (CrowdSec's model: an overflow bans the
// source for four hours).
type bucket struct {
	level float64
	at    int64
	until int64
}

const ban = int64(4 * 3600e9)

// leaky makes a peer: events that match fill the bucket of their key.
func leaky(name string, capacity float64, leakSeconds float64, key func(*event.Event) string, match func(*event.Event) bool) *peer {
	buckets := map[string]*bucket{}
	return newPeer(name, func(ev *event.Event) bool {
		k := key(ev)
		b := buckets[k]
		if b == nil {
			b = &bucket{at: ev.Time}
			buckets[k] = b
		}
		banned := ev.Time < b.until
		if match(ev) {
			b.level = max(0, b.level-float64(ev.Time-b.at)/1e9/leakSeconds) + 1
			b.at = ev.Time
			if b.level > capacity {
				b.level, b.until = 0, ev.Time+ban
			}
		}
		return banned
	})
}

func newPeer(name string, acts func(*event.Event) bool) *peer {
	return &peer{name: name, acts: acts, attempts: map[string]int{}, acted: map[string]int{}, sessions: map[string]bool{}, hit: map[string]bool{}}
}

// NewPeers makes the defences: a rate limit per address, an account lock-out,
// leaky buckets with the settings of CrowdSec's hub (http-generic-bf capacity 5
// leak 10 s; http-probing 10, 10 s on distinct 404 paths, here all;
// http-crawl-non_statics 40, 0.5 s), and an isolation forest.
func NewPeers() *Peers { return &Peers{peers: defences(0)} }

// begin gives the defences a site that they have not seen; the forest learns
// until that time.
func (p *Peers) begin(until int64) {
	for i, fresh := range defences(until) {
		p.peers[i].acts = fresh.acts
	}
}

// siteAsset says that a request is for a sub-resource of the simulated sites.
func siteAsset(ev *event.Event) bool {
	return strings.HasPrefix(ev.Path, "/img/") || strings.HasPrefix(ev.Path, "/static/")
}

func defences(learnUntil int64) []*peer {
	address := func(ev *event.Event) string { return ev.Client.String() }
	failed := func(ev *event.Event) bool {
		return ev.Method == http.MethodPost && (ev.Status == 401 || ev.Status == 403) || ev.Status == 200 && ev.Method == http.MethodPost && strings.Contains(ev.Path, "wp-login")
	}
	every := func(*event.Event) bool { return true }
	crowdsec := []*peer{
		leaky("", 5, 10, address, failed),
		leaky("", 10, 10, address, func(ev *event.Event) bool { return ev.Status == 404 || ev.Status == 403 || ev.Status == 400 }),
		leaky("", 40, .5, address, func(ev *event.Event) bool { return ev.Method == http.MethodGet && !siteAsset(ev) }),
		leaky("", 1, 10, address, func(ev *event.Event) bool { return ev.Payload != 0 }),
	}
	return []*peer{
		leaky("60 requests a minute per address", 60, 1, address, every),
		leaky("lock-out: 5 failures in 15 minutes per account", 5, 180, func(ev *event.Event) string {
			if ev.Claimed == 0 {
				return ev.ID
			}
			return ev.Claimed.String()
		}, func(ev *event.Event) bool { return ev.Claimed != 0 && failed(ev) }),
		newPeer("CrowdSec-style leaky buckets per address", func(ev *event.Event) bool {
			act := false
			for _, p := range crowdsec {
				act = p.acts(ev) || act
			}
			return act
		}),
		newForest(learnUntil),
	}
}

// Observe shows the peers one event with its label.
func (p *Peers) Observe(run string, ev *event.Event, l *traffic.Label, counts bool) {
	for _, one := range p.peers {
		act := one.acts(ev)
		if !counts {
			continue
		}
		if l.Class == traffic.Bot {
			if l.Attempt {
				one.attempts[l.Level+"/"+l.Threat]++
				one.acted[l.Level+"/"+l.Threat] += boolIndex(act)
			}
			continue
		}
		if l.Class == traffic.Person {
			key := fmt.Sprint(run, l.Who, l.Session)
			one.sessions[key] = true
			if act {
				one.hit[key] = true
			}
		}
	}
}

// Write writes the peers' table: mean over threats of the share acted on per
// level, and people's sessions hit per million.
func (p *Peers) Write(w io.Writer, levels []string) error {
	out := &printer{w: w}
	out.line("| beside it on the same traffic | %s | people's sessions hit per million (95 %%) |", strings.Join(levels, " | "))
	out.line("|---|%s---|", strings.Repeat("---|", len(levels)))
	for _, one := range p.peers {
		var row strings.Builder
		row.WriteString("| " + one.name + " |")
		for _, level := range levels {
			sum, n := 0.0, 0
			for key, attempts := range one.attempts {
				if strings.HasPrefix(key, level+"/") {
					sum += float64(one.acted[key]) / float64(attempts)
					n++
				}
			}
			fmt.Fprintf(&row, " %.1f %% |", 100*sum/float64(max(1, n)))
		}
		r := Rate(len(one.hit), len(one.sessions))
		out.line("%s %.0f (%.0f to %.0f) |", row.String(), r.Rate, r.Low, r.High)
	}
	return out.err
}
