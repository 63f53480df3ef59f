package config

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// MapNotes are the comments of a written flow map.
type MapNotes struct {
	// Head stands at the top, Tail at the end, one line each.
	Head, Tail []string
	// Identifiers stand above session, device and account.
	Identifiers map[string]string
	// Routes stand above each route, one line each.
	Routes [][]string
}

// WriteMap writes a flow map as YAML that ParseMap reads back, with comments.
// Names may come from traffic: they are quoted, and a comment stays a comment.
func WriteMap(w io.Writer, m *flow.Map, notes MapNotes) error {
	b := &mapWriter{Writer: bufio.NewWriter(w)}
	b.comments("", notes.Head)
	b.line("apiVersion: %s", quoteYAML(m.APIVersion))
	b.line("kind: %s", quoteYAML(m.Kind))
	b.line("site: %s", quoteYAML(m.Site))
	ids := [...]struct {
		name string
		list flow.Selectors
	}{{"session", m.Identifiers.Session}, {"device", m.Identifiers.Device}, {"account", m.Identifiers.Account}}
	if len(m.Identifiers.Session)+len(m.Identifiers.Device)+len(m.Identifiers.Account) > 0 {
		b.line("identifiers:")
	}
	for _, id := range ids {
		if len(id.list) == 0 {
			continue
		}
		if text := notes.Identifiers[id.name]; text != "" {
			b.comments("  ", []string{text})
		}
		b.line("  %s: %s", id.name, quoteList(id.list, true))
	}
	b.list("", "hash", m.Hash)
	b.list("", "plain", m.Plain)
	if len(m.Routes) == 0 {
		b.line("routes: []")
	} else {
		b.line("routes:")
	}
	for i := range m.Routes {
		if i < len(notes.Routes) {
			b.comments("  ", notes.Routes[i])
		}
		b.route(&m.Routes[i])
	}
	b.comments("", notes.Tail)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write flow map: %w", err)
	}
	return nil
}

// mapWriter writes lines; the first error stays until Flush.
type mapWriter struct{ *bufio.Writer }

func (b *mapWriter) line(format string, args ...any) { _, _ = fmt.Fprintf(b, format+"\n", args...) }

func (b *mapWriter) comments(indent string, lines []string) {
	for _, l := range lines {
		b.line("%s# %s", indent, oneLine(l))
	}
}

func (b *mapWriter) list(indent, name string, list []string) {
	if len(list) > 0 {
		b.line("%s%s: %s", indent, name, quoteList(list, true))
	}
}

func (b *mapWriter) route(r *flow.Route) {
	match := "path: " + quoteYAML(r.Match.Path)
	if r.Match.Method != "" {
		match = "method: " + quoteYAML(r.Match.Method) + ", " + match
	}
	b.line("  - match: {%s}", match)
	b.line("    role: %s", quoteYAML(r.Role))
	if r.Step != 0 {
		b.line("    step: %d", r.Step)
	}
	if r.Cost != 0 {
		b.line("    cost: %v", r.Cost)
	}
	var claims []string
	for _, c := range [...]struct {
		name string
		list flow.Selectors
	}{{"account", r.Claims.Account}, {"secret", r.Claims.Secret}} {
		if len(c.list) > 0 {
			claims = append(claims, c.name+": "+quoteList(c.list, false))
		}
	}
	b.block("claims", claims)
	var objects []string
	for _, o := range r.Objects {
		objects = append(objects, quoteYAML(o.Name)+": "+quoteList(o.Selectors, false))
	}
	b.block("objects", objects)
	var outcome []string
	if r.Outcome.Success != nil {
		outcome = append(outcome, "success: "+condition(r.Outcome.Success))
	}
	if r.Outcome.Failure != nil {
		outcome = append(outcome, "failure: "+condition(r.Outcome.Failure))
	}
	b.block("outcome", outcome)
	if r.Proves != "" {
		b.line("    proves: %s", quoteYAML(r.Proves))
	}
	if len(r.Opens) > 0 {
		b.line("    opens: %s", quoteList(r.Opens, false))
	}
	if len(r.Closes) > 0 {
		b.line("    closes: %s", quoteList(r.Closes, false))
	}
	if r.Unreadable != "" {
		b.line("    unreadable: %s", quoteYAML(r.Unreadable))
	}
	b.list("    ", "hash", r.Hash)
	b.list("    ", "plain", r.Plain)
}

func (b *mapWriter) block(name string, parts []string) {
	if len(parts) > 0 {
		b.line("    %s: {%s}", name, strings.Join(parts, ", "))
	}
}

func condition(c *flow.Condition) string {
	var parts []string
	if c.Status != "" {
		parts = append(parts, "status: "+quoteYAML(c.Status))
	}
	for _, m := range [...]struct {
		name   string
		values map[string]string
	}{{"response_body", c.ResponseBody}, {"response_header", c.ResponseHeader}} {
		var inner []string
		for _, k := range slices.Sorted(maps.Keys(m.values)) {
			inner = append(inner, quoteYAML(k)+": "+quoteYAML(m.values[k]))
		}
		if len(inner) > 0 {
			parts = append(parts, m.name+": {"+strings.Join(inner, ", ")+"}")
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func quoteList(list []string, always bool) string {
	if len(list) == 1 && !always {
		return quoteYAML(list[0])
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = quoteYAML(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// quoteYAML writes a string as YAML: plain where that is certain to be read as
// the same string, else double quoted (YAML 1.2, section 7.3.1).
func quoteYAML(s string) string {
	plain := s != ""
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		inner := c >= '0' && c <= '9' || c == '_' || c == '/'
		if !letter && (i == 0 || !inner) {
			plain = false
		}
	}
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		plain = false
	}
	if plain {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r >= 0x7f:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// oneLine keeps a comment on its line and harmless to a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0x85 {
			return '?'
		}
		return r
	}, s)
}
