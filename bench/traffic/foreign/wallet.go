package foreign

import "fmt"

// bank is a visit to the money app.
func (a *agent) bank(t float64) {
	r, p := a.r, a.p
	if !p.account {
		if !r.Chance(.1) {
			a.do(t, "GET", "/v2/config", call{kind: xhr})
			return
		}
		a.do(t, "POST", "/v2/register", call{kind: xhr, json: object("login", p.mail, "secret", p.password, "phone", p.phone), status: 201, answer: object("id", p.n)})
		p.account = true
		a.oneTime(t+10, p.phone, true, false)
		a.w.accounts = append(a.w.accounts, p)
		t += 60
	}
	a.do(t, "GET", "/v2/config", call{kind: xhr})
	t += 1 + r.Float64()
	if a.dev.token == "" || r.Chance(.35) {
		t = a.signin(t)
	}
	if a.dev.token == "" {
		return
	}
	if a.dev.owner != p.mail {
		t = a.signin(t)
	}
	a.do(t, "GET", "/v2/me", call{kind: xhr})
	a.do(t+.1, "GET", "/v2/accounts", call{kind: xhr})
	t += a.pause(6)
	for i := range 1 + int(r.Exp(1/.6)) {
		a.do(t, "GET", fmt.Sprintf("/v2/accounts/%d/transactions?page=%d", hashed(p.mail), i+1), call{kind: xhr})
		t += a.pause(9)
	}
	if r.Chance(.22) {
		t = a.send(t)
	}
	a.rest(t)
}

// send transfers money, mostly to somebody who got some before.
func (a *agent) send(t float64) float64 {
	r, p := a.r, a.p
	for range choice(r, []int{1, 1, 1, 2, 3}) {
		if r.Chance(.3) {
			a.oneTime(t, p.phone, true, false)
			t += 55
		}
		payee := choice(r, p.payees)
		if !r.Chance(.85) {
			payee = "DE" + digits(r, 20)
		}
		c := call{kind: xhr, json: transfer(payee, between(r, 5, 900)), status: 202, answer: object("ok", true)}
		if !r.Chance(.95) {
			c.status, c.answer = 422, object("ok", false)
		}
		a.do(t, "POST", "/v2/transfers", c)
		t += a.pause(25)
	}
	return t
}

func transfer(payee string, amount int) string {
	return object("beneficiary", raw(object("iban", payee, "name", "x")), "amount", raw(object("value", amount, "cur", "EUR")))
}

// rest is what a customer does now and then.
func (a *agent) rest(t float64) {
	r := a.r
	if r.Chance(.03) {
		a.do(t, "PUT", "/v2/me/address", call{kind: xhr, json: object("street", text(r, 2), "zip", digit(between(r, 10000, 99999))), status: 204})
		t += a.pause(11)
	}
	if r.Chance(.03) {
		a.do(t, "POST", "/v2/payouts", call{kind: xhr, json: object("iban", a.p.payees[0], "value", between(r, 20, 300)), status: 202, answer: object("ok", true)})
		t += a.pause(11)
	}
	if r.Chance(.06) {
		for range between(r, 1, 3) {
			a.do(t, "GET", fmt.Sprintf("/v2/statements/2026-%02d.pdf", between(r, 1, 4)), call{kind: xhr, produces: "application/pdf", size: 90000})
			t += a.pause(8)
		}
	}
	if r.Chance(.07) {
		for range 1 + int(r.Exp(2)) {
			a.do(t, "POST", "/v2/assistant", call{kind: xhr, json: object("q", text(r, 9)), answer: object("a", text(r, 20)), seconds: 2.5})
			t += a.pause(25)
		}
	}
	if r.Chance(.1) {
		a.do(t, "DELETE", "/v2/session", call{kind: xhr, status: 204})
		a.dev.token, a.dev.owner = "", ""
	}
}
