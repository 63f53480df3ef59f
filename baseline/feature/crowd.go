package feature

import (
	"strings"

	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// Way is one kind of conduct that crowds of addresses are watched for on sites
// of which only an access log is known.
type Way uint8

// The ways: reading one new document after the other, asking for missing paths,
// asking for one route without pause, probing and payloads, log-ins that fail.
const (
	WayReading Way = iota
	WayMissing
	WayHammering
	WayProbing
	WayLogin
	NumWays
)

// crowds of one way: the whole site, then buckets of programs and of networks,
// so that memory is fixed; two programs in one bucket only thin each other out.
const (
	crowdPrograms = 63
	crowdNetworks = 64
	crowds        = 1 + crowdPrograms + crowdNetworks
)

// Crowd is a sequential test on the addresses that arrive: does more than twice
// the usual share of them do this, and nothing that browsers do? One address
// counts once per visit, at a fixed point of the visit, so that neither a
// flash sale (all shares stay) nor one busy address moves it.
type Crowd struct {
	// Score is the reflected sum in milli-nats; Since is when it left zero, Last
	// the last arrival, Hot until when the crowd is held to be there, seconds.
	Score            int32
	Since, Last, Hot uint32
	Recent           Share
	Clients          sketch.Distinct
}

const (
	// crowdBar is ln(1/alpha) for alpha 1e-6, in milli-nats.
	crowdBar = 13800
	// crowdSeconds is how long a crowd stays hot after it was last above the bar.
	crowdSeconds = 900
	// crowdClients is how many addresses make a crowd.
	crowdClients = 6
	// plainShare: where so many arrivals show neither sub-resources nor a
	// referer, the log does not show them for anybody (parts per million).
	plainShare = 600000
)

// crowdPriors are the shares expected before a site has taught, in thousandths
// at the weight of 50 arrivals.
var crowdPriors = [NumWays]uint32{WayReading: 200, WayMissing: 20, WayHammering: 20, WayProbing: 20, WayLogin: 50}

// naked says that the actor has loaded no sub-resource and named no referer in
// its episode, on a site whose log shows both of others.
func (in *Input) naked() bool {
	c := in.Conduct
	return in.Site.Headers == 0 && c.Assets == 0 && c.Referred == 0 && in.Site.Arrivals[WayReading].Share() < plainShare
}

// Declared says that a user agent names itself a robot and where to read about
// it or whom to write to, as the operators of search engines and feed readers
// ask for.
func Declared(agent string) bool {
	return strings.Contains(agent, "http://") || strings.Contains(agent, "https://") || strings.Contains(agent, "@")
}

// muster finds the ways that the event's actor goes, counts its arrival, and
// says in in.Crowd how much a crowd that is there says about it.
func (l *Layer) muster(in *Input) {
	if in.Site.Headers != 0 || in.Refused || in.Asset || Declared(in.Event.UserAgent) {
		return
	}
	in.Naked = in.naked() && !l.app(in)
	for w := range NumWays {
		arrived, joins := in.way(w)
		if arrived {
			in.Site.arrive(in, w, joins && in.Naked)
		}
		if joins && in.Naked {
			in.Crowd[w] = in.Site.crowd(in, w)
		}
	}
}

// appPlaces is how many addresses must have got something done with a program
// that never loads sub-resources before it is taken for the site's own app.
const appPlaces = 4

// app says that the event's program is one with which people at several addresses
// have sent what the application accepted, naked as they are: a native app or a
// partner's client, of which nakedness says nothing.
func (l *Layer) app(in *Input) bool {
	key := statsKey(SubjectTool, sketch.Join(in.Site.Key, uint64(in.Event.Keys[event.KindFingerprint])), event.RoleNone)
	done := in.Outcome == event.OutcomeSuccess || in.Role == event.RoleNone && methodBit(in.Event.Method)&(2|8) != 0 && in.Event.Status < 400
	if done {
		row, _ := l.stats.Get(key, in.Sec)
		row.Val.Users.Add(uint64(in.Event.Keys[event.KindClient]))
		return row.Val.Users.Bits() >= appPlaces
	}
	row := l.stats.Find(key)
	return row != nil && row.Val.Users.Bits() >= appPlaces
}

// way says whether this request is where an actor's visit is counted for a way,
// and whether it goes that way.
func (in *Input) way(w Way) (arrived, joins bool) {
	p, c := &in.Page, in.Conduct
	switch w {
	case WayReading:
		return p.N == 1, p.N >= 1 && p.New && in.Event.Status < 400 && in.Event.Method == "GET"
	case WayMissing:
		return p.N == 1, p.Missing && c.StrayPaths*2 > c.Pages && p.N >= 1
	case WayHammering:
		return p.N == 4, p.N >= 4 && p.Same && c.Same*5 >= (c.Pages-1)*4 && c.Last-c.Begin <= 4*c.Pages
	case WayProbing:
		return p.N == 1, in.Attack != NoAttack && c.Attacks >= 2
	case WayLogin:
		login := in.Role == event.RoleLogin && in.Outcome != event.OutcomeNone
		return login && in.ActorStep.N == 0, login && in.Outcome == event.OutcomeFailure
	default:
	}
	return false, false
}

// places of an event among the crowds of a way.
func (in *Input) crowds() [3]int {
	k := &in.Event.Keys
	return [3]int{0, 1 + int(sketch.Mix(uint64(k[event.KindFingerprint]))%crowdPrograms), 1 + crowdPrograms + int(sketch.Mix(uint64(k[event.KindClientNet]))%crowdNetworks)}
}

// usual is twice the learned share of a way, at least 4 %: changes up to
// that are no attack.
func (s *Site) usual(w Way) uint32 {
	return min(600000, max(40000, 2*s.Arrivals[w].Share()))
}

// arrive counts one arrival.
func (s *Site) arrive(in *Input, w Way, joins bool) {
	p0, calm := s.usual(w), true
	for i, at := range in.crowds() {
		c := &s.Crowds[w][at]
		p1 := min(950000, 3*p0)
		if i > 0 {
			p1 = 900000 // one program, or one network, of which nearly all go this way
		}
		if in.Sec-min(in.Sec, c.Last) > episodeSeconds {
			c.Score = 0
		}
		if c.Score == 0 {
			c.Since, c.Clients = in.Sec, 0
		}
		c.Score = min(2*crowdBar, max(0, c.Score+sketch.LogLikelihood(joins, p1, p0)))
		c.Recent.Add(joins)
		if joins {
			c.Clients.Add(uint64(in.Event.Keys[event.KindClient]))
		}
		if c.Last = in.Sec; c.Score >= crowdBar && c.Clients.Bits() >= crowdClients {
			c.Hot = in.Sec + crowdSeconds
		}
		calm = calm && c.Score < crowdBar/2
	}
	if calm {
		s.Arrivals[w].Add(joins)
	}
}

// Company is what a hot crowd says about one more request on its way: Nats in
// milli-nats (0: there is no crowd), the share of arrivals that go it now and
// the usual one, in thousandths.
type Company struct{ Nats, Now, Usual int32 }

// crowd is the strongest company that the event has on a way.
func (s *Site) crowd(in *Input, w Way) (best Company) {
	p0 := s.usual(w)
	for _, at := range in.crowds() {
		c := &s.Crowds[w][at]
		if c.Hot <= in.Sec {
			continue
		}
		now := max(300000, c.Recent.PPM())
		if nats := sketch.LogLikelihood(true, now, p0); nats > best.Nats {
			best = Company{Nats: nats, Now: int32(now / 1000), Usual: int32(p0 / 1000)}
		}
	}
	return best
}
