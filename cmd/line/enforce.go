package line

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/enforcer"
	"github.com/weirproject/weir/enforcer/ingress"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// saveTableEvery bounds how much of the verdict table a kill can lose; the feed
// repeats it anyway.
const saveTableEvery = 10 * time.Second

// saveSameEvery is how often a table that has not changed is saved, for the time
// of the feed's last word in it. A million verdicts take 0.4 s of CPU.
const saveSameEvery = 2 * time.Minute

// readyWithoutFeed is how long an ingress waits for the verdicts that stand on
// the log before it calls itself ready: long enough for a full topic, short
// enough for a log that is away.
const readyWithoutFeed = 3 * time.Second

// Enforce runs the ingress role. It serves before the log is reachable and
// after it is gone, from the verdicts it has.
func Enforce(ctx context.Context, env Env) error {
	return runRole(ctx, env, "enforce", func(ctx context.Context, r *role) (func() admin.Report, error) {
		e := &enforcing{role: r, current: make(chan struct{}), table: filepath.Join(env.Config.Data, "enforce", "table")}
		if err := e.build(ctx); err != nil {
			return nil, err
		}
		return e.report, nil
	})
}

type enforcing struct {
	*role
	table     string
	capture   *capture
	decider   *enforcer.Enforcer
	server    *ingress.Server
	events    eventSink
	decisions decisionSink
	verdicts  verdictSource
	current   chan struct{} // closed once the verdicts that stood on the log are in force
	malformed atomic.Int64
	addr      atomic.Pointer[string] // where it listens, once it is ready
	// unsaved is how the last saving of the table ended.
	unsaved atomic.Pointer[error]
}

func (e *enforcing) build(ctx context.Context) error {
	var err error
	if e.capture, err = newCapture(ctx, e.role, filepath.Dir(e.table)); err != nil {
		return err
	}
	decide, err := deciding(e.Config)
	if err != nil {
		return err
	}
	if e.decider, err = enforcer.New(decide, nil, e.metrics); err != nil {
		return fmt.Errorf("enforcer: %w", err)
	}
	n, err := e.decider.LoadTable(e.table, time.Now().UnixNano())
	if err != nil {
		e.Log.Warn("saved verdicts are refused, starting without them", "err", err)
	}
	if err := e.streams(); err != nil {
		return err
	}
	e.server, err = ingress.New(ingressConfig(e.Config), ingress.Options{
		Log: e.Log, Registry: e.metrics, Extractor: e.capture, Decider: e.decider, Recorder: recorder{e},
	})
	if err != nil {
		return fmt.Errorf("ingress: %w", err)
	}
	e.reload = e.putInForce
	e.run(ctx, n)
	return nil
}

// deciding is how a live ingress decides.
func deciding(cfg *config.Loaded) (enforcer.Config, error) {
	keys, err := Keyring(cfg)
	if err != nil {
		return enforcer.Config{}, err
	}
	out, err := EnforcerConfig(cfg, keys)
	out.Clock = func() int64 { return time.Now().UnixNano() }
	return out, err
}

// streams connects with the log and with where verdicts come from. An ingress
// with a feed needs no log: it enforces, and teaches nothing.
func (e *enforcing) streams() (err error) {
	fed := e.Config.Enforce.Feed.URL != "" && !Managed() // weir up has refused it
	if fed && len(e.Config.Kafka.Brokers) == 0 {
		none := &noLog{}
		e.events, e.decisions = none, none
		e.metrics.MustRegister(none)
	} else if err := e.connect(fed); err != nil {
		return err
	}
	if fed {
		if e.verdicts, err = newFeedSource(e); err != nil {
			return fmt.Errorf("verdict feed: %w", err)
		}
	}
	e.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "weir_verdicts_rejected_total", Help: "Verdicts received that do not parse or cannot be put in force.",
	}, func() float64 { return float64(e.verdicts.Rejected()) }))
	return nil
}

