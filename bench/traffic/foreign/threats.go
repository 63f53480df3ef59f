package foreign

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/weirproject/weir/bench/traffic"
)

var (
	probes = strings.Fields("/.git/HEAD /.env /wp-login.php /phpmyadmin/index.php /server-status /actuator/health /solr/admin/ /.svn/entries " +
		"/owa/auth/logon.aspx /jenkins/login /manager/html /console/ /xmlrpc.php /CHANGELOG.txt /administrator/ /api/swagger.json /v2/_catalog " +
		"/.DS_Store /telescope/requests /geoserver/web/")
	listed = strings.Fields("admin backup old test dev staging private internal config db data dump logs tmp cgi-bin uploads files secret hidden " +
		"panel dashboard manage portal api2 v1 beta demo include lib src debug trace")
	payloads = []string{
		"' OR 1=1--", "<script>alert(1)</script>", "../../../../etc/passwd", "${jndi:ldap://x.test/a}", ";cat /etc/passwd", "{{7*7}}",
		"1 UNION SELECT NULL,NULL--", "%00", "php://filter/convert.base64-encode/resource=index", "' AND SLEEP(5)--",
	}
)

// before loads the pages that a careful bot loads before what counts.
func (s *attack) before(a *agent, t float64, pages ...string) float64 {
	if s.level == plain || s.w.c.Kind == Wallet {
		return t
	}
	for _, p := range pages {
		if s.level == hard {
			a.page(t, p, 2, call{})
		} else {
			a.do(t, "GET", p, call{})
		}
		t += logn(s.r, 1.6, .5)
	}
	return t
}

func stuffing(s *attack, a *agent, t float64, i int) {
	user := s.users[i%len(s.users)]
	p := s.w.byMail[user]
	t = s.before(a, t, signinPage[s.w.c.Kind])
	ok := p != nil && p.account && s.r.Chance(.02)
	password := hex(s.r, 8)
	if ok {
		password = p.password
	}
	a.login(t, user, password, ok, true)
	if ok && s.level != plain {
		a.dev.session, a.dev.token, a.dev.owner, s.left = "", "", "", 0
	}
}

func cracking(s *attack, a *agent, t float64, i int) {
	t = s.before(a, t, signinPage[s.w.c.Kind])
	a.login(t, s.users[i%len(s.users)], fmt.Sprint("guess", i), false, true)
}

// article is the page of what the campaign buys.
func (s *attack) article() string { return "/e/" + s.w.slugs[s.slug] }

// grab holds a seat of an event.
func (s *attack) grab(a *agent, t float64, slug string, attempt bool, headers ...traffic.Header) {
	a.do(t, "PUT", hold(slug, between(s.r, 1, 9000)), call{kind: xhr, json: object("qty", 1), status: 201, answer: object("held", true), attempt: attempt, headers: headers})
}

func (s *attack) pay(a *agent, t float64, card, expiry, csc string, total int, captured bool, seconds float64) {
	state := "declined"
	if captured {
		state = "captured"
	}
	a.do(t, "POST", "/api/v3/basket/pay", call{kind: xhr, json: object("pan", card, "exp", expiry, "cvc", csc, "total", total), answer: object("state", state), seconds: seconds, attempt: true})
}

func carding(s *attack, a *agent, t float64, _ int) {
	r := s.r
	t = s.before(a, t, s.article(), "/basket")
	if a.dev.cookie == "" || s.level != plain {
		s.grab(a, t, s.w.slugs[s.slug], false)
		t += 3
	}
	total := 20
	if r.Chance(.5) {
		total = 1
	}
	s.pay(a, t, s.bin+digits(r, 7), fmt.Sprintf("%02d/%d", between(r, 1, 12), between(r, 27, 31)), digits(r, 3), total, r.Chance(.08), .8)
}

func cardCodes(s *attack, a *agent, t float64, i int) {
	t = s.before(a, t, s.article(), "/basket")
	s.pay(a, t, s.pan, fmt.Sprintf("%02d/%d", i%12+1, 27+i/12%5), fmt.Sprintf("%03d", i*7%1000), 20, false, .8)
}

func voucher(s *attack, a *agent, t float64, _ int) {
	t = s.before(a, t, s.article(), "/basket")
	a.do(t, "POST", "/api/v3/basket/voucher", call{kind: xhr, json: object("code", "GIFT-"+s.prefix+"-"+upper(hex(s.r, 4))), answer: object("valid", s.r.Chance(.01)), attempt: true})
}

func pumping(s *attack, a *agent, t float64, _ int) {
	t = s.before(a, t, joinPage[Tickets])
	a.oneTime(t, s.numbers+digits(s.r, 5), false, true)
}

func asking(s *attack, a *agent, t float64, _ int) {
	a.do(t, "POST", "/v2/assistant", call{kind: xhr, json: object("q", text(s.r, 40)), answer: object("a", text(s.r, 200)), seconds: 6, attempt: true})
}

