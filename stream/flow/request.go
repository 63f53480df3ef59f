package flow

import (
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/weirproject/weir/stream/event"
)

// request is the scratch state of one Begin or End; pooled.
type request struct {
	x        *Exchange
	plan     *plan
	key      *macKey
	path     string // without query
	query    string
	segments pathSegments
	heads    heads
	shapes   shapes // of requests before
	shape    shape
	ptrs     pointers
	form     []pair
	body     []byte // decoded, or nil
	flags    event.Flags
	answer   bool   // selectors read the answer
	text     []byte // for payload patterns
}

var requests = sync.Pool{New: func() any { return &request{} }}

// release wipes what could hold a secret and returns the state.
func (r *request) release() {
	clear(r.form)
	clear(r.ptrs.values)
	clear(r.text)
	clear(r.segments.seg[:r.segments.n])
	r.ptrs.ambiguous, r.ptrs.names = false, nil
	r.x, r.plan, r.key, r.path, r.query, r.body = nil, nil, nil, "", "", nil
	r.heads, r.shape = heads{}, shape{}
	r.form, r.text, r.segments.n, r.segments.more = r.form[:0], r.text[:0], 0, false
	r.flags, r.answer = 0, false
	requests.Put(r)
}

// splitTarget separates path and query; an absolute-form target (RFC 9112
// 3.2.2) loses scheme and authority, a fragment is dropped.
func splitTarget(target string) (path, query string) {
	if i := strings.IndexByte(target, '#'); i >= 0 {
		target = target[:i]
	}
	path, query, _ = strings.Cut(target, "?")
	if len(path) > 0 && path[0] != '/' {
		if i := strings.Index(path, "://"); i >= 0 {
			if j := strings.IndexByte(path[i+3:], '/'); j >= 0 {
				path = path[i+3+j:]
			} else {
				path = "/"
			}
		}
	}
	return path, query
}

// find returns the first value that the selectors yield.
func (r *request) find(list []selector) (string, bool) {
	for i := range list {
		if v, ok := r.lookup(&list[i]); ok && v != "" {
			return v, true
		}
	}
	return "", false
}

// lookup evaluates one selector.
func (r *request) lookup(s *selector) (string, bool) {
	switch s.from {
	case fromBody, fromResponseBody:
		if (s.from == fromResponseBody) != r.answer || s.slot >= len(r.ptrs.values) {
			return "", false
		}
		v := r.ptrs.values[s.slot]
		return v.text, v.ok
	case fromForm:
		return r.lookupForm(s.name)
	case fromQuery:
		return r.lookupQuery(s.name)
	case fromPath:
		return r.lookupPath(s.name)
	case fromHeader:
		return r.lookupHeader(r.x.Headers, s.name, true)
	case fromCookie:
		return r.lookupCookie(s.name)
	case fromResponseHeader:
		return r.lookupHeader(r.x.ResponseHeaders, s.name, false)
	case fromSetCookie:
		return setCookie(r.x.ResponseHeaders, s.name)
	default:
		return "", false
	}
}

// once keeps the first of repeated values and notes a disagreement.
type once struct {
	value string
	found bool
	mixed bool
}

func (o *once) add(v string) {
	if !o.found {
		o.value, o.found = v, true
		return
	}
	o.mixed = o.mixed || o.value != v
}

func (r *request) result(o once) (string, bool) {
	if o.mixed {
		r.flags |= event.FlagAmbiguous
	}
	return o.value, o.found
}

func (r *request) lookupForm(name string) (string, bool) {
	var o once
	for _, p := range r.form {
		if p.name == name {
			o.add(p.value)
		}
	}
	return r.result(o)
}

func (r *request) lookupQuery(name string) (string, bool) {
	var o once
	eachPair(r.query, func(n, v string) bool {
		if n == name {
			o.add(percentDecode(v, true))
		}
		return true
	})
	return r.result(o)
}

