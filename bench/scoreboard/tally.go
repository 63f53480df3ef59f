// Package scoreboard compares what weir decided with what is true: it owns the
// tally of decisions against labels, the bounds of its error rates, and the
// table that goes into docs/scoreboard.md.
//
// It promises to count what an ingress would have done (an attempt counts as
// acted on only when the request itself was refused, challenged, redirected or
// rewritten on arrival), to count people by session, and never to see a label
// before the decision stands.
package scoreboard

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weirproject/weir/bench/traffic"
)

// Decision is one line of a --decisions file (CONTRACTS.md section 6).
type Decision struct {
	ID       string   `json:"id"`
	Time     string   `json:"time"`
	Site     string   `json:"site"`
	Action   string   `json:"action"`
	Proposed string   `json:"proposed"`
	Mode     string   `json:"mode"`
	Verdict  string   `json:"verdict"`
	Actor    string   `json:"actor"`
	Scope    string   `json:"scope"`
	Threats  []string `json:"threats"`
	Reason   string   `json:"reason"`
}

// acted: 1 slows or asks, 2 blocks.
func strength(action string) int {
	switch action {
	case "rate_limit", "challenge", "redirect", "rewrite":
		return 1
	case "block":
		return 2
	}
	return 0
}

// Campaign is what one attack met.
type Campaign struct {
	Threat, Level, Name string
	Attempts            int
	// Challenged counts acted attempts short of a block, Blocked blocks.
	Challenged, Blocked int
	// FirstAttempts and FirstSeconds are how many attempts had passed, and how
	// long since the first, when one was first acted on; -1 never.
	FirstAttempts int
	FirstSeconds  float64
	// FirstBlock is the number of attempts before the first block; -1 never.
	FirstBlock int
	// RightThreat counts acted attempts whose decision names the threat.
	RightThreat int
	begin       int64
	sessions    map[int]string
}

// Acted is the share of attempts that were acted on.
func (c *Campaign) Acted() float64 {
	if c.Attempts == 0 {
		return 0
	}
	return float64(c.Challenged+c.Blocked) / float64(c.Attempts)
}

// Kind is how one class of people fared.
type Kind struct {
	Name     string
	Sessions int
	// Blocked and Challenged are sessions in which that happened to at least
	// one request; a blocked one is not counted as challenged as well.
	Blocked, Challenged int
	// Requests refused, of all.
	Requests, Refused int
}

// Tally collects decisions with their labels, in any order of runs.
type Tally struct {
	Exchanges int
	// Sources, unless nil, counts by address too.
	Sources *Sources
	// Oracle, unless nil, is asked how far one could get.
	Oracle    *Oracle
	campaigns map[string]*Campaign
	sessions  map[string]*session
	// actedPeople and actedBots count acted requests by threat named.
	precision map[string]*[2]int
}

type session struct {
	kind   string
	class  traffic.Class
	who    string
	actor  string
	worst  int
	n, bad int
}

// NewTally makes an empty one.
func NewTally() *Tally {
	return &Tally{campaigns: map[string]*Campaign{}, sessions: map[string]*session{}, precision: map[string]*[2]int{}}
}

// Add counts one decision; at is its time in Unix nanoseconds, run keeps the
// campaigns and sessions of different runs apart.
func (t *Tally) Add(run string, d *Decision, l *traffic.Label, at int64) {
	t.Exchanges++
	worst := strength(d.Action)
	if worst > 0 {
		for _, threat := range d.Threats {
			p := t.precision[threat]
			if p == nil {
				p = new([2]int)
				t.precision[threat] = p
			}
			p[boolIndex(l.Class == traffic.Bot)]++
		}
	}
	if l.Class != traffic.Bot {
		t.person(run, d, l, worst)
		return
	}
	key := run + "/" + l.Who
	c := t.campaigns[key]
	if c == nil {
		c = &Campaign{Threat: l.Threat, Level: l.Level, Name: key, FirstAttempts: -1, FirstSeconds: -1, FirstBlock: -1, begin: at, sessions: map[int]string{}}
		t.campaigns[key] = c
	}
	if d.Actor != "" {
		c.sessions[l.Session] = d.Actor
	}
	if !l.Attempt {
		return
	}
	if worst > 0 {
		if c.FirstAttempts < 0 {
			c.FirstAttempts, c.FirstSeconds = c.Attempts, float64(at-c.begin)/1e9
		}
		c.RightThreat += boolIndex(slices.Contains(d.Threats, l.Threat))
	}
	if worst == 2 && c.FirstBlock < 0 {
		c.FirstBlock = c.Attempts
	}
	c.Attempts++
	c.Challenged += boolIndex(worst == 1)
	c.Blocked += boolIndex(worst == 2)
}

