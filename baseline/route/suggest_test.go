package route

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/flow"
)

func TestSuggestFindsTheRolesOfALog(t *testing.T) {
	s := NewSurvey()
	r := rand.New(rand.NewPCG(5, 6))
	answers := map[string][]uint16{
		"POST /login": {200, 200, 401}, "POST /cart/add": {200}, "POST /api/orders/{}/pay": {200, 200, 402}, "POST /register": {201, 409},
	}
	shop := sites[0]
	shop.routes = append(shop.routes, siteRoute{"POST", "/register", 6, nil})
	for range 5000 {
		o, truth := shop.draw(r)
		if codes := answers[o.Method+" "+truth]; codes != nil {
			o.Status = codes[r.IntN(len(codes))]
		}
		if truth == "/search" {
			o.QueryKeys = "q&page"
		}
		s.AddCount(o, 1)
	}
	p := s.Suggest("shop")
	got := map[string]string{}
	for i, route := range p.Map.Routes {
		if len(p.Notes[i].Reasons) == 0 || p.Notes[i].Confidence < proposeAt {
			t.Errorf("%+v: %+v", route, p.Notes[i])
		}
		got[route.Match.Method+" "+skeleton(route.Match.Path)] = route.Role
	}
	for endpoint, role := range map[string]string{
		"POST /login": "login", "GET /search": "search", "GET /item/{}": "item_view", "POST /cart/add": "cart_add",
		"POST /api/orders/{}/pay": "pay_auth", "POST /register": "signup", "GET /category/{}": "list_view",
	} {
		if got[endpoint] != role {
			t.Errorf("%s: got %q, want %s", endpoint, got[endpoint], role)
		}
	}
	for _, endpoint := range []string{"GET /", "GET /about", "GET /static/app.js", "GET /login", "GET /cart"} {
		if role := got[endpoint]; role != "" {
			t.Errorf("%s is no %s", endpoint, role)
		}
	}
}

// talk is a small shop whose paths say nothing: bodies, answers and cookies do.
func talk(s *Survey, visitors int) {
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for i := range visitors {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 1000)
		send := func(method, target, contentType, body string, status int, answer string, fields ...string) {
			at = at.Add(3 * time.Second)
			x := &flow.Exchange{
				Time: at, Client: client, Method: method, Target: target, Status: status, HeadersKnown: true,
				Headers: []flow.Field{{Name: "User-Agent", Value: "x"}, {Name: "Cookie", Value: "s_1=abc; keep=def; csrf=z"}, {Name: "Content-Type", Value: contentType}},
				Body:    []byte(body), ResponseBody: []byte(answer),
			}
			for j := 0; j < len(fields); j += 2 {
				x.ResponseHeaders = append(x.ResponseHeaders, flow.Field{Name: fields[j], Value: fields[j+1]})
			}
			s.Add(x)
		}
		const form, js = "application/x-www-form-urlencoded", "application/json"
		send("GET", fmt.Sprintf("/artikel/%d", 100+i), "", "", 200, "", "Set-Cookie", "keep=1; Max-Age=31536000", "Set-Cookie", "csrf=1")
		send("POST", "/warenkorb", js, fmt.Sprintf(`{"artikel":%d,"menge":1}`, i), 200, `{"ok":true}`)
		if i%4 == 0 {
			send("POST", "/eingang", form, "benutzer=a&passwort=falsch", 401, "")
		}
		send("POST", "/eingang", form, fmt.Sprintf("benutzer=u%d&passwort=geheim", i), 302, "", "Set-Cookie", "s_1=x; HttpOnly", "X-User", "u")
		send("POST", "/schritt3", js, fmt.Sprintf(`{"k":{"nr":"4000 0000 0000 %04d"},"cvc":"123"}`, luhnTail(i)), 200, fmt.Sprintf(`{"approved":%t}`, i%5 > 0))
		send("POST", "/sonstiges", js, `{"x":1}`, 200, "")
	}
}

// luhnTail makes the last four digits of a card number that passes.
func luhnTail(i int) int {
	for d := range 10 {
		if tail := i%1000*10 + d; luhn(fmt.Sprintf("400000000000%04d", tail)) {
			return tail
		}
	}
	return 0
}

