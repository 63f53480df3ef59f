package ingress

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// exchange is one request on its way through the ingress. It is pooled; the
// handler's goroutine owns it but for what mu guards.
type exchange struct {
	s      *Server
	st     *state
	site   *site
	policy policy
	client client
	h1     *h1Conn // the client over HTTP/1, else nil
	h2     h2Stream
	conn   *connInfo
	start  time.Time
	close  bool // the client's connection ends after the answer

	needs    flow.Needs
	body     requestBody
	out      outgoing
	res      upResponse
	wait     waiter
	sent     sent
	answer   answer
	decision verdict.Decision
	outcome  string
	fields   []flow.Field // of a request over HTTP/2

	// mu orders the partial event, which a timer gives, with the handler's end.
	mu      sync.Mutex
	raw     flow.Exchange
	ev      event.Event
	tried   bool // Begin was called
	began   bool // and filled ev
	emitted bool
	timer   *time.Timer
	// kept: something may still look at x after the handler's end (the timer's
	// function, the HTTP/2 transport's reader), so it is not pooled.
	kept    bool
	written atomic.Int64 // response body bytes handed to the client
	pace    *download    // of a long answer
	headLen int64
}

func newExchange(s *Server) *exchange { return &exchange{s: s} }

// exchangeFor begins an exchange.
func (s *Server) exchangeFor(now time.Time) *exchange {
	x := s.exchange.Get().(*exchange) //nolint:forcetypeassert // the pool's New
	x.st, x.start = s.state.Load(), now
	x.raw.ID = newID(now)
	return x
}

// release clears what must not outlive the request and pools the rest.
func (x *exchange) release() {
	if x.kept {
		return
	}
	objects, body := x.ev.Objects, x.raw.ResponseBody
	clear(x.fields)
	clear(x.out.fields)
	clear(x.res.fields)
	clear(objects)
	*x = exchange{
		s: x.s, fields: x.fields[:0],
		body: requestBody{prefix: x.body.prefix[:0]}, out: outgoing{fields: x.out.fields[:0]},
		res: upResponse{fields: x.res.fields[:0]},
	}
	x.ev.Objects, x.raw.ResponseBody = objects[:0], body[:0]
	if cap(x.raw.ResponseBody)+cap(x.body.prefix) <= 2*maxCapture {
		x.s.exchange.Put(x)
	}
}

// serveH1 serves the request whose head c read.
func (s *Server) serveH1(c *h1Conn) {
	x, h := s.exchangeFor(c.begun), &c.head
	x.client, x.h1, x.conn = c, c, c.info
	x.raw.Method, x.raw.Host, x.raw.Target, x.raw.Protocol = h.method, h.host, h.path, h.proto
	x.raw.Headers, x.raw.HeadersKnown = h.fields, true
	x.headLen = int64(h.size)
	length := max(h.length, 0)
	if h.chunked {
		length = -1
	}
	x.serve(causeNone, length, h.length >= 0)
	x.release()
}

// serve takes a request through its line: site, event, decision, action or
// upstream, event again. length is that of its body, negative for unknown;
// declared says that a length was given.
func (x *exchange) serve(bad cause, length int64, declared bool) {
	x.s.metrics.inFlight.Inc()
	defer x.s.metrics.inFlight.Dec()
	if bad == causeNone {
		bad = x.identify()
	}
	if bad != causeNone {
		x.s.metrics.reject(bad)
		x.refuse(bad.status(), "")
		return
	}
	x.body.init(x.client, length, declared, x.policy.bodyLimit)
	if x.run() {
		x.client.abort()
	}
	x.finish(false)
}

// identify finds out who asks for what.
func (x *exchange) identify() cause {
	x.site = x.st.sites.find(x.raw.Host)
	if x.site == nil {
		return causeNoSite
	}
	x.policy = x.site.policyFor(x.raw.Method, x.raw.Target, x.st.cfg.BodyLimit)
	x.raw.Source, x.raw.Node, x.raw.Site, x.raw.Time = event.SourceEnforcer, x.st.cfg.Node, x.site.Name, x.start
	x.raw.TLS, x.raw.FromTrustedProxy, x.raw.Client = x.conn.tls, x.conn.trusted, x.conn.peer
	if x.conn.trusted {
		x.raw.Client = x.st.cfg.clientOf(x.conn.peer, x.raw.Headers)
	}
	return causeNone
}

