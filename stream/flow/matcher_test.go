package flow

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weirproject/weir/stream/event"
)

// TestMatcherFindsWhatPlainSearchFinds compares the automaton with one search
// per pattern over texts made of pieces of the patterns themselves.
func TestMatcherFindsWhatPlainSearchFinds(t *testing.T) {
	p := loadPayloads()
	random := rand.New(rand.NewPCG(1, 2))
	n := 0
	for _, m := range []*matcher{&p.injection, &p.path, &p.agent} {
		for range 300 {
			var b strings.Builder
			for range 1 + random.IntN(4) {
				s := m.patterns[random.IntN(len(m.patterns))].text
				b.WriteString(s[random.IntN(2):])
				b.WriteString([]string{"", " ", "x", "/"}[random.IntN(4)])
			}
			text := []byte(b.String())
			var want event.Payload
			for i := range m.patterns {
				q := &m.patterns[i]
				for at := 0; at+len(q.text) <= len(text); at++ {
					if string(text[at:at+len(q.text)]) == q.text && q.fits(text, at+len(q.text)) {
						want |= q.class
					}
				}
			}
			if n++; m.find(text) != want {
				t.Errorf("%q: %v, want %v", text, m.find(text), want)
			}
		}
	}
	if n == 0 {
		t.Fatal("no text was compared")
	}
}

func FuzzMatcher(f *testing.F) {
	f.Add("1' or '1'='1", true)
	f.Add("/%2e%2e/%252e/etc/passwd/*!50000x*/ (", false)
	p := loadPayloads()
	f.Fuzz(func(t *testing.T, s string, plus bool) {
		text := appendNormal(nil, s, plus)
		if len(text) > len(s) {
			t.Errorf("%q grew to %q", s, text)
		}
		_ = p.injection.find(text) | p.path.find(text) | p.agent.find(text) | tautology(text)
	})
}

func BenchmarkPayload(b *testing.B) {
	p := loadPayloads()
	var text []byte
	b.ReportAllocs()
	for b.Loop() {
		text = appendNormal(text[:0], "/category/garden-tools/item/4711?page=3&sort=price&utm_source=news", true)
		p.injection.find(text)
	}
}