func (r *request) lookupPath(name string) (string, bool) {
	for i, n := range r.plan.params {
		if n != name || i >= r.segments.n {
			continue
		}
		if r.plan.rest && i == len(r.plan.params)-1 && r.segments.n > i+1 {
			return strings.Join(r.segments.seg[i:r.segments.n], "/"), true
		}
		return r.segments.seg[i], true
	}
	return "", false
}

// lookupHeader finds a header field; a Bearer scheme before a token is dropped,
// so that the token equals the one that an answer's body carried.
func (r *request) lookupHeader(fields []Field, name string, ambiguous bool) (string, bool) {
	var o once
	for i := range fields {
		if len(fields[i].Name) == len(name) && strings.EqualFold(fields[i].Name, name) {
			o.add(strings.TrimSpace(fields[i].Value))
		}
	}
	if !ambiguous {
		o.mixed = false
	}
	v, ok := r.result(o)
	if len(v) > 7 && strings.EqualFold(v[:7], "bearer ") {
		v = strings.TrimSpace(v[7:])
	}
	return latin1(v), ok
}

func (r *request) lookupCookie(name string) (string, bool) {
	var o once
	for i := range r.x.Headers {
		if f := &r.x.Headers[i]; len(f.Name) == 6 && strings.EqualFold(f.Name, "cookie") {
			cookies(f.Value, func(n, v string) {
				if n == name {
					o.add(v)
				}
			})
		}
	}
	v, ok := r.result(o)
	return latin1(v), ok
}

// cookies splits a Cookie header field (RFC 6265 4.2.1), leniently.
func cookies(s string, f func(name, value string)) {
	for n := 0; s != "" && n < maxFields; n++ {
		var part string
		part, s, _ = strings.Cut(s, ";")
		name, value, ok := strings.Cut(part, "=")
		if ok {
			f(strings.TrimSpace(name), cookieValue(value))
		}
	}
}

func cookieValue(v string) string {
	v = strings.TrimSpace(v)
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	return v
}

// setCookie returns the value that an answer gives to a cookie: the last
// Set-Cookie of that name, as browsers do; a deletion yields nothing.
func setCookie(fields []Field, name string) (value string, ok bool) {
	for i := range fields {
		if len(fields[i].Name) != 10 || !strings.EqualFold(fields[i].Name, "set-cookie") {
			continue
		}
		first, attributes, _ := strings.Cut(fields[i].Value, ";")
		n, v, found := strings.Cut(first, "=")
		if found && strings.TrimSpace(n) == name {
			value = latin1(cookieValue(v))
			ok = value != "" && !deletesCookie(attributes)
		}
	}
	if !ok {
		return "", false
	}
	return value, true
}

// deletesCookie recognises Max-Age of zero or less and the epoch as expiry.
func deletesCookie(attributes string) bool {
	for attributes != "" {
		var a string
		a, attributes, _ = strings.Cut(attributes, ";")
		k, v, _ := strings.Cut(strings.TrimSpace(a), "=")
		switch {
		case strings.EqualFold(k, "max-age") && (strings.HasPrefix(v, "-") || strings.Trim(v, "0") == "" && v != ""):
			return true
		case strings.EqualFold(k, "expires") && strings.Contains(v, "1970"):
			return true
		}
	}
	return false
}

// latin1 makes text of header bytes that are not UTF-8: each byte is the code
// point of the same number (CONTRACTS.md section 6), so that live traffic and
// recorded exchanges give the same hashes.
func latin1(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out := make([]rune, 0, len(s))
	for i := 0; i < len(s); i++ {
		out = append(out, rune(s[i]))
	}
	return string(out)
}

// clean bounds a string for an event and replaces control characters and
// invalid bytes; ordinary text is returned as it is, without a copy.
func clean(s string, limit int) (out string, cut bool) {
	if len(s) > limit {
		s, cut = s[:limit], true
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		if n := len(s); n > 0 && s[n-1] >= utf8.RuneSelf {
			s = s[:n-1]
		}
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return cleanSlow(s), cut
		}
	}
	return s, cut
}

func cleanSlow(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f {
			return utf8.RuneError
		}
		return c
	}, latin1(s))
}
