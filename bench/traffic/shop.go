package traffic

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Window is a span of event time in which something is different.
type Window struct{ From, To int64 }

// Contains reports whether t lies in one of the windows.
func contains(ws []Window, t int64) bool {
	for _, w := range ws {
		if t >= w.From && t < w.To {
			return true
		}
	}
	return false
}

// Item is one article of the shop.
type Item struct {
	Slug  string
	Price int // in cents
	// Opens is when a limited article can be bought; 0 is always.
	Opens int64
}

// Site is the application that answers. It holds the truth that decides
// outcomes (accounts, cards, coupons) and what its operator does to it
// (outages, releases); visits only ask.
type Site struct {
	Name, Host string
	NoCookies  bool
	Items      []Item
	Categories int
	// Outages: most logins and payments fail although they are right.
	Outages []Window
	// Slow: the login backend takes seconds.
	Slow []Window
	// Release is when a new version renames assets and adds an API call; 0 never.
	Release  int64
	accounts map[string]string
	coupons  map[string]bool
	orders   int
	popular  *Zipf
}

var (
	nouns      = strings.Fields("lamp chair table kettle jacket boots scarf tent rucksack mug plate clock radio camera lens tripod drill saw ladder paint brush canvas violin drum guitar bike helmet glove torch stove")
	adjectives = strings.Fields("red blue green small large light heavy folding classic modern oak steel wool linen quiet bright solid compact nordic urban")
)

// NewShop makes a shop with so many articles and accounts.
func NewShop(host string, items, accounts int) *Site {
	s := &Site{Name: "shop", Host: host, Categories: 24, accounts: map[string]string{}, coupons: map[string]bool{}, popular: NewZipf(items, .9)}
	for i := range items {
		h := Mix(uint64(i), 77)
		s.Items = append(s.Items, Item{Slug: fmt.Sprintf("%s-%s-%d", adjectives[h%20], nouns[(h>>8)%30], 1000+i), Price: 500 + int(h>>20%20000)})
	}
	for i := range accounts {
		s.accounts[UserName(i)] = Password(i)
	}
	for i := range 40 {
		s.coupons[Coupon(i)] = true
	}
	return s
}

// UserName is the name of account i.
func UserName(i int) string {
	h := Mix(uint64(i), 5)
	return fmt.Sprintf("%s.%s%d@%s", adjectives[h%20], nouns[(h>>8)%30], i, [...]string{"mail.example", "post.example", "web.example", "inbox.example"}[(h>>16)%4])
}

// Password is the true password of account i.
func Password(i int) string { return fmt.Sprintf("pw-%x", Mix(uint64(i), 9)) }

// Coupon is the i-th valid coupon code.
func Coupon(i int) string { return fmt.Sprintf("SAVE-%06X", Mix(uint64(i), 13)&0xffffff) }

// PopularItem draws an article as people choose them.
func (s *Site) PopularItem(r *Rand) int { return s.popular.Draw(r) }

// Card is a payment card; CSC and Expiry are what the visitor types.
type Card struct {
	Number, Expiry, CSC string
	// Good cards are approved when Expiry and CSC are right.
	Good               bool
	TrueExpiry, TrueCS string
}

// NewCard makes card i of a kind of BIN.
func NewCard(i, bin uint64, good bool) Card {
	h := Mix(i, bin)
	body := fmt.Sprintf("4%05d%09d", bin%100000, h%1000000000)
	c := Card{Number: body + luhn(body), Good: good, TrueExpiry: fmt.Sprintf("%02d/%02d", 1+h>>32%12, 27+h>>40%5), TrueCS: fmt.Sprintf("%03d", h>>48%1000)}
	c.Expiry, c.CSC = c.TrueExpiry, c.TrueCS
	return c
}