// run decides and acts; it reports whether the answer broke off.
func (x *exchange) run() (abort bool) {
	if x.body.tooLong() {
		x.s.metrics.reject(causeBodyLimit)
		x.refuse(http.StatusRequestEntityTooLarge, "reject")
		return false
	}
	x.guard("needs", func() { x.needs = x.s.opt.Extractor.Needs(x.raw.Site, x.raw.Method, x.raw.Target) })
	if x.needs.Body {
		if err := x.capture(); err != nil {
			x.refuseBody(err)
			return false
		}
	}
	x.decide()
	if x.unreadable() {
		x.s.metrics.reject(causeUnreadable)
		x.refuse(http.StatusRequestEntityTooLarge, "reject")
		return false
	}
	if x.act() {
		return false
	}
	return x.forward()
}

// capture buffers the body for extraction.
func (x *exchange) capture() error {
	if err := x.body.buffer(maxCapture); err != nil {
		return err
	}
	x.raw.Body = x.body.prefix
	x.raw.BodyTruncated = !x.body.whole
	return nil
}

// decide fills the event and asks the Decider. Whatever panics there is counted
// and answered as the route says: open or closed.
func (x *exchange) decide() {
	t := x.start
	if x.needs.Body {
		t = time.Now() // the wait for the body is none of ours
	}
	x.raw.RequestBytes = x.headLen + max(x.body.length, x.body.size(), 0)
	ok := x.extract()
	t = since(x.s.metrics.extract, t)
	if ok {
		ok = x.guard("decide", func() { x.decision = x.s.opt.Decider.Decide(&x.ev) })
		since(x.s.metrics.decide, t)
	}
	if !ok {
		x.decision = x.undecided()
	}
	d := &x.decision
	if d.Action == event.ActionNone {
		d.Action = event.ActionAllow
	}
	if d.Mode == event.ModeNone {
		d.Mode = x.policy.mode
	}
	if x.policy.mode == event.ModeShadow && d.Action > event.ActionObserve {
		// The Decider knows the mode; this is the last line that keeps a shadowed
		// request untouched whatever it says.
		d.Proposed, d.Action, d.Mode = max(d.Proposed, d.Action), event.ActionObserve, event.ModeShadow
	}
	x.ev.Action, x.ev.Mode, x.ev.Verdict = d.Action, d.Mode, d.Verdict
	if strings.HasPrefix(d.Rule, "allowlist:") {
		x.ev.Flags |= event.FlagAllowlisted
	}
	if d.Action != event.ActionAllow || d.Proposed > event.ActionAllow || d.Verdict != "" || notable(d.Rule) {
		x.recordDecision()
	}
}

// notable reports whether a rule that allowed a request is worth a record: a
// failure is, an allowlist entry, which may match every other request, is not.
func notable(rule string) bool { return rule != "" && !strings.HasPrefix(rule, "allowlist") }

// extract fills the event, once; false: the Extractor panicked.
func (x *exchange) extract() bool {
	if !x.tried {
		x.tried = true
		x.began = x.guard("extract", func() { x.s.opt.Extractor.Begin(&x.raw, &x.ev) })
	}
	return x.began
}

// undecided is the decision about a request that could not be decided.
func (x *exchange) undecided() verdict.Decision {
	d := verdict.Decision{Action: event.ActionAllow, Proposed: event.ActionAllow, Mode: x.policy.mode, Rule: "fail_open"}
	d.Scope, d.Reason = verdict.ScopeRequest, "the request could not be evaluated and its route fails open"
	if x.policy.failClosed {
		d.Action, d.Proposed, d.Rule = event.ActionBlock, event.ActionBlock, "fail_closed"
		d.Reason = "the request could not be evaluated and its route fails closed"
	}
	return d
}

// guard runs f and survives its panic.
func (x *exchange) guard(phase string, f func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			x.s.metrics.faults.WithLabelValues(phase).Inc()
			x.s.log.Error("request evaluation panicked", "phase", phase, "request", x.raw.ID, "site", x.raw.Site, "panic", p)
			ok = false
		}
	}()
	f()
	return true
}

// unreadable reports whether the route, or else the flow map, wants claims that
// cannot be read to be refused (login routes: by default). Like any refusal it
// happens in enforce mode only.
func (x *exchange) unreadable() bool {
	reject := x.needs.RejectUnreadable
	if x.policy.unreadable != nil {
		reject = *x.policy.unreadable
	}
	return reject && x.ev.Flags&event.FlagClaimsUnreadable != 0 && x.policy.mode == event.ModeEnforce
}

func (x *exchange) recordDecision() {
	d := &x.decision
	if d.ID == "" {
		d.ID = x.raw.ID
	}
	if d.Site == "" {
		d.Site = x.raw.Site
	}
	if d.Time == 0 {
		d.Time = verdict.Time(x.start.UnixNano())
	}
	if d.Request == nil {
		d.Request = redacted(&x.ev)
	}
	x.guard("record", func() { x.s.opt.Recorder.Decision(d) })
}

