package scoreboard

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirproject/weir/collector/accesslog"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// TestCrowdSecSources replays the web tests of the CrowdSec hub as a site's
// first lines, without a flow map: every source that overflows there is at
// least observed here, with a threat and a reason, by its last line; tests
// without an overflow raise nothing. testdata/crowdsec/SOURCE says where the
// lines come from.
func TestCrowdSecSources(t *testing.T) {
	expected, err := os.ReadFile("testdata/crowdsec/expected.tsv")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{}
	for line := range strings.Lines(string(expected)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if want[f[0]] == nil {
			want[f[0]] = map[string]string{}
		}
		if f[1] != "-" {
			want[f[0]][f[1]] = f[2]
		}
	}
	if len(want) < 20 {
		t.Fatalf("only %d tests", len(want))
	}
	for name, sources := range want {
		got := accused(t, filepath.Join("testdata/crowdsec", name+".log"))
		for source, scenario := range sources {
			if got[source] == "" {
				t.Errorf("%s: %s overflows %s there and is not observed here; accused: %v", name, source, scenario, got)
			} else {
				t.Logf("%-32s %-15s %s", name, source, got[source])
			}
		}
		if len(sources) == 0 && len(got) > 0 {
			t.Errorf("%s: nobody overflows there; accused here: %v", name, got)
		}
	}
}

// accused replays a log and returns the sources that a verdict speaks of, with
// its threats.
func accused(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	l, err := NewLine("log", "")
	if err != nil {
		t.Fatal(err)
	}
	got, byKey := map[string]string{}, map[event.Hash]string{}
	l.OnDecision = func(_ *verdict.Decision, ev *event.Event, _ any) {
		byKey[ev.Keys[event.KindClientFingerprint]], byKey[ev.Keys[event.KindClient]] = ev.Client.String(), ev.Client.String()
	}
	var given []verdict.Verdict
	l.OnVerdict = func(v *verdict.Verdict) {
		if v.Action >= event.ActionObserve && len(v.Threats) > 0 && v.Evidence.Summary != "" {
			given = append(given, *v)
		}
	}
	p := accesslog.NewParser(accesslog.FormatAuto)
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan(); n++ {
		x := l.Exchange()
		if err := p.Parse(lines.Bytes(), []byte(filepath.Base(path)+":"+itoa(n+1)), x); err != nil {
			t.Fatalf("%s:%d: %v", path, n+1, err)
		}
		l.Play(nil)
	}
	l.Finish()
	for _, v := range given {
		for _, g := range v.Binds {
			for _, b := range g.All {
				if source := byKey[b.Value]; source != "" && !strings.Contains(got[source], string(v.Threats[0])) {
					got[source] = strings.TrimSpace(got[source] + " " + string(v.Threats[0]))
				}
			}
		}
	}
	for s, threats := range got {
		all := strings.Fields(threats)
		slices.Sort(all)
		got[s] = strings.Join(all, " ")
	}
	return got
}
