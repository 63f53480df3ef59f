package baseline

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// gate is a small enforcer: it holds verdicts and decides requests at arrival.
type gate struct{ list map[string]*verdict.Verdict }

func (g *gate) apply(vs []verdict.Verdict) {
	for i := range vs {
		v := vs[i]
		if old := g.list[v.ID]; old == nil || old.Revision < v.Revision {
			g.list[v.ID] = &v
		}
	}
}

func has(ev *event.Event, b verdict.Bind) bool {
	if name, ok := strings.CutPrefix(b.Kind, "object:"); ok {
		o := ev.Object(name)
		return o != nil && o.Hash == b.Value
	}
	k, err := event.ParseKind(b.Kind)
	return err == nil && ev.Keys[k] != 0 && (b.Value == 0 || ev.Keys[k] == b.Value)
}

// who says that a bind tells more than which software asks.
func who(b verdict.Bind) bool { return b.Kind != "fingerprint" && b.Kind != "request_template" }

// decide returns the strongest action in force for the event.
func (g *gate) decide(ev *event.Event) event.Action {
	act := event.ActionAllow
	for _, v := range g.list {
		if v.Revoked || int64(v.Expires) < ev.Time || v.Action <= act {
			continue
		}
		for _, grp := range v.Binds {
			hit := len(grp.All) > 0 && (len(grp.Routes) == 0 || slices.Contains(grp.Routes, ev.Route))
			for _, b := range grp.All {
				hit = hit && has(ev, b)
			}
			for _, b := range grp.None {
				hit = hit && !has(ev, b)
			}
			if hit {
				// As the enforcer has it: the first group decides, and software alone
				// never blocks.
				act = max(act, v.Action)
				if !slices.ContainsFunc(grp.All, who) {
					act = min(act, event.ActionChallenge)
				}
				break
			}
		}
	}
	return act
}

func hash(kind, v string) event.Hash {
	if v == "" || v == "-" {
		return 0
	}
	return event.Hash(sketch.HashString(kind+"\x00"+v) | 1)
}

// build makes an event from key=value words.
func build(site string, t time.Time, id string, words map[string]string) *event.Event {
	ev := &event.Event{ID: id, Time: t.UnixNano(), Site: site, Method: "GET", Path: "/", Status: 200, HeaderOrder: 1, Source: event.SourceReplay}
	get := func(k string) string { return words[k] }
	ev.Keys[event.KindClient] = hash("client", get("client"))
	ev.Keys[event.KindFingerprint] = hash("fingerprint", get("ua"))
	ev.Keys[event.KindClientFingerprint] = hash("cf", get("client")+get("ua"))
	ev.Keys[event.KindSession] = hash("session", get("session"))
	ev.Keys[event.KindDevice] = hash("device", get("device"))
	ev.Keys[event.KindAccount] = hash("account", get("account"))
	ev.Keys[event.KindRequestTemplate] = hash("template", get("template"))
	ev.UserAgent, ev.JA4 = get("ua"), get("ja4")
	if c := get("claimed"); c != "" {
		ev.Claimed = hash("account", c)
		ev.Keys[event.KindTargetAccount] = hash("target", c)
	}
	ev.Secret = hash("secret", get("secret"))
	ev.NewSession = hash("session", get("newsession"))
	for k, v := range words {
		var err error
		switch k {
		case "role":
			ev.Role, err = event.ParseRole(v)
			ev.Method = "POST"
		case "outcome":
			ev.Outcome, err = event.ParseOutcome(v)
			if ev.Outcome == event.OutcomeFailure {
				ev.Status = 401
			}
		case "log":
			ev.HeaderOrder = 0
		case "opens", "closes":
			var d time.Duration
			if d, err = time.ParseDuration(v); v != "" && k == "opens" {
				ev.Opens = ev.Time + int64(d)
			} else if v != "" {
				ev.Closes = ev.Time + int64(d)
			}
		case "flags":
			if strings.Contains(v, "proves") {
				ev.Flags |= event.FlagProves
			}
			if strings.Contains(v, "teach") {
				ev.Flags |= event.FlagTeach
			}
			if strings.Contains(v, "allowlisted") {
				ev.Flags |= event.FlagAllowlisted
			}
			if strings.Contains(v, "reused") {
				ev.Flags |= event.FlagSecretReused
			}
			if strings.Contains(v, "verified") {
				ev.Flags |= event.FlagVerifiedBot
			}
		case "took":
			var d time.Duration
			d, err = time.ParseDuration(v)
			ev.Duration = int64(d)
		case "payload":
			for i := range 8 {
				if p := event.Payload(1 << i); strings.Contains(v, p.String()) {
					ev.Payload |= p
				}
			}
		default:
			if name, ok := strings.CutPrefix(k, "obj."); ok {
				ev.Objects = append(ev.Objects, event.Object{Name: name, Value: v, Hash: hash("object:"+name, v)})
			}
		}
		if err != nil {
			panic(err)
		}
	}
	if m := get("method"); m != "" {
		ev.Method = m
	}
	ev.QueryKeys, ev.Route, ev.RefererHost = get("query"), get("route"), get("referer")
	if p := get("path"); p != "" {
		ev.Path = p
	}
	if s := get("status"); s != "" {
		n, _ := strconv.Atoi(s)
		ev.Status = uint16(n)
	}
	slices.SortFunc(ev.Objects, func(a, b event.Object) int { return strings.Compare(a.Name, b.Name) })
	return ev
}

