package route

import (
	"slices"

	"github.com/weirproject/weir/baseline/sketch"
)

// A position of the path tree is variable when it holds many values that look
// alike. Each literal adds points (variability); when their sum at one position
// passes check, the position's literals are examined in groups (pages, or files
// of one extension, or locales). A group that is large enough collapses into
// one variable; the subtrees of its members are merged. What stays literal:
// values with a subtree of their own kind ("/api/users/...", "/api/orders/..."),
// and plain words that are popular or are written to. When no group collapses,
// the next check waits for half as many points again.
const (
	firstCheck = 32
	// minPopular is how often a plain word must have ended a path before its
	// popularity can keep it literal.
	minPopular = 20
)

type member struct {
	node   int32
	group  string
	points uint32
}

type scratch struct {
	members []member
	grand   []uint64
}

// collapseAbove examines the positions on n's path whose points reached their
// check, the deepest first, and reports whether one collapsed.
func (l *Learner) collapseAbove(n int32) bool {
	for p := l.nodes[n].parent; p != none; p = l.nodes[p].parent {
		if l.nodes[p].points >= l.nodes[p].check && l.collapse(p) {
			return true
		}
	}
	return false
}

// collapse examines the literals below p and reports whether any collapsed.
func (l *Learner) collapse(p int32) bool {
	s := &l.scratch
	s.members = s.members[:0]
	for k := l.nodes[p].kids; k != none; k = l.nodes[k].next {
		if nd := &l.nodes[k]; !nd.variable {
			g := groupOf(nd.seg)
			if isLocale(nd.seg) {
				g = localeName
			}
			s.members = append(s.members, member{k, g, variability(nd.seg)})
		}
	}
	// Order by group, then by node number: sibling order is insertion order,
	// which a restore keeps, but a sort must not depend on it.
	slices.SortFunc(s.members, func(a, b member) int {
		if a.group != b.group {
			if a.group < b.group {
				return -1
			}
			return 1
		}
		return int(a.node) - int(b.node)
	})
	l.gatherGrand(s)
	done := false
	for from := 0; from < len(s.members); {
		to := from + 1
		for to < len(s.members) && s.members[to].group == s.members[from].group {
			to++
		}
		if l.collapseGroup(p, s.members[from:to]) {
			done = true
		}
		from = to
	}
	nd := &l.nodes[p]
	if !done {
		nd.check = nd.points + nd.points/2
		return false
	}
	nd.points = 0
	for k := nd.kids; k != none; k = l.nodes[k].next {
		if !l.nodes[k].variable {
			nd.points += variability(l.nodes[k].seg)
		}
	}
	nd.check = max(firstCheck, nd.points+firstCheck/2)
	l.stats.Collapsed++
	l.gen++
	l.rehash()
	return true
}

// gatherGrand sorts the names of all grandchildren, so that alike can count in
// how many siblings a name occurs.
func (l *Learner) gatherGrand(s *scratch) {
	s.grand = s.grand[:0]
	for _, m := range s.members {
		for g := l.nodes[m.node].kids; g != none; g = l.nodes[g].next {
			s.grand = append(s.grand, l.nodes[g].hash)
		}
	}
	slices.Sort(s.grand)
}

// likeness says what a literal's subtree tells about it.
type likeness uint8

const (
	// leaf: no subtree.
	leaf likeness = iota
	// own: children that its siblings do not have, as a section of a site has.
	own
	// values: children that are values themselves, which says nothing.
	values
	// twin: most children have namesakes below two siblings or more, as
	// "profile" and "followers" have below every user.
	twin
)

func (l *Learner) alike(n int32) likeness {
	total, shared, valued := 0, 0, 0
	for g := l.nodes[n].kids; g != none; g = l.nodes[g].next {
		total++
		h := l.nodes[g].hash
		if first, _ := slices.BinarySearch(l.scratch.grand, h); first+2 < len(l.scratch.grand) && l.scratch.grand[first+2] == h {
			shared++
		} else if !l.nodes[g].variable && variability(l.nodes[g].seg) >= 3 {
			valued++
		}
	}
	switch {
	case total == 0:
		return leaf
	case shared*2 >= total:
		return twin
	case (shared+valued)*2 >= total:
		return values
	}
	return own
}

