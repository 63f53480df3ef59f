package scoreboard

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sort"

	"github.com/weirproject/weir/bench/traffic"
)

// Sources counts by address, which is all that an access log names: a bot's
// address counts as found once one of its requests was acted on on arrival, and
// a benign one as hit in the same way. An address that both people and a bot use
// counts on both sides.
type Sources struct {
	seen map[source]*address
}

type source struct {
	run, class string
	client     netip.Addr
}

type address struct {
	bot         bool
	n, before   int
	acted, want bool
}

// NewSources makes an empty count.
func NewSources() *Sources { return &Sources{seen: map[source]*address{}} }

// Add counts one decision. class is the attack's class, or what kind of people
// or service it is.
func (s *Sources) Add(run, class string, client netip.Addr, bot bool, d *Decision, threat string) {
	k := source{run, class, client}
	a := s.seen[k]
	if a == nil {
		a = &address{bot: bot}
		s.seen[k] = a
	}
	a.n++
	if strength(d.Action) > 0 {
		if !a.acted {
			a.acted, a.before = true, a.n-1
		}
		a.want = a.want || slices.Contains(d.Threats, threat)
	}
}

// AddLabelled is Add for the simulator's labels.
func (s *Sources) AddLabelled(run string, client netip.Addr, d *Decision, l *traffic.Label) {
	class := l.Kind
	switch {
	case l.Class == traffic.Bot:
		class = l.Level
	case class == "":
		class = "ordinary"
	case l.Class == traffic.Service:
		class = "service: " + class
	}
	s.Add(run, class, client, l.Class == traffic.Bot, d, l.Threat)
}

// SourceClass is how the addresses of one class fared.
type SourceClass struct {
	Name string
	Bot  bool
	// Addresses, those acted on, and those whose threat was named.
	Addresses, Acted, Named int
	// Before is the median of requests before the first acted one.
	Before int
}

// Recall is the share of addresses acted on.
func (c *SourceClass) Recall() float64 { return float64(c.Acted) / float64(max(1, c.Addresses)) }

// Classes lists the attack classes, then the benign ones, by name.
func (s *Sources) Classes() []SourceClass {
	by := map[string]*SourceClass{}
	before := map[string][]int{}
	for k, a := range s.seen {
		c := by[k.class]
		if c == nil {
			c = &SourceClass{Name: k.class, Bot: a.bot, Before: -1}
			by[k.class] = c
		}
		c.Addresses++
		c.Acted += boolIndex(a.acted)
		c.Named += boolIndex(a.want)
		if a.acted {
			before[k.class] = append(before[k.class], a.before)
		}
	}
	var all []SourceClass
	for name, c := range by {
		c.Before = middle(before[name])
		all = append(all, *c)
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].Bot != all[j].Bot {
			return all[i].Bot
		}
		return all[i].Name < all[j].Name
	})
	return all
}

// Macro is the mean over attack classes of the share of addresses found, and the
// share of benign addresses acted on.
func (s *Sources) Macro() (recall float64, classes int, benign float64) {
	hit, people := 0, 0
	for _, c := range s.Classes() {
		if c.Bot {
			classes++
			recall += c.Recall()
		} else {
			people += c.Addresses
			hit += c.Acted
		}
	}
	return recall / float64(max(1, classes)), classes, float64(hit) / float64(max(1, people))
}

// Write writes the table by class as Markdown.
func (s *Sources) Write(w io.Writer) error {
	p := &printer{w: w}
	p.line("| by address | addresses | acted on | share | requests before, median | right threat |")
	p.line("|---|---|---|---|---|---|")
	for _, c := range s.Classes() {
		name, right := c.Name, "-"
		if c.Bot {
			right = fmt.Sprintf("%.0f %%", 100*float64(c.Named)/float64(max(1, c.Acted)))
		} else {
			name = "benign: " + name
		}
		first := "-"
		if c.Before >= 0 {
			first = itoa(c.Before)
		}
		p.line("| %s | %d | %d | %.1f %% | %s | %s |", name, c.Addresses, c.Acted, 100*c.Recall(), first, right)
	}
	recall, classes, benign := s.Macro()
	p.line("")
	p.line("By address: macro recall over %d attack classes %.3f (a source is found when it has been acted on); %.3f %% of benign addresses acted on.", classes, recall, 100*benign)
	return p.err
}