// script runs one replay script; its language stands in testdata/README.
type script struct {
	t       *testing.T
	e       *Engine
	g       gate
	now     time.Time
	n       int64
	acted   []event.Action
	threats map[verdict.Threat]bool
	all     []verdict.Verdict
	checks  int
}

// number is a word's place for the number of the request, modulo or divided by another.
var number = regexp.MustCompile(`\{i(?:([%/])([1-9][0-9]*))?\}`)

func (s *script) run(words []string) {
	kv := map[string]string{}
	count, every := 1, time.Duration(0)
	for i := 0; i < len(words); i++ {
		if n, err := strconv.Atoi(words[i]); err == nil && i == 0 {
			count = n
			continue
		}
		if words[i] == "every" {
			every, _ = time.ParseDuration(words[i+1])
			i++
			continue
		}
		k, v, ok := strings.Cut(words[i], "=")
		if !ok {
			s.t.Fatalf("script word %q is no key=value", words[i])
		}
		kv[k] = v
	}
	s.acted, s.threats = s.acted[:0], map[verdict.Threat]bool{}
	for i := range count {
		one := map[string]string{}
		for k, v := range kv {
			one[k] = number.ReplaceAllStringFunc(v, func(word string) string {
				m, _ := strconv.Atoi(number.FindStringSubmatch(word)[2])
				switch number.FindStringSubmatch(word)[1] {
				case "%":
					return strconv.Itoa(i % m)
				case "/":
					return strconv.Itoa(i / m)
				}
				return strconv.Itoa(i)
			})
		}
		s.n++
		ev := build("shop", s.now, fmt.Sprintf("r-%06d", s.n), one)
		s.send(ev)
		s.now = s.now.Add(every)
	}
}

func (s *script) send(ev *event.Event) {
	act := s.g.decide(ev)
	s.acted = append(s.acted, act)
	if act >= event.ActionRateLimit {
		ev.Action, ev.Mode = act, event.ModeEnforce
	}
	r := s.e.Observe(ev, verdict.Position{Offset: s.n})
	for i := range r.Verdicts {
		v := r.Verdicts[i]
		s.all = append(s.all, v)
		for _, th := range v.Threats {
			s.threats[th] = true
		}
		checkVerdict(s.t, &v)
	}
	s.g.apply(r.Verdicts)
}

