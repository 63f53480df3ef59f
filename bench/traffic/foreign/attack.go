package foreign

import (
	"net/netip"
	"slices"

	"github.com/weirproject/weir/bench/traffic"
)

// The levels. Plain is one tool at one address; evasive changes among sixty
// homes and six copies of browsers every three to six attempts; hard is a real
// browser at a new home every one to three attempts, over sixteen hours;
// rotating tries passwords, with another home and copy each time.
const (
	plain    = "plain"
	evasive  = "evasive"
	hard     = "hard"
	rotating = "rotating"
)

// attack is one campaign.
type attack struct {
	w             *world
	r             *traffic.Rand
	threat, level string
	start, spread float64
	n             int
	pool          []*home
	hello         string
	faces         []*software
	one           *agent // the plain level's
	now           *agent
	left          int // attempts until the next agent

	// What it is after.
	users, mules              []string
	victims                   []*person
	lots                      []lot
	target                    thread
	slug                      int
	bin, pan, prefix, numbers string
	mailHost                  string
	opens                     float64
}

// act plays attempt i at t.
type act func(s *attack, a *agent, t float64, i int)

// step is one threat of a plan with its act and, at the plain level, its tool.
type step struct {
	threat string
	act    act
	tool   string
}

var plans = map[Kind][]step{
	Tickets: {
		{"OAT-001", carding, "go"},
		{"OAT-002", voucher, "requests"},
		{"OAT-003", pumping, "requests"},
		{"OAT-004", probing, "curl"},
		{"OAT-005", scalping, "node"},
		{"OAT-006", expediting, "requests"},
		{"OAT-007", cracking, "requests"},
		{"OAT-008", stuffing, "requests"},
		{"OAT-009", solving, "requests"},
		{"OAT-010", cardCodes, "requests"},
		{"OAT-011", scraping, "aio"},
		{"OAT-014", scanning, "sqlmap"},
		{"OAT-015", exhausting, "requests"},
		{"OAT-018", footprinting, "ffuf"},
		{"OAT-019", joining, "requests"},
		{"OAT-021", holding, "requests"},
	},
	Wallet: {
		{"OAT-003", asking, "requests"},
		{"OAT-007", cracking, "requests"},
		{"OAT-008", stuffing, "requests"},
		{"OAT-012", cashing, "requests"},
		{"OAT-019", joining, "requests"},
		{"OAT-020", aggregating, "node"},
		{"OAT-014", scanning, "sqlmap"},
		{"OAT-015", exhausting, "requests"},
	},
	Forum: {
		{"OAT-003", clicking, "requests"},
		{"OAT-007", cracking, "requests"},
		{"OAT-008", stuffing, "requests"},
		{"OAT-011", scraping, "aio"},
		{"OAT-013", sniping, "requests"},
		{"OAT-016", voting, "requests"},
		{"OAT-017", spamming, "requests"},
		{"OAT-018", footprinting, "ffuf"},
		{"OAT-019", joining, "requests"},
	},
}

// attack plays every threat of the site at that level on day d.
func (w *world) attack(level string, d int) {
	base := float64(d) * day
	if level == rotating {
		r := traffic.NewRand(w.c.Seed, 1000)
		s := newAttack(w, r, "OAT-008", level, "requests")
		s.start, s.spread, s.n = base+19.5*hour, 1.5*hour, 400
		for _, p := range sample(r, w.accounts, 12) {
			s.users = append(s.users, p.mail)
		}
		s.run(stuffing, 0)
		return
	}
	for i, one := range plans[w.c.Kind] {
		s := newAttack(w, traffic.NewRand(w.c.Seed, 1001+uint64(i)), one.threat, level, one.tool)
		j := float64(i)
		switch level {
		case hard:
			s.start, s.spread, s.n = base+hour*(1+j*.25), 16*hour, 160
		case evasive:
			s.start, s.spread, s.n = base+hour*(6+j*.9), 2.5*hour, 200
		default:
			s.start, s.spread, s.n = base+hour*(5+j*1.05), 200, 150
		}
		s.opens = base + hour*(8+j*.8)
		s.aim(base)
		group := 0
		if one.threat == "OAT-011" && level == hard {
			group = 3
		}
		s.run(one.act, group)
	}
}

