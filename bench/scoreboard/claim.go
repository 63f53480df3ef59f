package scoreboard

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/gonum/mathext"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/people"
	"github.com/weirproject/weir/bench/traffic/scenario"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Claims checks false_positive_bound (CONTRACTS.md section 8) on clean traffic:
// for each threat, action and kind of bound, what was claimed on average for the
// sessions seen while that kind applied, beside the share of them that a verdict
// of that threat acted on. A session stands for an actor-episode. Memory is that
// of the sessions of a quarter of a day, however many there are in all.
type Claims struct {
	rows map[claim]*exposure
	// Sessions counts clean sessions, Stale those of stale clients among them;
	// Challenged and Blocked those acted on (a blocked one is both).
	Sessions, Stale             int
	Challenged, ChallengedStale int
	Blocked, BlockedStale       int
	Services, ServicesActed     int
	open                        map[string]*episode
	verdicts                    map[string]issued
	swept                       int64
}

type claim struct {
	threat verdict.Threat
	action event.Action
	kind   string
}

// exposure sums over sessions: how many there were, what was claimed for them,
// and how many were hit; the stale ones apart.
type exposure struct {
	sessions, stale       int
	claimed, claimedStale float64
	hit, hitStale         int
}

type episode struct {
	last    int64
	stale   bool
	service bool
	worst   int
	hits    map[claim]bool
}

// issued is what a verdict said when it was last published.
type issued struct {
	of      claim
	expires int64
}

// NewClaims makes an empty check.
func NewClaims() *Claims {
	return &Claims{rows: map[claim]*exposure{}, open: map[string]*episode{}, verdicts: map[string]issued{}}
}

// sweepEvery is how often finished sessions are closed, and how long one must
// be idle for that.
const sweepEvery = 6 * people.Hour

var claimed = [...]event.Action{event.ActionRateLimit, event.ActionChallenge, event.ActionBlock}

// Play runs a scenario without attacks and checks what the line claims.
func (c *Claims) Play(r Run) error {
	if len(r.Config.Attacks) > 0 {
		return fmt.Errorf("%s: a run with attacks is not clean", r.Name)
	}
	l, play, err := r.line()
	if err != nil {
		return err
	}
	sink := l.Sink(r.Name, NewTally())
	l.OnVerdict = func(v *verdict.Verdict) {
		c.verdicts[v.ID] = issued{claim{v.Threats[0], v.Action, v.Bound}, int64(v.Expires)}
	}
	l.OnDecision = func(d *verdict.Decision, ev *event.Event, tag any) {
		if ev.Flags&event.FlagTeach == 0 {
			c.add(l, d, tag.(*traffic.Label), ev.Time)
		}
	}
	if err := play(r.Config, sink); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	l.Finish()
	c.sweep(l, math.MaxInt64)
	clear(c.verdicts)
	c.swept = 0
	return nil
}

func (c *Claims) add(line *Line, d *verdict.Decision, l *traffic.Label, at int64) {
	if at-c.swept > sweepEvery {
		c.sweep(line, at)
	}
	key := string(l.Class) + l.Who + "/" + strconv.Itoa(l.Session)
	s := c.open[key]
	if s == nil {
		s = &episode{service: l.Class == traffic.Service}
		c.open[key] = s
	}
	s.last, s.stale = at, l.Kind == "stale_client"
	worst := strength(d.Action.String())
	if worst == 0 {
		return
	}
	s.worst = max(s.worst, worst)
	if s.hits == nil {
		s.hits = map[claim]bool{}
	}
	s.hits[c.verdicts[d.Verdict].of] = true
}

// sweep closes the sessions that have been idle for long, against the claims of
// now.
func (c *Claims) sweep(l *Line, now int64) {
	c.swept = now
	sessions, stale := 0, 0
	for key, s := range c.open {
		if now-s.last < sweepEvery {
			continue
		}
		delete(c.open, key)
		if s.service {
			c.Services++
			c.ServicesActed += boolIndex(s.worst > 0)
			continue
		}
		sessions++
		stale += boolIndex(s.stale)
		c.Challenged += boolIndex(s.worst > 0)
		c.Blocked += boolIndex(s.worst > 1)
		c.ChallengedStale += boolIndex(s.stale && s.worst > 0)
		c.BlockedStale += boolIndex(s.stale && s.worst > 1)
		for h := range s.hits {
			x := c.row(h)
			x.hit++
			x.hitStale += boolIndex(s.stale)
		}
	}
	c.Sessions += sessions
	c.Stale += stale
	for _, f := range l.engine.Facts() {
		for _, a := range claimed {
			if a > f.Strongest {
				continue
			}
			bound, kind := l.engine.Bound(l.site, f.Threat, a)
			x := c.row(claim{f.Threat, a, kind})
			x.sessions += sessions
			x.stale += stale
			x.claimed += float64(sessions) * float64(bound) / 1e9
			x.claimedStale += float64(stale) * float64(bound) / 1e9
		}
	}
	for id, v := range c.verdicts {
		if v.expires < now-sweepEvery {
			delete(c.verdicts, id)
		}
	}
}

