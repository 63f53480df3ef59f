package table

import (
	"encoding/binary"
	"iter"
	"strings"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// MaxMatches bounds the verdicts found for one request. Beyond it the strongest
// are kept.
const MaxMatches = 64

// Match is one verdict that fits a request.
type Match struct {
	Entry
	// Group is the bind group that matched, the first when several did.
	Group int
	// Kinds are the identifier kinds that the group requires; 0 for a verdict
	// on the whole site.
	Kinds Kinds
	// Spares: the group names contexts that it does not mean.
	Spares bool
}

// Match appends to dst the verdicts that fit the request at event time now, in
// no particular order, and returns dst. It takes no lock; with a dst of
// MaxMatches capacity it allocates nothing.
//
// A verdict applied before Match began is found unless a later revision removed
// it; one applied meanwhile may be found or not.
func (t *Table) Match(ev *event.Event, now int64, dst []Match) []Match {
	kinds := t.index.Load().kinds.Load()
	if kinds == 0 {
		return dst
	}
	site := siteSeed(ev.Site)
	for k, v := range ev.Keys {
		if v != 0 && kinds&(1<<k) != 0 {
			dst = t.probe(kindKey(site, event.Kind(k), v), ev, now, dst)
		}
	}
	if kinds&uint32(KindObject) != 0 {
		for i := range ev.Objects {
			o := &ev.Objects[i]
			if o.Hash != 0 {
				dst = t.probe(objectKey(site, fnv64(uint64(fnvOffset), o.Name), o.Hash), ev, now, dst)
			}
		}
	}
	if kinds&uniformBit != 0 {
		dst = t.probe(uniformKey(site), ev, now, dst)
	}
	return dst
}

// uniformBit marks in index.kinds that some group binds nothing.
const uniformBit = 1 << 31

// probe checks all groups indexed under one key.
func (t *Table) probe(key uint64, ev *event.Event, now int64, dst []Match) []Match {
	for {
		v := t.index.Load().get(key)
		switch {
		case v == 0:
			return dst
		case v&locBit == 0:
			return t.check(v, ev, now, dst)
		}
		list, ok := t.arena.read(v)
		if !ok {
			continue // compacted since: the index knows the new place
		}
		for i := 8; i < len(list); i += 8 {
			dst = t.check(binary.LittleEndian.Uint64(list[i:]), ev, now, dst)
		}
		return dst
	}
}

// check verifies one posting against the request in full. A posting may be out
// of date (its record revised, or its number reused), so nothing is taken for
// granted: neither the site nor the group's existence.
func (t *Table) check(posting uint64, ev *event.Event, now int64, dst []Match) []Match {
	n, gn := unref(posting)
	for {
		loc := t.loc[n].Load()
		if loc == 0 {
			return dst
		}
		b, ok := t.arena.read(loc)
		if !ok {
			continue
		}
		g, ok := groupAt(b, gn)
		if !ok || now >= g.expires() || !g.fits(ev) || string(Entry{b}.site()) != ev.Site {
			return dst
		}
		return keep(dst, Match{Entry{b}, gn, g.kinds(), g.b[17] > 0})
	}
}

// keep adds a match, once per verdict and at most MaxMatches.
func keep(dst []Match, m Match) []Match {
	weakest := 0
	for i := range dst {
		if sameID(dst[i].Entry, m.Entry) {
			if m.Group < dst[i].Group || m.Revision() > dst[i].Revision() {
				dst[i] = m
			}
			return dst
		}
		if Stronger(&dst[weakest], &dst[i]) {
			weakest = i
		}
	}
	if len(dst) < MaxMatches {
		return append(dst, m)
	}
	if Stronger(&m, &dst[weakest]) {
		dst[weakest] = m
	}
	return dst
}

// Stronger orders matches: by action, then score, then id, so that the order
// depends on the verdicts alone.
func Stronger(a, b *Match) bool {
	if a.Action() != b.Action() {
		return a.Action() > b.Action()
	}
	if a.Score() != b.Score() {
		return a.Score() > b.Score()
	}
	x, _ := a.idBytes()
	y, _ := b.idBytes()
	return string(x) < string(y)
}

func sameID(a, b Entry) bool {
	x, _ := a.idBytes()
	y, _ := b.idBytes()
	return string(x) == string(y)
}

// fits reports whether the request carries all of all, none of none, and is on
// one of the routes.
func (g group) fits(ev *event.Event) bool {
	at := groupHead
	var x bind
	for range int(g.b[16]) {
		if x, at = readBind(g.b, at); !x.fits(ev) {
			return false
		}
	}
	for range int(g.b[17]) {
		if x, at = readBind(g.b, at); x.fits(ev) {
			return false
		}
	}
	routes := int(g.b[18])
	for range routes {
		end := at + 1 + int(g.b[at])
		if routeFits(g.b[at+1:end], ev) {
			return true
		}
		at = end
	}
	return routes == 0
}

// routeFits reports whether a route of a bind group covers the request. It is a
// template ("/item/{id}"), with the method before it ("POST /api/login") where
// only that is meant. A request whose route is declared in the flow map is
// compared by it; any other by its path: "{name}" stands for one segment and a
// final "*" for the rest.
func routeFits(route []byte, ev *event.Event) bool {
	if route[0] != '/' {
		for i, c := range route {
			if c == ' ' {
				if string(route[:i]) != ev.Method {
					return false
				}
				route = route[i+1:]
				break
			}
		}
	}
	return string(route) == ev.Route || string(route) == "*" || ev.Route == "" && TemplateFits(route, ev.Path)
}

// TemplateFits reports whether a path fits a route template.
func TemplateFits[T ~string | ~[]byte](route T, path string) bool {
	for i := 0; ; {
		if i == len(route) {
			return path == ""
		}
		switch {
		case route[i] == '*' && i+1 == len(route):
			return true
		case route[i] == '{':
			for i < len(route) && route[i] != '/' {
				i++
			}
			n := strings.IndexByte(path, '/')
			if n < 0 {
				n = len(path)
			}
			if n == 0 {
				return false
			}
			path = path[n:]
		case path == "" || path[0] != route[i]:
			return false
		default:
			i++
			path = path[1:]
		}
	}
}

// All walks the verdicts in force at now, in no particular order, as they stand
// when All is called. Evidence and versions are not kept by a table.
func (t *Table) All(now int64) iter.Seq[verdict.Verdict] {
	entries := t.entries()
	return func(yield func(verdict.Verdict) bool) {
		for _, e := range entries {
			if !e.revoked() && now < e.Expires() && !yield(e.Verdict()) {
				return
			}
		}
	}
}

// Get returns the verdict of that id, also an expired one that is not yet swept;
// false for an unknown or revoked one.
func (t *Table) Get(id string) (Entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.ids[keyOfID(id)]
	if !ok {
		return Entry{}, false
	}
	e := Entry{t.arena.bytes(t.loc[n].Load())}
	return e, !e.revoked()
}

// entries lists the records, tombstones included, by record number.
func (t *Table) entries() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Entry, 0, len(t.ids))
	for n := range t.meta {
		if t.meta[n].used {
			out = append(out, Entry{t.arena.bytes(t.loc[n].Load())})
		}
	}
	return out
}