func (l *Learner) collapseGroup(p int32, ms []member) bool {
	name := ms[0].group
	if name == localeName {
		return len(ms) >= 2 && l.merge(p, name, ms, true)
	}
	var points, look, hits uint32
	for _, m := range ms {
		points += m.points
		look += min(m.points, 4)
		hits += min(l.nodes[m.node].count, 1<<16)
		if l.alike(m.node) == twin {
			points += 3
		}
	}
	words := look < 2*uint32(len(ms)) // plain words: judge with more care
	need := uint32(firstCheck)
	if words {
		need += firstCheck / 2
	}
	if name == slugName+".php" || name == slugName+".js" || name == slugName+".css" {
		need *= 2 // these name code, of which a site has many true literals
	}
	if points < need || len(ms) < 6 {
		return false
	}
	members := ms[:0:0]
	points = 0
	for _, m := range ms {
		like := l.alike(m.node)
		if l.keepLiteral(m, like, words, hits) {
			continue
		}
		members = append(members, m)
		points += m.points
		if like == twin {
			points += 3
		}
	}
	if points < need*3/4 || len(members) < 6 {
		return false
	}
	return l.merge(p, name, members, words)
}

// keepLiteral says whether a member stays out of its group's collapse.
func (l *Learner) keepLiteral(m member, like likeness, words bool, hits uint32) bool {
	if like == own {
		return true
	}
	if m.points >= 2 {
		return false
	}
	if !words {
		return like != twin // a plain word among slugs is a page of its own
	}
	count := l.nodes[m.node].count
	return l.written(m.node) || count >= minPopular && count > hits/4
}

// written reports whether anything but GET, HEAD and OPTIONS was answered at n.
func (l *Learner) written(n int32) bool {
	for e := l.nodes[n].endpoints; e != none; e = l.endpoints[e].next {
		if m := methods[l.endpoints[e].method]; m != "GET" && m != "HEAD" && m != "OPTIONS" {
			return true
		}
	}
	return false
}

// merge folds the members into the variable called name below p; words lets
// it take plain words from now on as well.
func (l *Learner) merge(p int32, name string, ms []member, words bool) bool {
	v := l.child(p, sketch.Hash(l.cfg.Seed, name), name)
	if v == none {
		// The first member becomes the variable: no room is needed.
		v = ms[0].node
		nd := &l.nodes[v]
		nd.seg, nd.hash, nd.variable = name, sketch.Hash(l.cfg.Seed, name), true
		nd.points, nd.check = 0, firstCheck
		for k := nd.kids; k != none; k = l.nodes[k].next {
			if !l.nodes[k].variable {
				nd.points += variability(l.nodes[k].seg)
			}
		}
		l.retemplate(v)
		ms = ms[1:]
	}
	l.nodes[v].words = l.nodes[v].words || words
	for _, m := range ms {
		l.fold(v, m.node)
	}
	return true
}

// fold merges node b and its subtree into a, its sibling.
func (l *Learner) fold(a, b int32) {
	na, nb := &l.nodes[a], &l.nodes[b]
	na.count = uint32(min(uint64(na.count)+uint64(nb.count), 1<<31))
	for e := nb.endpoints; e != none; {
		next := l.endpoints[e].next
		l.foldEndpoint(a, e)
		e = next
	}
	nb.endpoints = none
	for k := nb.kids; k != none; {
		next := l.nodes[k].next
		twin := none
		for t := l.nodes[a].kids; t != none; t = l.nodes[t].next {
			if l.nodes[t].hash == l.nodes[k].hash && l.nodes[t].seg == l.nodes[k].seg {
				twin = t
				break
			}
		}
		if twin != none {
			l.fold(twin, k)
		} else {
			l.move(k, a)
		}
		k = next
	}
	nb = &l.nodes[b]
	nb.kids = none
	l.remove(b)
}

// move hangs node k, which its parent has already let go of, below a.
func (l *Learner) move(k, a int32) {
	old := &l.nodes[l.nodes[k].parent]
	for at := &old.kids; *at != none; at = &l.nodes[*at].next {
		if *at == k {
			*at = l.nodes[k].next
			break
		}
	}
	l.nodes[k].parent, l.nodes[k].next = a, l.nodes[a].kids
	l.nodes[a].kids = k
	if !l.nodes[k].variable {
		l.nodes[a].points += variability(l.nodes[k].seg)
	}
	l.retemplate(k)
}

// retemplate rewrites the templates of n's subtree; its depth is bounded by
// maxDepth.
func (l *Learner) retemplate(n int32) {
	nd := &l.nodes[n]
	nd.template, nd.unknown = join(l.nodes[nd.parent].template, nd.seg), ""
	nd.asset = assetPath(nd.seg)
	for k := nd.kids; k != none; k = l.nodes[k].next {
		l.retemplate(k)
	}
}
