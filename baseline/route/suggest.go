package route

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// Proposal is a flow map with the reasons for each part of it.
type Proposal struct {
	Map flow.Map
	// Notes stand beside Map.Routes.
	Notes []Note
	// Identifiers are the reasons for the identifiers, by what they name:
	// session, device, account.
	Identifiers map[string]string
	// Left are the endpoints that write and got no role, the busiest first, at
	// most 40.
	Left []Left
	// Exchanges were read; Lost counts names and endpoints without room.
	Exchanges, Lost uint64
}

// Note says why a route is proposed.
type Note struct {
	// Confidence is in points of 99: from 80 on nearly certain, below 55 worth a
	// look.
	Confidence int
	Requests   uint64
	Reasons    []string
}

// Left is an endpoint without a role.
type Left struct {
	Method, Path string
	Requests     uint64
}

// candidate is an endpoint with the role that suits it best.
type candidate struct {
	spot
	*mark
	rule    *rule
	points  int
	reasons []string
}

// Suggest proposes a flow map for a site from what the survey saw. It proposes:
// a person reads it, corrects it, and puts it into force.
func (s *Survey) Suggest(site string) Proposal {
	all := s.endpoints()
	// Relations need roles: two rounds.
	roles := map[spot]string{}
	for range 2 {
		next := map[spot]string{}
		for _, c := range all {
			if c.best(roles, all); c.rule != nil {
				next[c.spot] = c.rule.role
			}
		}
		roles = next
	}
	p := Proposal{Exchanges: s.exchanges, Lost: s.lost, Identifiers: map[string]string{}}
	p.Map = flow.Map{APIVersion: flow.APIVersion, Kind: flow.MapKind, Site: site}
	s.identify(&p, all)
	order := map[string]int{}
	for i := range rules {
		if _, known := order[rules[i].role]; !known {
			order[rules[i].role] = i
		}
	}
	slices.SortFunc(all, func(a, b *candidate) int {
		switch {
		case a.rule == nil && b.rule != nil:
			return 1
		case a.rule != nil && b.rule == nil:
			return -1
		case a.rule == nil:
			return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.template, b.template), cmp.Compare(a.method, b.method))
		}
		return cmp.Or(order[a.rule.role]-order[b.rule.role], precedes(a, b), cmp.Compare(a.template, b.template), cmp.Compare(a.method, b.method))
	})
	step := 0
	taken := map[string]bool{}
	for _, c := range all {
		switch {
		case c.rule != nil:
			// Two templates may be one path of a map ("{slug}.php", "{slug}").
			at := c.method + " " + pattern(c.template)
			if taken[at] {
				continue
			}
			taken[at] = true
			r := c.route()
			if r.Role == "checkout_step" {
				step++
				r.Step = step
			}
			p.Map.Routes = append(p.Map.Routes, r)
			p.Notes = append(p.Notes, Note{Confidence: min(c.points, 99), Requests: c.count, Reasons: c.reasons})
		case c.writes() && len(p.Left) < 40:
			p.Left = append(p.Left, Left{Method: c.method, Path: mapPath(c.template), Requests: c.count})
		}
	}
	return p
}

