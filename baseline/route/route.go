// Package route turns concrete request paths into route templates
// ("/item/{id}") and keeps the inventory of a site's endpoints: methods, first
// and last time seen, statuses and parameter names.
//
// It is a pure fold: the same observations in the same order give the same
// templates and the same snapshot bytes on every machine; it uses event time
// only, no floating point and no randomness. Memory is bounded whatever paths
// arrive: paths that the application does not answer teach nothing, and the
// table of segments has a fixed capacity with a counted eviction. It never
// keeps a query value, and it never decides what a route means; a Survey only
// proposes that to a person.
package route

import (
	"errors"
	"fmt"

	"github.com/weirproject/weir/baseline/sketch"
)

// Config sizes a Learner. The zero value means the defaults.
type Config struct {
	// MaxNodes bounds the table of path segments of one site (default 16384,
	// about 150 bytes each, grown on demand).
	MaxNodes int
	// CachePaths is the number of concrete paths whose template is remembered
	// (default 4096, 128 bytes each; a power of two).
	CachePaths int
	// Seed keys the hash of the tables, so that paths cannot be crafted to
	// collide. Replay needs the same seed on every machine.
	Seed uint64
}

// Validate returns all faults of c.
func (c Config) Validate() error {
	var errs []error
	if c.MaxNodes != 0 && (c.MaxNodes < 64 || c.MaxNodes > 1<<24) {
		errs = append(errs, fmt.Errorf("max nodes %d: want 64 to %d", c.MaxNodes, 1<<24))
	}
	if c.CachePaths < 0 || c.CachePaths&(c.CachePaths-1) != 0 {
		errs = append(errs, fmt.Errorf("cache paths %d: want a power of two", c.CachePaths))
	}
	return errors.Join(errs...)
}

// Bounds of one path. What lies beyond them is folded into one segment, never
// an error: a hostile path is an observation like any other.
const (
	maxDepth        = 16
	maxSegmentBytes = 80
	maxPathBytes    = 2048
)

const none = int32(-1)

// Observation is one answered request.
type Observation struct {
	// Time is event time in UTC nanoseconds.
	Time   int64
	Method string
	// Path is the request path; a query after "?" is ignored. Hash is its
	// sketch.HashString: a path that collides with another costs time only.
	Path string
	Hash uint64
	// Status 0 means unknown and counts as answered.
	Status uint16
	// QueryKeys are parameter names joined by "&", without values.
	QueryKeys string
}

// Match is what a path was resolved to. Template stays valid for ever.
type Match struct {
	Template string
	// Endpoint numbers the (template, method) pair in the inventory, -1 when
	// there is none (an unknown path, or the inventory is full). Numbers are
	// reused after a collapse.
	Endpoint int32
	// New: this observation is the endpoint's first.
	New bool
	// Unknown: the application does not have such a path as far as is known.
	Unknown bool
	// Asset: the path's extension is that of a static sub-resource.
	Asset bool
}

// Stats are a Learner's counters since it was made (or restored).
type Stats struct {
	Nodes, Endpoints int
	// Refused counts segments that found no room, Evicted those that made
	// room, Collapsed the positions that turned out to be variable.
	Refused, Evicted, Collapsed uint64
}

// node is one path segment at one position: a literal, or a variable
// ("{id}"). Nodes refer to each other by index, -1 is none.
type node struct {
	parent, kids, next int32
	endpoints          int32
	hash               uint64
	seg                string
	template           string
	// unknown is template + "/{unknown}", made when first needed.
	unknown string
	// count is how often a path ended here, saturating.
	count uint32
	// points and check: see collapse.go.
	points, check uint32
	variable      bool
	// words: this variable takes plain words too; otherwise an answered plain
	// word beside it is a literal until many of them show that it is not.
	words bool
	asset bool
}

type cached struct {
	hash uint64
	node int32
	gen  uint32
	size uint8
	path [111]byte
}

// Learner learns one site's routes. It is not safe for concurrent use: the
// owner of the site's partition calls it.
type Learner struct {
	cfg   Config
	nodes []node
	free  int32
	live  int
	table []int32
	used  int

	endpoints    []endpoint
	freeEndpoint int32
	liveEndpoint int

	cache []cached
	gen   uint32

	refusedSinceSweep int
	// grown: the last walk made a node.
	grown   bool
	stats   Stats
	scratch scratch
}