func TestSuggestReadsBodiesAnswersAndCookies(t *testing.T) {
	s := NewSurvey()
	talk(s, 200)
	p := s.Suggest("laden")
	find := func(path string) *flow.Route {
		for i := range p.Map.Routes {
			if p.Map.Routes[i].Match.Path == path {
				return &p.Map.Routes[i]
			}
		}
		t.Fatalf("%s was not proposed: %+v", path, p.Map.Routes)
		return nil
	}
	login := find("/eingang")
	if login.Role != "login" || login.Proves != "account" || !slices.Equal(login.Claims.Account, flow.Selectors{"form:benutzer"}) ||
		!slices.Equal(login.Claims.Secret, flow.Selectors{"form:passwort"}) || login.Outcome.Success.Status != "302" || login.Outcome.Failure.Status != "401" {
		t.Errorf("login: %+v", login)
	}
	pay := find("/schritt3")
	want := flow.Outcome{
		Success: &flow.Condition{Status: "200", ResponseBody: map[string]string{"/approved": "true"}},
		Failure: &flow.Condition{Status: "200", ResponseBody: map[string]string{"/approved": "false"}},
	}
	if pay.Role != "pay_auth" || len(pay.Objects) != 2 || pay.Objects[0].Selectors[0] != "body:/k/nr" || pay.Objects[1].Selectors[0] != "body:/cvc" || !reflect.DeepEqual(pay.Outcome, want) {
		t.Errorf("pay: %+v", pay)
	}
	if cart := find("/warenkorb"); cart.Role != "cart_add" || len(cart.Objects) != 2 || cart.Objects[0].Selectors[0] != "body:/artikel" {
		t.Errorf("cart: %+v", cart)
	}
	if item := find("/artikel/{id}"); item.Role != "item_view" || len(item.Objects) != 1 || item.Objects[0].Selectors[0] != "path:id" {
		t.Errorf("item: %+v", item)
	}
	ids := p.Map.Identifiers
	if !slices.Equal(ids.Session, flow.Selectors{"cookie:s_1"}) || !slices.Equal(ids.Account, flow.Selectors{"response_header:X-User"}) {
		t.Errorf("identifiers %+v, because %v", ids, p.Identifiers)
	}
	if len(p.Left) != 1 || p.Left[0].Path != "/sonstiges" {
		t.Errorf("left over: %+v", p.Left)
	}
	again := NewSurvey()
	talk(again, 200)
	if q := again.Suggest("laden"); !reflect.DeepEqual(p, q) {
		t.Error("the same traffic gives another proposal")
	}
}

func TestSurveyKeepsNoValueAndIsBounded(t *testing.T) {
	s := NewSurvey()
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for i := range 30000 {
		s.Add(&flow.Exchange{
			Time: at, Method: "POST", Target: fmt.Sprintf("/a%d/b%d?secretvalue=needle&k%d=needle", i%90, i, i), Status: 200, HeadersKnown: true,
			Client:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(i >> 16), byte(i >> 8), byte(i)}), 1),
			Headers: []flow.Field{{Name: "Cookie", Value: fmt.Sprintf("c%d=needle", i)}, {}},
			Body:    fmt.Appendf(nil, `{"f%d":"needle","deep":[[[[[[["needle"]]]]]]]}`, i), ResponseHeaders: []flow.Field{{}, {Name: "Set-Cookie", Value: fmt.Sprintf("d%d=needle", i)}},
		})
	}
	if len(s.marks) > maxMarks || len(s.cookies) > maxCookies || len(s.clients) > maxClients {
		t.Errorf("%d endpoints, %d cookies, %d clients", len(s.marks), len(s.cookies), len(s.clients))
	}
	for at, m := range s.marks {
		if len(m.query) > maxFields || len(m.body) > maxFields || len(m.sets) > maxFields {
			t.Fatalf("%v: %d parameters, %d fields, %d cookies", at, len(m.query), len(m.body), len(m.sets))
		}
	}
	if text := fmt.Sprintf("%+v", s.Suggest("x")); strings.Contains(text, "needle") {
		t.Error("a value is in the proposal")
	}
}

func FuzzSurvey(f *testing.F) {
	f.Add("POST", "/login?next=%2F", `{"user":"a","password":"b"}`, "sid=1; HttpOnly", `{"ok":true}`, 200)
	f.Add("POST", "/{id}/{id}/", "a=1&b=%zz", "=;", `{"a":[true`, 302)
	f.Add("", "?", "[", "", "", 0)
	f.Fuzz(func(t *testing.T, method, target, body, cookie, answer string, status int) {
		s := NewSurvey()
		for range 3 {
			s.Add(&flow.Exchange{
				Method: method, Target: target, Body: []byte(body), Status: status, HeadersKnown: true, Headers: []flow.Field{{Name: "cookie", Value: cookie}},
				ResponseHeaders: []flow.Field{{Name: "set-cookie", Value: cookie}}, ResponseBody: []byte(answer),
			})
		}
		p := s.Suggest("s")
		if len(p.Map.Routes) != len(p.Notes) {
			t.Fatal("routes and notes differ")
		}
		keys, _ := flow.NewKeyring(flow.PublicKey)
		if _, err := flow.NewExtractor(flow.Config{Keys: keys, Sites: []flow.Site{{Name: "s", Hosts: []string{"*"}, Map: &p.Map}}}); err != nil {
			t.Fatalf("the proposal is no flow map: %v", err)
		}
	})
}
