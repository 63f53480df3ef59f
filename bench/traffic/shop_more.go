package traffic

import (
	"fmt"
	"time"
)

// CaptchaIssue asks for a challenge, CaptchaVerify answers it.
func (v *Visit) CaptchaIssue() string {
	token := fmt.Sprintf("c%x", v.R.Uint64())
	v.json("GET", "/api/captcha?nonce="+token, "", 200, `{"token":"`+token+`"}`, 0, false)
	return token
}

// CaptchaVerify submits an answer and reports whether it was right.
func (v *Visit) CaptchaVerify(token string, right, attempt bool) bool {
	status, resp := 422, `{"ok":false}`
	if right {
		status, resp = 200, `{"ok":true}`
	}
	v.json("POST", "/api/captcha/verify", `{"token":"`+token+`","answer":"x"}`, status, resp, 0, attempt)
	return right
}

// OTPSend has a code sent to a phone, which costs the site money.
func (v *Visit) OTPSend(phone string, attempt bool) {
	v.json("POST", "/api/otp/send", `{"phone":"`+phone+`"}`, 200, `{"sent":true}`, 120, attempt)
}

// OTPVerify submits the code.
func (v *Visit) OTPVerify(phone string, right bool) {
	status, resp := 401, `{"ok":false}`
	if right {
		status, resp = 200, `{"ok":true}`
	}
	v.json("POST", "/api/otp/verify", `{"phone":"`+phone+`","code":"123456"}`, status, resp, 0, false)
}

// Reserve holds a seat for some minutes; Release gives it back.
func (v *Visit) Reserve(event, seat int, attempt bool) {
	v.json("POST", "/api/reserve", fmt.Sprintf(`{"event":"e%d","seat":"s%d"}`, event, seat), 200, `{"hold":"15m"}`, 0, attempt)
}

// Release gives a held seat back.
func (v *Visit) Release(event, seat int) {
	v.json("POST", "/api/release", fmt.Sprintf(`{"event":"e%d","seat":"s%d"}`, event, seat), 200, `{"ok":true}`, 0, false)
}

// Address changes the account's shipping address.
func (v *Visit) Address(address string, attempt bool) {
	v.json("POST", "/api/address", `{"address":"`+address+`"}`, 200, `{"ok":true}`, 0, attempt)
}

// Payout pays the account's balance out; Transfer sends it to another account.
func (v *Visit) Payout(payee string, amount int, attempt bool) {
	v.json("POST", "/api/payout", fmt.Sprintf(`{"payee":"%s","amount":%d}`, payee, amount), 200, `{"ok":true}`, 90, attempt)
}

// Transfer sends money to another account.
func (v *Visit) Transfer(payee string, amount int, attempt bool) {
	v.json("POST", "/api/transfer", fmt.Sprintf(`{"payee":"%s","amount":%d}`, payee, amount), 200, `{"ok":true}`, 90, attempt)
}

// Review posts text about an article.
func (v *Visit) Review(k int, text string, attempt bool) {
	v.json("POST", "/api/review", `{"item":"`+v.Site.Items[k%len(v.Site.Items)].Slug+`","text":"`+text+`"}`, 201, `{"ok":true}`, 0, attempt)
}

// Vote votes for a photo, Like likes an article.
func (v *Visit) Vote(post int, attempt bool) {
	v.json("POST", fmt.Sprintf("/api/photos/%d/vote", 100+post), "", 200, `{"ok":true}`, 0, attempt)
}

// Like likes an article.
func (v *Visit) Like(k int, attempt bool) {
	v.json("POST", "/api/like", `{"item":"`+v.Site.Items[k%len(v.Site.Items)].Slug+`"}`, 200, `{"ok":true}`, 0, attempt)
}

// Click follows a paid advertisement.
func (v *Visit) Click(ad int, attempt bool) {
	v.do(call{method: "GET", target: fmt.Sprintf("/go/%d", 500+ad), status: 302, bytes: 120, attempt: attempt, respHeaders: []Header{{"Location", "/"}}})
}

// Bid bids on a lot of the auction, which closes at closes.
func (v *Visit) Bid(lot, amount int, closes int64, attempt bool) {
	v.json("POST", fmt.Sprintf("/api/lots/%d/bid", 700+lot),
		fmt.Sprintf(`{"amount":%d,"closes":"%s"}`, amount, time.Unix(0, closes).UTC().Format(time.RFC3339)), 200, `{"ok":true}`, 0, attempt)
}

// ViewLot looks at a lot.
func (v *Visit) ViewLot(lot int, attempt bool) {
	v.page(fmt.Sprintf("/lot/%d", 700+lot), 200, 15, attempt)
}

// Export downloads the account's orders as a file.
func (v *Visit) Export(attempt bool) {
	v.do(call{method: "GET", target: "/api/export?format=csv", xhr: true, status: 200, bytes: 40000 + v.R.IntN(90000), slow: 700, attempt: attempt, respHeaders: userHeader(v.User)})
}

func userHeader(user string) []Header {
	if user == "" {
		return nil
	}
	return []Header{{"X-User", user}}
}

// Quote asks a paid third party for a delivery price.
func (v *Visit) Quote(zip int, attempt bool) {
	v.json("POST", "/api/quote", fmt.Sprintf(`{"zip":"%05d"}`, zip), 200, `{"price":490}`, 260, attempt)
}

// Chat asks the shop's language model.
func (v *Visit) Chat(text string, attempt bool) {
	v.json("POST", "/api/chat", `{"text":"`+text+`"}`, 200, `{"reply":"..."}`, 1800, attempt)
}

// Report runs an expensive search.
func (v *Visit) Report(q string, attempt bool) {
	v.do(call{method: "GET", target: "/api/report?q=" + q + "&from=2020&to=2026&group=all", xhr: true, status: 200, bytes: 90000, slow: 2500, attempt: attempt, respHeaders: userHeader(v.User)})
}