func newAttack(w *world, r *traffic.Rand, threat, level, toolName string) *attack {
	s := &attack{w: w, r: r, threat: threat, level: level}
	for range 25 {
		s.pool = append(s.pool, choice(r, w.people).home)
	}
	for range 35 {
		s.pool = append(s.pool, newHome(r, w.net))
	}
	hellos := []string{"t13d1516h2_8daaf6152771_" + hex(r, 12), "t13d1715h2_5b57614c22b0_" + hex(r, 12)}
	s.hello = hellos[0]
	for range 6 {
		from := phones
		if r.Chance(.6) {
			from = desktop
		}
		s.faces = append(s.faces, copied(pick(r, from), choice(r, hellos), choice(r, []string{"pragma", "accept-charset", ""})))
	}
	s.one = s.agent(s.own(tools[toolName]), w.net.hosted(r))
	return s
}

// own is a device of the attacker's.
func (s *attack) own(soft *software) *device {
	s.w.devices++
	return &device{n: s.w.devices, soft: soft, language: anyLanguage(s.r), cached: map[string]bool{}, install: hex(s.r, 16)}
}

// agent is a visit of d from there.
func (s *attack) agent(d *device, ip netip.Addr) *agent {
	a := s.w.agent(s.r, d, ip, "bot", s.threat+"-"+s.level)
	a.label.Threat, a.label.Level = s.threat, s.level
	return a
}

// aim draws what the campaign is after.
func (s *attack) aim(base float64) {
	w, r := s.w, s.r
	s.slug, s.bin, s.pan, s.prefix = between(r, 30, 200), "4"+digits(r, 8), "4"+digits(r, 15), upper(hex(r, 4))
	s.numbers, s.mailHost = "+9923"+digits(r, 3), "mail-"+hex(r, 4)+".example"
	if s.level == hard {
		if s.mailHost = "gmail.com"; r.Chance(.75) {
			s.mailHost = "fastmail-" + hex(r, 3) + ".example"
		}
	}
	for range 4 {
		s.mules = append(s.mules, "LT"+digits(r, 18))
	}
	s.target = choice(r, w.threads[500:])
	switch s.threat {
	case "OAT-005":
		if s.n = 40; s.level == plain {
			s.n = 20
		}
	case "OAT-006":
		s.n = 40
	case "OAT-007":
		n := 4
		if s.level == plain {
			n = 1
		}
		for _, p := range sample(r, w.accounts, n) {
			s.users = append(s.users, p.mail)
		}
	case "OAT-008":
		s.users = sample(r, w.leaked, s.n)
	case "OAT-012":
		s.n, s.victims = 60, sample(r, w.accounts, 60)
	case "OAT-013":
		for _, l := range w.lots {
			if base+4*hour < l.closes && l.closes < base+22*hour {
				s.lots = append(s.lots, l)
			}
		}
		s.n = min(len(s.lots), 40)
	case "OAT-015":
		if s.level == plain {
			s.n, s.spread = 400, 60
		}
	case "OAT-020":
		s.victims = sample(r, w.accounts, 60)
	}
}

// next is who makes the next attempt; group, unless 0, is how many one makes.
func (s *attack) next(t float64, group int) *agent {
	r := s.r
	if s.level == plain {
		return s.one
	}
	if s.left <= 0 {
		var d *device
		var ip netip.Addr
		switch s.level {
		case evasive:
			d = s.own(choice(r, s.faces))
			d.language = choice(r, languages[:3])
			ip, s.left = choice(r, s.pool).address(r, t, d), between(r, 3, 6)
		case rotating:
			d = s.own(choice(r, append(slices.Clone(s.faces), copied(pick(r, desktop), s.hello, ""))))
			if ip, s.left = s.w.net.home4(r), 1; !r.Chance(.6) {
				ip = choice(r, s.pool).address(r, t, d)
			}
		default:
			d = s.own(pick(r, slices.Concat(desktop, phones)))
			ip, s.left = s.w.net.home4(r), between(r, 1, 3)
		}
		s.now = s.agent(d, ip)
		if group > 0 {
			s.left = group
		}
	}
	s.left--
	return s.now
}

// run plays the campaign.
func (s *attack) run(play act, group int) {
	r, t := s.r, s.start
	mean := s.spread / float64(max(1, s.n))
	for i := range s.n {
		play(s, s.next(t, group), t, i)
		switch {
		case s.level == plain:
			t += max(.15, r.Exp(mean))
		case s.left > 0:
			t += max(4, logn(r, 2.7, .5))
		case s.level == rotating:
			t += max(3, r.Exp(mean))
		default:
			t += 1.6 * max(3, r.Exp(mean))
		}
	}
}
