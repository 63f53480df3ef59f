package threat

import (
	"errors"
	"math/bits"

	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// Set runs the detectors and keeps their cases. Not safe for concurrent use.
type Set struct {
	detectors []Detector
	facts     []Facts
	byRole    [event.NumRoles][]int
	always    []int
	cases     *sketch.Shelf[Case]
	layer     *feature.Layer
	obs       Observation
	touched   []Touched
	// ids are the running event's subjects, found when first needed.
	ids [numSubjects]uint64
	// programs remember which detectors may have a case about a program: five of
	// them say of nearly every event that they see nothing odd in it.
	programs [256]program
}

// program has a bit in open for each detector that may have a case about it.
type program struct {
	id   uint64
	open uint32
}

// program returns the entry of the event's program.
func (s *Set) program(in *feature.Input) *program {
	if s.ids[Tool] == 0 {
		s.ids[Tool] = SubjectID(in, Tool)
	}
	id := s.ids[Tool]
	p := &s.programs[id%uint64(len(s.programs))]
	if p.id != id || id == 0 {
		*p = program{id: id, open: ^uint32(0)}
	}
	return p
}

// Touched is a case that an event has changed.
type Touched struct {
	Case  *Case
	Facts *Facts
	// Allowed is the action that score and caps allow now; Cap says which cap
	// bound, empty when none.
	Allowed event.Action
	Cap     string
	// Raised: the event itself has added to the case.
	Raised bool
}

// NewSet makes a set of detectors with room for so many cases.
func NewSet(layer *feature.Layer, cases int, detectors []Detector) (*Set, error) {
	if cases < 16 {
		return nil, errors.New("threat cases: 16 at least")
	}
	if len(detectors) > 32 {
		return nil, errors.New("threat detectors: 32 at most")
	}
	s := &Set{detectors: detectors, cases: sketch.NewShelf[Case](cases), layer: layer, touched: make([]Touched, 0, 64)}
	for i, d := range detectors {
		f := d.Facts()
		if len(f.Parts) >= MaxParts {
			return nil, errors.New(string(f.Threat) + ": too many parts")
		}
		s.facts = append(s.facts, f)
		if len(f.Roles) == 0 {
			s.always = append(s.always, i)
		}
		for _, r := range f.Roles {
			s.byRole[r] = append(s.byRole[r], i)
		}
	}
	return s, nil
}

// Facts lists the detectors' facts.
func (s *Set) Facts() []Facts { return s.facts }

// CaseKey names the case of a subject and detector.
func CaseKey(subject Subject, id uint64, detector int) uint64 {
	return sketch.Join(id, uint64(subject)<<8|uint64(detector)) | 1
}

// Find returns the case of a subject for a detector, or nil.
func (s *Set) Find(subject Subject, id uint64, detector int) *Case {
	return s.cases.Find(CaseKey(subject, id, detector))
}

// Observe runs the detectors that want the event and returns the cases that it
// changed or that concern its subjects; valid until the next call.
func (s *Set) Observe(in *feature.Input) []Touched {
	s.touched = s.touched[:0]
	s.obs.In, s.obs.Layer = in, s.layer
	s.ids = [numSubjects]uint64{}
	s.obs.known = s.program(in).open
	// A refused request has no outcome, but what it tried is still conduct.
	for _, i := range s.always {
		s.run(i, in)
	}
	for _, i := range s.byRole[in.Role] {
		s.run(i, in)
	}
	s.learn(in)
	s.clean(in)
	return s.touched
}

func (s *Set) run(i int, in *feature.Input) {
	o := &s.obs
	o.spoken, o.bit = 0, 1<<i
	s.detectors[i].Observe(o)
	if o.spoken == 0 {
		return
	}
	for sub := Actor; sub <= Tool; sub++ {
		if o.spoken&(1<<sub) != 0 {
			s.fold(i, sub, in)
		}
	}
}

// SubjectID names the event's subject of a kind; 0 when the event has none.
func SubjectID(in *feature.Input, s Subject) uint64 {
	switch s {
	case Actor:
		return in.Identity.ID
	case Object:
		return sketch.Join(in.Site.Key, in.Object)
	case Group:
		return sketch.Join(in.Site.Key, in.Group)
	case Tool:
		return in.Tool
	default:
	}
	return 0
}

// fold adds what detector i said about a subject to its case.
func (s *Set) fold(i int, sub Subject, in *feature.Input) {
	o := &s.obs
	d := &o.said[sub]
	mask := d.mask
	d.mask = 0
	var sum int32
	for m := mask; m != 0; m &= m - 1 {
		sum += d.parts[bits.TrailingZeros16(m)].nats
	}
	if sum <= 0 && !o.Watches(sub) {
		return // a good record opens no case
	}
	c, key := s.open(i, sub, sum, in)
	if c == nil {
		return
	}
	c.decay(in.Sec)
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros16(m)
		d.parts[i].into(c, i)
	}
	if sub == Object && in.ObjectName == "account" {
		s.company(c, in)
	}
	c.Last = in.Sec
	score, kept := c.reflect()
	if !kept {
		s.cases.Delete(key)
		return
	}
	c.Peak = max(c.Peak, score)
	c.Sample(in.Event.ID)
	if in.Event.Keys[event.KindAccount] != 0 {
		c.Members++
	}
	if in.Teach && sub == Actor {
		c.TaughtUntil, c.TaughtRate = in.Sec, max(c.TaughtRate, rate(in))
	}
	s.touched = append(s.touched, Touched{})
	t := &s.touched[len(s.touched)-1]
	t.Case, t.Facts, t.Raised = c, &s.facts[i], sum > 0
	t.Allowed, t.Cap = s.allowed(i, c, score)
}

