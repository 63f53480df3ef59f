package baseline

import (
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
