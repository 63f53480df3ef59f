package foreign

import "fmt"

// buy is a visit to the box office.
func (a *agent) buy(t float64) {
	r, p := a.r, a.p
	n := int(r.Exp(5)) + 1
	if a.class == "comparer" && r.Chance(.5) {
		n = between(r, 40, 90)
	}
	if a.class == "tabs" && r.Chance(.6) {
		t = a.openTabs(t)
	}
	if r.Chance(.6) {
		a.view(t, choice(r, []string{"/", "/", "/whats-on/london", "/whats-on/berlin"}), 2)
		t += a.pause(11)
	}
	t, last := a.lookAround(t, n)
	if r.Chance(.01) {
		a.do(t, "GET", "/.well-known/apple-app-site-association", call{kind: xhr, status: 404})
	}
	buys, logs := r.Chance(.16), p.account && r.Chance(.35)
	if !p.account && r.Chance(.06) {
		t = a.joinTickets(t)
	}
	if logs || buys && p.account {
		t = a.signin(t)
	}
	if buys && last != "" {
		if t = a.holdSeats(t, last); r.Chance(.7) {
			a.checkout(t)
		}
	}
}

// openTabs opens many articles at once and reads a few.
func (a *agent) openTabs(t float64) float64 {
	a.view(t, "/whats-on/london", 2)
	t += a.pause(5)
	for range between(a.r, 8, 22) {
		a.view(t, "/e/"+a.w.slugs[a.w.item(a.r)], 0)
		t += uniform(a.r, .5, 3)
	}
	for range 4 {
		a.view(t, "/e/"+a.w.slugs[a.w.item(a.r)], 2)
		t += a.pause(25)
	}
	return t
}

// lookAround reads n pages; it returns the last article among them.
func (a *agent) lookAround(t float64, n int) (end float64, last string) {
	w, r := a.w, a.r
	for range n {
		switch x := r.Float64(); {
		case x < .6:
			last = w.slugs[w.item(r)]
			a.view(t, "/e/"+last, 3)
			if r.Chance(.7) {
				a.do(t+.4, "GET", "/api/v3/events/"+last+"/availability", call{kind: xhr, answer: object("left", between(r, 0, 200))})
			}
		case x < .8:
			a.view(t, fmt.Sprintf("/whats-on/%s?page=%d", choice(r, []string{"london", "berlin", "paris", "rome"}), 1+int(r.Exp(1/.7))), 6)
		case x < .95:
			a.view(t, "/search?q="+choice(r, words)+"+"+choice(r, words), 4)
		default:
			status := 200
			if !r.Chance(.95) {
				status = 404
			}
			a.viewed(t, "/help/"+choice(r, []string{"refunds", "delivery", "access", "faq"}), 0, status)
		}
		if a.class == "comparer" {
			t += a.pause(7)
		} else {
			t += a.pause(11)
		}
	}
	return t, last
}

// joinTickets makes an account.
func (a *agent) joinTickets(t float64) float64 {
	r, p := a.r, a.p
	a.view(t, "/account/join", 0)
	t += a.think(45, .4)
	body := object("email", p.mail, "pass", p.password, "name", beforeAt(p.mail))
	if r.Chance(.3) {
		a.do(t, "POST", "/api/v3/users", call{kind: xhr, json: body, status: 422, answer: object("ok", false)})
		t += a.pause(12)
	}
	if r.Chance(.8) {
		a.captcha(t)
	}
	t += uniform(r, 6, 30)
	a.do(t, "POST", "/api/v3/users", call{kind: xhr, json: body, status: 201, answer: object("ok", true)})
	p.account = true
	a.w.accounts = append(a.w.accounts, p)
	t += a.pause(8)
	if r.Chance(.6) {
		a.oneTime(t, p.phone, true, false)
		t += 45
	}
	return t
}

func (a *agent) captcha(t float64) {
	r := a.r
	a.do(t, "GET", "/api/v3/captcha", call{kind: xhr, answer: object("id", hex(r, 12))})
	a.do(t+logn(r, 2.4, .5), "POST", "/api/v3/captcha/"+hex(r, 12), call{kind: xhr, json: object("answer", hex(r, 3)), answer: object("solved", r.Chance(.85))})
}

