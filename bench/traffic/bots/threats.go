package bots

import (
	"fmt"
	"strconv"
	"time"

	"github.com/weirproject/weir/bench/traffic"
)

// acts are the 21 families. Each plays one attempt; the key request carries the
// attempt mark.
var acts = map[string]act{
	"OAT-001": {before: look, group: 2, play: carding},
	"OAT-002": {before: look, group: 3, play: tokens},
	"OAT-003": {before: look, group: 2, play: smsPumping},
	"OAT-004": {group: 1, attempts: [3]int{60, 120, 100}, play: fingerprinting},
	"OAT-005": {group: 1, attempts: [3]int{60, 80, 60}, play: scalping},
	"OAT-006": {before: look, group: 1, attempts: [3]int{60, 100, 80}, play: expediting},
	"OAT-007": {before: loginPage, group: 2, play: cracking},
	"OAT-008": {before: loginPage, group: 2, play: stuffing},
	"OAT-009": {before: look, group: 2, play: captcha},
	"OAT-010": {before: look, group: 2, play: cardCracking},
	"OAT-011": {before: look, group: 6, attempts: [3]int{900, 900, 600}, play: scraping},
	"OAT-012": {group: 1, attempts: [3]int{60, 60, 40}, play: cashingOut},
	"OAT-013": {group: 1, attempts: [3]int{60, 60, 60}, play: sniping},
	"OAT-014": {before: look, group: 2, attempts: [3]int{300, 300, 150}, play: scanning, tool: "nuclei"},
	"OAT-015": {before: look, group: 3, attempts: [3]int{500, 500, 300}, play: expensive},
	"OAT-016": {before: look, group: 1, play: skewing},
	"OAT-017": {before: look, group: 1, play: spamming},
	"OAT-018": {before: look, group: 4, attempts: [3]int{400, 400, 200}, play: footprinting},
	"OAT-019": {before: look, group: 1, attempts: [3]int{200, 200, 120}, play: signups},
	"OAT-020": {group: 3, attempts: [3]int{200, 200, 150}, play: aggregation},
	"OAT-021": {before: look, group: 2, attempts: [3]int{300, 300, 200}, play: holding},
}

func carding(b *bot, v *traffic.Visit, k int) {
	v.AddToCart(int(b.base%50), 1, false)
	b.pause(v, 6)
	order := v.Order(false)
	b.pause(v, 9)
	v.Pay(order, traffic.NewCard(b.base+uint64(k), 900+b.base%3+uint64(k%3), v.R.Chance(.05)), 100+v.R.IntN(200), true)
}

func tokens(b *bot, v *traffic.Visit, k int) {
	b.pause(v, 4)
	v.ApplyCoupon(fmt.Sprintf("SAVE-%06X", (b.base>>8+uint64(k)*7)&0xffffff), true)
}

func smsPumping(b *bot, v *traffic.Visit, k int) {
	b.pause(v, 5)
	v.OTPSend(fmt.Sprintf("+99215%06d", (b.base+uint64(k)*13)%1000000), true)
}

var techPaths = []string{
	"/server-status", "/.git/HEAD", "/wp-login.php", "/readme.html", "/CHANGELOG.txt", "/composer.json", "/actuator/info", "/version", "/phpinfo.php",
	"/web.config", "/META-INF/MANIFEST.MF", "/solr/admin/info/system", "/owa/auth/logon.aspx", "/_next/static/chunks/main.js", "/api/version", "/jenkins/login",
	"/grafana/login", "/favicon.ico", "/crossdomain.xml", "/.well-known/security.txt", "/administrator/manifests/files/joomla.xml", "/core/install.php",
}

func fingerprinting(b *bot, v *traffic.Visit, k int) {
	path := techPaths[k%len(techPaths)]
	method := "GET"
	if k%7 == 3 {
		method = []string{"OPTIONS", "TRACE", "PROPFIND"}[k%3]
	}
	status := 404
	if path == "/favicon.ico" {
		status = 200
	} else if method == "TRACE" || method == "PROPFIND" {
		status = 405
	}
	v.Raw(method, path, status, 160, true)
	if b.c.Level == Plain && k%5 == 0 {
		v.Raw("GET", fmt.Sprintf("/%x", v.R.Uint32()), 404, 160, true)
	}
}

