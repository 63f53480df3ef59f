package admin

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

const (
	// feedHistory is how many verdicts a feed keeps for those who resume; past
	// it they get a gap and a snapshot.
	feedHistory = 1 << 14
	// feedQueue is how many verdicts may wait for one subscriber; a slower one is
	// cut off and resumes where it was.
	feedQueue = 1 << 10
	// feedHeartbeat keeps idle connections alive through proxies.
	feedHeartbeat = 15 * time.Second
	// maxInForce bounds the verdicts held; past it the one that ends first goes.
	maxInForce = 1 << 20
)

// Feed is the stream of verdicts that enforcers and people follow
// (/v1/verdicts/stream), and the list of those in force. Use NewFeed; it is safe
// for concurrent use.
type Feed struct {
	now func() time.Time

	mu          sync.Mutex
	inForce     map[string]*verdict.Verdict
	offsets     map[int32]int64 // last offset seen per partition
	history     []entry
	subscribers map[chan entry]struct{}
}

type entry struct {
	partition int32
	offset    int64
	vector    string // the offsets after this verdict: the event's id
	data      []byte
}

// NewFeed returns an empty feed; now tells the time at which leases end.
func NewFeed(now func() time.Time) *Feed {
	return &Feed{
		now: now, inForce: map[string]*verdict.Verdict{}, offsets: map[int32]int64{},
		subscribers: map[chan entry]struct{}{},
	}
}

// Add takes the verdict that stands at an offset of a partition of
// weir.verdicts. An offset at or below the last one is a repeat and ignored.
func (f *Feed) Add(partition int32, offset int64, v *verdict.Verdict) {
	v.Sequence = offset
	data, err := wire.AppendVerdict(nil, v)
	if err != nil {
		return // the verdict came from JSON
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if last, ok := f.offsets[partition]; ok && offset <= last {
		return
	}
	f.offsets[partition] = offset
	if have := f.inForce[v.ID]; have != nil && have.Revision >= v.Revision {
		return // everyone who follows has it
	}
	e := entry{partition: partition, offset: offset, vector: f.vector(), data: data}
	if f.history = append(f.history, e); len(f.history) > 2*feedHistory {
		f.history = slices.Clone(f.history[feedHistory:])
	}
	f.hold(v)
	for ch := range f.subscribers {
		select {
		case ch <- e:
		default: // too slow: it reconnects with the id it has
			delete(f.subscribers, ch)
			close(ch)
		}
	}
}

func (f *Feed) hold(v *verdict.Verdict) {
	if v.Revoked || v.Expires.Std().Before(f.now()) {
		delete(f.inForce, v.ID)
		return
	}
	if len(f.inForce) >= maxInForce {
		var first *verdict.Verdict
		for _, x := range f.inForce {
			if first == nil || x.Expires < first.Expires {
				first = x
			}
		}
		delete(f.inForce, first.ID)
	}
	f.inForce[v.ID] = v
}

// InForce lists the verdicts in force, the newest first. They are shared: read
// only.
func (f *Feed) InForce() []*verdict.Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	maps.DeleteFunc(f.inForce, func(_ string, v *verdict.Verdict) bool { return v.Expires.Std().Before(now) })
	out := slices.AppendSeq(make([]*verdict.Verdict, 0, len(f.inForce)), maps.Values(f.inForce))
	slices.SortFunc(out, func(a, b *verdict.Verdict) int {
		if c := int64(b.Time) - int64(a.Time); c != 0 {
			return int(max(-1, min(1, c)))
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Get returns the verdict in force with that id, or nil.
func (f *Feed) Get(id string) *verdict.Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inForce[id]
}

// vector is the offsets of all partitions, "0:17,3:2".
func (f *Feed) vector() string {
	var b strings.Builder
	for i, p := range slices.Sorted(maps.Keys(f.offsets)) {
		if i > 0 {
			b.WriteByte(',')
		}
		_, _ = fmt.Fprintf(&b, "%d:%d", p, f.offsets[p])
	}
	return b.String()
}

func parseVector(s string) (map[int32]int64, error) {
	out := map[int32]int64{}
	for part := range strings.SplitSeq(s, ",") {
		p, o, ok := strings.Cut(part, ":")
		partition, err1 := strconv.ParseInt(p, 10, 32)
		offset, err2 := strconv.ParseInt(o, 10, 64)
		if !ok || err1 != nil || err2 != nil || len(out) > 4096 {
			return nil, fmt.Errorf("Last-Event-ID %q is none of ours", s)
		}
		out[int32(partition)] = offset
	}
	return out, nil
}

// subscribe returns what a subscriber that has seen since must get first, and
// the channel of what follows. snapshot says that the history does not reach
// back that far (or since is nil).
func (f *Feed) subscribe(since map[int32]int64) (first []entry, snapshot bool, vector string, live chan entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	live = make(chan entry, feedQueue)
	f.subscribers[live] = struct{}{}
	if since != nil {
		missing := false
		oldest := map[int32]int64{}
		for _, e := range f.history {
			if _, ok := oldest[e.partition]; !ok {
				oldest[e.partition] = e.offset
			}
			if e.offset > since[e.partition] {
				first = append(first, e)
			}
		}
		for p, last := range f.offsets {
			seen, known := since[p]
			if o, ok := oldest[p]; last > seen && (!ok || known && o > seen+1) || seen > last {
				missing = true
			}
		}
		if !missing {
			return first, false, "", live
		}
	}
	first = nil
	for _, v := range f.inForce {
		bare := v.Bare()
		if data, err := wire.AppendVerdict(nil, &bare); err == nil {
			first = append(first, entry{data: data})
		}
	}
	return first, true, f.vector(), live
}

func (f *Feed) unsubscribe(ch chan entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.subscribers[ch]; ok {
		delete(f.subscribers, ch)
		close(ch)
	}
}

// ServeHTTP streams server-sent events: "snapshot" announces that what follows
// up to "snapshot-end" replaces all the client holds ("gap" before it when the
// client had asked to resume), "verdict" is one verdict. Each id is a vector of
// offsets, opaque to clients, to be sent back as Last-Event-ID.
func (f *Feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var since map[int32]int64
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		var err error
		if since, err = parseVector(id); err != nil {
			JSON(w, nil, &Error{Status: http.StatusBadRequest, Err: err})
			return
		}
	}
	first, snapshot, vector, live := f.subscribe(since)
	defer f.unsubscribe(live)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	if snapshot {
		if since != nil {
			_, _ = fmt.Fprint(w, "event: gap\ndata: {}\n\n")
		}
		_, _ = fmt.Fprint(w, "event: snapshot\ndata: {}\n\n")
	}
	for _, e := range first {
		send(w, e)
	}
	if snapshot {
		// Only here, so that a client cut off in between asks for all of it again.
		_, _ = fmt.Fprintf(w, "event: snapshot-end\nid: %s\ndata: {}\n\n", vector)
	}
	beat := time.NewTicker(feedHeartbeat)
	defer beat.Stop()
	for {
		if out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			_, _ = fmt.Fprint(w, ": still here\n\n")
		case e, ok := <-live:
			if !ok {
				return
			}
			send(w, e)
		}
	}
}

func send(w http.ResponseWriter, e entry) {
	if e.vector != "" {
		_, _ = fmt.Fprintf(w, "id: %s\n", e.vector)
	}
	_, _ = fmt.Fprintf(w, "event: verdict\ndata: %s\n\n", e.data)
}