// connect opens the log: for events and decisions, and unless the ingress is fed
// for verdicts.
func (e *enforcing) connect(fed bool) error {
	conn, err := connection(e.Env, "enforce")
	if err != nil {
		return err
	}
	if e.events, err = stream.NewProducer(stream.ProducerConfig{Connection: conn, Node: node(e.Config), Log: e.Log}, e.metrics); err != nil {
		return fmt.Errorf("event producer: %w", err)
	}
	if e.decisions, err = stream.NewPublisher(stream.PublisherConfig{Connection: conn, Topic: stream.TopicDecisions, Log: e.Log}, e.metrics); err != nil {
		return fmt.Errorf("decision producer: %w", err)
	}
	if fed {
		return nil
	}
	tail, err := stream.NewTail(stream.TailConfig{
		Connection: conn, Topic: stream.TopicVerdicts, Log: e.Log, From: parsePosition(e.decider.Position()),
		OnCaughtUp: func() {
			e.decider.Touch(time.Now().UnixNano(), e.decider.Position())
			close(e.current)
		},
		OnGap: func(g stream.Gap) {
			e.Log.Warn("verdicts are missing from the topic; those in force are repeated by the processor", "partition", g.Partition, "from", g.From, "to", g.To)
		},
	})
	if err != nil {
		return fmt.Errorf("verdict feed: %w", err)
	}
	e.verdicts = topicSource{tail, e}
	return nil
}

// run starts the goroutines. The producers end after the server has drained:
// the last requests are events too.
func (e *enforcing) run(ctx context.Context, loaded int) {
	after, drained := context.WithCancel(context.WithoutCancel(ctx))
	e.group.Go(func() error {
		defer drained()
		err := e.server.Run(ctx)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: choose another with --listen ADDR", err)
		}
		return err
	})
	e.group.Go(func() error { return e.events.Run(after) })
	e.group.Go(func() error { return e.decisions.Run(after) })
	// The last requests are decided as all others: by verdicts and a policy that
	// are there until they have been answered.
	e.group.Go(func() error { return e.verdicts.Run(after) })
	e.group.Go(func() error { return e.housekeep(after) })
	e.group.Go(func() error { return e.capture.keepOwners(after) })
	e.group.Go(func() error {
		addr := e.server.Addr(ctx)
		if addr == nil {
			return nil
		}
		e.Log.Info("ingress listens", "addr", addr.String(), "verdicts_loaded", loaded)
		select { // it serves meanwhile, from the saved verdicts
		case <-e.current:
		case <-time.After(readyWithoutFeed):
		case <-ctx.Done():
		}
		at := addr.String()
		e.addr.Store(&at)
		e.tell(e.now.Load())
		return nil
	})
}

// tell says where the ingress listens and what it is in, once it is ready and
// again whenever that changes.
func (e *enforcing) tell(cfg *config.Loaded) {
	if at := e.addr.Load(); at != nil {
		supervise.Ready(fmt.Sprintf("ingress %s, mode %s", *at, effectiveMode(cfg, nil)))
	}
}

// housekeep notes that the feed is alive, frees what has expired and saves the
// table.
func (e *enforcing) housekeep(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	swept, saved, table := time.Now(), time.Now(), e.decider.Status().Table
	for {
		select {
		case <-ctx.Done():
			return errors.Join(e.decider.SaveTable(e.table), e.decider.Close())
		case <-tick.C:
		}
		if at := e.verdicts.Contact(); !at.IsZero() {
			// Not the time noted then: the wall clock may have been set since.
			e.decider.Alive(time.Now().Add(-time.Since(at)).UnixNano())
		}
		if time.Since(swept) < saveTableEvery {
			continue
		}
		swept = time.Now()
		e.decider.Sweep(e.clock.forget().UnixNano())
		now := e.decider.Status().Table
		if now == table && swept.Sub(saved) < saveSameEvery {
			continue
		}
		saved, table = swept, now
		err := e.decider.SaveTable(e.table)
		if err != nil {
			e.Log.Warn("verdicts are not saved; a restart would begin with older ones", "err", err)
			saved = time.Time{} // try again at the next look
		}
		e.unsaved.Store(&err)
	}
}