// open finds the case of a subject and its key, or begins one where what the event
// says, sum in all, is worth it; nil where it is not.
func (s *Set) open(i int, sub Subject, sum int32, in *feature.Input) (c *Case, key uint64) {
	if s.ids[sub] == 0 {
		s.ids[sub] = SubjectID(in, sub)
	}
	id := s.ids[sub]
	key = CaseKey(sub, id, i)
	if c = s.cases.Use(key, in.Sec); c == nil {
		if sum <= 0 {
			s.watch(sub, in, 1<<i, 0)
			return nil, 0
		}
		if sub == Actor && sum < openAt && !in.Teach && in.Site.Headers != 0 {
			return nil, 0
		}
		c, _ = s.cases.Get(key, in.Sec)
		c.Head = Head{}
		c.First, c.Last, c.ID = in.Sec, in.Sec, id
		c.SiteIndex, c.Threat, c.Subject = in.SiteIndex, uint8(i), sub
	}
	s.watch(sub, in, 0, 1<<i)
	switch sub {
	case Object:
		c.Object = in.Object
		c.NameLen = uint8(copy(c.Name[:], in.ObjectName))
	case Group:
		c.Object = in.Group
		c.NameLen = uint8(copy(c.Name[:], in.GroupName))
	default:
	}
	return c, key
}

// ceiling bounds a score, in milli-nats: what is far above every bar must be able to
// come down again.
const ceiling = 40000

// reflect keeps the score between zero and the ceiling and returns it. A long good
// record gives no credit to burn: a case that nobody was told of is not kept.
func (c *Case) reflect() (score int32, kept bool) {
	score = c.Score()
	switch {
	case score <= 0:
		c.Parts, c.Values, c.Expected = [MaxParts]int32{}, [MaxParts]int32{}, [MaxParts]int32{}
		return 0, c.Revision != 0
	case score > ceiling:
		for p := range c.Parts {
			c.Parts[p] = int32(int64(c.Parts[p]) * ceiling / int64(score))
		}
		return c.Score(), true
	}
	return score, true
}

// watch forgets and notes detectors that may have a case about the event's actor or
// program.
func (s *Set) watch(sub Subject, in *feature.Input, closed, open uint32) {
	switch sub {
	case Actor:
		in.Conduct.Open = in.Conduct.Open&^closed | open
	case Tool:
		p := s.program(in)
		p.open = p.open&^closed | open
	default:
	}
}

// openAt is what one event must say against an actor to open a case, in milli-nats.
// Nearly every visitor does something that is a little rarer than its opposite, and
// half of such cases were closed by the next request; so many of them drove out those
// that mattered. While a site only teaches, every case counts (see established), and
// where only logs are known there is little to add up.
const openAt = 250