// checkVerdict holds what every verdict promises.
func checkVerdict(t *testing.T, v *verdict.Verdict) {
	t.Helper()
	var sum verdict.Milli
	for _, f := range v.Evidence.Features {
		sum += f.Bits
	}
	switch {
	case sum != v.Score:
		t.Errorf("%s: bits add up to %s, score is %s", v.ID, sum, v.Score)
	case len(v.Binds) == 0 || len(v.Evidence.Events) == 0 || v.Evidence.Summary == "" || v.Expires <= v.Time:
		t.Errorf("%s is incomplete: %+v", v.ID, v)
	}
	for _, g := range v.Binds {
		if len(g.All) == 1 && g.All[0].Kind == "target_account" {
			t.Errorf("%s: a target account stands alone", v.ID)
		}
	}
}

func (s *script) expect(words []string) {
	s.checks++
	switch words[0] {
	case "acted": // expect acted >= 90 % | expect acted == 0
		n := 0
		for _, a := range s.acted {
			if a >= event.ActionRateLimit {
				n++
			}
		}
		want, _ := strconv.Atoi(words[2])
		got := n
		if len(words) > 3 {
			got = n * 100 / len(s.acted)
		}
		if words[1] == ">=" && got < want || words[1] == "==" && got != want {
			s.t.Errorf("acted on %d (%d of %d), expected %s", got, n, len(s.acted), strings.Join(words, " "))
		}
	case "first": // expect first block within 8
		act, err := event.ParseAction(words[1])
		want, _ := strconv.Atoi(words[3])
		at := slices.IndexFunc(s.acted, func(a event.Action) bool { return a >= act })
		if err != nil || at < 0 || at > want {
			s.t.Errorf("first %s at attempt %d (counted from 0) of %d, expected within %d", words[1], at, len(s.acted), want)
		}
	case "strongest": // expect strongest challenge
		if got := slices.Max(s.acted); got.String() != words[1] {
			s.t.Errorf("strongest action is %s, expected %s", got, words[1])
		}
	case "cap": // expect cap WORDS OF IT
		text := strings.Join(words[1:], " ")
		if !slices.ContainsFunc(s.all, func(v verdict.Verdict) bool { return strings.Contains(strings.Join(v.Evidence.Caps, ";"), text) }) {
			s.t.Errorf("no verdict so far is capped by %q", text)
		}
	case "threat": // expect threat OAT-008
		if !s.threats[verdict.Threat(words[1])] {
			s.t.Errorf("no verdict names %s, but %v", words[1], s.threats)
		}
	case "quiet": // expect quiet: no verdict above observe so far
		for _, v := range s.all {
			if v.Action > event.ActionObserve {
				s.t.Errorf("unexpected: %s %v %s", v.Action, v.Threats, v.Evidence.Summary)
			}
		}
	default:
		s.t.Fatalf("expect %q?", words)
	}
}

func TestScripts(t *testing.T) {
	files, _ := filepath.Glob("threat/testdata/*.script")
	if len(files) == 0 {
		t.Fatal("no scripts")
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".script"), func(t *testing.T) {
			s := &script{t: t, e: New(Config{Entities: 1 << 16}), g: gate{map[string]*verdict.Verdict{}}, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			for sc := bufio.NewScanner(f); sc.Scan(); {
				line, _, _ := strings.Cut(sc.Text(), "#")
				words := strings.Fields(line)
				switch {
				case len(words) == 0:
				case words[0] == "wait":
					d, _ := time.ParseDuration(words[1])
					s.now = s.now.Add(d)
				case words[0] == "send":
					s.run(words[1:])
				case words[0] == "expect":
					s.expect(words[1:])
				default:
					t.Fatalf("%s: %q?", name, line)
				}
			}
			if s.checks == 0 {
				t.Fatal("the script expects nothing")
			}
			if t.Failed() && len(s.all) > 0 {
				for _, v := range s.all[max(0, len(s.all)-3):] {
					t.Logf("last: %s %v %s caps %v", v.Action, v.Threats, v.Evidence.Summary, v.Evidence.Caps)
				}
			}
		})
	}
}