// New makes an empty Learner.
func New(cfg Config) (*Learner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	if cfg.MaxNodes == 0 {
		cfg.MaxNodes = 16384
	}
	if cfg.CachePaths == 0 {
		cfg.CachePaths = 4096
	}
	l := &Learner{cfg: cfg, cache: make([]cached, cfg.CachePaths)}
	l.reset()
	return l, nil
}

func (l *Learner) reset() {
	l.nodes = append(l.nodes[:0], node{parent: none, kids: none, next: none, endpoints: none, template: "/", check: firstCheck})
	l.endpoints = l.endpoints[:0]
	l.free, l.freeEndpoint = none, none
	l.live, l.liveEndpoint = 1, 0
	l.table = make([]int32, 128)
	l.rehash()
	l.gen++
	l.refusedSinceSweep = 0
}

// Stats returns the counters.
func (l *Learner) Stats() Stats {
	s := l.stats
	s.Nodes, s.Endpoints = l.live, l.liveEndpoint
	return s
}

// Observe learns from one answered request and returns its template. It
// allocates only when the site shows something new.
func (l *Learner) Observe(o Observation) Match {
	raw := o.Path[:min(len(o.Path), maxPathBytes)]
	h := o.Hash
	c := &l.cache[h&uint64(len(l.cache)-1)]
	if c.hash == h && c.gen == l.gen && int(c.size) == len(raw) && string(c.path[:c.size]) == raw {
		return l.arrive(c.node, &o)
	}
	path := cutPath(raw)
	n, known := l.walk(path, answered(o.Status))
	if !known {
		return Match{Template: l.unknownOf(n), Endpoint: none, Unknown: true, Asset: assetPath(path)}
	}
	m := l.arrive(n, &o)
	if l.grown && l.collapseAbove(n) {
		// A position just turned out to be variable: answer with what the next
		// request will get.
		if n, known = l.walk(path, true); known {
			m.Template = l.nodes[n].template
			m.Endpoint = l.find(n, methodIndex(o.Method))
		}
		return m
	}
	if len(raw) <= len(c.path) {
		c.hash, c.gen, c.node, c.size = h, l.gen, n, uint8(len(raw))
		copy(c.path[:], raw)
	}
	return m
}

// Lookup returns the template of a path without learning from it.
func (l *Learner) Lookup(path string) (template string, known bool) {
	n, known := l.walk(cutPath(path), false)
	if !known {
		return l.unknownOf(n), false
	}
	return l.nodes[n].template, true
}

// answered reports whether a status shows that the application has the path.
// 404 and its like are what scanners get; 403 and 5xx are given by proxies and
// firewalls for anything; a redirect may go anywhere but names a path the
// application knows.
func answered(status uint16) bool {
	switch {
	case status == 0, status >= 200 && status < 400:
		return true
	case status == 401, status == 402, status == 405, status == 409, status == 422, status == 429:
		return true
	}
	return false
}

func (l *Learner) arrive(n int32, o *Observation) Match {
	nd := &l.nodes[n]
	if nd.count < 1<<31 {
		nd.count++
	}
	e, fresh := l.touch(n, o)
	return Match{Template: nd.template, Endpoint: e, New: fresh, Asset: nd.asset}
}

func (l *Learner) unknownOf(n int32) string {
	nd := &l.nodes[n]
	if nd.unknown == "" {
		nd.unknown = join(nd.template, "{unknown}")
	}
	return nd.unknown
}

// walk resolves path from the root. With learn it makes the nodes it misses;
// otherwise, or when there is no room, it returns the last node it knew.
func (l *Learner) walk(path string, learn bool) (n int32, known bool) {
	n, l.grown = 0, false
	depth := 0
	for i := 0; i < len(path); {
		if path[i] == '/' {
			i++
			continue
		}
		end := i
		for end < len(path) && path[end] != '/' {
			end++
		}
		seg := path[i:end]
		i = end
		if depth++; depth > maxDepth {
			seg = "{rest}"
			i = len(path)
		}
		next := l.step(n, seg, learn)
		if next == none {
			return n, false
		}
		n = next
	}
	// A node that only leads to others is not an endpoint yet.
	return n, learn || l.nodes[n].count > 0 || l.nodes[n].variable
}

