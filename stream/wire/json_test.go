package wire

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

func sampleVerdict() verdict.Verdict {
	return verdict.Verdict{
		ID: "v_0123456789abcdef0123456789abcdef", Revision: 2, Site: "shop", Time: 1767225600_123456789,
		Expires: 1767229200_000000000, Scope: verdict.ScopeActor, Actor: "a_00000000000000ff", Action: event.ActionBlock,
		Mode: event.ModeEnforce, Threats: []verdict.Threat{"OAT-008"}, Score: 21_450, Confidence: 999_812,
		FalsePositiveBound: 100_000, Bound: "model",
		Binds: []verdict.Group{{
			All:    []verdict.Bind{{Kind: "fingerprint", Value: 0xabc}, {Kind: "object:coupon", Value: 1}},
			Routes: []string{"/api/login"},
		}},
		Limit: &verdict.Limit{Per: "1m", Requests: 5, Key: "actor"},
		Evidence: verdict.Evidence{
			Summary:  "31 accounts tried & <failed> from one client",
			Features: []verdict.Feature{{Name: "failures", Value: 31_000, Expected: 200, Bits: 21_450}},
			Links:    []verdict.Link{{From: "session:1", To: "device:2", Bits: 7_000}},
			Events:   []string{"r-1", "r-2"}, Range: verdict.Range{Topic: "weir.events", Partition: 1, From: 7, To: 99},
		},
		Baseline: "b_1", Engine: "0.1.0",
	}
}

func TestVerdictsComeBackAndKeepTheirBytes(t *testing.T) {
	const file = "testdata/verdict_v1.json"
	v := sampleVerdict()
	b, err := AppendVerdict([]byte("x"), &v)
	if err != nil || b[0] != 'x' {
		t.Fatal(err)
	}
	b = b[1:]
	if *update {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(golden, b) {
		t.Errorf("%v: the canonical form changed:\n%s", err, b)
	}
	got, err := ParseVerdict(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(v, got); d != "" {
		t.Error(d)
	}
	newer := bytes.Replace(b, []byte(`{"id"`), []byte(`{"next":{"a":[1]},"id"`), 1)
	if _, err := ParseVerdict(newer); err != nil {
		t.Errorf("a field of the next minor version: %v", err)
	}
}

func TestDecisionsAndControlsComeBack(t *testing.T) {
	d := verdict.Decision{
		ID: "r-1", Time: 5, Site: "shop", Action: event.ActionBlock, Proposed: event.ActionBlock, Mode: event.ModeEnforce,
		Verdict: "v_1", Actor: "a_1", Scope: verdict.ScopeActor, Threats: []verdict.Threat{"OAT-007"}, Reason: "r",
		Matched: []string{"v_1"}, Request: &verdict.Request{Client: "203.0.113.7", Method: "GET", Host: "h", Path: "/"},
	}
	b, err := AppendDecision(nil, &d)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseDecision(b); err != nil || cmp.Diff(d, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(d, got))
	}
	v := sampleVerdict()
	for _, c := range []verdict.Control{
		{Kind: "verdict", Site: "shop", Time: 9, By: "ops", Verdict: &v},
		{Kind: "revoke", Site: "shop", ID: v.ID},
		{Kind: "allow", Site: "shop", Allow: []verdict.Bind{{Kind: "client", Value: 7}}},
		{Kind: "disallow", Site: "shop", Allow: []verdict.Bind{{Kind: "client", Value: 7}}},
	} {
		b, err := AppendControl(nil, &c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseControl(b); err != nil || cmp.Diff(c, got) != "" {
			t.Errorf("%s: %v %s", c.Kind, err, cmp.Diff(c, got))
		}
	}
}

func TestUnusableRecordsAreRefusedWithTheirReason(t *testing.T) {
	v := func(s string) error { _, err := ParseVerdict([]byte(s)); return err }
	d := func(s string) error { _, err := ParseDecision([]byte(s)); return err }
	c := func(s string) error { _, err := ParseControl([]byte(s)); return err }
	binds := func(s string) string {
		return `{"id":"v","revision":1,"site":"s","action":"block","mode":"enforce","binds":` + s + `}`
	}
	for _, x := range []struct {
		err  error
		want string
	}{
		{v(""), "verdict: unusable record: byte 0"},
		{v(`{"id":"v","revision":1,`), "byte 23"},
		{v(`{"revision":1,"site":"s","action":"block","mode":"enforce"}`), "id is missing"},
		{v(`{"id":"v","site":"s","action":"block","mode":"enforce"}`), "revision is missing"},
		{v(`{"id":"v","revision":1,"site":"s","action":"nuke"}`), `action "nuke" is not known`},
		{v(binds(`[{"all":[]}]`)), "binds[0].all is empty"},
		{v(binds(`[{"all":[{"kind":"client"}]}]`)), "binds[0].all[0] needs a kind and a value"},
		{v(binds(`[{"all":[{"kind":"client","value":"xyz"}]}]`)), "want 16 hex digits"},
		{v(strings.Repeat("[", 100)), "nested deeper than 16 at byte 16"},
		{v(`{"id":"` + strings.Repeat("x", MaxVerdictBytes) + `"}`), "limit 262144"},
		{v(`{"id":"` + strings.Repeat("x", 300) + `","revision":1,"site":"s"}`), "id has 300 bytes"},
		{d(`{"id":"d"}`), "site is missing"},
		{d(`[]`), "decision: unusable record"},
		{c(`{"site":"s"}`), "kind is missing"},
		{c(`{"kind":"boom","site":"s"}`), `kind "boom" is not`},
		{c(`{"kind":"verdict","site":"s"}`), "without a verdict"},
		{c(`{"kind":"revoke","site":"s"}`), "id is missing"},
		{c(`{"kind":"allow","site":"s"}`), "without identifiers"},
	} {
		if !errors.Is(x.err, ErrRecord) || !strings.Contains(fmt.Sprint(x.err), x.want) {
			t.Errorf("want %q: %v", x.want, x.err)
		}
	}
}

func FuzzParseJSON(f *testing.F) {
	v := sampleVerdict()
	b, _ := AppendVerdict(nil, &v)
	f.Add(b)
	b, _ = AppendControl(nil, &verdict.Control{Kind: "verdict", Site: "s", Verdict: &v})
	f.Add(b)
	b, _ = AppendDecision(nil, &verdict.Decision{ID: "d", Site: "s", Request: &verdict.Request{}})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := ParseVerdict(b); err == nil {
			again, err := AppendVerdict(nil, &v)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseVerdict(again); err != nil && len(again) <= MaxVerdictBytes {
				t.Fatalf("own output refused: %v\n%s", err, again)
			}
		}
		_, _ = ParseDecision(b)
		_, _ = ParseControl(b)
	})
}
