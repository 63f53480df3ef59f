package actor

import "testing"

// exempt are the places that a verdict on the account spares.
func (p *people) exempt(account uint64) map[Type]map[uint64]bool {
	all := map[Type]map[uint64]bool{Device: {}, Session: {}, Client: {}, Joint: {}}
	p.r.Places(p.site, account, func(t Type, v uint64) { all[t][v] = true })
	return all
}

func TestHomesAreNotForgotten(t *testing.T) {
	p := newPeople(t)
	p.settle(100, 1, 10, 20)
	for i := range uint64(20) {
		// A browser that keeps no cookie, at home and, once, elsewhere.
		p.play(visit{device: 500 + i, session: 600 + i, client: 10, finger: 20, template: 5, claimed: 100, attempt: true, success: true})
		p.now += 60
	}
	for i := range uint64(2) {
		p.play(visit{device: 700 + i, session: 800 + i, client: 900 + i, finger: 30, template: 5, claimed: 100, attempt: true, success: true})
	}
	if _, res := p.play(visit{device: 555, session: 655, client: 10, finger: 20, template: 5, claimed: 100, attempt: true, success: true}); res.Familiarity != Familiar {
		t.Errorf("the home is %v", res.Familiarity)
	}
	got := p.exempt(100)
	if !got[Client][10] {
		t.Errorf("the home is forgotten: %v", got)
	}
	if !got[Joint][901*1000+30] {
		t.Errorf("the last new place is not spared: %v", got)
	}
	if got[Client][901] || got[Device][701] {
		t.Errorf("a new place is spared by less than its address with its program: %v", got)
	}
}

func TestASharedAddressSparesOnlyItsProgram(t *testing.T) {
	p := newPeople(t)
	for i := range uint64(8) {
		p.settle(200+i, 300+i, 40, 50)
	}
	p.settle(100, 1, 40, 20)
	if got := p.exempt(100); got[Client][40] || !got[Joint][40*1000+20] {
		t.Errorf("behind a carrier's address: %v", got)
	}
}

func TestOldPlacesMayTryAgain(t *testing.T) {
	p := newPeople(t)
	p.settle(100, 1, 10, 20)
	p.play(visit{session: 5, device: 6, client: 70, finger: 20, template: 5}) // only looks around
	p.now += old + 10
	p.play(visit{session: 7, device: 8, client: 70, finger: 20, template: 5, claimed: 100, attempt: true})
	p.play(visit{session: 9, client: 71, finger: 20, template: 5, claimed: 100, attempt: true})
	got := p.exempt(100)
	if !got[Joint][70*1000+20] {
		t.Errorf("a visitor of long standing who failed once is not spared: %v", got)
	}
	if got[Joint][71*1000+20] {
		t.Errorf("a place that came for the account is spared: %v", got)
	}
}

func TestAnOldPlaceIsNotSparedByEveryAccountItTries(t *testing.T) {
	p := newPeople(t)
	for i := range uint64(12) {
		p.settle(100+i, 200+i, 300+i, 20)
	}
	p.play(visit{session: 5, client: 70, finger: 20, template: 5})
	p.now += old + 10
	spared := 0
	for i := range uint64(12) {
		p.play(visit{session: 6, client: 70, finger: 20, template: 5, claimed: 100 + i, attempt: true})
		p.play(visit{session: 6, client: 70, finger: 20, template: 5, claimed: 100 + i, attempt: true})
		if p.exempt(100 + i)[Joint][70*1000+20] {
			spared++
		}
	}
	if spared != retries {
		t.Errorf("an old place that tried 12 accounts is spared by %d of them, want %d", spared, retries)
	}
}

func TestInventedNamesTakeNoRoom(t *testing.T) {
	p := newPeople(t)
	for i := range uint64(300) {
		p.settle(100+i, 1000+i, 2000+i, 20)
	}
	p.play(visit{session: 5, client: 70, finger: 20, template: 5})
	p.now += old + 10
	_, before := p.r.Used()
	for i := range uint64(50_000) { // twelve times the table
		p.play(visit{client: 70, finger: 20, template: 5, claimed: 1_000_000 + i, attempt: true})
	}
	if _, after := p.r.Used(); after != before {
		t.Errorf("50,000 names that nobody has took %d rows", after-before)
	}
	for i := range uint64(300) {
		if !p.r.Known(p.site, 100+i) {
			t.Fatalf("account %d is forgotten", i)
		}
	}
}

func TestCommons(t *testing.T) {
	p := newPeople(t)
	commons := func() map[uint64]bool {
		all := map[uint64]bool{}
		p.r.Commons(p.site, func(v uint64) { all[v] = true })
		return all
	}
	for i := range uint64(3) {
		p.play(visit{device: 1, session: 2, client: 10, finger: 20, template: 5, claimed: 100 + i, attempt: true, success: true})
	}
	for i := range uint64(40) {
		p.play(visit{device: 3, session: 4, client: 11, finger: 20, template: 5, claimed: 200 + i, attempt: true})
	}
	if got := commons(); len(got) != 0 {
		t.Errorf("a family, or who fails with many accounts, is a common place: %v", got)
	}
	for k := range uint64(20) {
		for i := range uint64(30) {
			p.play(visit{device: 50 + k, session: 80 + k, client: 100 + k, finger: 20, template: 5, claimed: 300 + i, attempt: true, success: true})
		}
		if got := commons(); !got[(100+k)*1000+20] || len(got) > 8 {
			t.Fatalf("terminal %d: %v", k, got)
		}
	}
}
