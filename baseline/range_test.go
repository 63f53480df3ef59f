package baseline

import (
	"regexp"
	"strings"
	"testing"

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