func boolIndex(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (t *Tally) person(run string, d *Decision, l *traffic.Label, worst int) {
	key := run + "/" + string(l.Class) + "/" + l.Who + "/" + itoa(l.Session)
	s := t.sessions[key]
	if s == nil {
		s = &session{class: l.Class, who: run + "/" + l.Who}
		t.sessions[key] = s
	}
	if l.Kind != "" {
		s.kind = l.Kind
	}
	if d.Actor != "" {
		s.actor = run + "/" + d.Actor
	}
	s.n++
	s.bad += boolIndex(worst > 0)
	s.worst = max(s.worst, worst)
}

func itoa(n int) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}

// Campaigns lists the campaigns by threat, level and name.
func (t *Tally) Campaigns() []*Campaign {
	return slices.SortedFunc(maps.Values(t.campaigns), func(a, b *Campaign) int {
		return cmp.Or(cmp.Compare(a.Threat, b.Threat), cmp.Compare(a.Level, b.Level), cmp.Compare(a.Name, b.Name))
	})
}

// Kinds lists the classes of people and services; the first is all people.
func (t *Tally) Kinds() []Kind {
	by := map[string]*Kind{}
	add := func(name string, s *session) {
		k := by[name]
		if k == nil {
			k = &Kind{Name: name}
			by[name] = k
		}
		k.Sessions++
		k.Blocked += boolIndex(s.worst == 2)
		k.Challenged += boolIndex(s.worst == 1)
		k.Requests += s.n
		k.Refused += s.bad
	}
	for _, s := range t.sessions {
		kind := s.kind
		if kind == "" {
			kind = "ordinary"
		}
		if s.class == traffic.Service {
			add("service: "+kind, s)
			continue
		}
		add("", s)
		add(kind, s)
	}
	var all []Kind
	for _, k := range by {
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b Kind) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Precision is, by threat named, the share of acted requests that a bot sent.
func (t *Tally) Precision() map[string]float64 {
	out := map[string]float64{}
	for threat, p := range t.precision {
		out[threat] = float64(p[1]) / float64(p[0]+p[1])
	}
	return out
}

// Pairs is how well actors follow the truth, over pairs of sessions.
type Pairs struct{ Precision, Recall float64 }

// People compares actors with people: of two sessions of one actor, how often
// they are one person's, and of two sessions of one person, how often they are
// one actor. People who share an account count as they are labelled: two.
func (t *Tally) People() Pairs {
	var got, want []string
	for _, s := range t.sessions {
		if s.class == traffic.Person && s.actor != "" {
			got, want = append(got, s.actor), append(want, s.who)
		}
	}
	return pairs(got, want)
}

// Bots is the same for one level's campaigns: the actors of a campaign's visits
// against the campaigns, people's sessions included as strangers.
func (t *Tally) Bots(level string) Pairs {
	var got, want []string
	for _, c := range t.campaigns {
		if c.Level != level {
			continue
		}
		for _, a := range c.sessions {
			got, want = append(got, c.run()+"/"+a), append(want, c.Name)
		}
	}
	for _, s := range t.sessions {
		if s.actor != "" {
			got, want = append(got, s.actor), append(want, "")
		}
	}
	return pairsOf(got, want, true)
}

func (c *Campaign) run() string {
	for i := 0; i < len(c.Name); i++ {
		if c.Name[i] == '/' {
			return c.Name[:i]
		}
	}
	return ""
}

func pairs(got, want []string) Pairs { return pairsOf(got, want, false) }

// pairsOf counts pairs by contingency; with strangers, pairs of two "" wants
// are left out on both sides.
func pairsOf(got, want []string, strangers bool) Pairs {
	type cell struct{ g, w string }
	cells, gs, ws := map[cell]float64{}, map[string]float64{}, map[string]float64{}
	for i := range got {
		cells[cell{got[i], want[i]}]++
		gs[got[i]]++
		ws[want[i]]++
	}
	choose := func(n float64) float64 { return n * (n - 1) / 2 }
	var both, g, w float64
	for c, n := range cells {
		if strangers && c.w == "" {
			g -= choose(n)
			continue
		}
		both += choose(n)
	}
	for _, n := range gs {
		g += choose(n)
	}
	for name, n := range ws {
		if strangers && name == "" {
			continue
		}
		w += choose(n)
	}
	p := Pairs{1, 1}
	if g > 0 {
		p.Precision = both / g
	}
	if w > 0 {
		p.Recall = both / w
	}
	return p
}
