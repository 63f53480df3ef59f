package scoreboard

import (
	"container/heap"
	"fmt"
	"net/netip"
	"time"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// Line is the engine and the enforcer in event time, as weir replay runs them
// (CONTRACTS.md section 6): an exchange is decided at its time by the verdicts
// published before, and observed when its answer has ended.
type Line struct {
	site      string
	extractor *flow.Extractor
	engine    *baseline.Engine
	decider   *enforcer.Enforcer
	// Log shows the line what an access log would: no headers but agent and
	// referer, no bodies, whole seconds.
	Log bool
	// LearnUntil in Unix nanoseconds: exchanges before it only teach.
	LearnUntil int64
	// OnDecision sees each decision when its exchange has been observed, in
	// order of observation.
	OnDecision func(d *verdict.Decision, ev *event.Event, tag any)
	// OnVerdict sees each verdict as it is published.
	OnVerdict func(v *verdict.Verdict)

	open  ended
	free  []*open
	order int64
}

type open struct {
	x        flow.Exchange
	ev       event.Event
	decision verdict.Decision
	tag      any
	at       int64
	order    int64
}

// NewLine makes a line of one site; flows is its map in YAML, "" without one.
func NewLine(site, flows string) (*Line, error) {
	keys, err := flow.NewKeyring(flow.PublicKey)
	if err != nil {
		return nil, err
	}
	s := flow.Site{Name: site, Hosts: []string{"*"}}
	if flows != "" {
		if s.Map, err = flowMap([]byte(flows)); err != nil {
			return nil, fmt.Errorf("site %s: %w", site, err)
		}
	}
	x, err := flow.NewExtractor(flow.Config{Keys: keys, Sites: []flow.Site{s}, DefaultSite: site})
	if err != nil {
		return nil, err
	}
	d, err := enforcer.New(enforcer.Config{Mode: event.ModeEnforce, Sites: []enforcer.Site{{Name: site, Mode: event.ModeEnforce}}}, nil, nil)
	if err != nil {
		return nil, err
	}
	return &Line{site: site, extractor: x, engine: baseline.New(baseline.Config{}), decider: d}, nil
}

// Engine is the line's engine.
func (l *Line) Engine() *baseline.Engine { return l.engine }

// Exchange returns an empty exchange to fill for the next Play.
func (l *Line) Exchange() *flow.Exchange {
	var o *open
	if n := len(l.free); n > 0 {
		o, l.free = l.free[n-1], l.free[:n-1]
	} else {
		o = new(open)
	}
	l.free = append(l.free, o)
	o.x = flow.Exchange{Headers: o.x.Headers[:0], ResponseHeaders: o.x.ResponseHeaders[:0]}
	return &o.x
}

// Play decides the exchange that Exchange returned last and queues its
// observation.
func (l *Line) Play(tag any) {
	o := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	now := o.x.Time.UnixNano()
	l.observeUntil(now)
	o.tag, o.at, o.order = tag, now+int64(o.x.Duration), l.order
	l.order++
	o.ev = event.Event{Objects: o.ev.Objects[:0]}
	l.extractor.Begin(&o.x, &o.ev)
	if now < l.LearnUntil {
		o.ev.Flags |= event.FlagTeach
		o.decision = verdict.Decision{ID: o.x.ID, Time: verdict.Time(now), Action: event.ActionAllow}
	} else {
		o.decision = l.decider.Decide(&o.ev)
		o.ev.Action, o.ev.Mode, o.ev.Verdict = o.decision.Action, o.decision.Mode, o.decision.Verdict
	}
	heap.Push(&l.open, o)
}

// Finish observes what is still open.
func (l *Line) Finish() { l.observeUntil(1<<63 - 1) }

func (l *Line) observeUntil(now int64) {
	for len(l.open) > 0 && l.open[0].at <= now {
		o := heap.Pop(&l.open).(*open)
		switch o.ev.Action {
		case event.ActionRateLimit, event.ActionChallenge, event.ActionRedirect, event.ActionBlock:
			// The application never answered.
			o.ev.Duration, o.ev.RequestBytes, o.ev.Status = int64(o.x.Duration)/1000*1000, o.x.RequestBytes, 403
		default:
			l.extractor.End(&o.x, &o.ev)
		}
		res := l.engine.Observe(&o.ev, verdict.Position{Offset: o.order})
		o.decision.Actor = ""
		if res.Actor != 0 {
			o.decision.Actor = "a_" + res.Actor.String()
		}
		for i := range res.Verdicts {
			l.decider.Apply(&res.Verdicts[i])
			if l.OnVerdict != nil {
				l.OnVerdict(&res.Verdicts[i])
			}
		}
		if l.OnDecision != nil {
			l.OnDecision(&o.decision, &o.ev, o.tag)
		}
		l.free = append(l.free, o)
	}
}

// Sink feeds simulated traffic to the line and counts it in the tally.
func (l *Line) Sink(run string, t *Tally) traffic.Sink {
	n := 0
	l.OnDecision = func(d *verdict.Decision, ev *event.Event, tag any) {
		if ev.Flags&event.FlagTeach != 0 {
			return
		}
		one := Decision{ID: d.ID, Action: d.Action.String(), Actor: d.Actor, Scope: string(d.Scope), Reason: d.Reason, Verdict: d.Verdict}
		for _, threat := range d.Threats {
			one.Threats = append(one.Threats, string(threat))
		}
		t.Add(run, &one, tag.(*traffic.Label), ev.Time)
		if t.Oracle != nil {
			t.Oracle.Add(run, ev, tag.(*traffic.Label))
		}
		if t.Sources != nil {
			t.Sources.AddLabelled(run, ev.Client, &one, tag.(*traffic.Label))
		}
	}
	return func(x *traffic.Exchange, label *traffic.Label) error {
		n++
		to := l.Exchange()
		fill(to, x, l.Log)
		to.ID = fmt.Sprintf("r-%07d", n)
		tag := *label
		tag.ID = to.ID
		l.Play(&tag)
		return nil
	}
}

// fill converts what the simulator made to what a collector would hand over.
func fill(to *flow.Exchange, x *traffic.Exchange, log bool) {
	to.Source = event.SourceReplay
	to.Time, to.Method, to.Target, to.Status = time.Unix(0, x.Time).UTC(), x.Method, x.Target, x.Status
	to.Client = netip.AddrPortFrom(x.Client, x.Port)
	to.ResponseBytes = int64(x.RespBytes)
	if log {
		to.Source = event.SourceAccessLog
		to.Time = to.Time.Truncate(time.Second)
		to.Client = netip.AddrPortFrom(x.Client, 0)
		for _, name := range [...]string{"User-Agent", "Referer"} {
			if v := x.Header(map[string]string{"User-Agent": "user-agent", "Referer": "referer"}[name]); v != "" {
				to.Headers = append(to.Headers, flow.Field{Name: name, Value: v})
			}
		}
		return
	}
	to.HeadersKnown = true
	to.Host, to.Protocol, to.Duration, to.RequestBytes = x.Host, x.Protocol, x.Duration, int64(x.RequestBytes)
	if x.JA4 != "" {
		to.TLS = flow.TLS{Version: "1.3", SNI: x.Host, JA4: x.JA4}
	}
	for _, h := range x.Headers {
		to.Headers = append(to.Headers, flow.Field(h))
	}
	for _, h := range x.RespHeaders {
		to.ResponseHeaders = append(to.ResponseHeaders, flow.Field(h))
	}
	to.Body, to.ResponseBody = []byte(x.Body), []byte(x.RespBody)
}

type ended []*open

func (e ended) Len() int { return len(e) }
func (e ended) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e ended) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push is part of heap.Interface.
func (e *ended) Push(v any) { *e = append(*e, v.(*open)) }

// Pop is part of heap.Interface.
func (e *ended) Pop() any {
	old := *e
	o := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return o
}