func scalping(b *bot, v *traffic.Visit, k int) {
	// Every visit aims at the next opening: it waits for it and is there first.
	drop, opens := b.NextDrop(v.Time + int64(time.Minute))
	if opens == 0 {
		return
	}
	v.Time = opens - int64(2+v.R.IntN(40))*int64(time.Second)
	polls := 4 + v.R.IntN(6)
	if b.c.Level == Plain {
		polls = 40
	}
	for range polls {
		v.Stock(drop, true)
		v.Wait(time.Duration((opens - v.Time) / int64(polls)))
	}
	if v.Time < opens {
		v.Time = opens
	}
	react := map[Level]float64{Plain: 60, Evasive: 180, Hard: 420}[b.c.Level]
	v.Wait(time.Duration(v.R.LogNormal(react, .4)) * time.Millisecond)
	v.AddToCart(drop, 1, true)
	for step := 1; step <= 3; step++ {
		v.Wait(time.Duration(v.R.LogNormal(react, .3)) * time.Millisecond)
		v.CheckoutStep(step, true)
	}
	order := v.Order(true)
	v.Pay(order, traffic.NewCard(b.base+uint64(k/4), 40+uint64(k%30), true), b.Site.Items[drop].Price, true)
}

func expediting(b *bot, v *traffic.Visit, k int) {
	step := map[Level]float64{Plain: 60, Evasive: 500, Hard: 1200}[b.c.Level]
	wait := func() { v.Wait(time.Duration(v.R.LogNormal(step, .15)) * time.Millisecond) }
	v.AddToCart(20+k%5, 1, true)
	for s := 1; s <= 3; s++ {
		wait()
		v.CheckoutStep(s, true)
	}
	wait()
	order := v.Order(true)
	wait()
	v.Pay(order, traffic.NewCard(b.base+uint64(k), 40+uint64(k%30), true), 900, true)
}

func cracking(b *bot, v *traffic.Visit, k int) {
	b.pause(v, 6)
	v.Login(traffic.UserName(b.person(k, 12)), fmt.Sprintf("guess-%d", k/12), true)
}

func stuffing(b *bot, v *traffic.Visit, k int) {
	spread := 1 << 20
	if b.c.Level == Rotating {
		spread = 12
		v.LoginPage()
		v.Wait(time.Duration(1500+v.R.IntN(6000)) * time.Millisecond)
	} else {
		b.pause(v, 6)
	}
	i := b.person(k, spread)
	if b.c.Level == Rotating {
		i = b.person(v.R.IntN(12), 12)
	}
	user, password := traffic.UserName(i), fmt.Sprintf("leak-%x", traffic.Mix(b.base, uint64(k)))
	switch x := v.R.Float64(); {
	case x < .02:
		password = traffic.Password(i)
	case x < .4 && b.c.Level != Rotating: // most of a leaked list has no account here
		user = fmt.Sprintf("someone%x@leak.example", traffic.Mix(b.base, uint64(k)+1)&0xffffff)
	}
	if v.Login(user, password, true) {
		v.User = ""
	}
}

func captcha(b *bot, v *traffic.Visit, k int) {
	token := v.CaptchaIssue()
	switch b.c.Level {
	case Plain:
		v.Wait(time.Duration(250+v.R.IntN(60)) * time.Millisecond)
	default: // a solving farm answers after much the same time
		v.Wait(time.Duration(9000+v.R.IntN(2500)) * time.Millisecond)
	}
	if v.CaptchaVerify(token, v.R.Chance(.96), true) {
		v.Quote(10000+k, false)
	}
}

func cardCracking(b *bot, v *traffic.Visit, k int) {
	c := traffic.NewCard(b.base+uint64(k/60), 900+b.base%3, true)
	c.CSC = fmt.Sprintf("%03d", (k*37)%1000)
	if k%3 == 0 {
		c.Expiry = fmt.Sprintf("%02d/%02d", 1+k%12, 27+k%5)
	}
	b.pause(v, 8)
	v.Pay(strconv.Itoa(200000+k/60), c, 500, true)
}

func scraping(b *bot, v *traffic.Visit, k int) {
	if k%24 == 0 {
		v.Category(k/24%b.Site.Categories, 1+k/24/b.Site.Categories, true)
	}
	b.pause(v, 3)
	v.ViewItem(k, true)
}

// cashingOut uses stolen accounts whose passwords are right.
func cashingOut(b *bot, v *traffic.Visit, k int) {
	i := b.person(k, 1<<20)
	v.LoginPage()
	b.pause(v, 6)
	if !v.Login(traffic.UserName(i), traffic.Password(i), true) {
		return
	}
	b.pause(v, 8)
	v.Address(fmt.Sprintf("Freight Hub %d", b.base%3), true)
	b.pause(v, 10)
	if k%2 == 0 {
		v.Payout(fmt.Sprintf("MULE%d", b.base%1000+uint64(k%3)), 9000+v.R.IntN(20000), true)
	} else {
		v.Transfer(fmt.Sprintf("mule%d@mail.example", b.base%1000+uint64(k%3)), 9000+v.R.IntN(20000), true)
	}
	v.User = ""
	v.C.Session = ""
}

