package wire

import (
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// canonReader reads canonical JSON front to back. bad says that something was
// not exactly as canonWriter writes it; nothing that was read counts then.
type canonReader struct {
	s   string
	bad bool
}

// is consumes what must come next.
func (r *canonReader) is(text string) {
	if !r.has(text) {
		r.bad = true
	}
}

// has consumes text if it comes next.
func (r *canonReader) has(text string) bool {
	rest, ok := strings.CutPrefix(r.s, text)
	if ok {
		r.s = rest
	}
	return ok && !r.bad
}

// string reads a string without escapes. It shares the record's memory.
func (r *canonReader) string() string {
	if r.bad || r.s == "" || r.s[0] != '"' {
		r.bad = true
		return ""
	}
	for i := 1; i < len(r.s); i++ {
		switch c := r.s[i]; {
		case c == '"':
			s := r.s[1:i]
			r.s = r.s[i+1:]
			return s
		case c < 0x20 || c > 0x7e || c == '\\':
			r.bad = true
			return ""
		}
	}
	r.bad = true
	return ""
}

func (r *canonReader) text(name string) string {
	r.is(name)
	return r.string()
}

func (r *canonReader) optional(name string) string {
	if !r.has(name) {
		return ""
	}
	return r.string()
}

// digits consumes digits as JSON allows them: no needless zero in front.
func (r *canonReader) digits() string {
	n := 0
	for n < len(r.s) && r.s[n]-'0' <= 9 {
		n++
	}
	d := r.s[:n]
	if n == 0 || n > 1 && d[0] == '0' {
		r.bad = true
	}
	r.s = r.s[n:]
	return d
}

func (r *canonReader) int(name string, bits int) int64 {
	r.is(name)
	start := r.s
	r.has("-")
	r.digits()
	v, err := strconv.ParseInt(start[:len(start)-len(r.s)], 10, bits)
	r.bad = r.bad || err != nil
	return v
}

func (r *canonReader) decimal(name string, places int) int64 {
	r.is(name)
	negative := r.has("-")
	var buf [40]byte
	b := append(buf[:0], r.digits()...)
	rest := places
	if r.has(".") {
		n := 0
		for n < len(r.s) && r.s[n]-'0' <= 9 {
			n++
		}
		if n == 0 || n > places {
			r.bad = true
			return 0
		}
		b, rest = append(b, r.s[:n]...), places-n
		r.s = r.s[n:]
	}
	for range rest {
		b = append(b, '0')
	}
	v, err := strconv.ParseInt(string(b), 10, 64)
	r.bad = r.bad || err != nil
	if negative {
		return -v
	}
	return v
}

func (r *canonReader) time(name string) verdict.Time {
	r.is(name)
	if r.has("null") {
		return 0
	}
	s := r.string()
	// Only the form that is written: the parser is more lenient than it.
	if len(s) < len("2006-01-02T15:04:05Z") || s[len(s)-1] != 'Z' {
		r.bad = true
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	r.bad = r.bad || err != nil
	return verdict.Time(t.UnixNano())
}

func (r *canonReader) hash(name string) (h event.Hash) {
	s := r.text(name)
	if s != "" && len(s) != 16 {
		r.bad = true
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			h = h<<4 | event.Hash(c-'0')
		case c >= 'a' && c <= 'f':
			h = h<<4 | event.Hash(c-'a'+10)
		default:
			r.bad = true
		}
	}
	return h
}

// readList reads a list; null is nil.
func readList[T any](r *canonReader, name string, each func(r *canonReader, v *T)) []T {
	r.is(name)
	if r.has("null") {
		return nil
	}
	r.is("[")
	if r.has("]") {
		return []T{}
	}
	var list []T
	for !r.bad {
		var zero T
		list = append(list, zero)
		each(r, &list[len(list)-1])
		if r.has("]") {
			break
		}
		r.is(",")
	}
	return list
}

// listIf reads a list that is left out when empty.
func listIf[T any](r *canonReader, name string, each func(r *canonReader, v *T)) []T {
	if r.bad || !strings.HasPrefix(r.s, name) {
		return nil
	}
	return readList(r, name, each)
}

func readString[T ~string](r *canonReader, v *T) { *v = T(r.string()) }

// readCanonical reads what appendCanonical wrote; false for anything else.
func readCanonical(b []byte, v *verdict.Verdict) bool {
	r := &canonReader{s: string(b)}
	v.ID = r.text(`{"id":`)
	revision := r.int(`,"revision":`, 64)
	if revision < 0 || revision > 1<<32-1 {
		return false
	}
	v.Revision = uint32(revision)
	v.Sequence = r.int(`,"sequence":`, 64)
	v.Site = r.text(`,"site":`)
	v.Time, v.Expires = r.time(`,"time":`), r.time(`,"expires":`)
	v.Scope = verdict.Scope(r.text(`,"scope":`))
	v.Actor = r.optional(`,"actor":`)
	var err error
	if v.Action, err = event.ParseAction(r.text(`,"action":`)); err != nil {
		return false
	}
	if v.Mode, err = event.ParseMode(r.text(`,"mode":`)); err != nil {
		return false
	}
	v.Threats = readList(r, `,"threats":`, readString[verdict.Threat])
	v.Score = verdict.Milli(r.decimal(`,"score":`, 3))
	v.Confidence = verdict.Micro(r.decimal(`,"confidence":`, 6))
	v.FalsePositiveBound = verdict.Nano(r.decimal(`,"false_positive_bound":`, 9))
	v.Bound = r.text(`,"bound":`)
	v.Binds = readList(r, `,"binds":`, readGroup)
	if r.has(`,"limit":{`) {
		v.Limit = readLimit(r)
	}
	v.Revoked = r.has(`,"revoked":true`)
	v.Maturity = r.optional(`,"maturity":`)
	readEvidence(r, &v.Evidence)
	v.Baseline, v.Engine = r.text(`,"baseline":`), r.text(`,"engine":`)
	v.Policy = r.optional(`,"policy":`)
	r.is("}")
	return !r.bad && r.s == ""
}

func readGroup(r *canonReader, g *verdict.Group) {
	g.All = readList(r, `{"all":`, readBind)
	g.None = listIf(r, `,"none":`, readBind)
	g.Routes = listIf(r, `,"routes":`, readString[string])
	if strings.HasPrefix(r.s, `,"expires":`) {
		g.Expires = r.time(`,"expires":`)
	}
	r.is("}")
}

func readBind(r *canonReader, b *verdict.Bind) {
	b.Kind, b.Value = r.text(`{"kind":`), r.hash(`,"value":`)
	r.is("}")
}

func readLimit(r *canonReader) *verdict.Limit {
	l := &verdict.Limit{Per: r.text(`"per":`)}
	for _, f := range [...]struct {
		name string
		to   *int64
	}{{`,"requests":`, &l.Requests}, {`,"bytes":`, &l.Bytes}, {`,"seconds":`, &l.Seconds}, {`,"cost":`, &l.Cost}} {
		if strings.HasPrefix(r.s, f.name) {
			*f.to = r.int(f.name, 64)
		}
	}
	l.Key = r.text(`,"key":`)
	r.is("}")
	return l
}

func readEvidence(r *canonReader, e *verdict.Evidence) {
	e.Summary = r.text(`,"evidence":{"summary":`)
	e.Features = readList(r, `,"features":`, func(r *canonReader, f *verdict.Feature) {
		f.Name = r.text(`{"name":`)
		f.Value = verdict.Milli(r.decimal(`,"value":`, 3))
		f.Expected = verdict.Milli(r.decimal(`,"expected":`, 3))
		f.Bits = verdict.Milli(r.decimal(`,"bits":`, 3))
		r.is("}")
	})
	e.Links = listIf(r, `,"links":`, func(r *canonReader, l *verdict.Link) {
		l.From, l.To = r.text(`{"from":`), r.text(`,"to":`)
		l.Bits = verdict.Milli(r.decimal(`,"bits":`, 3))
		r.is("}")
	})
	e.Events = readList(r, `,"events":`, readString[string])
	e.Range.Topic = r.text(`,"range":{"topic":`)
	e.Range.Partition = int32(r.int(`,"partition":`, 32))
	e.Range.From, e.Range.To = r.int(`,"from":`, 64), r.int(`,"to":`, 64)
	r.is("}")
	e.Caps = listIf(r, `,"caps":`, readString[string])
	e.Counterfactual = r.optional(`,"counterfactual":`)
	r.is("}")
}
