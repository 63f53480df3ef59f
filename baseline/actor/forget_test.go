package actor

import "testing"

// signIn is a log-in that the application answers with a session of its own.
func (p *people) signIn(client, account, given uint64) (actor uint64) {
	q := &Request{
		Site: p.site, Now: p.now, Nano: int64(p.now) * 1e9, Client: client, Network: client / 8, Joint: client*1000 + 20, Fingerprint: 20,
		Template: 5, Account: account, Claimed: account, NewSession: given, Attempt: true, Role: 1,
	}
	res := p.r.Resolve(q)
	p.r.Settle(q, res, Answer{Success: true, Proof: true, Trusted: true})
	return p.r.Get(res.Actor).ID
}

func TestWhoDropsItsSessionsIsOneClient(t *testing.T) {
	f := func(name string, gap uint32, comesBack bool, least, most int) {
		t.Helper()
		p := newPeople(t)
		for i := range uint64(3) { // some of the accounts have been here with their owners
			p.signIn(500+i, 108+i, 900+i)
			p.play(visit{session: 900 + i, client: 500 + i, finger: 20, account: 108 + i, young: true})
			p.now += gap
		}
		seen := map[uint64]bool{}
		for i := range uint64(30) {
			seen[p.signIn(10, 100+i, 200+i)] = true
			p.now += gap
			if comesBack {
				p.play(visit{session: 200 + i, client: 10, finger: 20, account: 100 + i, young: true})
			}
		}
		if len(seen) < least || len(seen) > most {
			t.Errorf("%s: 30 accounts are %d actors, want %d to %d", name, len(seen), least, most)
		}
		shared := p.r.Shared(p.site, Joint, 10*1000+20, p.now)
		if one := most == 4; one != (shared == 0) {
			t.Errorf("%s: %d owners share the place", name, shared)
		}
	}
	f("a tool", 1, false, 1, 4)
	f("people of an office who bring their sessions back", 1, true, 20, 30)
	f("people behind a carrier's address whose app keeps nothing", 90, false, 20, 30)
}
