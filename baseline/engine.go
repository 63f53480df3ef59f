package baseline

import (
	"errors"
	"fmt"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/campaign"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/route"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// Version names the engine in verdicts; it rises with any change that may
// change a verdict.
const Version = "1.0.0"

// GCPercent suits a process whose memory is mostly engines (debug.SetGCPercent).
// Their tables hold no pointers, so that a collection hardly costs anything, while
// with the usual 100 as much memory as they take would be garbage before one
// begins: memory that the kernel has to find and to clear. Below 50 the collections
// begin to show.
const GCPercent = 50

// Config sizes and steers an engine.
type Config struct {
	// Entities is about how many identifiers are kept (default 1<<20); the other
	// tables follow from it: a sixth of it actors, an eighth of it accounts.
	Entities int
	// Cases bounds the subjects under suspicion (default 1<<13), Verdicts those
	// in force (default 1<<14), Sites the sites (default 1024).
	Cases, Verdicts, Sites int
	// Mode is written into verdicts (default enforce; shadow always wins later).
	Mode event.Mode
	// Topic names the events' topic in evidence (default weir.events).
	Topic string
}

// withDefaults fills what is zero.
func (c Config) withDefaults() Config {
	for _, d := range []struct {
		v *int
		n int
	}{{&c.Entities, 1 << 20}, {&c.Cases, 1 << 13}, {&c.Verdicts, 1 << 14}, {&c.Sites, 1024}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	if c.Mode == event.ModeNone {
		c.Mode = event.ModeEnforce
	}
	if c.Topic == "" {
		c.Topic = "weir.events"
	}
	return c
}

// Validate reports every fault of a configuration; zero fields mean defaults.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Entities < 1024 || c.Entities > 1<<28 {
		errs = append(errs, fmt.Errorf("entities: %d is not between 1024 and 268435456", c.Entities))
	}
	if c.Cases < 16 || c.Verdicts < 16 {
		errs = append(errs, errors.New("cases and verdicts: 16 at least"))
	}
	if c.Sites < 1 || c.Sites > 65535 {
		errs = append(errs, fmt.Errorf("sites: %d is not between 1 and 65535", c.Sites))
	}
	return errors.Join(errs...)
}

// Result is what one event gave.
type Result struct {
	// Actor is the pseudonym of the resolved actor; it prints as a_ and hex.
	Actor event.Hash
	// Route is the declared or learned route template.
	Route string
	// Verdicts are new or revised; valid until the next call.
	Verdicts []verdict.Verdict
}

// Counters are the engine's life in numbers, for metrics and tests.
type Counters struct {
	Events, Shadowed, Overflow, Late uint64
	Verdicts, Revoked                uint64
	Actor                            actor.Stats
	// Evicted entries of the tables of identifiers, accounts, features, attacks and
	// verdicts in force made room for others.
	Evicted                 uint64
	CasesUsed, CasesEvicted uint64
	Bytes                   int
}

// site is one site's name and place.
type site struct {
	name  string
	index uint16
	state *feature.Site
	allow []allowance
	// routes learns the endpoint inventory and the templates of undeclared paths.
	routes *route.Learner
	// frozen is the site's part of a cut that may not have been written yet.
	frozen *sketch.Lazy
}

// Engine folds events into verdicts. It is not safe for concurrent use: one
// partition has one engine and one goroutine.
type Engine struct {
	cfg      Config
	resolver *actor.Resolver
	layer    *feature.Layer
	set      *threat.Set
	attacks  *campaign.Table
	sites    map[string]*site
	order    []*site
	// recent is the site of the event before.
	recent   *site
	force    ledger
	counters Counters
	count    census
	cut      *sketch.Cut

	// scratch of the running event
	in  feature.Input
	req actor.Request
	out []verdict.Verdict
	now uint32
	// text is where the strings of verdicts are built.
	text text
}

// New makes an engine with all its memory. It panics on an invalid
// configuration: call Validate first.
func New(cfg Config) *Engine {
	if err := cfg.Validate(); err != nil {
		panic("baseline: " + err.Error())
	}
	e := &Engine{cfg: cfg.withDefaults()}
	if err := e.reset(); err != nil {
		panic("baseline: " + err.Error())
	}
	return e
}

