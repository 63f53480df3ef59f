package foreign

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/weirproject/weir/bench/traffic"
)

// device is one installed browser or app with what it keeps.
type device struct {
	n                        int
	soft                     *software
	session, cookie, token   string
	owner, language, install string
	cached                   map[string]bool
}

// forget is what a private window or a wiped kiosk does.
func (d *device) forget() { d.session, d.cookie, d.owner, d.token = "", "", "", "" }

// person is one, with habits.
type person struct {
	n                              int
	who, class                     string
	mail, password                 string
	home                           *home
	office                         *office
	carrier                        []netip.Addr
	card, expiry, csc, phone, code string
	payees                         []string
	account                        bool
	devices                        []*device
	rate                           float64
	trip                           netip.Addr
	abroad                         *device
}

type office struct {
	addr netip.Addr
	soft *software
}

type kiosk struct {
	addr netip.Addr
	dev  *device
	wipe bool
}

type thread struct {
	n    int
	slug string
}

func (t thread) path() string { return fmt.Sprintf("/t/%d-%s", t.n, t.slug) }

// lot is up for auction until closes.
type lot struct {
	n      int
	closes float64
}

// world is one site with everybody who comes.
type world struct {
	site
	c       Config
	r       *traffic.Rand
	net     *network
	rows    []*row
	emitted int
	visits  int
	devices int

	static   []string
	slugs    []string
	popular  []float64 // cumulative weights of the slugs
	threads  []thread
	lots     []lot
	offices  []*office
	kiosks   []*kiosk
	people   []*person
	dormant  []*person
	accounts []*person
	byMail   map[string]*person
	leaked   []string
	machines *machines

	slow    float64
	outage  [2]float64
	release float64
}

func newWorld(c Config) *world {
	r := traffic.NewRand(c.Seed, uint64(len(c.Kind))<<8|21)
	w := &world{site: sites[c.Kind], c: c, r: r, net: newNetwork(r), byMail: map[string]*person{}, slow: 1}
	w.catalogue()
	for range 12 {
		w.offices = append(w.offices, &office{w.net.home4(r), pick(r, desktop)})
	}
	for i := range 3 {
		w.kiosks = append(w.kiosks, &kiosk{w.net.home4(r), w.device(chrome("win", 138, google)), i%2 == 0})
	}
	for i := range c.People {
		w.people = append(w.people, w.person(i, ""))
	}
	for _, p := range w.people {
		if p.account {
			w.accounts = append(w.accounts, p)
		}
	}
	for i := range 3 * c.People {
		p := w.person(1000000+i, "home")
		p.account = true
		w.dormant = append(w.dormant, p)
	}
	for _, p := range slices.Concat(w.people, w.dormant) {
		if p.account {
			w.leaked = append(w.leaked, p.mail)
		}
	}
	for range 2 * c.People {
		w.leaked = append(w.leaked, fmt.Sprintf("%s.%s%d@%s", choice(r, first), choice(r, lasts), between(r, 1, 999), pick(r, mails)))
	}
	return w
}

const articles = 450

// catalogue is what the site has.
func (w *world) catalogue() {
	r := w.r
	for _, x := range strings.Fields("app.3f2a vendor.99ab theme.71cc fonts.12ef logo.0001 icons.ab12") {
		w.static = append(w.static, "/assets/"+x+".js", "/assets/"+x+".css")
	}
	for range articles {
		w.slugs = append(w.slugs, strings.Join(sample(r, words[10:], 3), "-")+fmt.Sprintf("-%d", between(r, 100, 999)))
	}
	sum := 0.
	for i := range articles {
		sum += math.Pow(float64(i+3), -.8)
		w.popular = append(w.popular, sum)
	}
	for i := range 2500 {
		w.threads = append(w.threads, thread{10000 + i*between(r, 1, 3), strings.Join(sample(r, words, 4), "-")})
	}
	for i := range 500 {
		w.lots = append(w.lots, lot{500000 + 7*i, uniform(r, 0, 7*day)})
	}
}

func (w *world) device(s *software) *device {
	w.devices++
	return &device{n: w.devices, soft: s, language: anyLanguage(w.r), cached: map[string]bool{}, install: hex(w.r, 16)}
}

// item draws an article by popularity.
func (w *world) item(r *traffic.Rand) int {
	return sort.SearchFloat64s(w.popular, r.Float64()*w.popular[articles-1])
}

