package line

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/admin"
)

// TestUpper95 compares with the table of Garwood's limits.
func TestUpper95(t *testing.T) {
	for k, want := range map[int64]float64{0: 2.996, 1: 4.744, 2: 6.296, 5: 10.513, 10: 16.962, 50: 63.287, 100: 118.08, 1000: 1053.8, 1001: 1054.8, 100_000: 100_522} {
		if got := upper95(k); math.Abs(got-want) > want/2000 {
			t.Errorf("of %d seen: at most %.3f, want %.3f", k, got, want)
		}
	}
}

func TestBoundsAreSaidInWords(t *testing.T) {
	for _, c := range []struct {
		hit, seen int64
		most      float64
		want      string
	}{
		{0, 12_000, 2.50, "With 95 % confidence this policy would have blocked at most 2.50 of 10,000 sessions (seen: 0 of 12000)."},
		{3, 3, 10_000, "With 95 % confidence this policy would have blocked at most 10000.00 of 10,000 sessions (seen: 3 of 3)."},
		{0, 0, 10_000, "No sessions were seen: nothing can be said of them."},
	} {
		b := admin.ShadowBound{What: "blocked", Of: "sessions", Hit: c.hit, Seen: c.seen}
		bound(&b)
		if b.Statement != c.want || math.Abs(b.AtMost-c.most) > .01 {
			t.Errorf("%+v", b)
		}
	}
}

// TestARuleIsText asks for one that tries to be more.
func TestARuleIsText(t *testing.T) {
	asked := 0
	query := func(_ context.Context, sql string) (*admin.Table, error) {
		asked++
		if !strings.Contains(sql, `rule = 'x\') OR 1=1 --'`) {
			t.Errorf("asked %s", sql)
		}
		row := []any{0, 0, 0, 0, 0, 0, 0, 0} // of the totals
		if strings.Contains(sql, "GROUP BY key") {
			row = []any{"GET /", 0, 0, 0}
		}
		return &admin.Table{Rows: [][]any{row}}, nil
	}
	if _, err := shadowReport(t.Context(), query, time.Unix(1, 0), `x') OR 1=1 --`); err != nil || asked != len(shadowKeys)+2 {
		t.Errorf("%d queries, %v", asked, err)
	}
}

// TestAnAnswerThatIsNoCountIsAnError has a store answer otherwise than asked.
func TestAnAnswerThatIsNoCountIsAnError(t *testing.T) {
	for name, row := range map[string][]any{
		"no number":  {"GET /", "many", 0, 0},
		"too few":    {"GET /", 1, 2},
		"a fraction": {"GET /", 1.5, 2, 3},
	} {
		query := func(context.Context, string) (*admin.Table, error) { return &admin.Table{Rows: [][]any{row}}, nil }
		if rep, err := shadowReport(t.Context(), query, time.Unix(1, 0), ""); err == nil {
			t.Errorf("%s: %+v", name, rep)
		}
	}
}
