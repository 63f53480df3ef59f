package flow_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// planted are values that must appear in no event, in whatever spelling.
var planted = map[string]string{
	"account": "Planted.Alice", "password": "planted-password-9", "card": "4111111111111111", "csc": "737942",
	"expiry": "11/2947", "session": "planted-session-1", "new session": "planted-session-2", "device": "planted-device",
	"bearer token": "eyJhbGciOiJIUzI1NiJ9.planted.sig", "phone": "+447911123456", "e-mail": "planted@mail.example",
	"coupon": "PLANTEDCOUPON", "payee": "DE89370400440532013000", "content": "planted sentence about nothing",
	"query value": "planted-query-value", "vouched account": "planted-vouched", "path token": "planted0A1b2C3d4E5f6G7h8",
	"file password": "planted-basic-credential", "reset token": "550e8400-e29b-41d4-a716-446655440000",
}

// spellings are the forms under which a value could slip through.
func spellings(v string) []string {
	return []string{
		v, url.QueryEscape(v), url.PathEscape(v), base64.StdEncoding.EncodeToString([]byte(v)),
		hex.EncodeToString([]byte(v)), strings.ReplaceAll(v, " ", ""),
	}
}

func plantedExchanges() []*flow.Exchange {
	p := planted
	cookie := "sid=" + p["session"] + "; did=" + p["device"]
	post := func(target, contentType, body string) *flow.Exchange {
		x := request("POST", target, "Content-Type", contentType, "Cookie", cookie,
			"Referer", "https://"+p["account"]+":"+p["file password"]+"@shop.example/reset/"+p["reset token"]+"?t="+p["query value"])
		x.Body = []byte(body)
		return x
	}
	xs := []*flow.Exchange{
		post("/api/login?next="+p["query value"], "application/json", `{"user":"`+p["account"]+`","password":"`+p["password"]+`"}`),
		post("/api/login", "application/x-www-form-urlencoded", url.Values{"user": {p["account"]}, "password": {p["password"]}}.Encode()),
		post("/api/login", "application/json", `{"user":"`+p["account"]+`","password":"`+p["password"]+`"`), // malformed
		post("/api/orders/A-1/pay", "application/json",
			`{"card":{"number":"4111 1111 1111 1111","exp":"`+p["expiry"]+`","csc":"`+p["csc"]+`"},"amount":1}`),
		post("/api/orders/4111111111111111/pay", "application/json", `{"amount":"4111 1111 1111 1111"}`),
		post("/contact/"+p["e-mail"], "application/x-www-form-urlencoded",
			url.Values{"phone": {p["phone"]}, "text": {p["content"]}}.Encode()),
		post("/contact/"+url.PathEscape(p["e-mail"]), "text/plain", p["content"]),
		post("/search?page=1", "application/json", `{"code":"`+p["coupon"]+`","to":"`+p["payee"]+`"}`),
		request("GET", "/reset/"+p["reset token"]+"?"+p["e-mail"]+"&"+p["bearer token"]+"&a="+p["query value"]),
		request("GET", "/s/"+p["path token"]+"/x;jsessionid="+p["session"], "Authorization", "Bearer "+p["bearer token"], "X-Auth-User", p["account"]),
		request("GET", "/u/"+p["e-mail"]+"/%34111111111111111", "Cookie", cookie),
		request("GET", "/item/"+p["e-mail"]+"?item="+p["card"], "Cookie", cookie),
		request("GET", "http://"+p["account"]+":"+p["password"]+"@shop.example/item/1"),
	}
	return xs
}

func TestNoEventCarriesASecret(t *testing.T) {
	e := newExtractor(t)
	n := 0
	for _, x := range plantedExchanges() {
		for _, status := range []int{200, 401, 0} {
			var ev event.Event
			e.Begin(x, &ev)
			begun, _ := json.Marshal(ev)
			x.Status = status
			x.ResponseHeaders = []flow.Field{
				{"Set-Cookie", "sid=" + planted["new session"]},
				{"X-User", planted["vouched account"]},
				{"Content-Type", "text/html; boundary=" + planted["password"]},
			}
			x.ResponseBody = []byte(`{"token":"` + planted["bearer token"] + `"}`)
			e.End(x, &ev)
			ended, err := json.Marshal(ev)
			if err != nil {
				t.Fatal(err)
			}
			n++
			text := strings.ToLower(string(begun) + string(ended) + fmt.Sprintf("%+v", ev))
			for what, secret := range planted {
				for _, s := range spellings(secret) {
					if strings.Contains(text, strings.ToLower(s)) {
						t.Errorf("%s %s: the %s stands in the event as %q:\n%s", x.Method, x.Target, what, s, text)
					}
				}
			}
		}
	}
	if n == 0 {
		t.Fatal("no event was made")
	}
}