// redacted shows of a request what a decision record may carry.
func redacted(ev *event.Event) *verdict.Request {
	r := &verdict.Request{
		Method: ev.Method, Host: ev.Host, Path: ev.Path, Route: ev.Route, QueryKeys: ev.QueryKeys,
		UserAgent: ev.UserAgent, JA4: ev.JA4, Role: ev.Role.String(),
		Session: ev.Keys[event.KindSession].String(), Account: ev.Keys[event.KindAccount].String(),
		Device: ev.Keys[event.KindDevice].String(), Target: ev.Keys[event.KindTargetAccount].String(),
	}
	if ev.Client.IsValid() {
		r.Client = ev.Client.String()
	}
	return r
}

// finish completes the event, counts the request and gives the event away, once.
func (x *exchange) finish(partial bool) {
	if !partial && x.timer != nil {
		x.kept = !x.timer.Stop() || x.kept
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !partial {
		x.s.metrics.request(x.ev.Route, x.outcomeName())
	}
	if x.emitted {
		return
	}
	x.emitted = true
	t := time.Now()
	x.raw.Duration = t.Sub(x.start).Truncate(time.Microsecond)
	x.raw.ResponseBytes = x.responseBytes()
	if partial {
		x.raw.Flags |= event.FlagPartial
	} else {
		x.raw.RequestBytes = x.headLen + x.body.size()
	}
	if !x.extract() {
		x.bare()
	}
	x.guard("extract", func() { x.s.opt.Extractor.End(&x.raw, &x.ev) })
	x.ev.Flags |= x.raw.Flags & event.FlagPartial
	if x.s.settler != nil {
		x.guard("settle", func() { x.s.settler.Settle(&x.ev, &x.decision) })
	}
	x.guard("record", func() { x.s.opt.Recorder.Event(&x.ev) })
	since(x.s.metrics.record, t)
}

// bare fills what is known without an Extractor, so that a request it panicked
// on is an event all the same.
func (x *exchange) bare() {
	x.ev = event.Event{
		ID: x.raw.ID, Time: x.start.UnixNano(), Duration: int64(x.raw.Duration), Source: event.SourceEnforcer,
		Node: x.raw.Node, Site: x.raw.Site, Client: x.raw.Client.Addr(), ClientPort: x.raw.Client.Port(),
		TLSVersion: x.raw.TLS.Version, SNI: x.raw.TLS.SNI, JA4: x.raw.TLS.JA4, Protocol: x.raw.Protocol,
		Method: x.raw.Method, Host: x.raw.Host, Action: x.decision.Action, Mode: x.decision.Mode, Verdict: x.decision.Verdict,
		Status: uint16(x.raw.Status), RequestBytes: x.raw.RequestBytes, ResponseBytes: x.raw.ResponseBytes,
	}
}

func (x *exchange) responseBytes() int64 {
	n := x.written.Load()
	for _, f := range x.raw.ResponseHeaders {
		n += int64(len(f.Name) + len(f.Value) + 4)
	}
	return n + int64(len("HTTP/1.1 200 OK\r\n\r\n"))
}

func (x *exchange) outcomeName() string {
	switch {
	case x.outcome != "":
		return x.outcome
	case x.decision.WouldBlock():
		return "would_block"
	}
	return x.decision.Action.String()
}

// slow arms the timer of the partial event: the exchange takes longer than most.
// It is called once, after the response's head is known.
func (x *exchange) slow() {
	if x.timer == nil {
		x.timer = time.AfterFunc(time.Until(x.start.Add(partialAfter)), func() { x.finish(true) })
	}
}

// refuseBody answers a request whose body could not be read: 413 above the
// limit, 400 when it is malformed, 408 when it stalled. Otherwise the client is
// gone and the answer is for the record. The connection ends: where its next
// request begins is unknown.
func (x *exchange) refuseBody(err error) {
	x.close = true
	var ne net.Error
	switch {
	case errors.Is(err, errBodyLimit):
		x.s.metrics.reject(causeBodyLimit)
		x.refuse(http.StatusRequestEntityTooLarge, "reject")
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.refuse(http.StatusRequestTimeout, "reject")
	case !x.client.malformed() && (errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne) || x.client.gone()):
		x.refuse(statusClientGone, "client_gone")
	default:
		x.refuse(http.StatusBadRequest, "reject")
	}
}

// statusClientGone is the status of an exchange that its client left: nobody
// reads it but the event. nginx coined it.
const statusClientGone = 499
