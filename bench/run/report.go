package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// result is one results/NAME.json.
type result struct {
	Name     string            `json:"name"`
	Title    string            `json:"title"`
	Date     string            `json:"date"`
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	// Notes say how it was measured where that is not obvious.
	Notes   []string `json:"notes,omitempty"`
	Samples []sample `json:"samples"`
	// Rows are the comparisons, medians over the samples.
	Rows []row `json:"rows"`
}

type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	// Load is the run queue over the last minute when the run began: what else
	// was going on.
	Load string `json:"load"`
}

// sample is one measurement of one subject.
type sample struct {
	Round   int                `json:"round"`
	Subject string             `json:"subject"`
	Values  map[string]float64 `json:"values"`
}

// row is one line of the table. Ratio is in the sense of the target ("weir over
// peer"); Target is "" where there is none.
type row struct {
	What   string  `json:"what"`
	Weir   float64 `json:"weir"`
	Peer   float64 `json:"peer,omitempty"`
	PeerIs string  `json:"peer_is,omitempty"`
	Unit   string  `json:"unit"`
	Ratio  float64 `json:"ratio,omitempty"`
	Target string  `json:"target,omitempty"`
	Met    *bool   `json:"met,omitempty"`
}

func newResult(ctx context.Context, env *environment, b benchmark) *result {
	r := &result{
		Name: b.name, Title: b.title, Date: time.Now().UTC().Format(time.RFC3339),
		Machine: thisMachine(), Versions: map[string]string{"go": runtime.Version()},
	}
	cmd := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD")
	cmd.Dir = env.bench
	if out, err := cmd.Output(); err == nil {
		r.Versions["weir"] = strings.TrimSpace(string(out))
	}
	return r
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU()}
	field := func(file, key string) string {
		f, err := os.Open(file)
		if err != nil {
			return ""
		}
		defer func() { _ = f.Close() }()
		for s := bufio.NewScanner(f); s.Scan(); {
			if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == key {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	m.CPU, m.Memory = field("/proc/cpuinfo", "model name"), field("/proc/meminfo", "MemTotal")
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(b), " ")
	}
	return m
}

// version notes what a program says of itself.
func (r *result) version(ctx context.Context, name, program string, args ...string) {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	r.Versions[name] = line
}

func (r *result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// add books a sample and shows it.
func (r *result) add(round int, subject string, values map[string]float64) {
	r.Samples = append(r.Samples, sample{round, subject, values})
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(values)) {
		_, _ = fmt.Fprintf(&b, "  %s %s", k, number(values[k]))
	}
	fmt.Printf("   round %d %-14s%s\n", round+1, subject, b.String())
}

// values of one name over a subject's samples.
func (r *result) values(subject, value string) (vs []float64) {
	for _, s := range r.Samples {
		if v, ok := s.Values[value]; ok && s.Subject == subject {
			vs = append(vs, v)
		}
	}
	return vs
}

// median of one value over a subject's samples; 0 without any.
func (r *result) median(subject, value string) float64 { return medianOf(r.values(subject, value)) }

// most of one value over a subject's samples; 0 without any.
func (r *result) most(subject, value string) float64 {
	return slices.Max(append(r.values(subject, value), 0))
}

func medianOf(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Sorted(slices.Values(vs))
	if n := len(vs); n%2 == 0 {
		return (vs[n/2-1] + vs[n/2]) / 2
	}
	return vs[len(vs)/2]
}

// besideFloors is each sample of a subject over the mean of the floors just before
// and just after it, in one value, so that no ratio depends on the minute in which
// either ran.
func besideFloors(samples []sample, subject, floor, value string) (ratios []float64) {
	for i := range samples {
		if samples[i].Subject != subject {
			continue
		}
		sum, n := 0., 0.
		for _, at := range [...]int{i - 1, i + 1} {
			if at >= 0 && at < len(samples) && samples[at].Subject == floor {
				sum += samples[at].Values[value]
				n++
			}
		}
		if n > 0 {
			ratios = append(ratios, samples[i].Values[value]*n/sum)
		}
	}
	return ratios
}