// suspicion makes a target one of several, in milli-nats.
const suspicion = 4000

// company writes what it says that so many accounts are targets under suspicion at
// once. They are one attack as surely as their number is not chance (Poisson, by the
// Chernoff bound, around what is usual and one more), and of an attack's targets each
// account is one with the odds of their number to all, where the bar of a challenge
// takes it for one in 10,000.
func (s *Set) company(c *Case, in *feature.Input) {
	c.Parts[PartCompany] = 0
	if c.Score() < suspicion {
		return
	}
	n := in.Site.Suspect(in.Object, in.Sec)
	attack := int32(n) * (sketch.LnRatio(1000*uint64(n), 1000+uint64(in.Site.Suspected)) - 1000)
	target := sketch.LnRatio(10000*uint64(n), s.layer.Resolver.Owners(in.SiteIndex))
	c.Parts[PartCompany] = max(0, min(attack, target))
	c.Values[PartCompany], c.Expected[PartCompany] = milli(n), int32(min(2000000, in.Site.Suspected))
}

// allowed is the action that score, ladder and caps allow.
func (s *Set) allowed(i int, c *Case, score int32) (event.Action, string) {
	f := &s.facts[i]
	act := event.ActionAllow
	site := s.obs.In.Site
	switch {
	case score >= BarBlock && score >= barOf(site, i, BarBlock, 10):
		act = event.ActionBlock
	case score >= BarChallenge && score >= barOf(site, i, BarChallenge, 100):
		act = event.ActionChallenge
		if f.First != event.ActionNone {
			act = f.First
		}
	case score >= BarRateLimit:
		act = event.ActionRateLimit
	case score >= barDoubt:
		act = event.ActionObserve
	}
	why := ""
	if act == event.ActionBlock && c.Groups() < 2 {
		act, why = event.ActionChallenge, "one feature group only"
	}
	if act > f.Strongest {
		act, why = f.Strongest, "strongest response of "+string(f.Threat)
	}
	if act > event.ActionObserve && c.established(s.obs.In) {
		act, why = event.ActionObserve, "it did the same before, when the site only taught"
	}
	if act > event.ActionObserve {
		limit, reason := s.detectors[i].Cap(&s.obs, c.Subject)
		if c.Cap = limit; act > limit {
			act, why = limit, reason
		}
	}
	return act, why
}

// rate is the actor's requests per hour in its episode.
func rate(in *feature.Input) uint32 {
	c := in.Conduct
	return c.Requests * 60 / max(60, (c.Last-c.Begin)/60)
}

// established: the same subject did this for more than six hours while the site
// only taught, at no less than a third of the pace of now.
func (c *Case) established(in *feature.Input) bool {
	return c.TaughtUntil != 0 && c.TaughtUntil-min(c.TaughtUntil, c.First) > 6*3600 &&
		in.Sec-c.TaughtUntil < 14*86400 && rate(in) <= 3*c.TaughtRate
}

// Merge joins the cases of two actors that turned out to be one.
func (s *Set) Merge(into, from uint64, now uint32) {
	for i := range s.detectors {
		key := CaseKey(Actor, from, i)
		was := s.cases.Find(key)
		if was == nil {
			continue
		}
		old := *was
		s.cases.Delete(key)
		c, fresh := s.cases.Get(CaseKey(Actor, into, i), now)
		if fresh {
			old.ID = into
			*c = old
			continue
		}
		c.decay(now)
		old.decay(now)
		for p := range c.Parts {
			c.Parts[p] += old.Parts[p]
		}
		c.First = min(c.First, old.First)
		c.Last = now
		for _, b := range old.Binds[:old.BindCount] {
			b.Shown = 0
			if c.Bind(b) {
				c.Pending = 1
			}
		}
	}
}

// Cases exposes the table, for metrics.
func (s *Set) Cases() (used, evicted uint64, bytes int) {
	return s.cases.Used(), s.cases.Evicted(), s.cases.Bytes()
}

// Cut adds the cases to a cut.
func (s *Set) Cut(c *sketch.Cut) { s.cases.Cut(c) }

// SetState restores what Cut has written.
func (s *Set) SetState(r *sketch.Reader) error {
	s.programs = [len(s.programs)]program{}
	return s.cases.SetState(r)
}