// oneTime asks for a code by text message and, with verify, gives it back.
func (a *agent) oneTime(t float64, phone string, verify, attempt bool) {
	r := a.r
	base := "/v2"
	if a.w.c.Kind == Tickets {
		base = "/api/v3"
	}
	a.do(t, "POST", base+"/otp", call{kind: xhr, json: object("msisdn", phone), status: 202, answer: object("sent", true), attempt: attempt})
	if verify {
		a.do(t+uniform(r, 12, 50), "POST", base+"/otp/check", call{kind: xhr, json: object("msisdn", phone, "pin", digits(r, 6)), answer: object("ok", r.Chance(.93))})
	}
}

// hold is the path that holds one seat.
func hold(slug string, seat int) string {
	return fmt.Sprintf("/api/v3/events/%s/seats/%d/hold", slug, seat)
}

// holdSeats holds what a person wants of an event, and sometimes gives one back.
func (a *agent) holdSeats(t float64, slug string) float64 {
	r := a.r
	kept := 0
	for range choice(r, []int{1, 2, 2, 2, 3, 4}) {
		seat, c := between(r, 1, 9000), call{kind: xhr, json: object("qty", 1), status: 201, answer: object("held", true)}
		if !r.Chance(.93) {
			c.status, c.answer = 409, object("held", false)
		} else if kept == 0 {
			kept = seat
		}
		a.do(t, "PUT", hold(slug, seat), c)
		t += a.think(5, .6)
	}
	if r.Chance(.35) && kept > 0 {
		a.do(t, "DELETE", hold(slug, kept), call{kind: xhr, status: 204})
		t += a.pause(5)
	}
	return t
}

// checkout goes through the steps, pays, and orders when that went well.
func (a *agent) checkout(t float64) {
	r, p := a.r, a.p
	pace := 1.
	if a.class == "pwman" || a.class == "a11y" {
		pace = .25
	}
	for i := 1; i <= 3; i++ {
		a.do(t, "POST", "/api/v3/basket/step/"+digit(i), call{kind: xhr, json: object("f", i), answer: object("next", i+1)})
		t += max(1.5, a.think(22*pace, .5))
		if r.Chance(.25) {
			t = a.vouchers(t)
		}
	}
	paid := false
	for i := range 5 {
		luck := .6
		if i == 0 {
			luck = .9
		}
		paid = r.Chance(luck)
		csc, card, state := p.csc, p.card, "captured"
		if !paid {
			state = "declined"
			if !r.Chance(.5) {
				csc = digits(r, 3)
			}
		}
		if i >= 2 {
			card = fmt.Sprintf("5%015d", p.n*7919)
		}
		a.do(t, "POST", "/api/v3/basket/pay", call{kind: xhr, json: object("pan", card, "exp", p.expiry, "cvc", csc, "total", between(r, 20, 300)), answer: object("state", state), seconds: .8 + r.Float64()})
		t += a.think(18, .5)
		if paid || r.Chance(.3) {
			break
		}
	}
	if paid {
		a.do(t, "POST", "/api/v3/basket/confirm", call{kind: xhr, json: "{}", status: 201, answer: object("order", hex(r, 8))})
		a.view(t+2, fmt.Sprintf("/orders/%d", between(r, 1000000, 10000000)), 0)
	}
}

// vouchers tries a code, and sometimes what it might have been.
func (a *agent) vouchers(t float64) float64 {
	n := 1
	if !a.r.Chance(.7) {
		n = between(a.r, 2, 4)
	}
	for i := range n {
		code := a.p.code
		if i > 0 {
			code = code[:len(code)-1] + digit(i)
		}
		a.do(t, "POST", "/api/v3/basket/voucher", call{kind: xhr, json: object("code", code), answer: object("valid", a.r.Chance(.55))})
		t += a.think(9, .5)
	}
	return t
}
