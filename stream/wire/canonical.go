package wire

import (
	"slices"
	"strconv"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Verdicts are written once and read three times (store, feed, enforcers), and a
// bot that changes its identifiers causes a revision for each. Their canonical
// form is therefore written and read here without reflection, in a tenth of
// encoding/json's time. Whatever is not exactly that form, an escape in a string
// included, is left to encoding/json, whose result is the definition.

// plain reports whether a string stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// canonWriter appends canonical JSON; bad says that a string needs an escape.
type canonWriter struct {
	b   []byte
	bad bool
}

func (w *canonWriter) text(name, s string) {
	w.b = append(w.b, name...)
	w.string(s)
}

func (w *canonWriter) string(s string) {
	w.bad = w.bad || !plain(s)
	w.b = append(append(append(w.b, '"'), s...), '"')
}

// optional writes a field that is left out when empty.
func (w *canonWriter) optional(name, s string) {
	if s != "" {
		w.text(name, s)
	}
}

func (w *canonWriter) int(name string, v int64) {
	w.b = strconv.AppendInt(append(w.b, name...), v, 10)
}

func (w *canonWriter) decimal(name string, v int64, digits int) {
	w.b = append(w.b, name...)
	u := uint64(v)
	if v < 0 {
		w.b = append(w.b, '-')
		u = -u
	}
	scale := uint64(1)
	for range digits {
		scale *= 10
	}
	w.b = strconv.AppendUint(w.b, u/scale, 10)
	rest := u % scale
	if rest == 0 {
		return
	}
	w.b = append(w.b, '.')
	for rest > 0 {
		scale /= 10
		w.b = append(w.b, '0'+byte(rest/scale))
		rest %= scale
	}
}

func (w *canonWriter) time(name string, t verdict.Time) {
	w.b = append(w.b, name...)
	if t == 0 {
		w.b = append(w.b, "null"...)
		return
	}
	w.b = append(w.b, '"')
	w.b = append(t.Std().AppendFormat(w.b, time.RFC3339Nano), '"')
}

func (w *canonWriter) hash(name string, h event.Hash) {
	const digits = "0123456789abcdef"
	w.b = append(append(w.b, name...), '"')
	if h != 0 {
		for shift := 60; shift >= 0; shift -= 4 {
			w.b = append(w.b, digits[h>>shift&15])
		}
	}
	w.b = append(w.b, '"')
}

// writeList writes a list; a nil one is null.
func writeList[T any](w *canonWriter, name string, list []T, each func(w *canonWriter, v *T)) {
	w.b = append(w.b, name...)
	if list == nil {
		w.b = append(w.b, "null"...)
		return
	}
	w.b = append(w.b, '[')
	for i := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		each(w, &list[i])
	}
	w.b = append(w.b, ']')
}

func writeStrings[T ~string](w *canonWriter, name string, list []T) {
	writeList(w, name, list, func(w *canonWriter, s *T) { w.string(string(*s)) })
}

// verdictBytes is what nine of ten verdicts fit into: 1.8 KB is the median.
const verdictBytes = 2 << 10

// appendCanonical appends v; false when a string needs an escape.
func appendCanonical(dst []byte, v *verdict.Verdict) ([]byte, bool) {
	w := &canonWriter{b: slices.Grow(dst, verdictBytes)}
	w.text(`{"id":`, v.ID)
	w.int(`,"revision":`, int64(v.Revision))
	w.int(`,"sequence":`, v.Sequence)
	w.text(`,"site":`, v.Site)
	w.time(`,"time":`, v.Time)
	w.time(`,"expires":`, v.Expires)
	w.text(`,"scope":`, string(v.Scope))
	w.optional(`,"actor":`, v.Actor)
	w.text(`,"action":`, v.Action.String())
	w.text(`,"mode":`, v.Mode.String())
	writeStrings(w, `,"threats":`, v.Threats)
	w.decimal(`,"score":`, int64(v.Score), 3)
	w.decimal(`,"confidence":`, int64(v.Confidence), 6)
	w.decimal(`,"false_positive_bound":`, int64(v.FalsePositiveBound), 9)
	w.text(`,"bound":`, v.Bound)
	writeList(w, `,"binds":`, v.Binds, writeGroup)
	if v.Limit != nil {
		writeLimit(w, v.Limit)
	}
	if v.Revoked {
		w.b = append(w.b, `,"revoked":true`...)
	}
	w.optional(`,"maturity":`, v.Maturity)
	writeEvidence(w, &v.Evidence)
	w.text(`,"baseline":`, v.Baseline)
	w.text(`,"engine":`, v.Engine)
	w.optional(`,"policy":`, v.Policy)
	w.b = append(w.b, '}')
	if w.bad {
		return dst, false
	}
	return w.b, true
}

func writeGroup(w *canonWriter, g *verdict.Group) {
	writeList(w, `{"all":`, g.All, writeBind)
	if len(g.None) > 0 {
		writeList(w, `,"none":`, g.None, writeBind)
	}
	if len(g.Routes) > 0 {
		writeStrings(w, `,"routes":`, g.Routes)
	}
	if g.Expires != 0 {
		w.time(`,"expires":`, g.Expires)
	}
	w.b = append(w.b, '}')
}

func writeBind(w *canonWriter, b *verdict.Bind) {
	w.text(`{"kind":`, b.Kind)
	w.hash(`,"value":`, b.Value)
	w.b = append(w.b, '}')
}

func writeLimit(w *canonWriter, l *verdict.Limit) {
	w.text(`,"limit":{"per":`, l.Per)
	for _, f := range [...]struct {
		name  string
		value int64
	}{{`,"requests":`, l.Requests}, {`,"bytes":`, l.Bytes}, {`,"seconds":`, l.Seconds}, {`,"cost":`, l.Cost}} {
		if f.value != 0 {
			w.int(f.name, f.value)
		}
	}
	w.text(`,"key":`, l.Key)
	w.b = append(w.b, '}')
}

func writeEvidence(w *canonWriter, e *verdict.Evidence) {
	w.text(`,"evidence":{"summary":`, e.Summary)
	writeList(w, `,"features":`, e.Features, func(w *canonWriter, f *verdict.Feature) {
		w.text(`{"name":`, f.Name)
		w.decimal(`,"value":`, int64(f.Value), 3)
		w.decimal(`,"expected":`, int64(f.Expected), 3)
		w.decimal(`,"bits":`, int64(f.Bits), 3)
		w.b = append(w.b, '}')
	})
	if len(e.Links) > 0 {
		writeList(w, `,"links":`, e.Links, func(w *canonWriter, l *verdict.Link) {
			w.text(`{"from":`, l.From)
			w.text(`,"to":`, l.To)
			w.decimal(`,"bits":`, int64(l.Bits), 3)
			w.b = append(w.b, '}')
		})
	}
	writeStrings(w, `,"events":`, e.Events)
	w.text(`,"range":{"topic":`, e.Range.Topic)
	w.int(`,"partition":`, int64(e.Range.Partition))
	w.int(`,"from":`, e.Range.From)
	w.int(`,"to":`, e.Range.To)
	w.b = append(w.b, '}')
	if len(e.Caps) > 0 {
		writeStrings(w, `,"caps":`, e.Caps)
	}
	w.optional(`,"counterfactual":`, e.Counterfactual)
	w.b = append(w.b, '}')
}