// limit is a target: most or least.
type limit struct {
	most  bool
	value float64
	unit  string
}

func atMost(v float64, unit string) *limit  { return &limit{true, v, unit} }
func atLeast(v float64, unit string) *limit { return &limit{false, v, unit} }

func (l *limit) String() string {
	sign := ">= "
	if l.most {
		sign = "<= "
	}
	return strings.TrimSpace(sign + number(l.value) + l.unit)
}

func (l *limit) holds(v float64) bool { return l.most && v <= l.value || !l.most && v >= l.value }

// ratio adds a row in which weir is held against a peer.
func (r *result) ratio(what, unit string, weir, peer float64, peerIs string, target *limit) {
	quotient := 0.
	if peer != 0 {
		quotient = weir / peer
	}
	r.compare(what, unit, weir, peer, quotient, peerIs, target)
}

// compare is ratio for a quotient that was taken pair by pair.
func (r *result) compare(what, unit string, weir, peer, quotient float64, peerIs string, target *limit) {
	w := row{What: what, Weir: weir, Peer: peer, Ratio: quotient, PeerIs: peerIs, Unit: unit}
	if target != nil {
		ok := target.holds(w.Ratio)
		w.Target, w.Met = target.String(), &ok
	}
	r.Rows = append(r.Rows, w)
}

// value adds a row in which a figure stands against a fixed target, or none.
func (r *result) value(what, unit string, weir float64, target *limit) {
	w := row{What: what, Weir: weir, Unit: unit}
	if target != nil {
		ok := target.holds(weir)
		w.Target, w.Met = target.String(), &ok
	}
	r.Rows = append(r.Rows, w)
}

func (r *result) print() {
	for _, w := range r.Rows {
		fmt.Printf("   %s\n", strings.Join(w.cells(), "  |  "))
	}
}

// cells are what, weir, peer, ratio, target, met.
func (w *row) cells() []string {
	out := []string{w.What, number(w.Weir) + " " + w.Unit, "", "", w.Target, ""}
	if w.PeerIs != "" {
		out[2] = number(w.Peer) + " (" + w.PeerIs + ")"
		out[3] = fmt.Sprintf("%.2fx", w.Ratio)
	}
	if w.Met != nil {
		out[5] = "no"
		if *w.Met {
			out[5] = "yes"
		}
	}
	return out
}

// number prints three significant digits.
func number(v float64) string {
	switch a := max(v, -v); {
	case a >= 1e6:
		return fmt.Sprintf("%.3gM", v/1e6)
	case a >= 1e5:
		return fmt.Sprintf("%.0fk", v/1e3)
	case a >= 1e4:
		return fmt.Sprintf("%.1fk", v/1e3)
	case a >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

func (r *result) save(bench string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Join(bench, "results")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.Name+".json"), append(b, '\n'), 0o644)
}

const (
	tableBegin = "<!-- results: written by go run ./run -->"
	tableEnd   = "<!-- end of results -->"
)

// writeTable puts what stands in results/ into the README, between its marks.
func writeTable(bench string) error {
	path := filepath.Join(bench, "README.md")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s: the marks %q and %q are missing", path, tableBegin, tableEnd)
	}
	var t strings.Builder
	t.WriteString(tableBegin + "\n\n| benchmark | what | weir | peer or floor | ratio | reach | met | date |\n|---|---|---|---|---|---|---|---|\n")
	for _, name := range names() {
		var r result
		text, err := os.ReadFile(filepath.Join(bench, "results", name+".json"))
		if err != nil {
			continue
		}
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("results of %s: %w", name, err)
		}
		for _, w := range r.Rows {
			_, _ = fmt.Fprintf(&t, "| %s | %s | %s |\n", name, strings.Join(w.cells(), " | "), r.Date[:10])
		}
	}
	t.WriteString("\n" + tableEnd)
	return os.WriteFile(path, []byte(before+t.String()+after), 0o644)
}
