package stream

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	note := func(intent, verdicts int64, lineage string) commitNote {
		return commitNote{intent: intent, verdicts: verdicts, lineage: lineage}
	}
	cases := []struct {
		name string
		log  logState
		c    committed
		want plan
	}{
		{
			"a new group begins at the log's start",
			logState{0, 50, "id"},
			committed{offset: -1},
			plan{lineage: "id.0", maxSnapshot: 50, store: -1},
		},
		{
			"an acknowledged range is not repeated",
			logState{0, 50, "id"},
			committed{20, note(0, 30, "id.2"), true},
			plan{lineage: "id.2", maxSnapshot: 50, store: 20, emitFrom: 30},
		},
		{
			"an announced range is repeated with its token",
			logState{0, 50, "id"},
			committed{20, note(40, 30, "id.0"), true},
			plan{lineage: "id.0", maxSnapshot: 50, store: 20, emitFrom: 30, firstTo: 40, firstToken: "id.0/t/1/20-40"},
		},
		{
			"a log that lost its end gets a new lineage",
			logState{0, 15, "id"},
			committed{20, note(0, 20, "id.0"), true},
			plan{lineage: "id.1", maxSnapshot: 15, store: 15, emitFrom: 15, rewound: true},
		},
		{
			"what is left of an announced range keeps its token",
			logState{0, 30, "id"},
			committed{20, note(40, 30, "id.0"), true},
			plan{lineage: "id.1", maxSnapshot: 30, store: 20, emitFrom: 30, firstTo: 30, firstToken: "id.0/t/1/20-40", rewound: true},
		},
		{
			"an embedded log that starts its offsets again",
			logState{0, 0, "id"},
			committed{1000, note(0, 1000, "id.0"), true},
			plan{lineage: "id.1", maxSnapshot: 0, store: 0, emitFrom: 0, rewound: true},
		},
		{
			"another topic of the same name",
			logState{0, 100, "new"},
			committed{20, note(40, 30, "old.0"), true},
			plan{lineage: "new.0", maxSnapshot: 100, store: 0, foreign: true, rewound: true},
		},
		{
			"retention took the whole announced range",
			logState{60, 90, "id"},
			committed{20, note(40, 30, "id.0"), true},
			plan{lineage: "id.0", maxSnapshot: 90, store: 60, emitFrom: 30},
		},
		{
			"retention took part of the announced range",
			logState{30, 90, "id"},
			committed{20, note(40, 35, "id.0"), true},
			plan{lineage: "id.0", maxSnapshot: 90, store: 30, emitFrom: 35, firstTo: 40, firstToken: "id.0/t/1/20-40"},
		},
		{
			"an offset set by hand is taken at its word",
			logState{0, 90, "id"},
			committed{offset: 10},
			plan{lineage: "id.0", maxSnapshot: 90, store: 10},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := makePlan("t", 1, c.log, c.c)
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(plan{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNoteRoundTrip(t *testing.T) {
	for _, n := range []commitNote{{0, 0, "a.0"}, {5, 7, "0123456789abcdef.12"}, {1 << 62, 1 << 62, "x"}} {
		got, err := parseNote(n.String())
		if err != nil || got != n {
			t.Errorf("%q reads as %+v, %v", n, got, err)
		}
	}
	for _, bad := range []string{"", "weir1", "weir1 1 2", "weir1 -1 2 a", "weir1 x 2 a", "weir2 1 2 a", "weir1 1 2 ", "weir1 1 2 a b", "weir1 1 2 " + strings.Repeat("a", 300)} {
		if n, err := parseNote(bad); err == nil {
			t.Errorf("%q reads as %+v", bad, n)
		}
	}
}

func FuzzParseNote(f *testing.F) {
	f.Add("weir1 5 7 0123.1")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseNote(s)
		if err != nil {
			return
		}
		again, err := parseNote(n.String())
		if err != nil || again != n {
			t.Errorf("%q reads as %+v, which reads as %+v, %v", s, n, again, err)
		}
	})
}
