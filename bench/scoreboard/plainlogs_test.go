package scoreboard

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/collector/accesslog"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// TestRealTools plays what real tools left in an access log into a real site's
// log of which nothing is known before: every tool is acted on, and at most one
// in a hundred of the site's other addresses. testdata/plainlogs/SOURCE says
// where the lines come from.
func TestRealTools(t *testing.T) {
	files, err := filepath.Glob("testdata/plainlogs/*.log.gz")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	var all []line
	begin := time.Time{}
	for _, path := range files {
		if strings.HasSuffix(path, "background.log.gz") {
			all = recording(t, path, "background")
			begin = all[0].at
		}
	}
	for i, path := range files {
		class := strings.TrimSuffix(filepath.Base(path), ".log.gz")
		if class == "background" {
			continue
		}
		// Each begins in an hour of its own, after four of the site's.
		tool := recording(t, path, class)
		shift := begin.Add(time.Duration(4+i) * time.Hour).Sub(tool[0].at)
		for k := range tool {
			tool[k].at = tool[k].at.Add(shift)
		}
		all = append(all, tool...)
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].at.Before(all[j].at) })
	sources := play(t, all)
	for _, c := range sources.Classes() {
		t.Logf("%-14s %4d addresses, %.3f acted on, after %d requests", c.Name, c.Addresses, c.Recall(), c.Before)
		if c.Bot && c.Recall() < 1 {
			t.Errorf("%s was not acted on", c.Name)
		}
	}
	recall, classes, benign := sources.Macro()
	t.Logf("%d classes of real tools, macro recall %.3f; %.2f %% of the other addresses acted on", classes, recall, 100*benign)
	if classes < 8 || benign > .01 {
		t.Errorf("%d classes, %.2f %% of the other addresses acted on: want 8 and at most 1 %%", classes, 100*benign)
	}
}

// line is one line of a recording, parsed, with the time at which it is played.
type line struct {
	text, class string
	at          time.Time
}

func recording(t *testing.T, path, class string) []line {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var all []line
	p, x := accesslog.NewParser(accesslog.FormatCombined), new(flow.Exchange)
	for s := bufio.NewScanner(z); s.Scan(); {
		*x = flow.Exchange{}
		if err := p.Parse(s.Bytes(), []byte(class+":1"), x); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, line{s.Text(), class, x.Time})
	}
	if len(all) < 40 {
		t.Fatalf("%s: %d lines", path, len(all))
	}
	return all
}

// play runs lines as a site's first ones, and counts by address.
func play(t *testing.T, all []line) *Sources {
	t.Helper()
	l, err := NewLine("log", "")
	if err != nil {
		t.Fatal(err)
	}
	sources := NewSources()
	l.OnDecision = func(d *verdict.Decision, ev *event.Event, tag any) {
		class := tag.(string)
		sources.Add("", class, ev.Client, class != "background", &Decision{Action: d.Action.String()}, "")
	}
	p := accesslog.NewParser(accesslog.FormatCombined)
	for i := range all {
		x := l.Exchange()
		if err := p.Parse([]byte(all[i].text), []byte("line:"+itoa(i+1)), x); err != nil {
			t.Fatal(err)
		}
		x.Time = all[i].at
		l.Play(all[i].class)
	}
	l.Finish()
	return sources
}
