package scoreboard

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
)

// Row sums the campaigns of one threat and level.
type Row struct {
	Threat, Level                          string
	Campaigns, Attempts                    int
	Challenged, Blocked, Right             int
	MedianFirst, WorstFirst, MedianBlock   int
	MedianSeconds, WorstSeconds, Precision float64
	Never                                  int
}

// Acted is the share of attempts acted on.
func (r *Row) Acted() float64 { return float64(r.Challenged+r.Blocked) / float64(max(1, r.Attempts)) }

// Rows sums campaigns by threat and level.
func (t *Tally) Rows() []Row {
	var rows []Row
	var firsts, blocks []int
	var seconds []float64
	precision := t.Precision()
	flush := func() {
		if len(rows) == 0 {
			return
		}
		r := &rows[len(rows)-1]
		r.MedianFirst, r.WorstFirst, r.MedianBlock = middle(firsts), last(firsts), middle(blocks)
		r.MedianSeconds, r.WorstSeconds = middle(seconds), last(seconds)
		r.Precision = precision[r.Threat]
		firsts, blocks, seconds = nil, nil, nil
	}
	for _, c := range t.Campaigns() {
		if c.Attempts == 0 {
			continue
		}
		if n := len(rows); n == 0 || rows[n-1].Threat != c.Threat || rows[n-1].Level != c.Level {
			flush()
			rows = append(rows, Row{Threat: c.Threat, Level: c.Level})
		}
		r := &rows[len(rows)-1]
		r.Campaigns++
		r.Attempts += c.Attempts
		r.Challenged += c.Challenged
		r.Blocked += c.Blocked
		r.Right += c.RightThreat
		if c.FirstAttempts < 0 {
			r.Never++
		} else {
			firsts, seconds = append(firsts, c.FirstAttempts), append(seconds, c.FirstSeconds)
		}
		if c.FirstBlock >= 0 {
			blocks = append(blocks, c.FirstBlock)
		}
	}
	flush()
	return rows
}

