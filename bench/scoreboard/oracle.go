package scoreboard

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/stream/event"
)

// Oracle knows the labels: it says how far a detector could get that judges each
// visit by what the engine sees of it when a request arrives, if somebody had told
// it beforehand how bots and people behave here. It is a likelihood ratio of
// independent features given the route, fitted on one half of the visits and
// measured on the other, and the other way round. What many visits do to one
// object, which the engine also goes by, it does not see.
type Oracle struct {
	visits   map[string]*visit
	requests []glimpse
}

// visit is a session on its way.
type visit struct {
	n, fails, last int64
	index          int32
	bot            bool
	roles          [event.NumRoles]int64
}

// glimpse is one request as its features, by visit; threat "" is of people. Only
// attempts of bots count.
type glimpse struct {
	visit    int32
	threat   string
	route    string
	features [numFeatures]uint8
}

const numFeatures = 8

// NewOracle makes an empty one.
func NewOracle() *Oracle { return &Oracle{visits: map[string]*visit{}} }

// Add counts one request.
func (o *Oracle) Add(run string, ev *event.Event, l *traffic.Label) {
	key := fmt.Sprint(run, "/", l.Class, "/", l.Who, "/", l.Session)
	v := o.visits[key]
	if v == nil {
		v = &visit{index: int32(len(o.visits)), bot: l.Class == traffic.Bot}
		o.visits[key] = v
	}
	if !v.bot || l.Attempt {
		g := glimpse{visit: v.index, route: ev.Method + ev.Route}
		if v.bot {
			g.threat = l.Threat
		}
		g.features = [numFeatures]uint8{
			octave(v.n), octave(v.roles[ev.Role]), octave((ev.Time - v.last) / 1e8), octave(v.fails),
			bit(ev.Keys[event.KindAccount] != 0), uint8(min(255, ev.Payload)), bit(ev.Opens != 0 && ev.Time < ev.Opens+1e9),
			bit(ev.Closes != 0 && ev.Closes-ev.Time <= 3e9),
		}
		if v.n == 0 {
			g.features[2] = 255
		}
		o.requests = append(o.requests, g)
	}
	v.n++
	v.roles[ev.Role]++
	v.last = ev.Time
	if ev.Outcome == event.OutcomeFailure {
		v.fails++
	}
}

func octave(n int64) uint8 { return uint8(bits.Len64(uint64(max(0, n)))) }

func bit(b bool) uint8 { return uint8(boolIndex(b)) }

// fold is the half that a visit is in.
func (g *glimpse) fold() int { return int(traffic.Mix(uint64(g.visit), 3) & 1) }

// model counts features by route for one threat (1) and people (0).
type model struct {
	routes map[string]*[2]float64
	values map[string]*[numFeatures][256][2]float64
	all    [2]float64
}

func (o *Oracle) fit(threat string, fold int) *model {
	m := &model{routes: map[string]*[2]float64{}, values: map[string]*[numFeatures][256][2]float64{}}
	for i := range o.requests {
		g := &o.requests[i]
		if g.fold() != fold || g.threat != "" && g.threat != threat {
			continue
		}
		if m.routes[g.route] == nil {
			m.routes[g.route], m.values[g.route] = new([2]float64), new([numFeatures][256][2]float64)
		}
		class := boolIndex(g.threat != "")
		m.all[class]++
		m.routes[g.route][class]++
		for f, v := range g.features {
			m.values[g.route][f][v][class]++
		}
	}
	return m
}

// score is the log likelihood ratio of a request.
func (m *model) score(g *glimpse) float64 {
	n := m.routes[g.route]
	if n == nil {
		return 0
	}
	ratio := func(bot, bots, person, persons float64) float64 {
		return math.Log((bot+.5)/(bots+1)) - math.Log((person+.5)/(persons+1))
	}
	s := ratio(n[1], m.all[1], n[0], m.all[0])
	for f, v := range g.features {
		c := &m.values[g.route][f][v]
		s += ratio(c[1], n[1], c[0], n[0])
	}
	return s
}

// Recall is the share of a threat's attempts that score above all but so many of
// people's visits, for each count of visits in budgets.
func (o *Oracle) Recall(threat string, budgets []int) []float64 {
	caught, total := make([]float64, len(budgets)), 0.0
	for fold := range 2 {
		m := o.fit(threat, 1-fold)
		worst := map[int32]float64{}
		var attempts []float64
		for i := range o.requests {
			g := &o.requests[i]
			if g.fold() != fold {
				continue
			}
			switch g.threat {
			case "":
				if old, ok := worst[g.visit]; !ok || m.score(g) > old {
					worst[g.visit] = m.score(g)
				}
			case threat:
				attempts = append(attempts, m.score(g))
			}
		}
		people := make([]float64, 0, len(worst))
		for _, s := range worst {
			people = append(people, s)
		}
		slices.SortFunc(people, func(a, b float64) int { return cmp.Compare(b, a) })
		total += float64(len(attempts))
		for b, n := range budgets {
			bar := math.Inf(-1)
			if at := n / 2; at < len(people) {
				bar = people[at]
			}
			for _, s := range attempts {
				caught[b] += float64(boolIndex(s > bar))
			}
		}
	}
	for b := range caught {
		caught[b] /= max(1, total)
	}
	return caught
}

// Write prints the curve beside what the engine reached.
func (o *Oracle) Write(w io.Writer, rows []Row, hit float64) error {
	people := 0
	for _, v := range o.visits {
		people += boolIndex(!v.bot)
	}
	per := []int{1, 5, 20, 100}
	budgets := make([]int, len(per))
	for i, p := range per {
		budgets[i] = people * p / 10000
	}
	p := &printer{w: w}
	p.line("Beside an oracle that knows how each threat's visits and people's differ here, by what one visit shows (not by what many do to one")
	p.line("object): the share of attempts it could act on while it hits so many in 10,000 of people's visits. The engine hit %.1f.", hit)
	p.line("")
	p.line("| threat | engine | oracle at 1 | at 5 | at 20 | at 100 |")
	p.line("|---|---|---|---|---|---|")
	for i := range rows {
		c := o.Recall(rows[i].Threat, budgets)
		p.line("| %s | %.1f %% | %.1f %% | %.1f %% | %.1f %% | %.1f %% |", rows[i].Threat, 100*rows[i].Acted(), 100*c[0], 100*c[1], 100*c[2], 100*c[3])
	}
	writeLimits(p, rows)
	return p.err
}