func luhn(body string) string {
	sum := 0
	for i := 0; i < len(body); i++ {
		d := int(body[len(body)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return strconv.Itoa((10 - sum%10) % 10)
}

func (v *Visit) outage() bool {
	return contains(v.Site.Outages, v.Time) && v.R.Chance(.7)
}

// Home opens the front page.
func (v *Visit) Home() { v.page("/", 200, 0, false) }

// Static opens an ordinary page.
func (v *Visit) Static(path string) { v.page(path, 200, 0, false) }

// Search searches.
func (v *Visit) Search(q string, attempt bool) {
	v.page("/search?q="+strings.ReplaceAll(q, " ", "+"), 200, 45, attempt)
}

// Category lists articles.
func (v *Visit) Category(c, page int, attempt bool) {
	t := fmt.Sprintf("/c/%s-%d", nouns[c%30], c)
	if page > 1 {
		t += fmt.Sprintf("?page=%d", page)
	}
	k := (c*7 + page*24) % len(v.Site.Items)
	v.page(t, 200, 25, attempt, v.picture(k), v.picture(k+1))
}

func (v *Visit) picture(k int) string {
	return "/img/" + v.Site.Items[k%len(v.Site.Items)].Slug + ".jpg"
}

// ViewItem opens an article.
func (v *Visit) ViewItem(k int, attempt bool) {
	it := &v.Site.Items[k%len(v.Site.Items)]
	v.page("/item/"+it.Slug, 200, 22, attempt, v.picture(k))
	if v.Site.Release > 0 && v.Time >= v.Site.Release && v.C.Browser.LoadsAsset && !v.Script {
		v.json("GET", "/api/v2/recommend?item="+it.Slug, "", 200, `{"items":[]}`, 12, false)
	}
}

// Missing asks for an article that is gone.
func (v *Visit) Missing(slug string, attempt bool) { v.page("/item/"+slug, 404, 8, attempt) }

// LoginPage opens the login form.
func (v *Visit) LoginPage() {
	if !v.C.Browser.App {
		v.page("/login", 200, 0, false)
	}
}

// Login submits credentials and reports whether they were accepted.
func (v *Visit) Login(user, password string, attempt bool) bool {
	slow := 90.0
	if contains(v.Site.Slow, v.Time) {
		slow = 4000
	}
	ok := v.Site.accounts[user] == password && password != "" && !v.outage()
	body := `{"user":"` + user + `","password":"` + password + `"}`
	if !ok {
		v.json("POST", "/api/login", body, 401, `{"ok":false}`, slow, attempt)
		return false
	}
	v.User = user
	// A login gives a new session identifier, as applications should.
	v.C.Session = strconv.FormatUint(v.R.Uint64(), 16)
	c := call{
		method: "POST", target: "/api/login", body: body, contentType: "application/json", xhr: true, status: 200, respBody: `{"ok":true}`, slow: slow, attempt: attempt,
		respHeaders: []Header{{"Set-Cookie", "sid=" + v.C.Session + "; Path=/; HttpOnly"}, {"X-User", user}},
	}
	v.do(c)
	if v.C.NoJar {
		v.C.Session, v.User = "", ""
	}
	return true
}

// Logout ends the session.
func (v *Visit) Logout() {
	v.json("POST", "/api/logout", "", 200, `{"ok":true}`, 0, false)
	v.User = ""
}

// Known reports whether the account exists.
func (s *Site) Known(user string) bool { _, ok := s.accounts[user]; return ok }

// Reset asks for a password reset; with a new password it completes it.
func (v *Visit) Reset(user, password string, attempt bool) {
	v.json("POST", "/api/reset", `{"email":"`+user+`"}`, 200, `{"ok":true}`, 60, attempt)
	if password != "" {
		v.Site.accounts[user] = password
	}
}

// Signup creates an account.
func (v *Visit) Signup(user, password, phone string, attempt bool) bool {
	body := fmt.Sprintf(`{"email":"%s","password":"%s","phone":"%s"}`, user, password, phone)
	if _, taken := v.Site.accounts[user]; taken {
		v.json("POST", "/api/signup", body, 409, `{"ok":false}`, 80, attempt)
		return false
	}
	v.Site.accounts[user] = password
	v.User = user
	v.json("POST", "/api/signup", body, 201, `{"ok":true}`, 80, attempt)
	return true
}

// AddToCart puts an article into the cart.
func (v *Visit) AddToCart(k, quantity int, attempt bool) bool {
	it := &v.Site.Items[k%len(v.Site.Items)]
	// The page carries the opening time into the call.
	opens := ""
	if it.Opens > 0 {
		opens = `,"opens":"` + time.Unix(0, it.Opens).UTC().Format(time.RFC3339) + `"`
	}
	body := fmt.Sprintf(`{"sku":"%s","qty":%d%s}`, it.Slug, quantity, opens)
	if it.Opens > v.Time {
		v.json("POST", "/api/cart", body, 409, `{"ok":false}`, 0, attempt)
		return false
	}
	v.cart++
	v.json("POST", "/api/cart", body, 200, `{"ok":true}`, 0, attempt)
	return true
}

// Stock asks for an article's availability.
func (v *Visit) Stock(k int, attempt bool) {
	it := &v.Site.Items[k%len(v.Site.Items)]
	v.json("GET", "/api/stock/"+it.Slug, "", 200, fmt.Sprintf(`{"left":%d}`, 3+k%40), 6, attempt)
}

// RemoveFromCart takes it out again.
func (v *Visit) RemoveFromCart(k int) {
	v.cart = max(0, v.cart-1)
	v.json("POST", "/api/cart/remove", fmt.Sprintf(`{"sku":"%s"}`, v.Site.Items[k%len(v.Site.Items)].Slug), 200, `{"ok":true}`, 0, false)
}

// ApplyCoupon tries a code.
func (v *Visit) ApplyCoupon(code string, attempt bool) bool {
	ok := v.Site.coupons[code]
	status, resp := 422, `{"valid":false}`
	if ok {
		status, resp = 200, `{"valid":true,"percent":10}`
	}
	v.json("POST", "/api/coupon", `{"code":"`+code+`"}`, status, resp, 0, attempt)
	return ok
}

// CheckoutStep submits step n (1 address, 2 shipping, 3 review).
func (v *Visit) CheckoutStep(n int, attempt bool) {
	v.json("POST", "/api/checkout/"+[...]string{"address", "shipping", "review"}[(n-1)%3], `{"ok":1}`, 200, `{"ok":true}`, 0, attempt)
}

// Order places the order and returns its number.
func (v *Visit) Order(attempt bool) string {
	v.Site.orders++
	id := strconv.Itoa(100000 + v.Site.orders)
	v.json("POST", "/api/orders", `{"cart":"current"}`, 201, `{"order":"`+id+`"}`, 60, attempt)
	return id
}

// Pay authorises a payment and reports whether it was approved.
func (v *Visit) Pay(order string, c Card, amount int, attempt bool) bool {
	ok := c.Good && c.Expiry == c.TrueExpiry && c.CSC == c.TrueCS && !v.outage()
	body := fmt.Sprintf(`{"amount":%d.%02d,"card":{"number":"%s","exp":"%s","csc":"%s"}}`, amount/100, amount%100, c.Number, c.Expiry, c.CSC)
	if ok {
		v.json("POST", "/api/orders/"+order+"/pay", body, 200, `{"approved":true}`, 350, attempt)
	} else {
		v.json("POST", "/api/orders/"+order+"/pay", body, 402, `{"approved":false}`, 350, attempt)
	}
	return ok
}
