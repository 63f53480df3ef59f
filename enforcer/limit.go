package enforcer

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/weirproject/weir/enforcer/table"
	"github.com/weirproject/weir/stream/event"
)

// buckets are the rate limits' memory: one generic cell rate algorithm (ITU-T
// I.371 annex A, as leaky-bucket meter) per verdict and key, in event time.
// A bucket is one number, the time at which it will be idle again: a request
// moves it by its share of the period, and is over the limit when that would
// put it more than one period ahead of now. So an allowance may be used at
// once and comes back evenly.
//
// The table is set-associative and pointer-free: a key has eight places, and
// when all are taken by others the one that is nearest to idle gives way. What
// it does depends on keys and times alone, never on the process.
type buckets struct {
	sets  []bucketSet
	locks [64]struct {
		sync.Mutex
		_ [56]byte
	}
	evicted atomic.Uint64
}

const waysPerSet = 8

type bucketSet [waysPerSet]struct {
	key  uint64
	idle int64 // event time, ns
}

func newBuckets(n int) *buckets {
	sets := 1
	for sets*waysPerSet < n {
		sets *= 2
	}
	return &buckets{sets: make([]bucketSet, sets)}
}

// take asks for units under a limit at event time now. Over the limit it takes
// nothing and returns the nanoseconds until it would be granted. force takes in
// any case, for what is known only after the answer; a debt is bounded to 16
// periods.
func (b *buckets) take(key uint64, l table.Limit, units, now int64, force bool) (wait int64, ok bool) {
	set := &b.sets[key>>32&uint64(len(b.sets)-1)]
	lock := &b.locks[key>>32&uint64(len(b.sets)-1)&63]
	lock.Lock()
	defer lock.Unlock()
	at := -1
	for i := range set {
		if set[i].key == key {
			at = i
			break
		}
	}
	idle := now
	if at >= 0 {
		if set[at].idle > now+16*l.Per { // noted before the wall clock was set back: used up, no more
			set[at].idle = now + l.Per
		}
		idle = max(idle, set[at].idle)
	}
	next := idle + share(units, l)
	if over := next - now - l.Per; over > 0 && !force {
		return over, false
	}
	if units == 0 {
		return 0, true
	}
	if at < 0 {
		at = b.place(set, now)
		set[at].key = key
	}
	set[at].idle = min(next, now+16*l.Per)
	return 0, true
}

// place frees the way that is idle or nearest to it.
func (b *buckets) place(set *bucketSet, now int64) int {
	at := 0
	for i := range set {
		if set[i].key == 0 {
			return i
		}
		if set[i].idle < set[at].idle {
			at = i
		}
	}
	if set[at].idle > now {
		b.evicted.Add(1)
	}
	return at
}

// share is the part of the period that units use up, in nanoseconds, rounded
// up.
func share(units int64, l table.Limit) int64 {
	if units <= 0 || l.Amount <= 0 {
		return 0
	}
	amount := uint64(l.Amount)
	if l.Unit == table.LimitSeconds { // units are nanoseconds of service time
		amount = min(amount, 1e9) * 1e9
	}
	hi, lo := bits.Mul64(uint64(units), uint64(l.Per))
	if hi >= amount {
		return 16 * l.Per
	}
	q, rest := bits.Div64(hi, lo, amount)
	if rest > 0 {
		q++
	}
	return int64(min(q, uint64(16*l.Per)))
}

// bucketKey is the verdict's bucket for this request: shared by everybody whom
// the verdict speaks of, or one per value of an identifier kind.
func bucketKey(e table.Entry, l table.Limit, ev *event.Event) uint64 {
	h := e.IDHash()
	if l.Key != table.LimitKeyActor {
		h ^= uint64(ev.Keys[l.Key])*0x9e3779b97f4a7c15 + uint64(l.Key) + 1
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	return max(h, 1)
}

// arriving returns the units that a request takes when it arrives.
func arriving(l table.Limit, ev *event.Event) int64 {
	switch l.Unit {
	case table.LimitRequests:
		return 1
	case table.LimitCost:
		return ev.Cost
	case table.LimitBytes, table.LimitSeconds: // known after the answer
	}
	return 0
}

// answered returns the units that are known only after the answer.
func answered(l table.Limit, ev *event.Event) int64 {
	switch l.Unit {
	case table.LimitBytes:
		return ev.RequestBytes + ev.ResponseBytes
	case table.LimitSeconds:
		return ev.Duration
	case table.LimitRequests, table.LimitCost: // taken on arrival
	}
	return 0
}
