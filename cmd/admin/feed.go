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
	// feedPatience is how long a subscriber waits for a feed that still reads what
	// stood on the topic; then it is told to come again.
	feedPatience = 10 * time.Second
	// feedWrite bounds one write to a subscriber that does not read.
	feedWrite = 30 * time.Second
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
	// revoked are the last that were taken back; revocations counts all.
	revoked     [256]*verdict.Verdict
	revocations int

	current chan struct{} // closed once what stood on the topic has been added
	once    sync.Once
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
		subscribers: map[chan entry]struct{}{}, current: make(chan struct{}),
	}
}

// Current tells the feed that it has been given everything that stood on the
// topic. Before, it serves nobody: a snapshot of half the topic would make an
// enforcer drop the other half.
func (f *Feed) Current() { f.once.Do(func() { close(f.current) }) }

// Rewind tells the feed that a partition lost its end and gives its offsets
// again; those who had seen more get a snapshot.
func (f *Feed) Rewind(partition int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.offsets, partition)
	f.history = slices.DeleteFunc(f.history, func(e entry) bool { return e.partition == partition })
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
	if v.Revoked {
		f.revoked[f.revocations%len(f.revoked)] = v
		f.revocations++
	}
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

// Last is Get that also knows what was taken back a short while ago, which the
// store may not have yet.
func (f *Feed) Last(id string) *verdict.Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := f.inForce[id]; v != nil {
		return v
	}
	for _, v := range f.revoked {
		if v != nil && v.ID == id {
			return v
		}
	}
	return nil
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
		if _, twice := out[int32(partition)]; !ok || err1 != nil || err2 != nil || twice || len(out) > 4096 {
			return nil, fmt.Errorf("Last-Event-ID %q is none of ours", s)
		}
		out[int32(partition)] = offset
	}
	return out, nil
}

// Behind counts the records between how far somebody has come and how far the
// feed is, both as ids of the feed.
func Behind(newest, seen string) (records int64) {
	to, err1 := parseVector(newest)
	from, err2 := parseVector(seen)
	if err1 != nil {
		return -1
	}
	for p, offset := range to {
		at := int64(-1)
		if o, ok := from[p]; ok && err2 == nil {
			at = o
		}
		records += max(0, offset-at)
	}
	return records
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
		seen := func(p int32) int64 {
			if o, ok := since[p]; ok {
				return o
			}
			return -1 // of a partition that has spoken since, nothing
		}
		missing := false
		oldest := map[int32]int64{}
		for _, e := range f.history {
			if _, ok := oldest[e.partition]; !ok {
				oldest[e.partition] = e.offset
			}
			if e.offset > seen(e.partition) {
				first = append(first, e)
			}
		}
		for p, last := range f.offsets {
			if o, ok := oldest[p]; last > seen(p) && (!ok || o > seen(p)+1) || seen(p) > last {
				missing = true
			}
		}
		for p := range since {
			if _, known := f.offsets[p]; !known {
				missing = true // what it has seen there is gone
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

// behind counts the verdicts that somebody who has come as far as vector still
// has to get, and says how far the feed is.
func (f *Feed) behind(vector string) (verdicts int, newest string) {
	since, err := parseVector(vector)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		return len(f.inForce), f.vector()
	}
	for i := len(f.history) - 1; i >= 0; i-- {
		e := &f.history[i]
		if o, ok := since[e.partition]; ok && e.offset <= o {
			continue
		}
		verdicts++
	}
	return verdicts, f.vector()
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
	f.stream(w, r, nil, func(string) {})
}

// stream is ServeHTTP that ends when ended is closed and tells sent how far the
// subscriber has come.
func (f *Feed) stream(w http.ResponseWriter, r *http.Request, ended <-chan struct{}, sent func(vector string)) {
	var since map[int32]int64
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		var err error
		if since, err = parseVector(id); err != nil {
			JSON(w, nil, &Error{Status: http.StatusBadRequest, Err: err})
			return
		}
	}
	select {
	case <-f.current:
	case <-r.Context().Done():
		return
	case <-time.After(feedPatience):
		JSON(w, nil, Errorf(http.StatusServiceUnavailable, "the feed still reads what stands on the log: come again"))
		return
	}
	first, snapshot, vector, live := f.subscribe(since)
	defer f.unsubscribe(live)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := &subscriber{ResponseController: http.NewResponseController(w), w: w, sent: sent}
	if snapshot {
		if since != nil {
			out.printf("event: gap\ndata: {}\n\n")
		}
		out.printf("event: snapshot\ndata: {}\n\n")
	} else {
		sent(r.Header.Get("Last-Event-ID"))
	}
	for _, e := range first {
		out.verdict(e)
	}
	if snapshot {
		// Only here, so that a client cut off in between asks for all of it again.
		out.printf("event: snapshot-end\nid: %s\ndata: {}\n\n", vector)
		sent(vector)
	}
	beat := time.NewTicker(feedHeartbeat)
	defer beat.Stop()
	for out.flush() {
		select {
		case <-r.Context().Done():
			return
		case <-ended:
			return
		case <-beat.C:
			out.printf(": still here\n\n")
		case e, ok := <-live:
			if !ok {
				return
			}
			out.verdict(e)
		}
	}
}

// subscriber writes to one connection until a write fails or takes too long.
type subscriber struct {
	*http.ResponseController
	w    http.ResponseWriter
	sent func(vector string)
	err  error
}

func (s *subscriber) printf(format string, args ...any) {
	if s.err != nil {
		return
	}
	// Not every connection has deadlines; those of the listeners have.
	_ = s.SetWriteDeadline(time.Now().Add(feedWrite))
	_, s.err = fmt.Fprintf(s.w, format, args...)
}

func (s *subscriber) verdict(e entry) {
	if e.vector != "" {
		s.printf("id: %s\n", e.vector)
	}
	s.printf("event: verdict\ndata: %s\n\n", e.data)
	if e.vector != "" && s.err == nil {
		s.sent(e.vector)
	}
}

func (s *subscriber) flush() bool {
	if s.err == nil {
		s.err = s.Flush()
	}
	return s.err == nil
}
