package scoreboard

import (
	"fmt"
	"math"
	"net/http"
	"slices"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/stream/event"
)

// forest is an isolation forest (Liu, Ting and Zhou, ICDM 2008) over sessions: 100
// trees of 256 sessions each, drawn with a fixed seed. It is a peer of weir's: a
// session is a cookie, or address and program without one.
type forest struct {
	trees []tree
	limit float64
	bar   float64
}

type tree struct{ nodes []split }

// split sends a session left when its feature is below the value; a leaf has
// feature -1 and the expected further depth in value.
type split struct {
	feature     int
	value       float64
	left, right int
}

const (
	forestTrees  = 100
	forestSample = 256
	// forestPasses is the share of the learned sessions that the bar lets pass.
	forestPasses = .9999
	// forestMemory bounds the sessions that are remembered for learning.
	forestMemory = 1 << 16
)

// visitor is one session's features so far.
type visitor struct {
	n, pages, assets, missing, refused, posts, attempts float64
	gaps, gapSquares, quick                             float64
	paths, accounts                                     map[uint64]bool
	last                                                int64
}

func (v *visitor) add(ev *event.Event, asset bool) {
	if v.paths == nil {
		v.paths, v.accounts = map[uint64]bool{}, map[uint64]bool{}
	}
	if v.n > 0 {
		gap := float64(ev.Time-v.last) / 1e9
		v.gaps += gap
		v.gapSquares += gap * gap
		v.quick += float64(boolIndex(gap < .3))
	}
	v.last = ev.Time
	v.n++
	v.assets += float64(boolIndex(asset))
	v.pages += float64(boolIndex(!asset))
	v.missing += float64(boolIndex(ev.Status == 404))
	v.refused += float64(boolIndex(ev.Status == 401 || ev.Status == 402 || ev.Status == 403 || ev.Status == 422))
	v.posts += float64(boolIndex(ev.Method == http.MethodPost))
	v.attempts += float64(boolIndex(ev.Role != event.RoleNone && ev.Role != event.RoleItemView))
	if len(v.paths) < 512 {
		v.paths[hashOf(ev.Path)] = true
	}
	if ev.Claimed != 0 && len(v.accounts) < 512 {
		v.accounts[uint64(ev.Claimed)] = true
	}
}

func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// features are counts as logarithms and shares, so that long and short sessions
// can be compared.
func (v *visitor) features() [12]float64 {
	n := max(1, v.n)
	mean := v.gaps / n
	deviation := math.Sqrt(max(0, v.gapSquares/n-mean*mean))
	return [...]float64{
		math.Log1p(v.n), math.Log1p(v.pages), v.assets / n, v.missing / n, v.refused / n, v.posts / n, v.attempts / n, v.quick / n,
		math.Log1p(mean), deviation / (mean + .1), float64(len(v.paths)) / n, math.Log1p(float64(len(v.accounts))),
	}
}

// grow builds the forest and sets its bar at a quantile of what it has learned
// from.
func grow(sessions [][12]float64) *forest {
	if len(sessions) < 2*forestSample {
		return nil
	}
	f := &forest{limit: pathLength(forestSample)}
	r := traffic.NewRand(1, 17)
	for range forestTrees {
		sample := make([][12]float64, forestSample)
		for i := range sample {
			sample[i] = sessions[r.IntN(len(sessions))]
		}
		t := tree{}
		t.grow(r, sample, 8)
		f.trees = append(f.trees, t)
	}
	scores := make([]float64, len(sessions))
	for i := range sessions {
		scores[i] = f.score(&sessions[i])
	}
	slices.Sort(scores)
	f.bar = scores[min(len(scores)-1, int(float64(len(scores))*forestPasses))]
	return f
}

func (t *tree) grow(r *traffic.Rand, sample [][12]float64, depth int) int {
	at := len(t.nodes)
	t.nodes = append(t.nodes, split{feature: -1, value: pathLength(len(sample))})
	if depth == 0 || len(sample) <= 1 {
		return at
	}
	// A few draws find a feature that differs within the sample.
	for range 24 {
		k := r.IntN(len(sample[0]))
		lo, hi := sample[0][k], sample[0][k]
		for i := range sample {
			lo, hi = min(lo, sample[i][k]), max(hi, sample[i][k])
		}
		if lo == hi {
			continue
		}
		cut := lo + r.Float64()*(hi-lo)
		var left, right [][12]float64
		for _, s := range sample {
			if s[k] < cut {
				left = append(left, s)
			} else {
				right = append(right, s)
			}
		}
		l := t.grow(r, left, depth-1)
		t.nodes[at] = split{k, cut, l, t.grow(r, right, depth-1)}
		return at
	}
	return at
}

// pathLength is the mean depth of an unsuccessful search among n (the paper's c).
func pathLength(n int) float64 {
	if n <= 1 {
		return 0
	}
	return 2*(math.Log(float64(n-1))+.5772156649) - 2*float64(n-1)/float64(n)
}

// score is the paper's 2^(-E(h)/c): 1 is an outlier, one half ordinary.
func (f *forest) score(x *[12]float64) float64 {
	sum := 0.0
	for i := range f.trees {
		nodes, at, depth := f.trees[i].nodes, 0, 0.0
		for nodes[at].feature >= 0 {
			if x[nodes[at].feature] < nodes[at].value {
				at = nodes[at].left
			} else {
				at = nodes[at].right
			}
			depth++
		}
		sum += depth + nodes[at].value
	}
	return math.Exp2(-sum / float64(len(f.trees)) / f.limit)
}

// newForest is the isolation forest as a peer: it learns from the sessions before
// a time, then refuses the requests of sessions that stand out more than one in
// ten thousand of those did. Idle sessions end after half an hour.
func newForest(learnUntil int64) *peer {
	open := map[string]*visitor{}
	var learned [][12]float64
	var f *forest
	var swept int64
	return newPeer("isolation forest per session", func(ev *event.Event) bool {
		if ev.Time-swept > 1800e9 {
			swept = ev.Time
			for k, v := range open {
				if ev.Time-v.last > 1800e9 {
					if f == nil && len(learned) < forestMemory {
						learned = append(learned, v.features())
					}
					delete(open, k)
				}
			}
			if f == nil && ev.Time > learnUntil {
				f, learned = grow(learned), nil
			}
		}
		key := ev.Keys[event.KindSession].String()
		if ev.Keys[event.KindSession] == 0 {
			key = fmt.Sprint(ev.Client, ev.UserAgent)
		}
		v := open[key]
		if v == nil {
			v = new(visitor)
			open[key] = v
		}
		acts := false
		if f != nil && v.n > 0 {
			x := v.features()
			acts = f.score(&x) > f.bar
		}
		v.add(ev, siteAsset(ev))
		return acts
	})
}