// pattern is a template without the names of its variables.
func pattern(template string) string {
	segments := strings.Split(mapPath(template), "/")
	for i, seg := range segments {
		if strings.HasPrefix(seg, "{") {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}

// precedes orders two steps of a checkout by which is more often asked for
// before the other.
func precedes(a, b *candidate) int {
	if a.rule.role != "checkout_step" {
		return 0
	}
	return cmp.Compare(a.before[b.spot], b.before[a.spot])
}

// endpoints merges the evidence of templates that became one.
func (s *Survey) endpoints() []*candidate {
	now := func(at spot) spot {
		if t, known := s.learner.Lookup(at.template); known {
			at.template = t
		}
		return at
	}
	merged := map[spot]*mark{}
	keys := slices.SortedFunc(maps.Keys(s.marks), func(a, b spot) int {
		return cmp.Or(cmp.Compare(a.template, b.template), cmp.Compare(a.method, b.method))
	})
	for _, at := range keys {
		to := now(at)
		if merged[to] == nil {
			merged[to] = &mark{codes: map[int]uint64{}}
		}
		merged[to].merge(s.marks[at])
	}
	var all []*candidate
	for _, at := range keys {
		m := merged[at]
		if m == nil {
			if to := now(at); to != at && merged[to] != nil {
				m, at = merged[to], to
			}
		}
		if m == nil {
			continue
		}
		delete(merged, at)
		before := map[spot]uint64{}
		for b, n := range m.before {
			if to := now(b); to != at {
				before[to] += n
			}
		}
		m.before = before
		all = append(all, &candidate{spot: at, mark: m})
	}
	return all
}

func (c *candidate) writes() bool {
	return c.method != "GET" && c.method != "HEAD" && c.method != "OPTIONS"
}

// answered: most requests were.
func (c *candidate) answered() bool { return c.codes[200]*2 > c.count }

// best finds the rule with most points, nil when none has enough.
func (c *candidate) best(roles map[spot]string, all []*candidate) {
	c.rule, c.points, c.reasons = nil, 0, nil
	if c.method == "HEAD" || c.method == "OPTIONS" || c.count < 2 || c.template == "/" {
		return
	}
	path := readPath(c.template)
	classes := c.classes()
	for i := range rules {
		r := &rules[i]
		if r.read != (c.method == "GET") || r.remove != (c.method == "DELETE") && (r.remove || c.method == "DELETE" && r.role != "cart_remove") {
			continue
		}
		t := tally{}
		if r.wordless && path.variable && c.count >= 50 && c.answered() && strings.Count(c.template, "{") == 1 {
			t.add(40, "a page with many values in its place")
		}
		if !t.path(r, &path) || !t.fields(r, classes) {
			continue
		}
		t.answers(r, c.mark)
		t.relations(r, c, roles, all)
		if t.points >= proposeAt && t.points > c.points {
			c.rule, c.points, c.reasons = r, t.points, t.reasons
		}
	}
}

// pathWords are a template's words: those of its last literal segment, and
// those before it.
type pathWords struct {
	last, before []string
	variable     bool
}

func readPath(template string) (p pathWords) {
	segments := strings.Split(strings.Trim(template, "/"), "/")
	for i, seg := range segments {
		if strings.Contains(seg, "{") {
			p.variable = i == len(segments)-1
			continue
		}
		seg, _, _ = strings.Cut(seg, ".php")
		if len(seg) == 2 && seg[0] == 'v' {
			continue
		}
		words := tokens(seg)
		if hit(words, []string{"add", "create", "new", "submit", "save", "process", "do", "verify", "check", "send"}) != "" && len(words) == 1 {
			p.last = append(p.last, words...) // a verb says nothing without what is before it
			continue
		}
		p.before = append(p.before, p.last...)
		p.last = words
	}
	return p
}

// classes are the classes of the request's fields, each with the selector of
// the field that shows it most often.
func (c *candidate) classes() map[class]string {
	out := map[class]string{}
	take := func(prefix string, fields map[string]*field) {
		// The busiest first, then by name: the answer must not depend on a map's
		// order.
		names := slices.SortedFunc(maps.Keys(fields), func(a, b string) int {
			return cmp.Or(cmp.Compare(fields[b].count, fields[a].count), cmp.Compare(a, b))
		})
		for _, name := range names {
			f := fields[name]
			if cl := f.classify(name); cl != unclear && out[cl] == "" && f.count*5 >= c.count {
				out[cl] = prefix + name
			}
		}
	}
	take("body:", c.body)
	take("form:", c.form)
	take("query:", c.query)
	return out
}

// tally adds up points with their reasons.
type tally struct {
	points  int
	reasons []string
}

func (t *tally) add(points int, format string, args ...any) {
	t.points += points
	t.reasons = append(t.reasons, fmt.Sprintf(format, args...))
}

func (t *tally) path(r *rule, p *pathWords) bool {
	if r.end == endsVariable && !p.variable || r.end == endsLiteral && p.variable {
		return false
	}
	if hit(p.last, r.never) != "" || hit(p.before, r.never) != "" {
		return false
	}
	if r.also != nil && hit(p.last, r.also) == "" && hit(p.before, r.also) == "" {
		return false
	}
	if w := hit(p.last, r.words); w != "" {
		points := 45
		if len(w) < 3 {
			points = 25
		}
		t.add(points, "the path says %q", w)
	} else if w := hit(p.before, r.words); w != "" {
		points := 30
		if r.also != nil {
			points = 45
		}
		t.add(points, "the path says %q", w)
	}
	if r.end == endsVariable && t.points > 0 && !r.wordless {
		t.add(20, "it ends in a value")
	} else if r.role == "list_view" && p.variable && t.points > 0 {
		t.add(15, "it ends in a value")
	}
	return true
}

func (t *tally) fields(r *rule, have map[class]string) bool {
	for _, cl := range r.must {
		if have[cl] == "" {
			return false
		}
	}
	for _, cl := range r.lacks {
		if have[cl] != "" {
			return false
		}
	}
	for cl := range numClasses {
		if points := r.fields[cl]; points > 0 && have[cl] != "" {
			t.add(points, "%s holds %s", have[cl], classNames[cl])
		}
	}
	return true
}

func (t *tally) answers(r *rule, m *mark) {
	for _, code := range r.codes {
		if n := m.codes[code]; n > 0 && n < m.count {
			points := 15
			if code == 402 {
				points = 45 // RFC 9110 reserves it for payments
			}
			t.add(points, "%s of the answers are %d", share(n, m.count), code)
			break
		}
	}
	if r.redirects && m.redirects*2 > m.count {
		t.add(30, "most answers redirect")
	}
	if !r.fresh {
		return
	}
	for _, set := range [...]map[string]*split{m.vouches, m.sets} {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			if v := set[name]; v.good >= 2 && v.bad*10 < v.good {
				t.add(15, "success comes with a new %s", name)
				return
			}
		}
	}
}

func (t *tally) relations(r *rule, c *candidate, roles map[spot]string, all []*candidate) {
	if t.points == 0 {
		return
	}
	for _, b := range slices.SortedFunc(maps.Keys(c.before), func(a, b spot) int {
		return cmp.Or(cmp.Compare(c.before[b], c.before[a]), cmp.Compare(a.template, b.template), cmp.Compare(a.method, b.method))
	}) {
		if slices.Contains(r.after, roles[b]) && c.before[b]*4 >= c.count {
			t.add(15, "%s of the times after %s (%s)", share(c.before[b], c.count), roles[b], mapPath(b.template))
			break
		}
	}
	for _, o := range all {
		if n := o.before[c.spot]; slices.Contains(r.ahead, roles[o.spot]) && n*4 >= o.count {
			t.add(15, "%s of the times before %s (%s)", share(n, o.count), roles[o.spot], mapPath(o.template))
			break
		}
	}
}

func share(n, of uint64) string {
	switch p := n * 100 / max(of, 1); {
	case p == 0:
		return "under 1 %"
	case p > 100:
		return "100 %"
	default:
		return fmt.Sprintf("%d %%", p)
	}
}