// person makes one; class "" draws it.
func (w *world) person(i int, class string) *person {
	r := w.r
	p := &person{n: i, who: fmt.Sprintf("p%d", i), class: class}
	if class == "" {
		p.class = w.class()
	}
	p.mail = strings.ToLower(choice(r, first) + choice(r, []string{"", ".", "_", "-"}) + choice(r, lasts) +
		choice(r, []string{"", digit(between(r, 1, 99)), digit(between(r, 1950, 2009)), "." + choice(r, lasts)[:2]}) + "@" + pick(r, mails))
	if w.c.Kind == Forum {
		name, _, _ := strings.Cut(p.mail, "@")
		p.mail = name + fmt.Sprint(i)
	}
	if w.byMail[p.mail] != nil {
		p.mail = fmt.Sprint(i) + p.mail
	}
	w.byMail[p.mail] = p
	p.password = fmt.Sprintf("%s%d!%s", choice(r, words), r.IntN(10000), hex(r, 3))
	p.home, p.office, p.carrier = newHome(r, w.net), choice(r, w.offices), w.net.carriers[r.IntN(4)][:]
	w.means(p)
	w.equip(p)
	if len(w.people) == 0 {
		return p
	}
	recent := w.people[max(0, len(w.people)-40):]
	switch p.class {
	case "family":
		if r.Chance(.8) {
			q := choice(r, recent)
			p.home, p.devices = q.home, q.devices[:1:1]
		}
	case "shared":
		q := choice(r, recent)
		p.mail, p.password, p.account = q.mail, q.password, q.account
	}
	return p
}

var classes = []weighted[string]{
	{38, "home"},
	{14, "mobile"},
	{9, "app"},
	{12, "office"},
	{5, "family"},
	{2.5, "kiosk"},
	{2.5, "shared"},
	{3, "forgetful"},
	{3, "pwman"},
	{2, "night"},
	{2.5, "traveller"},
	{2.5, "comparer"},
	{2, "tabs"},
	{1.2, "a11y"},
	{2, "private"},
	{1.2, "vpn"},
}

func (w *world) class() string {
	class := pick(w.r, classes)
	if w.c.Kind == Forum && class == "app" {
		class = "mobile" // has none
	}
	if w.c.Kind == Wallet && w.r.Chance(.5) && (class == "home" || class == "mobile") {
		class = "app"
	}
	return class
}

// means are a person's cards, numbers and codes.
func (w *world) means(p *person) {
	r := w.r
	p.card, p.csc = "4"+digits(r, 15), digits(r, 3)
	p.expiry = fmt.Sprintf("%02d/%d", between(r, 1, 12), between(r, 27, 31))
	if p.phone = "+447" + digits(r, 8); !r.Chance(.6) {
		p.phone = fmt.Sprintf("+49%d%s", choice(r, []int{151, 160, 170, 176}), digits(r, 7))
	}
	for range between(r, 1, 6) {
		p.payees = append(p.payees, "DE"+digits(r, 20))
	}
	has := .75
	if w.c.Kind == Wallet {
		has = .97
	}
	p.account = r.Chance(has)
	if p.code = "WELCOME10"; r.Chance(.5) {
		p.code = "SUMMER" + strings.ToUpper(hex(r, 4))
	}
}

// equip gives a person one device, and every third a second one.
func (w *world) equip(p *person) {
	r := w.r
	var soft *software
	switch {
	case p.class == "app":
		v := "7.1.0"
		if !r.Chance(.7) {
			v = "7.0.3"
		}
		soft = app(choice(r, []family{okhttp, cfnetwork}), v, string(w.c.Kind))
	case p.class == "mobile" || r.Chance(.3):
		soft = pick(r, phones)
	case p.class == "office":
		soft = p.office.soft
	default:
		soft = pick(r, desktop)
	}
	p.devices = append(p.devices, w.device(soft))
	if r.Chance(.35) {
		from := phones
		if !r.Chance(.8) {
			from = desktop
		}
		p.devices = append(p.devices, w.device(pick(r, from)))
	}
	p.rate = logn(r, -.5, .7)
}

var (
	hours  = []float64{2, 1, .6, .4, .4, .7, 1.5, 3, 4.5, 5, 5.2, 5.2, 5.5, 5.3, 5, 5, 5.2, 5.8, 6.5, 7.5, 8, 7.5, 6, 4}
	nights = []float64{6, 6, 6, 5, 5, 4, 2, 1, .5, .3, .2, .2, .2, .2, .2, .2, .2, .2, .5, 1, 2, 3, 5, 6}
)

func anyHour(r *traffic.Rand, from []float64) float64 {
	all := make([]weighted[float64], len(from))
	for i, x := range from {
		all[i] = weighted[float64]{x, float64(i)}
	}
	return (pick(r, all) + r.Float64()) * hour
}

// day plays the people and machines of day d.
func (w *world) day(d int) {
	type job struct {
		t float64
		p *person
	}
	var jobs []job
	for _, p := range w.people {
		for n := 0; n < 6 && w.r.Chance(p.rate/(1+p.rate)); n++ {
			from := hours
			if p.class == "night" {
				from = nights
			}
			jobs = append(jobs, job{float64(d)*day + anyHour(w.r, from), p})
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int {
		if a.t < b.t {
			return -1
		}
		return 1
	})
	for _, j := range jobs {
		w.visit(j.p, j.t)
	}
	w.automata(float64(d)*day, float64(d+1)*day)
}
