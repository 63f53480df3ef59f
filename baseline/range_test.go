package baseline

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/verdict"
)

// TestRevisionsStandWhereTheyWereMade holds that the range of each revision
// reaches the event that made it, so that a replay of the range comes to it.
func TestRevisionsStandWhereTheyWereMade(t *testing.T) {
	e := New(Config{Entities: 1 << 14, Cases: 512})
	revisions, links := 0, map[verdict.Link]bool{}
	for i, ev := range crowd(1, 20000) {
		res := e.Observe(ev, verdict.Position{Offset: int64(i)})
		for k := range res.Verdicts {
			v := &res.Verdicts[k]
			if revisions++; v.Evidence.Range.To != int64(i) {
				t.Fatalf("event %d gave revision %d of %s, whose range ends at %d", i, v.Revision, v.ID, v.Evidence.Range.To)
			}
			for _, l := range v.Evidence.Links {
				if l.From == l.To {
					links[l] = true
				}
			}
		}
	}
	if revisions == 0 || len(links) > 0 {
		t.Errorf("%d revisions; links of an actor with itself: %v", revisions, links)
	}
}

// TestLinksNameIdentifiers holds that evidence says which identifiers belong
// together, in the form in which binds and the store name them.
func TestLinksNameIdentifiers(t *testing.T) {
	e := New(Config{Entities: 1 << 14, Cases: 512})
	named := regexp.MustCompile(`^(session|device|client|client_fingerprint|fingerprint|request_template|account|target_account|object(:[a-z_]+)?)(:[0-9a-f]{16})?$`)
	actor := regexp.MustCompile(`^a_[0-9a-f]{16}$`)
	links, values := 0, 0
	for i, ev := range crowd(1, 20000) {
		for _, v := range e.Observe(ev, verdict.Position{Offset: int64(i)}).Verdicts {
			for _, l := range v.Evidence.Links {
				if links++; !named.MatchString(l.From) && !actor.MatchString(l.From) || !actor.MatchString(l.To) {
					t.Fatalf("event %d: %s links %q to %q, want KIND, KIND:VALUE or an actor, to an actor", i, v.ID, l.From, l.To)
				}
				if strings.Contains(l.From, ":") {
					values++
				}
			}
		}
	}
	if values*2 < links || links == 0 {
		t.Errorf("%d of %d links name a value", values, links)
	}
}

// TestAProgramsEvidenceCountsItsHits: of forty requests by a program two are
// probes, and so says the evidence.
func TestAProgramsEvidenceCountsItsHits(t *testing.T) {
	e := New(Config{Entities: 1 << 12, Cases: 64})
	at, told := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), 0
	for i := range 42 {
		words := map[string]string{"client": fmt.Sprint("c", i), "ua": "tool", "template": "t", "path": fmt.Sprint("/p", i%4)}
		if i >= 40 {
			words["path"], words["payload"] = fmt.Sprint("/.git/", i), "probe_path"
		}
		ev := build("shop", at.Add(time.Duration(i)*time.Second), fmt.Sprint("r-", i), words)
		if i >= 40 {
			ev.Status = 404
		}
		for _, v := range e.Observe(ev, verdict.Position{Offset: int64(i)}).Verdicts {
			for _, f := range v.Evidence.Features {
				if v.Scope != verdict.ScopeCohort || f.Name != "product_paths" && f.Name != "attack_payloads" && f.Name != "missing_paths" {
					continue
				}
				if told++; f.Value > verdict.Milli(i-39)*1000 {
					t.Errorf("after %d probes: %s is %s in %s", i-39, f.Name, f.Value, v.Evidence.Summary)
				}
			}
		}
	}
	if told == 0 {
		t.Error("no verdict about the program")
	}
}
