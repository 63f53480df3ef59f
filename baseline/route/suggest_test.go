package route

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestSuggestFindsTheRolesOfAKnownSite(t *testing.T) {
	l := learner(t, Config{})
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
		l.Observe(o)
	}
	got := map[string]string{}
	for _, s := range l.Suggest() {
		if len(s.Reasons) == 0 {
			t.Errorf("%s %s: %s without a reason", s.Method, s.Template, s.Role)
		}
		got[s.Method+" "+skeleton(s.Template)] = s.Role
	}
	for endpoint, role := range map[string]string{
		"POST /login": "login", "GET /search": "search", "GET /item/{}": "item_view", "POST /cart/add": "cart_add",
		"POST /api/orders/{}/pay": "pay_auth", "POST /register": "signup", "GET /category/{}": "list_view",
	} {
		if got[endpoint] != role {
			t.Errorf("%s: got %q, want %s", endpoint, got[endpoint], role)
		}
	}
	for _, endpoint := range []string{"GET /", "GET /about", "GET /static/app.js", "GET /login"} {
		if role := got[endpoint]; role != "" {
			t.Errorf("%s is no %s", endpoint, role)
		}
	}
	var out strings.Builder
	if err := WriteFlowMap(&out, `sh"op`, l.Suggest()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`site: "sh\"op"`, `- match: {method: "POST", path: "/login"}`, "role: login", `outcome: {success: {status: "200"}, failure: {status: "401"}}`, `the path says "login"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("flow map lacks %q:\n%s", want, out.String())
		}
	}
}
