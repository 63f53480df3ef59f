package actor

import "testing"

// people is a small site whose day is played by hand.
type people struct {
	t    *testing.T
	r    *Resolver
	site uint16
	now  uint32
}

func newPeople(t *testing.T) *people {
	t.Helper()
	r, err := New(Config{Identifiers: 1 << 14, Actors: 1 << 12, Accounts: 1 << 12, Popular: 64})
	if err != nil {
		t.Fatal(err)
	}
	return &people{t: t, r: r, site: r.AddSite(1), now: 1_000_000}
}

// visit is one request; zero fields are absent.
type visit struct {
	session, device, client, finger, template, account, claimed uint64
	attempt, success                                            bool
	young                                                       bool
}

func (p *people) play(v visit) (actor uint64, res Resolution) {
	q := &Request{
		Site: p.site, Now: p.now, Nano: int64(p.now) * 1e9, Session: v.session, Device: v.device, Client: v.client, Network: v.client / 8,
		Fingerprint: v.finger, Template: v.template, Account: v.account, Claimed: v.claimed, Attempt: v.attempt, Role: 1, Mature: !v.young,
	}
	if v.client != 0 && v.finger != 0 {
		q.Joint = v.client*1000 + v.finger
	}
	res = p.r.Resolve(q)
	p.r.Settle(q, res, Answer{Success: v.success, Proof: v.success, Trusted: true})
	return p.r.Get(res.Actor).ID, res
}

// settle lets an account live at a place long enough to be its owner there.
func (p *people) settle(account, device, client, finger uint64) {
	v := visit{session: device + 7, device: device, client: client, finger: finger, template: 5, claimed: account, attempt: true, success: true}
	p.play(v)
	p.now += probation + 10
	p.play(v)
	p.now += 60
}

// Failure 1 of notes: sharing a failed account linked attacker and owner.
func TestAnAttackerDoesNotBecomeTheOwner(t *testing.T) {
	p := newPeople(t)
	p.settle(100, 1, 10, 20)
	owner, _ := p.play(visit{device: 1, session: 8, client: 10, finger: 20, template: 5, account: 100})
	attacker, res := p.play(visit{session: 99, client: 500, finger: 600, template: 700, claimed: 100, attempt: true})
	if attacker == owner {
		t.Error("an attempt on the account joined its owner")
	}
	if res.Familiarity != Unfamiliar {
		t.Errorf("the attacker's context is %v to the account", res.Familiarity)
	}
	if again, res := p.play(visit{device: 1, session: 8, client: 10, finger: 20, template: 5, claimed: 100, attempt: true, success: true}); again != owner || res.Familiarity != Familiar {
		t.Error("the owner at home is somebody else after the attack")
	}
}

// TestWhatAGoneActorHadSwallowedJoinsNobody: an identifier of an actor that became
// part of another must not lead to who has taken that one's place.
func TestWhatAGoneActorHadSwallowedJoinsNobody(t *testing.T) {
	for name, end := range map[string]func(p *people, i uint32){
		"dissolved": func(p *people, i uint32) { p.r.Dissolve(i) },
		"recycled": func(p *people, i uint32) {
			p.r.free, p.r.hand = uint32(p.r.arena.Len()), i-1
			p.now += 7 * 3600
			if got := p.r.create(&Request{Site: p.site, Now: p.now}); got != i {
				t.Fatalf("slot %d was recycled, want %d", got, i)
			}
		},
	} {
		p := newPeople(t)
		_, small := p.play(visit{session: 1, client: 10, finger: 20})
		_, middle := p.play(visit{session: 2, client: 11, finger: 21})
		_, large := p.play(visit{session: 3, client: 12, finger: 22})
		if !p.r.merge(middle.Actor, small.Actor) || !p.r.merge(large.Actor, middle.Actor) {
			t.Fatal("the actors were not merged")
		}
		was := p.r.Get(large.Actor).ID
		if now, _ := p.play(visit{session: 1, client: 10, finger: 20}); now != was {
			t.Errorf("%s: before, the first session leads to %x, want %x", name, now, was)
		}
		end(p, large.Actor)
		if _, res := p.play(visit{session: 2, client: 11, finger: 21}); res.Actor == large.Actor {
			t.Errorf("%s: its session leads to who has its place now", name)
		}
	}
}

// Failure 2: attempts must not make a value look shared.
func TestFailuresNeverLookLikeOwners(t *testing.T) {
	p := newPeople(t)
	for i := range uint64(200) {
		p.play(visit{client: 500, finger: 600, template: 700, claimed: 1000 + i, attempt: true})
		p.now++
	}
	if n := p.r.Shared(p.site, Joint, 500*1000+600, p.now); n != 0 {
		t.Errorf("200 failures made %d owners", n)
	}
	if n := p.r.Unexplained(p.site, Template, 700); n == 0 {
		t.Error("nothing is unexplained about a tool that nobody owns")
	}
}

