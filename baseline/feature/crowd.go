package feature

import (
	"net/http"
	"strings"

	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// Way is one kind of conduct that crowds of addresses are watched for, on sites
// of which only an access log is known.
type Way uint8

// The ways: reading one new document after the other, asking for missing paths,
// asking for one route without pause, probing and payloads, log-ins that fail and
// are not tried again.
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

// Crowd is a sequential test on the visits that arrive: does more than twice the
// usual share of them go one way, showing nothing that browsers show? A visit
// counts once, at a fixed point, so that neither a flash sale (all shares stay)
// nor one busy address moves it.
type Crowd struct {
	// Score is the reflected sum in milli-nats; Since is when it left zero, Last
	// the last arrival, Hot until when the crowd is held to be there, seconds.
	Score            int32
	Since, Last, Hot uint32
	Recent           Share
	Clients          sketch.Distinct
}

const (
	// crowdBar is ln(1/alpha) for alpha 1e-6, in milli-nats; below calmBar arrivals
	// teach.
	crowdBar = 13800
	calmBar  = 3000
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

// Company is what a hot crowd says about one more request on its way: Nats in
// milli-nats (0: there is no crowd), the share of arrivals that go it now and
// the usual one in thousandths, and the addresses counted. Joined: the request
// is the one at which its visit is counted, and it goes this way.
type Company struct {
	Nats, Now, Usual int32
	Addresses        uint32
	Joined           bool
}

// Declared says that a user agent names itself a robot and where to read about
// it or whom to write to, as the operators of search engines and feed readers
// ask for.
func Declared(agent string) bool {
	return strings.Contains(agent, "http://") || strings.Contains(agent, "https://") || strings.Contains(agent, "@")
}

// muster finds the ways that the event's actor goes, counts its arrival, and
// says in in.Crowd what a crowd that is there says about it.
func (l *Layer) muster(in *Input) {
	if in.Refused || in.Site.Headers != 0 || Declared(in.Event.UserAgent) {
		return
	}
	l.dress(in)
	if in.Role == event.RoleLogin && in.Outcome != event.OutcomeNone && in.ActorStep.N == 0 {
		l.login(in)
	}
	for w := range NumWays {
		arrived, joins := in.way(w)
		joins = joins && in.Naked
		if arrived {
			in.Site.arrive(&arrival{in.crowds(), uint64(in.Event.Keys[event.KindClient]), in.Sec}, w, joins)
		}
		if joins && (w != WayReading || !in.NewApp()) {
			in.Crowd[w] = in.Site.company(in, w)
			in.Crowd[w].Joined = arrived
		}
	}
}

// way says whether this request is where an actor's visit is counted for a way,
// and whether it goes that way. Log-ins are counted later, when it has shown
// whether they were tried again.
func (in *Input) way(w Way) (arrived, joins bool) {
	p, c := &in.Page, in.Conduct
	switch w {
	case WayReading:
		return p.N == 1, p.N >= 1 && p.New && in.Event.Status < 400 && in.Event.Method == http.MethodGet
	case WayMissing:
		return p.N == 1, p.N >= 1 && p.Missing && c.StrayPaths*2 > c.Pages
	case WayHammering:
		return p.N == 4, p.N >= 4 && p.Same && c.Same*5 >= (c.Pages-1)*4 && c.Last-c.Begin <= 4*c.Pages
	case WayProbing:
		return p.N == 1, p.N >= 1 && (c.Attacks > 0 || c.Methods&64 != 0) && (in.Attack != NoAttack || p.Missing) && c.Attacks+c.MissingPaths >= 2
	case WayLogin:
		return false, in.Role == event.RoleLogin && in.Outcome == event.OutcomeFailure
	default:
	}
	return false, false
}

// appPlaces is how many addresses must have got something done with a program
// that hardly ever loads sub-resources before it is taken for the site's own app.
const appPlaces = 4

// App says that the naked event's program is a native app or a partner's client:
// several addresses have sent what the application accepted, as naked as a script.
func (in *Input) App() bool {
	p := in.Program
	return p != nil && p.Users.Bits() >= appPlaces && p.Users.Bits() > 2*p.Sessions.Bits()
}

// NewApp says that the program may be an app that has not got anything done yet: on
// a young site one that goes by a name of its own, and not by a browser's.
func (in *Input) NewApp() bool {
	ua := in.Event.UserAgent
	return !in.Mature && ua != "" && !strings.HasPrefix(ua, "Mozilla/") && in.Event.Payload&event.PayloadTool == 0
}

// dress says whether the actor is naked: no sub-resource loaded and no referer
// named in its episode, on a site whose log shows both of others, and with a
// program that is no app.
func (l *Layer) dress(in *Input) {
	c := in.Conduct
	if c.Assets > 0 || c.Referred > 0 {
		if in.Asset || in.Page.N == 1 {
			in.Site.Dressed++
			l.stat(l.programKey(in), in.Sec).Sessions.Add(uint64(in.Event.Keys[event.KindClient]))
		}
		return
	}
	in.Program = l.program(in)
	in.Naked = in.Site.shows() && !in.App()
}

// shows says that the site's log shows sub-resources and referers of others, so
// that who has none is odd.
func (s *Site) shows() bool {
	return s.Dressed >= 20 && s.Arrivals[WayReading].Share() < plainShare
}

// program is the row of the event's program among the naked: Users are the
// addresses at which it got something done, Sessions those at which it was not
// naked, Clients those counted for a way. nil while there is nothing to say.
func (l *Layer) program(in *Input) *Stats {
	done := in.Outcome == event.OutcomeSuccess || in.Role == event.RoleNone && methodBit(in.Event.Method)&(2|8) != 0 && in.Event.Status < 400
	if !done && in.Page.N != 1 {
		return l.stats.Find(l.programKey(in))
	}
	row := l.stat(l.programKey(in), in.Sec)
	if client := uint64(in.Event.Keys[event.KindClient]); done {
		row.Users.Add(client)
	} else {
		row.Clients.Add(client)
	}
	return row
}

// programKey is the key of the event's program among the naked.
func (l *Layer) programKey(in *Input) uint64 {
	return statsKey(SubjectTool, sketch.Join(in.Site.Key, agentName(in.Event.UserAgent)), event.RoleNone)
}

// arrival is a visit that is counted: where among the crowds, from which address
// and when.
type arrival struct {
	at     [3]int
	client uint64
	sec    uint32
}

// crowds are the places of an event's site, program and network.
func (in *Input) crowds() [3]int {
	k := &in.Event.Keys
	return [3]int{
		0, 1 + int(sketch.Mix(uint64(k[event.KindFingerprint]))%crowdPrograms),
		1 + crowdPrograms + int(sketch.Mix(uint64(k[event.KindClientNet]))%crowdNetworks),
	}
}

// Usual is twice the learned share of a way, at least 4 %: changes up to that
// are no attack.
func (s *Site) Usual(w Way) uint32 {
	return min(600000, max(40000, 2*s.Arrivals[w].Share()))
}

// arrive counts one visit.
func (s *Site) arrive(a *arrival, w Way, joins bool) {
	p0, calm := s.Usual(w), true
	for i, at := range a.at {
		c := &s.Crowds[w][at]
		p1 := min(950000, 3*p0)
		if i > 0 {
			p1 = 900000 // one program, or one network, of which nearly all go this way
		}
		if a.sec-min(a.sec, c.Last) > episodeSeconds {
			c.Score = 0
		}
		if c.Score == 0 {
			c.Since, c.Clients = a.sec, 0
		}
		c.Score = min(2*crowdBar, max(0, c.Score+sketch.LogLikelihood(joins, p1, p0)))
		c.Recent.Add(joins)
		if joins {
			c.Clients.Add(a.client)
		}
		if c.Last = a.sec; c.Score >= crowdBar && c.Clients.Bits() >= crowdClients {
			c.Hot = a.sec + crowdSeconds
		}
		calm = calm && c.Score < calmBar
	}
	if calm {
		s.Arrivals[w].Add(joins)
	}
}

// company is the strongest that the event has on a way.
func (s *Site) company(in *Input, w Way) (best Company) {
	p0 := max(20000, s.Arrivals[w].Share())
	for _, at := range in.crowds() {
		c := &s.Crowds[w][at]
		if c.Hot <= in.Sec {
			continue
		}
		now := max(300000, c.Recent.PPM())
		if nats := sketch.LogLikelihood(true, now, p0); nats > best.Nats {
			best = Company{Nats: nats, Now: int32(now / 1000), Usual: int32(p0 / 1000), Addresses: c.Clients.Count()}
		}
	}
	return best
}

// Pending is a first failed log-in that waits to show whether it is tried again:
// people who mistype do, identities that rotate do not (one-shot failures).
type Pending struct {
	ID, Client uint64
	Due, Actor uint32
	At         [2]uint32
}

const (
	pendings = 256
	// retrySeconds is how long somebody who failed may take to succeed, which is
	// all that a log shows of trying again.
	retrySeconds = 600
)

// login counts an actor's first log-in: at once when it succeeded, else when it
// has shown what becomes of it.
func (l *Layer) login(in *Input) {
	s, at := in.Site, in.crowds()
	client := uint64(in.Event.Keys[event.KindClient])
	if in.Outcome != event.OutcomeFailure {
		s.arrive(&arrival{at, client, in.Sec}, WayLogin, false)
		return
	}
	if s.Waiting == pendings {
		l.settle(s, in.Sec) // the oldest is judged by what it has shown so far
	}
	s.Queue[(s.Head+s.Waiting)%pendings] = Pending{
		ID: in.Identity.ID, Client: client, Due: in.Sec + retrySeconds, Actor: in.Actor, At: [2]uint32{uint32(at[1]), uint32(at[2])},
	}
	s.Waiting++
}

// retire counts the failures whose time is over.
func (l *Layer) retire(in *Input) {
	for s := in.Site; s.Waiting > 0 && s.Queue[s.Head].Due <= in.Sec; {
		l.settle(s, in.Sec)
	}
}

// settle counts the oldest pending failure: it is one-shot when the actor has never
// succeeded and is still naked.
func (l *Layer) settle(s *Site, now uint32) {
	p := s.Queue[s.Head]
	s.Head, s.Waiting = (s.Head+1)%pendings, s.Waiting-1
	st, c := l.Find(SubjectActor, p.ID, event.RoleLogin), l.Conduct(p.Actor)
	lone := st != nil && st.Success == 0 && l.ActorKey(p.Actor) == p.ID && c.Assets == 0 && c.Referred == 0
	s.arrive(&arrival{[3]int{0, int(p.At[0]), int(p.At[1])}, p.Client, now}, WayLogin, lone)
}
