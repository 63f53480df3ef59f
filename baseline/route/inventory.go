package route

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirproject/weir/baseline/sketch"
)

// methods are the request methods told apart; others count as the last. Method
// 0 is unknown.
var methods = [...]string{"", "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "OTHER"}

func methodIndex(m string) uint8 {
	switch m {
	case "GET":
		return 1
	case "POST":
		return 2
	case "HEAD":
		return 3
	case "":
		return 0
	case "PUT":
		return 4
	case "DELETE":
		return 5
	case "PATCH":
		return 6
	case "OPTIONS":
		return 7
	}
	return 8
}

const (
	maxStatuses   = 8
	maxParams     = 32
	maxParamBytes = 64
)

// endpoint is one (template, method).
type endpoint struct {
	node, next  int32
	method      uint8
	statusCount uint8
	first, last int64
	count       uint64
	statuses    [maxStatuses]statusCount
	// otherStatuses counts answers whose status found no place.
	otherStatuses uint64
	params        []string
	// paramsLost counts names beyond maxParams.
	paramsLost uint64
	// seenKeys are hashes of QueryKeys whose names are known to be in params:
	// a cache, not part of the state.
	seenKeys [4]uint64
}

type statusCount struct {
	status uint16
	count  uint64
}

// Endpoint is one line of the inventory.
type Endpoint struct {
	Template, Method string
	// First and Last are event times in UTC nanoseconds.
	First, Last int64
	Count       uint64
	Statuses    []Status
	Parameters  []string
}

// Status is how often a status was answered.
type Status struct {
	Code  uint16
	Count uint64
}

// Busiest returns at most n endpoints by how often they were asked for, equals
// by name.
func Busiest(all []Endpoint, n int) []Endpoint {
	slices.SortFunc(all, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Template, b.Template), cmp.Compare(a.Method, b.Method))
	})
	return all[:min(n, len(all))]
}

// Inventory lists the endpoints in the order in which they were first made.
func (l *Learner) Inventory() []Endpoint {
	var all []Endpoint
	for i := range l.endpoints {
		e := &l.endpoints[i]
		if e.node == none {
			continue
		}
		out := Endpoint{
			Template: l.nodes[e.node].template, Method: methods[e.method], First: e.first, Last: e.last, Count: e.count,
			Parameters: append([]string(nil), e.params...),
		}
		for _, s := range e.statuses[:e.statusCount] {
			out.Statuses = append(out.Statuses, Status{s.status, s.count})
		}
		all = append(all, out)
	}
	return all
}

func (l *Learner) find(n int32, method uint8) int32 {
	for e := l.nodes[n].endpoints; e != none; e = l.endpoints[e].next {
		if l.endpoints[e].method == method {
			return e
		}
	}
	return none
}

// touch counts an observation at node n; fresh tells the endpoint's first.
func (l *Learner) touch(n int32, o *Observation) (at int32, fresh bool) {
	method := methodIndex(o.Method)
	at = l.find(n, method)
	if at == none {
		if !answered(o.Status) || l.liveEndpoint >= l.cfg.MaxNodes {
			return none, false
		}
		at, fresh = l.addEndpoint(n, method, o.Time), true
	}
	e := &l.endpoints[at]
	e.count++
	e.first, e.last = min(e.first, o.Time), max(e.last, o.Time)
	e.countStatus(o.Status, 1)
	if o.QueryKeys != "" && answered(o.Status) {
		h := sketch.Hash(l.cfg.Seed, o.QueryKeys)
		if at := &e.seenKeys[h&3]; *at != h {
			*at = h
			e.addParams(o.QueryKeys)
		}
	}
	return at, fresh
}

func (l *Learner) addEndpoint(n int32, method uint8, now int64) int32 {
	at := l.freeEndpoint
	if at != none {
		l.freeEndpoint = l.endpoints[at].next
	} else {
		at = int32(len(l.endpoints))
		l.endpoints = append(l.endpoints, endpoint{})
	}
	l.endpoints[at] = endpoint{node: n, method: method, first: now, last: now, next: l.nodes[n].endpoints}
	l.nodes[n].endpoints = at
	l.liveEndpoint++
	return at
}

func (l *Learner) dropEndpoint(e int32) {
	l.endpoints[e] = endpoint{node: none, next: l.freeEndpoint}
	l.freeEndpoint = e
	l.liveEndpoint--
}

// foldEndpoint moves endpoint e to node n, or adds it to n's of that method.
func (l *Learner) foldEndpoint(n, e int32) {
	src := &l.endpoints[e]
	at := l.find(n, src.method)
	if at == none {
		src.node, src.next = n, l.nodes[n].endpoints
		l.nodes[n].endpoints = e
		return
	}
	dst := &l.endpoints[at]
	dst.count += src.count
	dst.first, dst.last = min(dst.first, src.first), max(dst.last, src.last)
	for _, s := range src.statuses[:src.statusCount] {
		dst.countStatus(s.status, s.count)
	}
	dst.otherStatuses += src.otherStatuses
	for _, p := range src.params {
		dst.addParam(p)
	}
	dst.paramsLost += src.paramsLost
	l.dropEndpoint(e)
}

func (e *endpoint) countStatus(status uint16, n uint64) {
	for i := range e.statuses[:e.statusCount] {
		if e.statuses[i].status == status {
			e.statuses[i].count += n
			return
		}
	}
	if e.statusCount < maxStatuses {
		e.statuses[e.statusCount] = statusCount{status, n}
		e.statusCount++
		return
	}
	e.otherStatuses += n
}

func (e *endpoint) addParams(keys string) {
	for keys != "" {
		var name string
		name, keys, _ = strings.Cut(keys, "&")
		if name != "" && len(name) <= maxParamBytes {
			e.addParam(name)
		}
	}
}

func (e *endpoint) addParam(name string) {
	if slices.Contains(e.params, name) {
		return
	}
	if len(e.params) >= maxParams {
		e.paramsLost++
		return
	}
	e.params = append(e.params, string(append([]byte(nil), name...)))
}
