package feature

import (
	"errors"
	"strings"
	"unsafe"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// Config sizes the layer's tables.
type Config struct {
	// Stats, Routes and Paths are rows; the conduct of actors is as long as the
	// resolver's arena.
	Stats, Routes, Paths int
}

// Validate reports sizes that cannot work.
func (c Config) Validate() error {
	if c.Stats < 64 || c.Routes < 64 || c.Paths < 64 {
		return errors.New("feature tables need 64 rows each at least")
	}
	return nil
}

// Subject tells the owners of Stats apart.
type Subject uint8

// The subjects of Stats. Tool is a fingerprint.
const (
	SubjectActor Subject = iota + 1
	SubjectObject
	SubjectGroup
	SubjectTool
	// SubjectPlace is an address of a site of which only logs are known.
	SubjectPlace
	// SubjectHello is a TLS client hello (JA4): see Layer.name.
	SubjectHello
)

// Layer folds events into features. It is not safe for concurrent use.
type Layer struct {
	Resolver *actor.Resolver
	conduct  sketch.Flat[Conduct]
	stats    *sketch.Shelf[Stats]
	routes   *sketch.Table[Route]
	paths    *sketch.Table[pathRow]
	sites    []*Site
}

// New makes the tables beside a resolver and takes over its merge and recycle
// hooks.
func New(c Config, r *actor.Resolver) (*Layer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	l := &Layer{
		Resolver: r, conduct: sketch.NewFlat[Conduct](r.Slots()), stats: sketch.NewShelf[Stats](c.Stats),
		routes: sketch.NewTable[Route](c.Routes), paths: sketch.NewTable[pathRow](c.Paths),
	}
	r.OnRecycle = func(a uint32) { *l.Conduct(a) = Conduct{} }
	r.OnMerge = l.merge
	return l, nil
}

// AddSite registers a site with the resolver and here; both use one index.
func (l *Layer) AddSite(key uint64) (uint16, *Site) {
	l.sites = append(l.sites, newSite(key))
	return l.Resolver.AddSite(key), l.sites[len(l.sites)-1]
}

// Site returns the site at an index.
func (l *Layer) Site(i uint16) *Site { return l.sites[i] }

// Conduct returns an actor's conduct.
func (l *Layer) Conduct(a uint32) *Conduct { return l.conduct.At(int(a)) }

// ActorKey names an actor for tables: slot, generation and site.
func (l *Layer) ActorKey(a uint32) uint64 { return l.Resolver.Get(a).ID }

func (l *Layer) merge(into, from uint32) {
	l.Conduct(into).merge(l.Conduct(from))
	a, b := l.ActorKey(into), l.ActorKey(from)
	for role := range event.NumRoles {
		from := l.stats.Find(statsKey(SubjectActor, b, role))
		if from == nil {
			continue
		}
		o := *from // the place may be taken for the other
		l.stat(statsKey(SubjectActor, a, role), o.Last).merge(&o)
	}
}

func statsKey(s Subject, id uint64, role event.Role) uint64 {
	return sketch.Join(id, uint64(s)<<8|uint64(role)) | 1
}

// Find returns the Stats of a subject in a role, or nil.
func (l *Layer) Find(s Subject, id uint64, role event.Role) *Stats {
	return l.stats.Find(statsKey(s, id, role))
}

// stat returns the Stats of a key, new ones where there are none.
func (l *Layer) stat(key uint64, now uint32) *Stats {
	v, fresh := l.stats.Get(key, now)
	if fresh {
		*v = Stats{}
	}
	return v
}

// Prepare fills what is known of the event before its actor is resolved.
func (l *Layer) Prepare(in *Input) {
	e := in.Event
	in.Milli = uint32(e.Time / 1e6)
	in.Asset = isAsset(e)
	in.Path = sketch.HashString(e.Path)
	in.Role, in.Outcome = e.Role, e.Outcome
	if e.Role != event.RoleNone {
		in.Site.Declared = 1
	} else if in.Site.Declared == 0 {
		in.guess()
	}
	if e.HeaderOrder != 0 || e.Keys[event.KindSession] != 0 {
		in.Site.Headers = 1
	}
	in.Session = uint64(e.Keys[event.KindSession])
	if in.Session == 0 && in.Site.Headers == 0 {
		in.Session = uint64(e.Keys[event.KindClientFingerprint])
		if c := uint64(e.Keys[event.KindClient]); c != 0 && l.rotates(in, c) {
			in.Session, in.Rotates = c, true
		}
	}
	in.Refused = e.Action >= event.ActionRateLimit && e.Mode == event.ModeEnforce
	in.Teach = e.Flags&event.FlagTeach != 0
	in.Exempt = e.Flags&(event.FlagAllowlisted|event.FlagVerifiedBot) != 0
	if in.Refused {
		in.Outcome = event.OutcomeNone
	}
	in.Route = routeHash(e)
	in.choose()
	if in.Object != 0 && strings.IndexByte(e.Path, '{') >= 0 {
		// What the path names is hidden: another record is another document all the
		// same.
		in.Path = sketch.Join(in.Path, in.Object)
	}
}

// rotates says that a log's address is one client that changes its user agent:
// hardly a sub-resource, which people behind a shared address load, and a hundred
// documents nearly all different, or attack payloads from several agents; or none
// at all, nor a referer, and a new agent for two documents of five. Once seen it
// stays so for the episode.
func (l *Layer) rotates(in *Input, client uint64) bool {
	s := l.stat(statsKey(SubjectPlace, sketch.Join(in.Site.Key, client), event.RoleNone), in.Sec)
	s.resetIf(in.Sec, episodeSeconds)
	s.Prints.Add(uint64(in.Event.Keys[event.KindFingerprint]))
	s.Last = in.Sec
	inc(&s.N, !in.Asset)
	inc(&s.Repeat, in.Asset)
	if !in.Asset {
		s.Objects.Add(in.Path)
	}
	inc(&s.Fail, weigh(in.Event) >= MediumAttack)
	inc(&s.Success, in.Event.RefererHost != "")
	agents, n := s.Prints.Count(), uint32(s.N)
	if s.Settled == 0 && agents >= 4 && s.Repeat < max(2, s.N/8) &&
		(s.Fail >= 8 || n >= 100 && agents >= 8 && s.Objects.Count()*4 >= n*3 ||
			n >= 25 && agents*5 >= n*2 && s.Success+s.Repeat == 0 && in.Site.shows()) {
		s.Settled = 1
	}
	return s.Settled != 0
}

// Observe folds a prepared and resolved event in. Detectors run after it and
// see the counts with this event, and in the Steps what was before.
func (l *Layer) Observe(in *Input) {
	in.Identity = l.Resolver.Get(in.Actor)
	in.Conduct = l.Conduct(in.Actor)
	in.Gap = -1
	if in.Conduct.Requests > 0 {
		in.Gap = int64(int32(in.Milli - in.Conduct.LastMilli))
		if far := in.Sec - min(in.Sec, in.Conduct.Last); far > 1<<20 {
			in.Gap = int64(far) * 1000
		}
		in.Gap = max(0, in.Gap)
	}
	l.retire(in)
	in.Strange = in.Resolution.Familiarity == actor.Unfamiliar
	in.User = user(in)
	in.count()
	// Several people may stand behind one actor: only one visit makes a chain.
	in.Chain = in.Gap >= 0 && in.Gap < 2000 && in.Conduct.LastSession == uint32(in.Session)
	l.route(in)
	in.Conduct.note(in)
	add(&in.Conduct.Home, in.Resolution.Familiarity == actor.Familiar && in.Identity.Own != 0)
	if in.Asset {
		if in.Conduct.Assets == 1 && in.Site.Headers == 0 {
			l.dress(in)
		}
		return
	}
	in.Unowned = l.unowned(in)
	l.name(in)
	if in.Role != event.RoleNone {
		l.mark(in)
		l.attempt(in)
	} else if in.Site.Headers != 0 {
		l.tool(in)
	}
	l.muster(in)
}

// user is who acts on the event's object, 0 for an account's owner at home, who
// is no stranger to the own account.
func user(in *Input) uint64 {
	k := &in.Event.Keys
	own := in.ObjectName == "account"
	switch {
	case own && in.Resolution.Familiarity == actor.Familiar:
		return 0
	case !own && k[event.KindAccount] != 0:
		return uint64(k[event.KindAccount])
	case in.Session != 0:
		return in.Session
	}
	return uint64(k[event.KindClientFingerprint])
}

// novelSeconds is how long a group (an e-mail domain, an issuer range) counts as
// new on a site that had been watched for two days before it appeared.
const novelSeconds = 4 * 86400

// freshSeconds is how young an actor is of whom nothing is known.
const freshSeconds = 3600

// unowned says that no proved owner vouches for this software.
func (l *Layer) unowned(in *Input) bool {
	k := &in.Event.Keys
	f := uint64(k[event.KindFingerprint])
	if in.Site.Headers == 0 || f == 0 {
		return false
	}
	owners := l.Resolver.Vouched(in.SiteIndex, f, uint64(k[event.KindRequestTemplate]), in.Sec)
	return owners == 0 || owners <= few && taught(in, l.greeted(in))
}

// mark finds what an attempt's urns ask.
func (l *Layer) mark(in *Input) {
	e := in.Event
	in.Direct = in.Conduct.Methods&(1|4) == 0
	in.Fresh = e.Keys[event.KindAccount] == 0 && in.Resolution.Familiarity != actor.Familiar &&
		in.Identity.Own == 0 && in.Identity.Home == 0 && in.Sec-min(in.Sec, in.Identity.First) < freshSeconds
	in.Newcomer = l.newcomer(in)
	in.Edge = e.Opens != 0 && e.Time < e.Opens+1e9 || e.Closes != 0 && e.Closes >= e.Time && e.Closes-e.Time <= 3e9
	if in.Role == event.RoleReserve || in.Role == event.RoleCartAdd {
		in.Hold = l.Find(SubjectActor, in.Identity.ID, event.RoleOrder) == nil && l.Find(SubjectActor, in.Identity.ID, event.RolePayAuth) == nil
	}
}

// settledSeconds is how long a site must have been watched until an account that it has
// not seen is a new one: people do not come every day.
const settledSeconds = 3 * 86400

// newcomer says that who acts has an account that the site has known for less than an
// hour, in a place that is as new.
func (l *Layer) newcomer(in *Input) bool {
	account := in.Event.Keys[event.KindAccount]
	return account != 0 && in.Resolution.Familiarity != actor.Familiar && in.Identity.Home == 0 &&
		in.Sec-min(in.Sec, in.Identity.First) < freshSeconds && in.Sec-min(in.Sec, in.Site.First) >= settledSeconds &&
		l.Resolver.Newcomer(in.SiteIndex, uint64(account), in.Sec-min(in.Sec, freshSeconds))
}

func (l *Layer) route(in *Input) {
	row, _ := l.routes.Get(sketch.Join(in.Site.Key, in.Route)|1, in.Sec)
	r := &row.Val
	in.RouteStats = r
	if in.Refused {
		return
	}
	r.Requests++
	if in.Event.Status == 404 {
		r.NotFound++
	}
	in.Stray = r.NotFound*4 > r.Requests
	us := uint32(min(in.Event.Duration/1000, 3600e6))
	if r.Requests == 1 {
		r.Duration = us
	}
	r.Duration += us/16 - r.Duration/16
	if in.Asset {
		in.PathActors = 1
		return
	}
	path, _ := l.paths.Get(sketch.Join(in.Site.Key, in.Path)|1, in.Sec)
	in.PathActors = path.Val.Actors.Count()
	if in.Event.Status != 404 {
		path.Val.Actors.Add(uint64(in.Actor))
	}
}

func (l *Layer) attempt(in *Input) {
	in.Site.Roles[in.Role]++
	if in.Event.JA4 != "" && !in.Refused {
		l.greet(in)
	}
	// Rows are looked up first: a later Get may replace a row of the same set.
	in.ByActor = l.row(SubjectActor, in.Identity.ID, in)
	in.ActorStep = in.ByActor.step(in)
	if st := &in.ActorStep; in.Role == event.RoleItemView && in.Object != 0 {
		// A page and the call that it makes for the same item are one look at it.
		in.Edge = st.Gap >= 0 && st.Gap < 10000 && !st.Switched && in.Page.Same
	}
	in.ByActor.count(in, &in.ActorStep)
	if in.Object != 0 {
		in.ByObject = l.row(SubjectObject, sketch.Join(in.Site.Key, in.Object), in)
		overnight := in.ByObject.overnight(in)
		in.ObjectStep = in.ByObject.step(in)
		in.ObjectStep.Overnight = overnight
		l.visit(in, in.ByObject, &in.ObjectStep)
		in.ByObject.count(in, &in.ObjectStep)
	}
	if in.Group != 0 {
		in.ByGroup = l.row(SubjectGroup, sketch.Join(in.Site.Key, in.Group), in)
		in.GroupStep = in.ByGroup.step(in)
		l.visit(in, in.ByGroup, &in.GroupStep)
		in.ByGroup.count(in, &in.GroupStep)
		// The row of no role lives as long as the table: when was it first seen?
		ever := l.stat(statsKey(SubjectGroup, sketch.Join(in.Site.Key, in.Group), event.RoleNone), in.Sec)
		if ever.First == 0 {
			ever.First = in.Sec
		}
		age := in.Sec - min(in.Sec, ever.First)
		in.Novel = age < novelSeconds && in.Sec-min(in.Sec, in.Site.First) >= age+2*86400
	}
	l.tool(in)
}

// holdSeconds is when a hold should have led to a purchase.
const holdSeconds = 900

// visit finds what the event tells of the visitors of an object or a group.
func (l *Layer) visit(in *Input, s *Stats, st *Step) {
	first := in.ActorStep.Tries == 0
	if in.Role == event.RoleLogin {
		st.Visit = st.NewUser && st.Known && in.Resolution.Familiarity != actor.Familiar
		st.Stranger = st.Visit && st.Failed && !st.Stale && !st.Overnight
		return
	}
	if in.Role != event.RoleReserve && in.Role != event.RoleCartAdd {
		st.Visit, st.Stranger = first, first && (in.Fresh || in.Newcomer)
		return
	}
	if !first || in.Refused || s.Pending != 0 && in.Sec-min(in.Sec, s.PendingAt) < holdSeconds {
		return
	}
	if s.Pending != 0 {
		st.Visit, st.Stranger = true, s.PendingFresh != 0 && !l.paid(s.Pending)
	}
	s.Pending, s.PendingAt, s.PendingFresh = in.Identity.ID, in.Sec, 0
	inc(&s.PendingFresh, in.Fresh || in.Newcomer)
}

// paid says that an actor has bought something in its running episode.
func (l *Layer) paid(actor uint64) bool {
	p := l.Find(SubjectActor, actor, event.RolePayAuth)
	return p != nil && p.Success > 0 || p == nil && l.Find(SubjectActor, actor, event.RoleOrder) != nil
}

func (l *Layer) tool(in *Input) {
	if in.Tool != 0 {
		in.ByTool = l.row(SubjectTool, in.Tool, in)
		in.ToolStep = in.ByTool.step(in)
		in.ByTool.count(in, &in.ToolStep)
	}
}

// silence ends an episode, by subject, in seconds: attempts on one card or
// account may be spread over days.
var silence = [...]uint32{
	SubjectActor: episodeSeconds, SubjectObject: 48 * 3600, SubjectGroup: 24 * 3600, SubjectTool: 24 * 3600, SubjectPlace: episodeSeconds,
}

func (l *Layer) row(s Subject, id uint64, in *Input) *Stats {
	row := l.stat(statsKey(s, id, in.Role), in.Sec)
	row.resetIf(in.Sec, silence[s])
	return row
}

// Stale says, before the event is counted, that its account was tried with the
// same secret before.
func (l *Layer) Stale(in *Input) bool {
	if in.Secret == 0 || in.Object == 0 {
		return false
	}
	s := l.Find(SubjectObject, sketch.Join(in.Site.Key, in.Object), in.Role)
	return s != nil && s.Secrets.Has(in.Secret) && s.Secrets.Bits() < 40
}

// Used counts rows in the tables.
func (l *Layer) Used() uint64 { return l.stats.Used() + l.routes.Used() + l.paths.Used() }

// Evicted counts rows that made room for others.
func (l *Layer) Evicted() uint64 {
	return l.stats.Evicted() + l.routes.Evicted() + l.paths.Evicted()
}

// Cut adds the layer to a cut, without the resolver and the sites.
func (l *Layer) Cut(c *sketch.Cut) {
	sketch.Freeze(c, &l.conduct)
	l.stats.Cut(c)
	l.routes.Cut(c)
	l.paths.Cut(c)
}

// SetState restores what Cut has written.
func (l *Layer) SetState(r *sketch.Reader) error {
	for _, part := range []func(*sketch.Reader) error{l.conduct.Take, l.stats.SetState, l.routes.SetState, l.paths.SetState} {
		if err := part(r); err != nil {
			return err
		}
	}
	return nil
}

// PutSite writes what one site has taught, here and in the resolver.
func (l *Layer) PutSite(w *sketch.Writer, site uint16) {
	l.Resolver.PutSite(w, site)
	sketch.Put(w, []Site{*l.sites[site]})
}

// TakeSite reads what PutSite wrote.
func (l *Layer) TakeSite(r *sketch.Reader, site uint16) error {
	one := make([]Site, 1)
	if err := l.Resolver.TakeSite(r, site); err != nil {
		return err
	}
	if err := sketch.Take(r, one); err != nil {
		return err
	}
	l.sites[site] = &one[0]
	return nil
}

// Bytes is the memory of the tables.
func (l *Layer) Bytes() int {
	return l.conduct.Bytes() + l.stats.Bytes() + l.routes.Bytes() + l.paths.Bytes() + len(l.sites)*int(unsafe.Sizeof(Site{}))
}