func middle[T int | float64](v []T) T {
	if len(v) == 0 {
		return -1
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func last[T int | float64](v []T) T {
	if len(v) == 0 {
		return -1
	}
	return slices.Max(v)
}

// Mean is the mean over threats of the share acted on at one level, and the
// worst threat.
func Mean(rows []Row, level string) (mean, worst float64, worstThreat string, right float64) {
	n, acted, named := 0, 0, 0
	worst = 1
	for i := range rows {
		r := &rows[i]
		if r.Level != level {
			continue
		}
		n++
		mean += r.Acted()
		acted += r.Challenged + r.Blocked
		named += r.Right
		if r.Acted() < worst {
			worst, worstThreat = r.Acted(), r.Threat
		}
	}
	return mean / float64(max(1, n)), worst, worstThreat, float64(named) / float64(max(1, acted))
}

// MedianActed is the share acted on of a level's median campaign.
func (t *Tally) MedianActed(level string) float64 {
	var shares []float64
	for _, c := range t.campaigns {
		if c.Level == level && c.Attempts > 0 {
			shares = append(shares, c.Acted())
		}
	}
	return middle(shares)
}

// comparePoisoning writes what training with aged accounts gains an attacker.
func comparePoisoning(w io.Writer, without, with *Tally) error {
	p := &printer{w: w}
	trained := map[string]Row{}
	for _, r := range with.Rows() {
		trained[r.Threat+r.Level] = r
	}
	p.line("\n## poisoning\n")
	p.line("The campaigns of \"untrained\" again, after ten aged accounts of the attacker's have logged in with each campaign's own software from its")
	p.line("own lines for three days, the last day and a half of them after weir was switched on.\n")
	p.line("| threat | level | attempts | acted on untrained | acted on trained | blocked untrained | blocked trained |")
	p.line("|---|---|---|---|---|---|---|")
	var before, after float64
	rows := without.Rows()
	for _, r := range rows {
		t := trained[r.Threat+r.Level]
		before, after = before+r.Acted(), after+t.Acted()
		p.line("| %s | %s | %d | %.1f %% | %.1f %% | %.1f %% | %.1f %% |", r.Threat, r.Level, r.Attempts, 100*r.Acted(), 100*t.Acted(),
			100*float64(r.Blocked)/float64(max(1, r.Attempts)), 100*float64(t.Blocked)/float64(max(1, t.Attempts)))
	}
	n := float64(max(1, len(rows)))
	p.line("\nMean: %.1f %% untrained, %.1f %% trained.", 100*before/n, 100*after/n)
	return p.err
}

// Write writes the tables of one tally as Markdown.
func (t *Tally) Write(w io.Writer) error {
	p := &printer{w: w}
	rows := t.Rows()
	if len(rows) > 0 {
		p.line("| threat | level | campaigns | attempts | acted on | blocked | first action: attempts (seconds), median; worst | first block, median | right threat | precision |")
		p.line("|---|---|---|---|---|---|---|---|---|---|")
		for i := range rows {
			r := &rows[i]
			first := "never"
			if r.Never < r.Campaigns {
				first = fmt.Sprintf("%d (%.0f); %d (%.0f)", r.MedianFirst, r.MedianSeconds, r.WorstFirst, r.WorstSeconds)
			}
			block := "-"
			if r.MedianBlock >= 0 {
				block = strconv.Itoa(r.MedianBlock)
			}
			acted := r.Challenged + r.Blocked
			p.line("| %s | %s | %d | %d | %.1f %% | %.1f %% | %s | %s | %.0f %% | %.2f |", r.Threat, r.Level, r.Campaigns, r.Attempts, 100*r.Acted(),
				100*float64(r.Blocked)/float64(max(1, r.Attempts)), first, block, 100*float64(r.Right)/float64(max(1, acted)), r.Precision)
		}
		p.line("")
		for _, level := range levels(rows) {
			mean, worst, which, right := Mean(rows, level)
			p.line("%s: mean over threats %.1f %% acted on, worst %.1f %% (%s), median campaign %.1f %%, right threat named in %.0f %% of acted attempts.",
				level, 100*mean, 100*worst, which, 100*t.MedianActed(level), 100*right)
		}
		p.line("")
	}
	p.line("| people | sessions | wrongly blocked per million (95 %%) | wrongly challenged or slowed per million (95 %%) | requests refused |")
	p.line("|---|---|---|---|---|")
	for _, k := range t.Kinds() {
		name := k.Name
		if name == "" {
			name = "**all people**"
		}
		b, c := Rate(k.Blocked, k.Sessions), Rate(k.Challenged, k.Sessions)
		p.line("| %s | %d | %.0f (%.0f to %.0f) | %.0f (%.0f to %.0f) | %d of %d |", name, k.Sessions, b.Rate, b.Low, b.High, c.Rate, c.Low, c.High, k.Refused, k.Requests)
	}
	if t.Oracle != nil && p.err == nil {
		all := t.Kinds()[0]
		p.line("")
		p.err = t.Oracle.Write(w, rows, 1e4*float64(all.Blocked+all.Challenged)/float64(max(1, all.Sessions)))
	}
	if t.Sources != nil && p.err == nil {
		p.line("")
		p.err = t.Sources.Write(w)
	}
	people := t.People()
	p.line("")
	p.line("Actors over pairs of sessions: people precision %.3f, recall %.3f.", people.Precision, people.Recall)
	for _, level := range levels(rows) {
		b := t.Bots(level)
		p.line("Campaigns (%s): precision %.3f, recall %.3f.", level, b.Precision, b.Recall)
	}
	return p.err
}

func levels(rows []Row) []string {
	set := map[string]bool{}
	var all []string
	for _, r := range rows {
		if !set[r.Level] {
			set[r.Level] = true
			all = append(all, r.Level)
		}
	}
	sort.Strings(all)
	return all
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
