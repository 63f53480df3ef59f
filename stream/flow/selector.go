package flow

import (
	"fmt"
	"slices"
	"strings"
)

// source is where a selector looks.
type source uint8

const (
	fromBody source = iota
	fromForm
	fromQuery
	fromPath
	fromHeader
	fromCookie
	fromResponseBody
	fromResponseHeader
	fromSetCookie
	numSources
)

var sourceNames = [numSources]string{
	"body", "form", "query", "path", "header", "cookie", "response_body", "response_header", "set_cookie",
}

func (s source) inResponse() bool { return s >= fromResponseBody }

// selector is a compiled "source:name".
type selector struct {
	from source
	name string
	// slot is the place of a body pointer's value in the route's pointers.
	slot int
}

// parseSelector reads "source:name".
func parseSelector(s string) (selector, error) {
	from, name, ok := strings.Cut(s, ":")
	if !ok {
		return selector{}, fmt.Errorf("selector %q must be source:name, for example cookie:sid or body:/user", s)
	}
	i := slices.Index(sourceNames[:], from)
	if i < 0 {
		return selector{}, fmt.Errorf("selector %q: source %q is not known%s", s, from, Nearest(from, sourceNames[:]))
	}
	sel := selector{from: source(i), name: name}
	switch sel.from {
	case fromBody, fromResponseBody:
		if name == "" {
			return sel, fmt.Errorf("selector %q names no JSON pointer", s)
		}
		if err := checkPointer(name); err != nil {
			return sel, fmt.Errorf("selector %q: %w", s, err)
		}
	case fromHeader, fromResponseHeader, fromCookie, fromSetCookie:
		if !isToken(name) {
			return sel, fmt.Errorf("selector %q: %q is no header or cookie name", s, name)
		}
	default:
		if name == "" {
			return sel, fmt.Errorf("selector %q names nothing", s)
		}
	}
	if len(name) > 256 {
		return sel, fmt.Errorf("selector %q is longer than 256 bytes", s[:40]+"...")
	}
	return sel, nil
}

// isToken reports whether s is a token of RFC 9110 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// Nearest proposes the name of names that is nearest to got, as a clause to put
// behind an error (": did you mean \"login\"?"), or "" when none is near.
func Nearest(got string, names []string) string {
	best, bestCost := "", len(got)/2+2
	for _, n := range names {
		if cost := editDistance(strings.ToLower(got), strings.ToLower(n)); cost < bestCost {
			best, bestCost = n, cost
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// editDistance is the Levenshtein distance over bytes, bounded to 64 each.
func editDistance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