// reset makes empty tables.
func (e *Engine) reset() (err error) {
	n := e.cfg.Entities
	e.resolver, err = actor.New(actor.Config{Identifiers: n, Actors: n / 6, Accounts: n / 8, Popular: 1024})
	if err != nil {
		return err
	}
	e.layer, err = feature.New(feature.Config{Stats: n / 8, Routes: 1 << 13, Paths: n / 8}, e.resolver)
	if err != nil {
		return err
	}
	e.set, err = threat.NewSet(e.layer, e.cfg.Cases, threat.Detectors())
	if err != nil {
		return err
	}
	e.attacks = campaign.New(1 << 14)
	features := e.resolver.OnMerge
	e.resolver.OnMerge = func(into, from uint32) {
		features(into, from)
		e.set.Merge(e.resolver.Get(into).ID, e.resolver.Get(from).ID, e.now)
	}
	e.sites, e.order, e.recent = map[string]*site{}, nil, nil
	e.force = newLedger(e.cfg.Verdicts)
	e.counters, e.count = Counters{}, census{}
	e.out = make([]verdict.Verdict, 0, 16)
	return nil
}

// Counters returns the engine's numbers so far.
func (e *Engine) Counters() Counters {
	c := e.counters
	c.Actor = e.resolver.Stats()
	c.Evicted = e.resolver.Evicted() + e.layer.Evicted() + e.attacks.Evicted() + e.force.dropped
	var bytes int
	c.CasesUsed, c.CasesEvicted, bytes = e.set.Cases()
	c.Bytes = bytes + e.resolver.Bytes() + e.layer.Bytes() + e.attacks.Bytes()
	for _, s := range e.order {
		c.Late += uint64(s.state.Late)
	}
	return c
}

// Facts lists what the detectors are, for status and documents.
func (e *Engine) Facts() []threat.Facts { return e.set.Facts() }

// siteOf finds or adds a site; past the limit all share the last one.
func (e *Engine) siteOf(name string) *site {
	if e.recent != nil && e.recent.name == name {
		return e.recent
	}
	if s := e.sites[name]; s != nil {
		e.recent = s
		return s
	}
	if len(e.order) >= e.cfg.Sites {
		e.counters.Overflow++
		return e.order[len(e.order)-1]
	}
	s := &site{name: string(append([]byte(nil), name...))}
	s.index, s.state = e.layer.AddSite(sketch.HashString(name))
	s.routes, _ = route.New(route.Config{Seed: s.state.Key}) // cannot fail: only sizes are checked
	e.sites[s.name] = s
	e.order = append(e.order, s)
	return s
}

// Observe folds one event in. Copies that a preferred source also saw
// (FlagShadowed) feed nothing.
func (e *Engine) Observe(ev *event.Event, pos verdict.Position) Result {
	e.out = e.out[:0]
	if ev.Flags&event.FlagShadowed != 0 {
		e.counters.Shadowed++
		return Result{Route: ev.Route}
	}
	e.counters.Events++
	s := e.siteOf(ev.Site)
	if s.frozen != nil {
		_, _ = s.frozen.Keep() // its error is the cut's
		s.frozen = nil
	}
	in := &e.in
	*in = feature.Input{Event: ev, Site: s.state, SiteIndex: s.index}
	in.Now = s.state.Advance(ev.Time)
	in.Sec = uint32(in.Now / 1e9)
	e.now = in.Sec
	e.layer.Prepare(in)
	in.Exempt = in.Exempt || s.exempt(ev, in.Now)
	e.request(in)
	in.Mature = e.req.Mature
	in.Resolution = e.resolver.Resolve(&e.req)
	in.Actor = in.Resolution.Actor
	e.layer.Observe(in)
	var touched []threat.Touched
	if !in.Exempt {
		touched = e.set.Observe(in)
	}
	actorNow := e.resolver.Settle(&e.req, in.Resolution, actor.Answer{
		Success: in.Outcome == event.OutcomeSuccess,
		Proof:   ev.Flags&event.FlagProves != 0, Refused: in.Refused,
		Trusted: !in.Exempt && e.set.Trusted(in),
	})
	if in.Outcome == event.OutcomeSuccess && ev.Flags&event.FlagProves != 0 && ev.Claimed != 0 {
		in.Conduct.Owners.Add(uint64(ev.Claimed))
	} else if a := ev.Keys[event.KindAccount]; a != 0 {
		in.Conduct.Owners.Add(uint64(a))
	}
	if !in.Teach && !in.Exempt {
		e.publish(s, in, touched, pos)
		e.stand(pos)
	}
	return Result{Actor: e.reported(in, touched, actorNow), Route: s.route(in), Verdicts: e.out}
}