func clicking(s *attack, a *agent, t float64, _ int) {
	t = s.before(a, t, s.w.threads[s.r.IntN(100)].path())
	a.do(t, "GET", "/out/7", call{status: 302, attempt: true})
}

func probing(s *attack, a *agent, t float64, i int) {
	method := "GET"
	if s.level != hard {
		method = choice(s.r, []string{"GET", "GET", "HEAD", "OPTIONS", "TRACE"})
	}
	a.do(t, method, probes[i%len(probes)], call{status: 404, attempt: true})
}

func scalping(s *attack, a *agent, _ float64, _ int) {
	r, slug := s.r, s.w.slugs[s.slug]
	opens := traffic.Header{Name: "X-On-Sale", Value: s.w.stamp(s.opens)}
	polls, gap := map[string]int{plain: 12, evasive: 4, hard: 2}[s.level], 20.
	if s.level == plain {
		gap = 2
	}
	begin := s.opens - float64(polls)*gap + uniform(r, -2, 2)
	for k := range polls {
		a.do(begin+float64(k)*gap, "GET", "/api/v3/events/"+slug+"/availability", call{kind: xhr, headers: []traffic.Header{opens}, answer: object("left", 0), attempt: true})
	}
	t := s.opens + uniform(r, .05, .9)
	s.grab(a, t, slug, true, opens)
	t += .3
	for x := 1; x <= 3; x++ {
		a.do(t, "POST", "/api/v3/basket/step/"+digit(x), call{kind: xhr, json: object("f", x), attempt: true})
		t += uniform(r, .2, .6)
	}
	s.order(a, t)
	s.left = 0
}

// order pays and orders.
func (s *attack) order(a *agent, t float64) {
	s.pay(a, t, "4"+digits(s.r, 15), "09/29", "123", 100, true, 0)
	a.do(t+.5, "POST", "/api/v3/basket/confirm", call{kind: xhr, json: "{}", status: 201, attempt: true})
}

func expediting(s *attack, a *agent, t float64, _ int) {
	r, slug := s.r, s.w.slugs[s.w.item(s.r)]
	t = s.before(a, t, "/e/"+slug)
	s.grab(a, t, slug, true)
	t += .25
	steps := []int{1, 2, 3}
	if !r.Chance(.6) {
		steps = []int{1, 3}
	}
	for _, x := range steps {
		a.do(t, "POST", "/api/v3/basket/step/"+digit(x), call{kind: xhr, json: object("f", x), attempt: true})
		if s.level == plain {
			t += .35
		} else {
			t += uniform(r, .4, 1.2)
		}
	}
	s.order(a, t)
}

func solving(s *attack, a *agent, t float64, _ int) {
	r := s.r
	a.do(t, "GET", "/api/v3/captcha", call{kind: xhr, answer: object("id", 1)})
	if s.level == plain {
		t += 1.2
	} else {
		t += uniform(r, 9, 12)
	}
	a.do(t, "POST", "/api/v3/captcha/"+hex(r, 12), call{kind: xhr, json: object("answer", hex(r, 3)), answer: object("solved", r.Chance(.96)), attempt: true})
}

func scraping(s *attack, a *agent, t float64, i int) {
	target := "/e/" + s.w.slugs[i%len(s.w.slugs)]
	if s.w.c.Kind == Forum {
		target = s.w.threads[i%len(s.w.threads)].path()
	}
	a.do(t, "GET", target, call{attempt: true})
	if s.level == hard {
		a.assets(t, 3)
	}
}

func cashing(s *attack, a *agent, t float64, i int) {
	r, p := s.r, s.victims[i%len(s.victims)]
	a.login(t, p.mail, p.password, true, false)
	t += 4
	a.do(t, "GET", "/v2/me", call{kind: xhr})
	t += 5
	if r.Chance(.4) {
		a.do(t, "PUT", "/v2/me/address", call{kind: xhr, json: object("street", "mule st 1", "zip", "10115"), status: 204, attempt: true})
		t += 5
	}
	a.do(t, "POST", "/v2/transfers", call{kind: xhr, json: transfer(s.mules[i%len(s.mules)], between(r, 300, 2000)), status: 202, answer: object("ok", true), attempt: true})
	a.dev.token, a.dev.owner = "", ""
}

func sniping(s *attack, a *agent, _ float64, i int) {
	r, l := s.r, s.lots[i%len(s.lots)]
	if a.dev.owner == "" {
		if a.dev.owner = "sniper0"; s.level != plain {
			a.dev.owner = fmt.Sprint("sniper", a.label.Session)
		}
	}
	t, closes := l.closes-uniform(r, .4, 2.5), []traffic.Header{{Name: "X-Closes", Value: s.w.stamp(l.closes)}}
	target := fmt.Sprintf("/lot/%d", l.n)
	if s.level != plain {
		a.do(t-40, "GET", target, call{headers: closes})
	}
	a.do(t, "POST", target+"/bid", call{kind: form, form: formBody("csrf", hex(r, 16), "amount", digit(between(r, 5, 300))), status: 302, headers: closes, attempt: true})
}

