package flow

import (
	"fmt"
	"strings"
)

// maxSegments bounds the path segments that are matched and captured; what lies
// deeper matches only a {rest...} wildcard.
const maxSegments = 32

// Table maps methods and path templates to values. A template consists of
// literal segments, "{name}" for one segment and, at its end, "{name...}" or "*"
// for the rest. The most specific template wins: at the first segment in which two
// differ, a literal goes before {name}, and {name} before {name...}.
//
// Matching is as lenient as applications are, so that spelling a path otherwise
// does not escape its meaning: percent escapes are decoded, empty segments, "."
// and ".." are resolved, and a trailing slash or ";parameter" is ignored.
type Table[T any] struct {
	root tableNode[T]
}

type tableNode[T any] struct {
	literal map[string]*tableNode[T]
	param   *tableNode[T]
	leaf    []tableEntry[T]
	rest    []tableEntry[T]
}

type tableEntry[T any] struct {
	method string // "" is any
	value  T
}

// Add enters a value under a method ("" or "*" is any, several are separated by
// commas) and a template. A second entry for the same method and template, up
// to parameter names, is an error.
func (t *Table[T]) Add(method, template string, value T) error {
	segments, err := parseTemplate(template)
	if err != nil {
		return err
	}
	methods, err := parseMethods(method)
	if err != nil {
		return err
	}
	n := &t.root
	entries := &n.leaf
	for _, s := range segments {
		switch {
		case s.rest:
			entries = &n.rest
			continue
		case s.param:
			if n.param == nil {
				n.param = &tableNode[T]{}
			}
			n = n.param
		default:
			if n.literal == nil {
				n.literal = map[string]*tableNode[T]{}
			}
			if n.literal[s.text] == nil {
				n.literal[s.text] = &tableNode[T]{}
			}
			n = n.literal[s.text]
		}
		entries = &n.leaf
	}
	for _, m := range methods {
		for _, e := range *entries {
			if e.method == m {
				return fmt.Errorf("%s %s is declared twice", orAny(m), template)
			}
		}
		*entries = append(*entries, tableEntry[T]{method: m, value: value})
	}
	return nil
}

// Find returns the value of the most specific template that matches.
func (t *Table[T]) Find(method, path string) (T, bool) {
	var p pathSegments
	p.split(path)
	return t.find(method, &p)
}

func (t *Table[T]) find(method string, p *pathSegments) (value T, ok bool) {
	return t.root.find(method, p, 0)
}

// find visits each node of the tree at most once, since every node is reached
// by one way only.
func (n *tableNode[T]) find(method string, p *pathSegments, i int) (value T, ok bool) {
	if i == p.n {
		if !p.more {
			if value, ok = pick(n.leaf, method); ok {
				return value, true
			}
		}
		return pick(n.rest, method)
	}
	if n.literal != nil {
		s := p.seg[i]
		child := n.literal[s]
		if child == nil {
			if name, _, cut := strings.Cut(s, ";"); cut {
				child = n.literal[name]
			}
		}
		if child != nil {
			if value, ok = child.find(method, p, i+1); ok {
				return value, true
			}
		}
	}
	if n.param != nil {
		if value, ok = n.param.find(method, p, i+1); ok {
			return value, true
		}
	}
	return pick(n.rest, method)
}

func pick[T any](entries []tableEntry[T], method string) (value T, ok bool) {
	for _, e := range entries {
		if e.method == method {
			return e.value, true
		}
		if e.method == "" {
			value, ok = e.value, true
		}
	}
	return value, ok
}

func orAny(method string) string {
	if method == "" {
		return "any method"
	}
	return method
}

type templateSegment struct {
	text  string // literal, or the parameter's name
	param bool
	rest  bool
}

// parseTemplate reads "/item/{id}".
func parseTemplate(s string) ([]templateSegment, error) {
	if !strings.HasPrefix(s, "/") {
		return nil, fmt.Errorf("path template %q must start with /", s)
	}
	if strings.ContainsAny(s, "?#") {
		return nil, fmt.Errorf("path template %q must not contain ? or #", s)
	}
	parts := strings.Split(strings.Trim(s, "/"), "/")
	if parts[0] == "" && len(parts) == 1 {
		return nil, nil
	}
	if len(parts) > maxSegments {
		return nil, fmt.Errorf("path template %q has more than %d segments", s, maxSegments)
	}
	var out []templateSegment
	seen := map[string]bool{}
	for i, part := range parts {
		name, open := strings.CutPrefix(part, "{")
		name, closed := strings.CutSuffix(name, "}")
		switch {
		case part == "*" && i == len(parts)-1:
			out = append(out, templateSegment{rest: true})
			continue
		case part == "":
			return nil, fmt.Errorf("path template %q has an empty segment", s)
		case open != closed || !open && strings.ContainsAny(part, "{}"):
			return nil, fmt.Errorf("path template %q: segment %q must be a literal or {name} as a whole", s, part)
		case !open:
			out = append(out, templateSegment{text: part})
			continue
		}
		name, rest := strings.CutSuffix(name, "...")
		if rest && i != len(parts)-1 {
			return nil, fmt.Errorf("path template %q: {%s...} must be the last segment", s, name)
		}
		if !isName(name) {
			return nil, fmt.Errorf("path template %q: %q is no parameter name (letters, digits, _ and -)", s, name)
		}
		if seen[name] {
			return nil, fmt.Errorf("path template %q names {%s} twice", s, name)
		}
		seen[name] = true
		out = append(out, templateSegment{text: name, param: !rest, rest: rest})
	}
	return out, nil
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && c != '_' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// parseMethods reads "", "*", "GET" or "GET, HEAD".
func parseMethods(s string) ([]string, error) {
	if s == "" || s == "*" {
		return []string{""}, nil
	}
	var out []string
	for m := range strings.SplitSeq(s, ",") {
		m = strings.TrimSpace(m)
		for i := 0; i < len(m); i++ {
			if c := m[i]; (c < 'A' || c > 'Z') && c != '-' && c != '_' {
				return nil, fmt.Errorf("method %q must be upper case letters", m)
			}
		}
		if m == "" {
			return nil, fmt.Errorf("method list %q has an empty entry", s)
		}
		out = append(out, m)
	}
	return out, nil
}

// pathSegments are the decoded segments of a path, in bounded memory.
type pathSegments struct {
	seg [maxSegments]string
	n   int
	// more: there were more than maxSegments.
	more bool
}

// split cuts, decodes and resolves a path.
func (p *pathSegments) split(path string) {
	p.n, p.more = 0, false
	for path != "" {
		var s string
		s, path, _ = strings.Cut(path, "/")
		if strings.IndexByte(s, '%') >= 0 {
			s = percentDecode(s, false)
		}
		switch s {
		case "", ".":
		case "..":
			p.n = max(p.n-1, 0)
		default:
			if p.n == maxSegments {
				p.more = true
				return
			}
			p.seg[p.n] = s
			p.n++
		}
	}
}

// percentDecode resolves %XX (and + in forms); a bad escape stays as it is.
func percentDecode(s string, plus bool) string {
	if strings.IndexByte(s, '%') < 0 && (!plus || strings.IndexByte(s, '+') < 0) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+' && plus:
			out = append(out, ' ')
		case c == '%' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return string(out)
}