func TestOneFailingSecretOverManyAccountsShows(t *testing.T) {
	e := newExtractor(t)
	reused := func(user, password string, status, day int) bool {
		x := login(`{"user":"` + user + `","password":"` + password + `"}`)
		x.Time = x.Time.AddDate(0, 0, day)
		return run(e, x, status).Flags&event.FlagSecretReused != 0
	}
	for _, c := range []struct {
		what, user, password string
		status, day          int
		want                 bool
	}{
		{"a first attempt", "alice", "Spring2026", 401, 0, false},
		{"the same again", "alice", "Spring2026", 401, 0, false},
		{"another account", "bob", "Spring2026", 401, 0, true},
		{"and one more", "carol", "Spring2026", 200, 0, true},
		{"the next day", "dave", "Spring2026", 401, 1, false},
		{"two people with one good password", "erin", "123456", 200, 0, false},
		{"the second of them", "frank", "123456", 200, 0, false},
	} {
		if got := reused(c.user, c.password, c.status, c.day); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestRotation(t *testing.T) {
	old := []byte("fedcba9876543210fedcba9876543210")
	before, err := flow.NewKeyring(old)
	if err != nil {
		t.Fatal(err)
	}
	during, err := flow.NewKeyring(testKey, old)
	if err != nil {
		t.Fatal(err)
	}
	extractor := func(ring *flow.Keyring, inherit *flow.Extractor) *flow.Extractor {
		e, err := flow.NewExtractor(flow.Config{Keys: ring, Sites: []flow.Site{{Name: "shop", Hosts: []string{"*"}, Map: shopMap()}}, Inherit: inherit})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	first := extractor(before, nil)
	run(first, login(`{"user":"alice","password":"x"}`, "Cookie", "sid=kept"), 200)
	var a, b, c event.Event
	x := request("GET", "/item/1", "Cookie", "sid=kept")
	if first.BeginPrevious(x, &c) {
		t.Error("one key alone has a previous one")
	}
	first.Begin(x, &a)
	second := extractor(during, first)
	if !second.BeginPrevious(x, &b) || a.Keys != b.Keys || a.KeyID != b.KeyID || a.Keys[event.KindAccount] == 0 {
		t.Errorf("under the previous key:\n%+v\n%+v", a, b)
	}
	second.Begin(x, &c)
	if c.KeyID != during.KeyID() || c.Keys[event.KindSession] == a.Keys[event.KindSession] {
		t.Errorf("under the current key: %+v", c)
	}
}

func TestOwnersAreBounded(t *testing.T) {
	ring, err := flow.NewKeyring(testKey)
	if err != nil {
		t.Fatal(err)
	}
	e, err := flow.NewExtractor(flow.Config{Keys: ring, Sessions: 1024, Sites: []flow.Site{{Name: "shop", Hosts: []string{"*"}, Map: shopMap()}}})
	if err != nil {
		t.Fatal(err)
	}
	known := func() (n int) {
		for i := range 5000 {
			var ev event.Event
			e.Begin(request("GET", "/item/1", "Cookie", fmt.Sprintf("sid=s%d", i)), &ev)
			if ev.Keys[event.KindAccount] != 0 {
				n++
			}
		}
		return n
	}
	for i := range 5000 {
		run(e, request("GET", "/item/1", "Cookie", fmt.Sprintf("sid=s%d", i)), 200, "X-User", "alice")
	}
	if n := known(); n > 1024 || n < 900 {
		t.Errorf("%d of 5000 owners remembered, want at most 1024 and nearly that", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	e := newExtractor(t)
	want := run(e, login(`{"user":"alice","password":"x"}`, "Cookie", "sid=abc"), 200)
	done := make(chan error)
	for range 8 {
		go func() {
			for i := range 200 {
				ev := run(e, login(`{"user":"alice","password":"x"}`, "Cookie", "sid=abc"), 200)
				other := run(e, request("GET", fmt.Sprintf("/item/%d?q=%d", i, i), "Cookie", "sid=x"), 200)
				if ev.Claimed != want.Claimed || ev.Secret != want.Secret || other.Role != event.RoleItemView {
					done <- fmt.Errorf("differs: %+v", ev)
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func FuzzSelector(f *testing.F) {
	for _, s := range []string{"cookie:sid", "body:/a~1b/0", "header:X-A", "form:", "path:id", "response_body:/x", ":", "body:a", "query:a b"} {
		f.Add(s, `{"a/b":[1]}`)
	}
	ring, err := flow.NewKeyring(testKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, selector, body string) {
		m := &flow.Map{APIVersion: "weir/v1", Kind: "FlowMap", Site: "s", Routes: []flow.Route{{
			Match: flow.Match{Path: "/{id}"}, Objects: flow.Objects{{"item", flow.Selectors{selector}}},
		}}}
		e, err := flow.NewExtractor(flow.Config{Keys: ring, Sites: []flow.Site{{Name: "s", Hosts: []string{"*"}, Map: m}}})
		if err != nil {
			return
		}
		x := request("POST", "/x?a=b", "Content-Type", "application/json", "Cookie", body)
		x.Body = []byte(body)
		ev := run(e, x, 200)
		if json.Valid([]byte(body)) && strings.HasPrefix(selector, "body:") && ev.Flags&event.FlagClaimsUnreadable != 0 && len(body) < 60 {
			t.Errorf("valid JSON %q is unreadable", body)
		}
	})
}