func scanning(s *attack, a *agent, t float64, _ int) {
	r := s.r
	base := map[Kind]string{Tickets: "/search?q=", Forum: "/find?q=", Wallet: "/v2/search?q="}[s.w.c.Kind]
	if s.level == hard {
		a.do(t-5, "GET", base+"x", call{})
	}
	target := choice(r, []string{base, "/item?id=", "/index.php?page=", base})
	a.do(t, "GET", target+strings.ReplaceAll(url.QueryEscape(choice(r, payloads)), "+", "%20"), call{status: choice(r, []int{200, 400, 404, 403, 500}), attempt: true})
}

func exhausting(s *attack, a *agent, t float64, _ int) {
	r := s.r
	var target string
	switch s.w.c.Kind {
	case Forum:
		target = "/find?q=" + hex(r, 6)
	case Tickets:
		target = "/search?q=" + hex(r, 4) + "+" + hex(r, 4) + "&sort=price"
	case Wallet:
		target = fmt.Sprintf("/v2/accounts/1/transactions?page=%d", between(r, 1, 1000000))
	}
	a.do(t, "GET", target, call{seconds: 2.5, attempt: true})
}

func voting(s *attack, a *agent, t float64, _ int) {
	t = s.before(a, t, s.target.path())
	if a.dev.owner == "" {
		a.dev.owner = fmt.Sprint("fan", a.label.Session)
	}
	a.do(t, "POST", fmt.Sprintf("/t/%d/vote", s.target.n), call{kind: xhr, form: formBody("dir", "up"), answer: object("n", between(s.r, 1, 90)), attempt: true})
}

func spamming(s *attack, a *agent, t float64, _ int) {
	r := s.r
	th := s.w.threads[between(r, 0, 400)]
	t = s.before(a, t, th.path())
	if a.dev.owner == "" {
		a.dev.owner = fmt.Sprint("poster", a.label.Session)
	}
	post := fmt.Sprintf("%s best watches cheap today only visit https://deal-%s.example/x now and save much money friends %s", choice(r, []string{"hi", "hello", "hey"}), s.prefix, choice(r, words))
	a.do(t, "POST", fmt.Sprintf("/t/%d/reply", th.n), call{kind: form, form: formBody("csrf", hex(r, 16), "text", post), status: 302, attempt: true})
}

func footprinting(s *attack, a *agent, t float64, _ int) {
	r := s.r
	end := choice(r, []string{"", "/", ".php", ".zip", "-" + choice(r, listed), "/" + choice(r, listed)})
	a.do(t, "GET", "/"+choice(r, listed)+end, call{status: choice(r, []int{404, 404, 404, 404, 403}), attempt: true})
}

func joining(s *attack, a *agent, t float64, _ int) {
	r := s.r
	t = s.before(a, t, joinPage[s.w.c.Kind])
	name := choice(r, first) + choice(r, lasts) + digit(between(r, 1000, 9999))
	mail := name + "@" + s.mailHost
	switch s.w.c.Kind {
	case Tickets:
		a.do(t, "POST", "/api/v3/users", call{kind: xhr, json: object("email", mail, "pass", hex(r, 10), "name", name), status: 201, answer: object("ok", true), attempt: true})
	case Wallet:
		a.do(t, "POST", "/v2/register", call{kind: xhr, json: object("login", mail, "secret", hex(r, 10), "phone", "+4479"+digits(r, 8)), status: 201, answer: object("id", 1), attempt: true})
	case Forum:
		a.do(t, "POST", "/join", call{kind: form, form: formBody("csrf", hex(r, 16), "user", name, "email", mail, "pw", hex(r, 8)), status: 302, attempt: true})
	}
}

func aggregating(s *attack, a *agent, t float64, i int) {
	r, p := s.r, s.victims[i%len(s.victims)]
	a.dev.token = ""
	a.login(t, p.mail, p.password, true, true)
	a.do(t+1, "GET", "/v2/accounts", call{kind: xhr})
	a.do(t+2, "GET", fmt.Sprintf("/v2/accounts/%d/transactions?page=1", r.IntN(1<<28)), call{kind: xhr, attempt: true})
	a.do(t+3, "GET", "/v2/statements/2026-04.pdf", call{kind: xhr, size: 90000, attempt: true})
	a.dev.token, a.dev.owner = "", ""
}

func holding(s *attack, a *agent, t float64, _ int) {
	slug := s.w.slugs[s.slug]
	t = s.before(a, t, "/e/"+slug)
	for range 2 {
		s.grab(a, t, slug, true)
		if s.level == plain {
			t++
		} else {
			t += 6
		}
	}
}