func sniping(b *bot, v *traffic.Visit, k int) {
	lot := (int(b.base%7) + k*3) % 40
	closes := b.LotCloses(v.Time+int64(45*time.Second), lot)
	if b.c.Level == Plain { // one visit: wait for each end in turn
		v.Time = closes - int64(2*time.Second)
	} else {
		v.Time = closes - int64(20+v.R.IntN(20))*int64(time.Second)
		v.ViewLot(lot, true)
	}
	lead := map[Level]float64{Plain: 400, Evasive: 900, Hard: 1500}[b.c.Level]
	v.Time = closes - int64(v.R.LogNormal(lead, .15)*float64(time.Millisecond))
	v.Bid(lot, 40+v.R.IntN(100), closes, true)
}

var payloads = []string{
	"/search?q=%27%20OR%201%3D1--", "/search?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/item/..%2f..%2f..%2fetc%2fpasswd", "/search?q=%24%7Bjndi%3Aldap%3A%2F%2Fx%2Fa%7D",
	"/item/1%27%20AND%20SLEEP(5)--", "/c/lamp-0?page=1%20UNION%20SELECT%20NULL", "/static/..%2f..%2f.env", "/search?q=%7B%7B7*7%7D%7D", "/search?q=%3Bcat%20%2Fetc%2Fpasswd",
	"/cgi-bin/.%2e/.%2e/bin/sh", "/api/stock/%00", "/item/%3Cimg%20src=x%20onerror=alert(1)%3E", "/search?q=1&sort=name%27", "/wp-content/plugins/x/readme.txt",
}

func scanning(b *bot, v *traffic.Visit, k int) {
	b.pause(v, 5)
	t := payloads[k%len(payloads)]
	if k >= len(payloads) {
		t += fmt.Sprintf("%%20%d", k)
	}
	status := []int{404, 400, 200, 500, 403}[k%5]
	if t[:7] == "/search" {
		status = 200
	}
	v.Raw("GET", t, status, 900, true)
}

func expensive(b *bot, v *traffic.Visit, k int) {
	b.pause(v, 4)
	v.Report(fmt.Sprintf("all%d", k), true)
}

func skewing(b *bot, v *traffic.Visit, _ int) {
	b.pause(v, 4)
	v.Vote(int(b.base%300), true)
}

func spamming(b *bot, v *traffic.Visit, k int) {
	b.pause(v, 6)
	v.Review(k%60, fmt.Sprintf("Best watches cheap http://deal%d.example/%d buy now", b.base%5, k%4), true)
}

var guesses = []string{
	"/admin", "/api/v1/users", "/api/v1/orders", "/api/internal", "/openapi.json", "/swagger.json", "/api-docs", "/graphql", "/api/admin/settings", "/backup", "/test", "/dev", "/old",
	"/staging", "/debug", "/console", "/api/v2/accounts", "/api/v3/items", "/reports", "/api/export/all", "/manage", "/api/tokens", "/hooks", "/api/config", "/sitemap.xml", "/robots.txt",
}

func footprinting(b *bot, v *traffic.Visit, k int) {
	b.pause(v, 4)
	t := guesses[k%len(guesses)]
	if n := k / len(guesses); n > 0 {
		t = fmt.Sprintf("%s/%s%d", t, []string{"list", "all", "v", "edit"}[n%4], n)
	}
	status := 404
	if t == "/robots.txt" || t == "/sitemap.xml" {
		status = 200
	}
	v.Raw("GET", t, status, 300, true)
}

func signups(b *bot, v *traffic.Visit, k int) {
	v.Raw("GET", "/signup", 200, 7000, false)
	b.pause(v, 7)
	if v.Signup(fmt.Sprintf("%c%x%d@maildrop%d.example", 'a'+k%26, traffic.Mix(b.base, uint64(k))&0xfffff, 1000+k, b.base%3), fmt.Sprintf("Pw%x!", b.base&0xffff), fmt.Sprintf("+99316%06d", (b.base+uint64(k)*3)%1000000), true) {
		v.User = ""
		v.C.Session = ""
	}
}

// aggregation is an intermediary that reads many people's accounts with their
// own passwords.
func aggregation(b *bot, v *traffic.Visit, k int) {
	i := b.person(k, 60)
	if v.Login(traffic.UserName(i), traffic.Password(i), true) {
		b.pause(v, 2)
		v.Export(true)
		v.Logout()
	}
	v.C.Session = ""
}

func holding(b *bot, v *traffic.Visit, k int) {
	b.pause(v, 4)
	v.Reserve(int(b.base%4), (int(b.base%97)+k)%400, true)
}