func (c *Claims) row(k claim) *exposure {
	x := c.rows[k]
	if x == nil {
		x = new(exposure)
		c.rows[k] = x
	}
	return x
}

// broken says that so many hits are more than the claims allow: fewer than one
// in forty such checks would see as many if the mean were as claimed.
func broken(hits int, mean float64) bool {
	return hits > 0 && 1-cdf(hits-1, mean) < .025
}

// Broken lists the claims that did not hold, with stale clients counted or not.
func (c *Claims) Broken(stale bool) []string {
	var out []string
	for _, k := range c.keys() {
		x := c.rows[k]
		hits, mean := x.hit, x.claimed
		if !stale {
			hits, mean = x.hit-x.hitStale, x.claimed-x.claimedStale
		}
		if broken(hits, mean) {
			out = append(out, fmt.Sprintf("%s %s (%s): %d sessions hit, %.2f claimed", k.threat, k.action, k.kind, hits, mean))
		}
	}
	return out
}

func (c *Claims) keys() []claim {
	return slices.SortedFunc(maps.Keys(c.rows), func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.threat, b.threat), cmp.Compare(a.action, b.action), cmp.Compare(a.kind, b.kind))
	})
}

// Statement is what shadow mode may say of a policy after so many clean
// sessions, in words.
func Statement(what string, hit, sessions int) string {
	return fmt.Sprintf("With 95 %% confidence this policy would have %s at most %.2f of 10,000 sessions (seen: %d of %d).",
		what, upper95(hit)*1e4/float64(max(1, sessions)), hit, sessions)
}

// upper95 is the one-sided upper 95 % bound of a Poisson mean of which k was seen.
func upper95(k int) float64 { return mathext.GammaIncRegInv(float64(k)+1, .95) }

// Write writes the check as Markdown.
func (c *Claims) Write(w io.Writer) error {
	p := &printer{w: w}
	p.line("%s", Statement("challenged, slowed or blocked", c.Challenged, c.Sessions))
	p.line("%s", Statement("blocked", c.Blocked, c.Sessions))
	p.line("Without stale clients (%d sessions of automation by its owner): %s %s", c.Stale,
		Statement("challenged, slowed or blocked", c.Challenged-c.ChallengedStale, c.Sessions-c.Stale),
		Statement("blocked", c.Blocked-c.BlockedStale, c.Sessions-c.Stale))
	p.line("Services acted on: %d of %d visits.", c.ServicesActed, c.Services)
	p.line("")
	p.line("| threat | action | bound | sessions | claimed per million | seen per million (95 %%) | without stale clients | holds |")
	p.line("|---|---|---|---|---|---|---|---|")
	held := map[string][2]int{}
	for _, k := range c.keys() {
		x := c.rows[k]
		bad := broken(x.hit, x.claimed) || broken(x.hit-x.hitStale, x.claimed-x.claimedStale)
		h := held[k.kind]
		h[boolIndex(bad)]++
		held[k.kind] = h
		if x.hit == 0 {
			continue
		}
		seen, clean := Rate(x.hit, x.sessions), Rate(x.hit-x.hitStale, x.sessions-x.stale)
		p.line("| %s | %s | %s | %d | %.2f | %.2f (%.2f to %.2f) | %.2f | %s |", k.threat, k.action, k.kind, x.sessions,
			1e6*x.claimed/float64(max(1, x.sessions)), seen.Rate, seen.Low, seen.High, clean.Rate, [2]string{"yes", "no"}[boolIndex(bad)])
	}
	p.line("")
	for _, kind := range []string{"model", "empirical"} {
		h := held[kind]
		p.line("Claims with a %s bound: %d of %d hold (those without a hit are not listed above).", kind, h[0], h[0]+h[1])
	}
	return p.err
}

// BoundRuns are clean runs of one split that give at least so many sessions over
// the three populations, after two days of learning: quiet days with releases,
// sales and outages left to the other suites.
func BoundRuns(split scenario.Split, sessions int) ([]Run, error) {
	// A person makes 0.96 sessions a day, stale clients and extensions counted.
	size := 1500
	if sessions >= 300000 {
		size = 11000
	}
	perDay := size * 9 / 10
	days := 2 + max(2, (sessions/3+perDay-1)/perDay)
	var runs []Run
	for i, v := range []people.Variant{people.Normal, people.Shifted, people.Hostile} {
		seed, err := split.Seed(900 + i)
		if err != nil {
			return nil, err
		}
		runs = append(runs, Run{
			Name: "bound-" + string(v), Site: "shop", LearnDays: 2,
			Config: scenario.Config{Seed: seed, People: size, Days: days, Variant: v, Release: true},
		})
	}
	return runs, nil
}
