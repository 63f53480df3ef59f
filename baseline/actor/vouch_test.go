package actor

import "testing"

// newcomers play first requests of one program, each from an address of its own.
func (p *people) newcomers(n int, finger, template uint64) {
	for i := range uint64(n) {
		p.play(visit{client: 1_000_000 + uint64(p.now)*8 + i, finger: finger, template: template})
		p.now += 30
	}
}

func (p *people) vouched(finger, template uint64) uint32 {
	return p.r.Vouched(p.site, finger, template, p.now)
}

// An attacker lets three aged accounts log in with the campaign's program first.
func TestFewOwnersDoNotVouchForACrowd(t *testing.T) {
	p := newPeople(t)
	for i := range uint64(3) {
		p.settle(100+i, 10+i, 20+i, 600)
	}
	if n := p.vouched(600, 700); n != 3 {
		t.Fatalf("%d owners vouch for the program before it is used, want 3", n)
	}
	p.newcomers(3, 600, 700)
	if n := p.vouched(600, 700); n != 3 {
		t.Errorf("%d owners vouch after three newcomers, want 3", n)
	}
	p.newcomers(20, 600, 700)
	if n := p.vouched(600, 700); n != 0 {
		t.Errorf("%d owners still vouch for a program that 20 strangers brought within ten minutes", n)
	}
}

// What many people use stays theirs, however many come; so do the forms that
// people send with a rare browser beside a bot that has copied it.
func TestManyOwnersVouchForACrowd(t *testing.T) {
	p := newPeople(t)
	for i := range uint64(30) {
		p.settle(100+i, 100+i, 200+i, 600)
	}
	for i := range uint64(8) {
		p.settle(300+i, 300+i, 400+i, 601)
	}
	p.newcomers(100, 600, 700)
	if p.vouched(600, 700) == 0 {
		t.Error("a sale's newcomers made a popular browser a tool")
	}
	p.newcomers(100, 601, 700)
	if n := p.vouched(601, 700); n != 0 {
		t.Errorf("%d owners vouch for the bot's own form under a rare browser's name", n)
	}
	if p.vouched(601, 5) == 0 {
		t.Error("nobody vouches for the form that the rare browser's people send")
	}
}

// Newcomers in the proportion in which popular programs bring them overrun nobody.
func TestASaleOverrunsNoRareBrowser(t *testing.T) {
	p := newPeople(t)
	for i := range uint64(30) {
		p.settle(100+i, 100+i, 200+i, 600)
	}
	for i := range uint64(3) {
		p.settle(300+i, 300+i, 400+i, 601)
	}
	for range 40 {
		p.newcomers(10, 600, 700)
		p.newcomers(1, 601, 701)
	}
	if p.vouched(601, 701) == 0 {
		t.Error("a rare browser was overrun by its share of a sale")
	}
}

// TestAccountsOfOneWeekAreOneTeacher: accounts that came when a program came vouch for
// it as one, whatever their number; those who were there before, or come later, each.
func TestAccountsOfOneWeekAreOneTeacher(t *testing.T) {
	const program, accounts = 600, 16
	for _, c := range []struct {
		name            string
		before, between uint32
		least, most     uint32
	}{
		{"all with the program", 0, 0, 1, 1},
		{"long before the program", 20 * 86400, 0, 12, 20},
		{"long after the program", 0, 8 * 86400, 6, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeople(t)
			p.settle(1, 1, 1, 1)
			p.now += 40 * 86400
			if c.before > 0 {
				for i := range uint64(accounts) {
					p.settle(100+i, 100+i, 200+i, 5)
				}
				p.now += c.before
			}
			p.play(visit{session: 9, client: 9, finger: program, template: 5})
			for i := range uint64(accounts) {
				if i == accounts/2 {
					p.now += c.between
				}
				p.settle(100+i, 300+i, 200+i, program)
			}
			if n := p.r.Shared(p.site, Fingerprint, program, p.now); n < c.least || n > c.most {
				t.Errorf("%d owners vouch for it, want %d to %d", n, c.least, c.most)
			}
		})
	}
}
