package stream

import (
	"slices"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
)

const (
	// preferWindow is how long, in event time, a preferred source that has
	// spoken keeps the others of its site out of the engine.
	preferWindow = int64(2 * time.Minute)
	// maxSites bounds the sites remembered per partition; the one silent for
	// longest is forgotten first.
	maxSites = 4096
	// maxRecentIDs bounds the ids remembered per partition, each 8 bytes.
	maxRecentIDs = 8192
)

// rank orders the capture points: the enforcer knows most (and acted), then the
// kernel, then the access log. Replayed and unknown sources take no part.
var rank = func() (r [numSources]int8) {
	for i := range r {
		r[i] = -1
	}
	r[event.SourceEnforcer], r[event.SourceEBPF], r[event.SourceAccessLog] = 0, 1, 2
	return r
}()

const numRanks = 3

// preference decides which copy of a request feeds the engine when several
// sources saw it: per site the most preferred source that spoke within
// preferWindow. When the preferred source starts, its first copies may follow
// copies that were already fed; those are matched by request id.
//
// It is part of a partition's state: a replay decides the same.
type preference struct {
	sites map[string]*[numRanks]int64 // event time each source last spoke; 0 never
	// last is the entry of lastName, the site of the event before.
	lastName string
	last     *[numRanks]int64
	// fed is a ring of the hashed (site, id) that less preferred sources fed.
	fed []uint64
	at  int
	// recent counts the entries of fed; it is made when it is first asked, which
	// a site with one source never does.
	recent map[uint64]uint16
}

// shadowed reports whether ev is a copy that must not feed the engine.
func (p *preference) shadowed(ev *event.Event) bool {
	if ev.Flags&event.FlagShadowed != 0 {
		return true
	}
	if int(ev.Source) >= len(rank) || rank[ev.Source] < 0 {
		return false
	}
	r := int(rank[ev.Source])
	last := p.site(ev.Site)
	if ev.Time > last[r] {
		last[r] = ev.Time
	}
	for better := range r {
		if t := last[better]; t != 0 && ev.Time-t < preferWindow {
			return true
		}
	}
	if r == numRanks-1 || p.sole(last, r) {
		if r > 0 {
			p.remember(ev)
		}
		return false
	}
	// A less preferred source speaks as well: it may have fed this request.
	if p.wasFed(requestHash(ev)) {
		return true
	}
	if r > 0 {
		p.remember(ev)
	}
	return false
}

// sole reports whether no less preferred source than r ever spoke.
func (p *preference) sole(last *[numRanks]int64, r int) bool {
	for worse := r + 1; worse < numRanks; worse++ {
		if last[worse] != 0 {
			return false
		}
	}
	return true
}

func (p *preference) site(name string) *[numRanks]int64 {
	if name == p.lastName && p.last != nil {
		return p.last
	}
	s := p.find(name)
	p.lastName, p.last = strings.Clone(name), s // name may alias a decoder's buffer
	return s
}

func (p *preference) find(name string) *[numRanks]int64 {
	if s, ok := p.sites[name]; ok {
		return s
	}
	if p.sites == nil {
		p.sites = make(map[string]*[numRanks]int64)
	}
	if len(p.sites) >= maxSites {
		p.forgetSite()
	}
	s := new([numRanks]int64)
	p.sites[strings.Clone(name)] = s
	return s
}

func (p *preference) forgetSite() {
	var oldest string
	var when int64
	first := true
	for name, s := range p.sites {
		last := slices.Max(s[:])
		if first || last < when || last == when && name < oldest {
			oldest, when, first = name, last, false
		}
	}
	delete(p.sites, oldest)
}

func (p *preference) wasFed(h uint64) bool {
	if p.recent == nil {
		p.recent = make(map[uint64]uint16, maxRecentIDs)
		for _, h := range p.fed {
			p.recent[h]++
		}
	}
	return p.recent[h] > 0
}

func (p *preference) remember(ev *event.Event) {
	h := requestHash(ev)
	if len(p.fed) < maxRecentIDs {
		p.fed = append(p.fed, h)
	} else {
		if p.recent != nil {
			p.forget(p.fed[p.at])
		}
		p.fed[p.at] = h
		p.at = (p.at + 1) % maxRecentIDs
	}
	if p.recent != nil {
		p.recent[h]++
	}
}

func (p *preference) forget(h uint64) {
	if p.recent[h]--; p.recent[h] == 0 {
		delete(p.recent, h)
	}
}

// requestHash is the 64-bit FNV-1a hash of the site, a zero byte and the id.
func requestHash(ev *event.Event) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(ev.Site) {
		h = (h ^ uint64(ev.Site[i])) * prime
	}
	h *= prime
	for i := range len(ev.ID) {
		h = (h ^ uint64(ev.ID[i])) * prime
	}
	return h
}

func (p *preference) appendTo(w *stateWriter) {
	names := make([]string, 0, len(p.sites))
	for n := range p.sites {
		names = append(names, n)
	}
	slices.Sort(names)
	w.uint(uint64(len(names)))
	for _, n := range names {
		w.text(n)
		for _, t := range p.sites[n] {
			w.int(t)
		}
	}
	w.uint(uint64(len(p.fed)))
	// Oldest first, so that the ring's turn need not be written.
	for i := range p.fed {
		w.uint(p.fed[(p.at+i)%len(p.fed)])
	}
}

func (p *preference) readFrom(r *stateReader) {
	n := r.count(maxSites)
	p.sites, p.last = make(map[string]*[numRanks]int64, n), nil
	for range n {
		name, s := r.text(), new([numRanks]int64)
		for i := range s {
			s[i] = r.int()
		}
		p.sites[name] = s
	}
	n = r.count(maxRecentIDs)
	p.fed, p.at, p.recent = make([]uint64, 0, n), 0, nil
	for range n {
		p.fed = append(p.fed, r.uint())
	}
}
