package flow

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/stream/event"
)

func appendWord(b []byte, w uint64) []byte    { return binary.BigEndian.AppendUint64(b, w) }
func appendDecimal(b []byte, n uint32) []byte { return strconv.AppendUint(b, uint64(n), 10) }

// End completes an event that Begin filled with the answer: status, sizes,
// outcome, the sessions and devices that it sets, and who owns the session from
// here on. An exchange that was never answered (Status 0) gets its sizes and
// duration only.
func (e *Extractor) End(x *Exchange, ev *event.Event) {
	// The table keeps microseconds; a remainder that exists for one source only
	// would make replayed and live events differ.
	ev.Duration = int64(x.Duration.Truncate(time.Microsecond))
	ev.RequestBytes, ev.ResponseBytes = x.RequestBytes, x.ResponseBytes
	ev.Flags |= x.Flags
	if x.ResponseBodyTruncated {
		ev.Flags |= event.FlagTruncated
	}
	if x.Status < 100 || x.Status > 999 {
		return
	}
	ev.Status = uint16(x.Status)
	if ev.Action.Refuses() {
		return // weir's own answer: no outcome, nothing proven
	}
	r := requests.Get().(*request)
	defer r.release()
	r.x, r.key, r.answer = x, e.key(), true
	r.path, r.query = splitTarget(x.Target)
	if r.plan = x.plan; x.planner != e {
		r.plan = e.plan(ev.Site, x.Method, r.path, &r.segments)
	} else if r.plan.answers {
		r.segments.split(r.path)
	}
	s := e.site(ev.Site)

	contentType, encoding := "", ""
	for i := range x.ResponseHeaders[:min(len(x.ResponseHeaders), maxHeaders)] {
		f := &x.ResponseHeaders[i]
		switch {
		case len(f.Name) == 12 && strings.EqualFold(f.Name, "content-type"):
			first(&contentType, f.Value)
		case len(f.Name) == 16 && strings.EqualFold(f.Name, "content-encoding"):
			first(&encoding, f.Value)
		}
	}
	media, _, _ := strings.Cut(contentType, ";")
	media, _ = clean(strings.TrimSpace(media), 128)
	ev.ContentType = asciiLower(media)
	if s == empty {
		return
	}
	done := r.readAnswer(encoding)
	defer done()
	ev.Outcome = r.outcome(x.Status)
	if ev.Outcome == event.OutcomeFailure && e.failed.get(x.failing) == 0 {
		e.failed.set(x.failing, ev.Claimed)
	}
	r.answered(ev)
	e.own(r, ev, s)
}

// answered adds what the request did not name and the answer does: objects,
// opens and closes. A value of the request wins over one of the answer.
func (r *request) answered(ev *event.Event) {
	p := r.plan
	if !p.answers {
		return
	}
	for i := range p.objects {
		o := &p.objects[i]
		if slices.ContainsFunc(ev.Objects, func(have event.Object) bool { return have.Name == o.name }) {
			continue
		}
		if v, ok := r.find(o.selectors); ok {
			r.object(ev, o, v, "", "")
		}
	}
	if v, ok := r.find(p.opens); ok && ev.Opens == 0 {
		ev.Opens = parseTime(v)
	}
	if v, ok := r.find(p.closes); ok && ev.Closes == 0 {
		ev.Closes = parseTime(v)
	}
}

// readAnswer parses the response body where the route reads it; one that cannot
// be read yields nothing.
func (r *request) readAnswer(encoding string) (done func()) {
	x := r.x
	if !r.plan.needsResponseBody || len(x.ResponseBody) == 0 || x.ResponseBodyTruncated {
		return func() {}
	}
	body, done, err := decodeBody(x.ResponseBody, encoding)
	if err == nil {
		_ = r.ptrs.parse(body, &r.plan.response, r.plan.responseSlots) // malformed: no value is set
	}
	return done
}

// outcome applies the route's rules, success first.
func (r *request) outcome(status int) event.Outcome {
	switch {
	case r.holds(r.plan.success, status):
		return event.OutcomeSuccess
	case r.holds(r.plan.failure, status):
		return event.OutcomeFailure
	default:
		return event.OutcomeNone
	}
}

func (r *request) holds(c *condition, status int) bool {
	if c == nil {
		return false
	}
	ok := len(c.status) == 0
	for _, s := range c.status {
		ok = ok || status >= s.low && status <= s.high
	}
	if !ok {
		return false
	}
	for _, b := range c.body {
		if b.slot >= len(r.ptrs.values) {
			return false
		}
		if v := r.ptrs.values[b.slot]; !v.ok || b.want != "*" && v.text != b.want {
			return false
		}
	}
	for _, h := range c.headers {
		v, found := r.lookupHeader(r.x.ResponseHeaders, h.name, false)
		if !found || h.want != "*" && v != h.want {
			return false
		}
	}
	return true
}

// own records what the answer says about identity. Only here does a session
// come to own an account: because the application named it, or accepted its
// credentials.
func (e *Extractor) own(r *request, ev *event.Event, s *siteMap) {
	k := r.key
	if v, ok := r.find(s.newSession); ok {
		ev.NewSession = k.hash("session", v)
	}
	if v, ok := r.find(s.newDevice); ok {
		ev.NewDevice = k.hash("device", v)
	}
	session := ev.NewSession
	if session == 0 {
		session = ev.Keys[event.KindSession]
	}
	if ev.Role == event.RoleLogout && ev.Status < 400 {
		e.owners.forget(ev.Keys[event.KindSession])
		return
	}
	if v, ok := r.find(s.vouching); ok {
		account := k.hash("account", Normalise("account", v))
		ev.Keys[event.KindAccount] = account
		ev.Flags |= event.FlagVouched
		e.owners.set(session, account)
		return
	}
	if ev.Flags&event.FlagProves != 0 && ev.Outcome == event.OutcomeSuccess && ev.Claimed != 0 {
		ev.Keys[event.KindAccount] = ev.Claimed
		e.owners.set(session, ev.Claimed)
	}
}