// putInForce takes another configuration over, whole or not at all. What only a
// restart changes stays as it is.
func (e *enforcing) putInForce(cfg *config.Loaded) error {
	kept := *cfg
	began := &e.Config.Enforce
	kept.Enforce.Listen = began.Listen
	if (kept.Enforce.TLS.Cert == "") != (began.TLS.Cert == "") {
		kept.Enforce.TLS = began.TLS
	}
	decide, err := deciding(&kept)
	if err != nil {
		return err
	}
	if err := decide.Validate(); err != nil {
		return err
	}
	put, err := e.capture.reloading(&kept)
	if err != nil {
		return err
	}
	if err := e.server.Reload(ingressConfig(&kept)); err != nil {
		return err
	}
	if err := e.decider.Reload(decide); err != nil {
		return err
	}
	e.decider.SetKillSwitch(decide.KillSwitch)
	put()
	e.tell(&kept)
	return nil
}

func (e *enforcing) report() admin.Report {
	st := e.decider.Status()
	l := e.events.Ledger()
	src := admin.Source{Name: event.SourceEnforcer.String(), Produced: int64(l.Produced), Delivered: int64(l.Delivered), Queued: int64(l.InFlight), Lost: map[string]int64{}}
	for cause, n := range l.Lost {
		src.Lost[cause] = int64(n)
	}
	rep := admin.Report{Sources: []admin.Source{src}, Verdicts: st.Verdicts}
	cfg := e.now.Load()
	for i := range cfg.Sites {
		if Managed() {
			break // the processor beside it says more of each
		}
		s := &cfg.Sites[i]
		rep.Sites = append(rep.Sites, admin.Site{Name: s.Name, Mode: effectiveMode(cfg, s).String()})
	}
	if at := e.verdicts.Contact(); at.IsZero() || time.Since(at) > lagLimit {
		rep.Problems = append(rep.Problems, e.verdicts.Absent())
	}
	if err := e.unsaved.Load(); err != nil && *err != nil {
		rep.Problems = append(rep.Problems, fmt.Sprintf("verdicts are not saved: %v (a restart would begin with older ones, until the feed repeats them)", *err))
	}
	rep.Enforcer = e.self(st.Verdicts)
	if st.KillSwitch {
		rep.Notes = append(rep.Notes, "enforce.killSwitch is on: every request passes, and what would have happened is recorded")
	}
	if _, alone := e.events.(*noLog); alone {
		rep.Notes = append(rep.Notes, "no kafka.brokers: what this ingress sees and does is not recorded, and teaches weir nothing")
	}
	if n := e.verdicts.Rejected(); n > 0 {
		rep.Notes = append(rep.Notes, fmt.Sprintf("%d verdicts could not be applied", n))
	}
	rep.Notes = append(rep.Notes, fmt.Sprintf("policy %s (%s)", st.Policy, st.PolicyHash))
	rep.Notes = append(rep.Notes, e.capture.lookup.describe()...)
	return rep
}

// self is what `weir enforcers list` shows of this ingress.
func (e *enforcing) self(verdicts int) *admin.Enforcer {
	out := &admin.Enforcer{Name: node(e.Config), Via: "log", State: "connected", Sequence: e.verdicts.Sequence(), Behind: -1, Verdicts: verdicts}
	if _, fed := e.verdicts.(*feedSource); fed {
		out.Via = "feed"
	}
	at := e.verdicts.Contact()
	if !at.IsZero() {
		out.Seen = at.UTC().Truncate(time.Second)
	}
	if time.Since(at) > lagLimit {
		out.State = "away"
	}
	return out
}

// recorder sends what the ingress saw and did; both queues are bounded and
// count what they drop.
type recorder struct{ e *enforcing }

// Event implements ingress.Recorder.
func (r recorder) Event(ev *event.Event) { r.e.events.Emit(ev) }

// Decision implements ingress.Recorder.
func (r recorder) Decision(d *verdict.Decision) { r.e.decisions.Decision(d) }
