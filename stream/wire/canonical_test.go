package wire

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// variants are verdicts with everything left out, everything present, and
// strings that need escapes.
func variants() []verdict.Verdict {
	full := sampleVerdict()
	full.Sequence, full.Revoked, full.Maturity, full.Policy = 1<<40, true, "2 days, 4100 owners", "sha256:ab"
	full.Score, full.Confidence, full.FalsePositiveBound = -500, -1, 1_000_000_001
	full.Binds = append(full.Binds, verdict.Group{All: []verdict.Bind{{Kind: "session", Value: ^event.Hash(0)}}, None: []verdict.Bind{{Kind: "device", Value: 7}}, Expires: full.Time})
	full.Limit = &verdict.Limit{Per: "1h", Bytes: 1, Seconds: 2, Cost: -3, Key: "session"}
	full.Evidence.Summary, full.Evidence.Caps, full.Evidence.Counterfactual = "31 accounts", []string{"a", "b"}, "fewer"
	escaped := full
	escaped.Evidence.Summary = "a \"quoted\" \\ caf\u00e9 \x01\x7f\u2028\xff"
	empty := verdict.Verdict{Action: event.ActionBlock, Mode: event.ModeShadow, Threats: []verdict.Threat{}, Binds: []verdict.Group{{}}}
	empty.Evidence.Events = []string{}
	return []verdict.Verdict{sampleVerdict(), full, escaped, empty, {Action: event.ActionAllow, Mode: event.ModeEnforce}}
}

func TestCanonicalFormIsThatOfEncodingJSON(t *testing.T) {
	fast := 0
	for i, v := range variants() {
		want, err := appendJSON([]byte("x"), &v)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := appendCanonical([]byte("x"), &v); ok {
			fast++
			if string(got) != string(want) {
				t.Errorf("variant %d is written as\n%s\nwant\n%s", i, got, want)
			}
		}
		var slow, quick verdict.Verdict
		if err := json.Unmarshal(want[1:], &slow); err != nil {
			t.Fatal(err)
		}
		if readCanonical(want[1:], &quick) {
			fast++
			if d := cmp.Diff(slow, quick); d != "" {
				t.Errorf("variant %d is read as %s", i, d)
			}
		}
	}
	if fast != 8 {
		t.Errorf("%d of 8 went the short way", fast)
	}
}

func FuzzReadCanonical(f *testing.F) {
	for _, v := range variants() {
		b, _ := AppendVerdict(nil, &v)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var quick, slow verdict.Verdict
		if !readCanonical(b, &quick) {
			return
		}
		if err := json.Unmarshal(b, &slow); err != nil {
			t.Fatalf("encoding/json refuses what was read: %v", err)
		}
		if d := cmp.Diff(slow, quick); d != "" {
			t.Fatal(d)
		}
		want, err := appendJSON(nil, &quick)
		if got, ok := appendCanonical(nil, &quick); ok && (err != nil || string(got) != string(want)) {
			t.Fatalf("%v: written as %s, want %s", err, got, want)
		}
	})
}

func BenchmarkVerdict(b *testing.B) {
	v := variants()[1]
	for range 40 {
		v.Binds = append(v.Binds, v.Binds[1])
	}
	raw, err := AppendVerdict(nil, &v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf, _ = AppendVerdict(buf[:0], &v)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseVerdict(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