// route learns from an answered request and returns the declared or the learned
// template.
func (s *site) route(in *feature.Input) string {
	ev := in.Event
	if in.Refused {
		if ev.Route != "" {
			return ev.Route
		}
		template, _ := s.routes.Lookup(ev.Path)
		return template
	}
	m := s.routes.Observe(route.Observation{Time: in.Now, Method: ev.Method, Path: ev.Path, Hash: in.Path, Status: ev.Status, QueryKeys: ev.QueryKeys})
	if ev.Route != "" {
		return ev.Route
	}
	return m.Template
}

// Inventory lists the endpoints that a site has shown, nil for an unknown site.
func (e *Engine) Inventory(name string) []route.Endpoint {
	if s := e.sites[name]; s != nil {
		return s.routes.Inventory()
	}
	return nil
}

// attempts are the roles in which something is tried: their events may merge
// actors.
var attempts = func() (a [event.NumRoles]bool) {
	for _, r := range []event.Role{
		event.RoleLogin, event.RoleReset, event.RoleSignup, event.RoleOTPSend, event.RoleOTPVerify, event.RoleCaptchaVerify,
		event.RolePayAuth, event.RoleCouponApply, event.RoleOrder, event.RoleReserve, event.RolePayout, event.RoleTransfer,
		event.RoleAddressChange, event.RolePost, event.RoleVote, event.RoleLike, event.RoleClick, event.RoleBid, event.RoleCartAdd,
	} {
		a[r] = true
	}
	return a
}()

// linking are the roles whose object links attempts: rare things that one tries.
var linking = [event.NumRoles]bool{
	event.RolePayAuth: true, event.RoleCouponApply: true, event.RolePayout: true, event.RoleTransfer: true,
	event.RoleOTPSend: true, event.RolePost: true, event.RoleAddressChange: true,
}

// request fills what the resolver needs.
func (e *Engine) request(in *feature.Input) {
	k := &in.Event.Keys
	e.req = actor.Request{
		Site: in.SiteIndex, Now: in.Sec, Nano: in.Event.Time,
		Session: in.Session, SessionGuessed: in.Session != 0 && k[event.KindSession] == 0,
		Device: uint64(k[event.KindDevice]), Client: uint64(k[event.KindClient]), Network: uint64(k[event.KindClientNet]),
		ASN: uint64(k[event.KindASN]), Joint: uint64(k[event.KindClientFingerprint]), Fingerprint: uint64(k[event.KindFingerprint]),
		Template: uint64(k[event.KindRequestTemplate]), Account: uint64(k[event.KindAccount]),
		NewSession: uint64(in.Event.NewSession), NewDevice: uint64(in.Event.NewDevice),
		Asset: in.Asset, Attempt: attempts[in.Role] && !in.Exempt, Role: uint8(in.Role), Common: in.Role != event.RoleLogin,
		Mature: threat.Mature(in.Site, in.Sec, e.resolver.Owners(in.SiteIndex)),
	}
	if in.Site.Headers == 0 {
		// A log shows neither header order nor parameter shape: what is hashed of
		// them is the same for everybody and links nobody.
		e.req.Template = 0
	}
	if in.Role == event.RoleLogin && e.layer.Stale(in) {
		// A client with an old password says nothing about who else is who.
		e.req.Attempt = false
	}
	switch in.Role {
	case event.RoleLogin, event.RoleReset, event.RoleSignup:
		e.req.Claimed = uint64(in.Event.Claimed)
	default:
		if linking[in.Role] {
			e.req.Object = in.Object
		}
	}
}