// Failures 3 and 4: an office with one image is many people.
func TestAnOfficeWithOneImageStaysMany(t *testing.T) {
	p := newPeople(t)
	const office, image = 50, 60
	seen := map[uint64]bool{}
	for i := range uint64(12) {
		p.settle(200+i, 300+i, office, image)
	}
	for range 3 {
		for i := range uint64(12) {
			id, _ := p.play(visit{session: 400 + i, device: 300 + i, client: office, finger: image, template: 5, account: 200 + i})
			seen[id] = true
			p.now += 30
		}
	}
	if len(seen) != 12 {
		t.Errorf("12 people are %d actors", len(seen))
	}
	if n := p.r.Shared(p.site, Joint, office*1000+image, p.now); n < 8 {
		t.Errorf("the shared place counts %d owners", n)
	}
}

// Failure 5: victims who log in later must not join the campaign.
func TestVictimsStayApart(t *testing.T) {
	p := newPeople(t)
	attacker := uint64(0)
	for i := range uint64(60) {
		attacker, _ = p.play(visit{session: 77, client: 500 + i%9, finger: 600, template: 700, claimed: 1000 + i, attempt: true})
		p.now += 20
	}
	joined := 0
	for i := range uint64(60) {
		id, _ := p.play(visit{session: 5000 + i, device: 6000 + i, client: 7000 + i, finger: 20 + i%5, template: 5, claimed: 1000 + i, attempt: true, success: true})
		if id == attacker {
			joined++
		}
		p.now += 20
	}
	if joined > 0 {
		t.Errorf("%d of 60 victims joined the campaign", joined)
	}
}

// Failure 9: at hour zero nobody owns anything, which is no evidence.
func TestColdStartDoesNotCollapse(t *testing.T) {
	p := newPeople(t)
	seen := map[uint64]bool{}
	const n = 2000
	for i := range uint64(n) {
		id, _ := p.play(visit{session: 1 + i, device: 10000 + i, client: 20000 + i, finger: i % 7, template: i % 3, claimed: 30000 + i, attempt: true, young: true})
		seen[id] = true
		p.now++
	}
	if len(seen) < n*95/100 {
		t.Errorf("%d strangers are %d actors", n, len(seen))
	}
}

// Failure 11: a kiosk's cookie that nobody wipes is many people's.
func TestAKioskIsShared(t *testing.T) {
	p := newPeople(t)
	for i := range uint64(20) {
		p.settle(200+i, 300+i, 1000+i, 20) // everybody has a home
	}
	for i := range uint64(20) {
		for range 3 {
			p.play(visit{device: 300 + i, session: 307 + i, client: 1000 + i, finger: 20, template: 5, claimed: 200 + i, attempt: true, success: true})
		}
		p.play(visit{session: 9, client: 90, finger: 91, template: 5, claimed: 200 + i, attempt: true, success: true})
		p.now += 600
	}
	if n := p.r.Shared(p.site, Session, 9, p.now); n < 8 {
		t.Errorf("the kiosk's cookie counts %d owners", n)
	}
}

func TestRotationKeepsOneActor(t *testing.T) {
	for name, v := range map[string]func(i uint64) visit{
		"address":     func(i uint64) visit { return visit{session: 77, client: 500 + i, finger: 600} },
		"fingerprint": func(i uint64) visit { return visit{session: 77, client: 500, finger: 600 + i} },
		"session":     func(i uint64) visit { return visit{session: 77 + i, client: 500, finger: 600} },
		"account":     func(i uint64) visit { return visit{session: 77, client: 500, finger: 600, claimed: 5000 + i} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeople(t)
			seen := map[uint64]bool{}
			for i := range uint64(40) {
				x := v(i)
				x.template, x.attempt = 700, true
				if x.claimed == 0 {
					x.claimed = 1000 + i%4
				}
				id, _ := p.play(x)
				seen[id] = true
				p.now += 20
			}
			if len(seen) > 3 {
				t.Errorf("rotating the %s gave %d actors", name, len(seen))
			}
		})
	}
}

func TestTwoProvedOwnersNeverMerge(t *testing.T) {
	p := newPeople(t)
	p.settle(100, 1, 10, 20)
	p.settle(101, 2, 10, 20)
	for range 30 {
		p.play(visit{session: 8, client: 10, finger: 20, template: 5, claimed: 100, attempt: true})
		p.play(visit{session: 9, client: 10, finger: 20, template: 5, claimed: 101, attempt: true})
		p.now += 20
	}
	a, _ := p.play(visit{session: 8, device: 1, client: 10, finger: 20, template: 5, account: 100})
	b, _ := p.play(visit{session: 9, device: 2, client: 10, finger: 20, template: 5, account: 101})
	if a == b {
		t.Error("two people who share a home are one actor")
	}
}

func TestAFullArenaRecyclesTheIdle(t *testing.T) {
	r, err := New(Config{Identifiers: 256, Actors: 16, Accounts: 64, Popular: 1})
	if err != nil {
		t.Fatal(err)
	}
	p := &people{t: t, r: r, site: r.AddSite(1), now: 1_000_000}
	for i := range uint64(1000) {
		p.play(visit{session: 1 + i, client: 10 + i, finger: 20 + i, template: 5})
		p.now += 3600
	}
	if s := r.Stats(); s.Created != 1000 || s.Recycled != 1000-16 {
		t.Errorf("%+v", s)
	}
}