// step goes from n to the child for seg: the literal if there is one, else the
// variable that takes segments of this shape.
func (l *Learner) step(n int32, seg string, learn bool) int32 {
	name, variable := classify(seg)
	if !variable {
		if c := l.child(n, sketch.Hash(l.cfg.Seed, seg), seg); c != none {
			return c
		}
		name = groupOf(seg)
		if c := l.child(n, sketch.Hash(l.cfg.Seed, name), name); c != none && (!learn || l.nodes[c].words || variability(seg) >= 2) {
			return c
		}
		name = seg
		if isLocale(seg) {
			if c := l.child(n, sketch.Hash(l.cfg.Seed, localeName), localeName); c != none {
				return c
			}
		}
	} else if c := l.child(n, sketch.Hash(l.cfg.Seed, name), name); c != none {
		return c
	}
	if !learn {
		return none
	}
	return l.add(n, name, variable)
}

func (l *Learner) add(parent int32, seg string, variable bool) int32 {
	if l.live >= l.cfg.MaxNodes && !l.sweep(parent) {
		l.stats.Refused++
		l.refusedSinceSweep++
		return none
	}
	seg = string(append([]byte(nil), seg...)) // the caller's bytes are a decoder's
	n := l.free
	if n != none {
		l.free = l.nodes[n].next
	} else {
		n = int32(len(l.nodes))
		l.nodes = append(l.nodes, node{})
	}
	p := &l.nodes[parent]
	l.nodes[n] = node{
		parent: parent, kids: none, next: p.kids, endpoints: none, hash: sketch.Hash(l.cfg.Seed, seg), seg: seg,
		template: join(p.template, seg), check: firstCheck, variable: variable, asset: assetPath(seg),
	}
	p.kids = n
	l.grown = true
	if !variable {
		p.points += variability(seg)
	}
	l.live++
	l.insert(n)
	return n
}

// sweep makes room in a full table: literals at the end of a path that were
// seen once go. It runs at most once per MaxNodes/8 refusals, so that a flood
// cannot make every request pay for it. The node keep is being extended.
func (l *Learner) sweep(keep int32) bool {
	if l.refusedSinceSweep > 0 && l.refusedSinceSweep < l.cfg.MaxNodes/8 {
		return false
	}
	l.refusedSinceSweep = 0
	evicted := 0
	for i := range l.nodes {
		n := int32(i)
		nd := &l.nodes[n]
		if n == 0 || n == keep || nd.parent == none || nd.kids != none || nd.variable || nd.count > 1 {
			continue
		}
		l.remove(n)
		evicted++
	}
	l.stats.Evicted += uint64(evicted)
	if evicted == 0 {
		return false
	}
	l.rehash()
	l.gen++
	return true
}

// remove unlinks a node without children and gives it back; the caller
// rehashes.
func (l *Learner) remove(n int32) {
	nd := &l.nodes[n]
	p := &l.nodes[nd.parent]
	for at := &p.kids; *at != none; at = &l.nodes[*at].next {
		if *at == n {
			*at = nd.next
			break
		}
	}
	if !nd.variable {
		p.points -= min(p.points, variability(nd.seg))
	}
	for e := nd.endpoints; e != none; {
		next := l.endpoints[e].next
		l.dropEndpoint(e)
		e = next
	}
	l.nodes[n] = node{parent: none, kids: none, endpoints: none, next: l.free}
	l.free = n
	l.live--
}

func join(prefix, seg string) string {
	if prefix == "/" {
		return prefix + seg
	}
	return prefix + "/" + seg
}

// cutPath drops the query and path parameters and bounds the rest.
func cutPath(p string) string {
	if len(p) > maxPathBytes {
		p = p[:maxPathBytes]
	}
	for i := 0; i < len(p); i++ {
		if c := p[i]; c == '?' || c == ';' || c == '#' {
			return p[:i]
		}
	}
	return p
}
