package foreign

import "github.com/weirproject/weir/bench/traffic"

// login tries a password; it fails by itself in an outage. It reports whether
// the device is logged in.
func (a *agent) login(t float64, user, password string, ok, attempt bool) bool {
	w, r, d := a.w, a.r, a.dev
	broken := w.outage[0] <= t && t < w.outage[1]
	ok = ok && (!broken || !r.Chance(.75))
	failed := broken && !ok && r.Chance(.6) // with an error of the server's
	if ok && w.session != "" {
		d.session = hex(r, 26)
	}
	switch w.c.Kind {
	case Tickets:
		if ok {
			d.owner = user
		}
		c := call{kind: xhr, json: object("data", raw(object("email", user, "pass", password, "keep", true))), seconds: .12 + r.Float64()*.1, attempt: attempt}
		if c.answer = object("ok", true); !ok {
			c.answer = object("ok", false, "err", "bad_credentials")
		} else {
			c.headers = []traffic.Header{{Name: "Set-Cookie", Value: "BOSESS=" + d.session + "; Path=/; HttpOnly"}}
		}
		if failed {
			c.status = 503
		}
		a.do(t, "POST", "/api/v3/sessions", c)
	case Wallet:
		token := "eyJ" + hex(r, 40)
		d.token, d.owner = "", ""
		c := call{kind: xhr, form: formBody("grant_type", "password", "client_id", "m1", "username", user, "password", password), seconds: .15 + r.Float64()*.1, attempt: attempt}
		if c.answer = object("access_token", token, "token_type", "bearer"); !ok {
			c.status, c.answer = 400, object("error", "invalid_grant")
		}
		if failed {
			c.status = 504
		}
		a.do(t, "POST", "/oauth/token", c)
		if ok {
			d.token, d.owner = token, user
		}
	case Forum:
		c := call{kind: form, form: formBody("csrf", hex(r, 16), "user", user, "pw", password, "remember", "on"), seconds: .1 + r.Float64()*.1, attempt: attempt}
		switch {
		case ok:
			c.status, c.headers = 302, []traffic.Header{{Name: "Location", Value: "/"}, {Name: "Set-Cookie", Value: "bb_sid=" + d.session + "; Path=/"}}
		case failed:
			c.status, c.size = 500, 9000
		default:
			c.size = 9000
		}
		a.do(t, "POST", "/login", c)
		if ok {
			d.owner = user
		}
	}
	return ok
}

// signin is a person who logs in, with what goes wrong; it returns the time after.
func (a *agent) signin(t float64) float64 {
	w, r, p := a.w, a.r, a.p
	if a.dev.owner == p.mail && (a.dev.token != "" || w.session != "") {
		return t
	}
	if w.c.Kind != Wallet {
		a.page(t, signinPage[w.c.Kind], 0, call{})
		if a.class == "pwman" {
			t += 1.5
		} else {
			t += a.think(12, .5)
		}
	}
	fails := a.fails()
	for i := range min(fails, 8) {
		user := p.mail
		if !r.Chance(.94) {
			user = mistyped(user)
		}
		a.login(t, user, a.wrong(i), false, false)
		t += max(3, logn(r, 2.3, .6))
	}
	if fails >= 4 && r.Chance(.6) {
		switch w.c.Kind {
		case Wallet:
			a.do(t, "POST", "/v2/password-reset", call{kind: xhr, json: object("login", p.mail), status: 202, answer: "{}"})
			t += uniform(r, 40, 200)
		case Tickets:
			a.do(t, "POST", "/api/v3/password/forgot", call{kind: xhr, json: object("email", p.mail), answer: object("sent", true)})
			t += uniform(r, 40, 200)
		case Forum: // has no form for it
		}
	}
	ok := a.login(t, p.mail, p.password, true, false)
	for n := 0; !ok && n < choice(r, []int{1, 2, 3, 5}); n++ {
		t += uniform(r, 4, 40)
		ok = a.login(t, p.mail, p.password, true, false)
	}
	return t + a.think(4, .5)
}

var (
	signinPage = map[Kind]string{Tickets: "/account/sign-in", Forum: "/login"}
	joinPage   = map[Kind]string{Tickets: "/account/join", Forum: "/join"}
)

// fails is how often a person mistypes first.
func (a *agent) fails() int {
	n := 0
	if a.r.Chance(.13) {
		n = 1 + int(a.r.Exp(1/1.1))
	}
	switch a.class {
	case "forgetful":
		n = between(a.r, 2, 6)
	case "pwman":
		n = 0
		if !a.r.Chance(.97) {
			n = 1
		}
	}
	return n
}

// wrong is a person's i-th wrong password.
func (a *agent) wrong(i int) string {
	p, r := a.p, a.r
	if i == 0 {
		return p.password[:len(p.password)-1]
	}
	return choice(r, []string{
		p.password[:len(p.password)-2] + digit(i), upper(p.password), "old" + p.password, p.password + digit(i), choice(r, words) + "1!",
	})
}
