package flow_test

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

// shopMap is the example of the documentation with a few routes more.
func shopMap() *flow.Map {
	return &flow.Map{
		APIVersion: "weir/v1", Kind: "FlowMap", Site: "shop",
		Identifiers: flow.Identifiers{
			Session: flow.Selectors{"cookie:sid"},
			Device:  flow.Selectors{"cookie:did", "header:X-Device-Id"},
			Account: flow.Selectors{"response_header:X-User", "header:X-Auth-User"},
		},
		Routes: []flow.Route{
			{
				Match: flow.Match{Method: "POST", Path: "/api/login"}, Role: "login", Proves: "account",
				Claims: flow.Claims{
					Account: flow.Selectors{"body:/user", "form:user"}, Secret: flow.Selectors{"body:/password", "form:password"},
				},
				Outcome: flow.Outcome{Success: &flow.Condition{Status: "200"}, Failure: &flow.Condition{Status: "401,403"}},
			},
			{
				Match: flow.Match{Method: "POST", Path: "/api/orders/{id}/pay"}, Role: "pay_auth",
				Objects: flow.Objects{
					{"card", flow.Selectors{"body:/card/number"}},
					{"expiry", flow.Selectors{"body:/card/exp"}},
					{"csc", flow.Selectors{"body:/card/csc"}},
					{"order", flow.Selectors{"path:id"}},
					{"amount", flow.Selectors{"body:/amount"}},
				},
				Outcome: flow.Outcome{
					Success: &flow.Condition{Status: "2xx", ResponseBody: map[string]string{"/approved": "true"}},
					Failure: &flow.Condition{Status: "402"},
				},
			},
			{
				Match: flow.Match{Method: "GET", Path: "/item/{id}"}, Role: "item_view", Cost: 0.25,
				Objects: flow.Objects{{"item", flow.Selectors{"path:id"}}},
				Opens:   flow.Selectors{"query:opens"},
			},
			{
				Match: flow.Match{Method: "POST", Path: "/contact/{email}"}, Role: "post",
				Objects: flow.Objects{
					{"email", flow.Selectors{"path:email"}},
					{"phone", flow.Selectors{"form:phone"}},
					{"content", flow.Selectors{"form:text"}},
				},
			},
			{Match: flow.Match{Path: "/logout"}, Role: "logout"},
			{Match: flow.Match{Method: "POST", Path: "/search"}, Role: "search", Objects: flow.Objects{
				{"page", flow.Selectors{"query:page"}}, {"coupon", flow.Selectors{"body:/code"}}, {"payee", flow.Selectors{"body:/to"}},
			}},
		},
	}
}

func newExtractor(tb testing.TB) *flow.Extractor {
	tb.Helper()
	ring, err := flow.NewKeyring(testKey)
	if err != nil {
		tb.Fatal(err)
	}
	e, err := flow.NewExtractor(flow.Config{
		Keys:  ring,
		Sites: []flow.Site{{Name: "shop", Hosts: []string{"shop.example", "*.shop.example"}, Map: shopMap()}, {Name: "plain", Hosts: []string{"plain.example"}}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// pseudonym is the contract's formula, written down a second time.
func pseudonym(kind, value string) event.Hash {
	mac := hmac.New(sha256.New, testKey)
	mac.Write([]byte(kind + "\x00" + value))
	return event.Hash(binary.BigEndian.Uint64(mac.Sum(nil)))
}

func request(method, target string, headers ...string) *flow.Exchange {
	x := &flow.Exchange{
		ID: "r-1", Time: time.Date(2026, 3, 2, 9, 15, 0, 0, time.UTC), Client: netip.MustParseAddrPort("203.0.113.7:51234"),
		Method: method, Host: "shop.example", Target: target, HeadersKnown: true, Protocol: "HTTP/1.1",
		TLS:     flow.TLS{Version: "1.3", SNI: "shop.example", JA4: "t13d1516h2_8daaf6152771_b186095e22b6"},
		Headers: []flow.Field{{"Host", "shop.example"}, {"User-Agent", "Mozilla/5.0"}, {"Accept", "*/*"}},
	}
	for i := 0; i+1 < len(headers); i += 2 {
		x.Headers = append(x.Headers, flow.Field{Name: headers[i], Value: headers[i+1]})
	}
	return x
}

func login(body string, headers ...string) *flow.Exchange {
	x := request("POST", "/api/login?next=%2Fx", append([]string{"Content-Type", "application/json"}, headers...)...)
	x.Body = []byte(body)
	return x
}

func run(e *flow.Extractor, x *flow.Exchange, status int, response ...string) *event.Event {
	var ev event.Event
	e.Begin(x, &ev)
	x.Status, x.Duration = status, 8123999
	for i := 0; i+1 < len(response); i += 2 {
		x.ResponseHeaders = append(x.ResponseHeaders, flow.Field{Name: response[i], Value: response[i+1]})
	}
	e.End(x, &ev)
	return ev.Clone()
}

func TestLogin(t *testing.T) {
	e := newExtractor(t)
	ev := run(e, login(`{"user":" Alice ","password":"hunter2"}`, "Cookie", "sid=abc; did=xyz"), 401)
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"site", ev.Site, "shop"},
		{"route", ev.Route, "/api/login"},
		{"role", ev.Role, event.RoleLogin},
		{"outcome", ev.Outcome, event.OutcomeFailure},
		{"claimed", ev.Claimed, pseudonym("account", "alice")},
		{"target account", ev.Keys[event.KindTargetAccount], pseudonym("target_account", "alice")},
		{"account", ev.Keys[event.KindAccount], event.Hash(0)},
		{"session", ev.Keys[event.KindSession], pseudonym("session", "abc")},
		{"device", ev.Keys[event.KindDevice], pseudonym("device", "xyz")},
		{"client", ev.Keys[event.KindClient], pseudonym("client", "203.0.113.7")},
		{"client_net", ev.Keys[event.KindClientNet], pseudonym("client_net", "203.0.113.0/24")},
		{"query keys", ev.QueryKeys, "next"},
		{"path", ev.Path, "/api/login"},
		{"duration in whole microseconds", ev.Duration, int64(8123000)},
		{"flags", ev.Flags, event.FlagProves},
		{"secret is set", ev.Secret != 0, true},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestSecretsAreBoundToAccountAndDay(t *testing.T) {
	e := newExtractor(t)
	secret := func(user, password string, day int) event.Hash {
		x := login(`{"user":"` + user + `","password":"` + password + `"}`)
		x.Time = x.Time.AddDate(0, 0, day)
		return run(e, x, 401).Secret
	}
	first := secret("alice", "p1", 0)
	if secret("alice", "p1", 0) != first {
		t.Error("the same secret of the same account differs within a day")
	}
	for _, c := range []struct {
		what           string
		user, password string
		day            int
	}{{"other secret", "alice", "p2", 0}, {"other account", "bob", "p1", 0}, {"other day", "alice", "p1", 1}} {
		if secret(c.user, c.password, c.day) == first {
			t.Errorf("%s gives the same hash", c.what)
		}
	}
}

func TestOwnership(t *testing.T) {
	e := newExtractor(t)
	alice := pseudonym("account", "alice")
	view := func(sid string) event.Hash {
		return run(e, request("GET", "/item/1", "Cookie", "sid="+sid), 200).Keys[event.KindAccount]
	}
	run(e, login(`{"user":"alice","password":"x"}`, "Cookie", "sid=failed"), 401)
	if got := view("failed"); got != 0 {
		t.Errorf("a failed login proved %v", got)
	}
	ev := run(e, login(`{"user":"alice","password":"x"}`, "Cookie", "sid=old"), 200, "Set-Cookie", "sid=new; Path=/; HttpOnly")
	if ev.NewSession != pseudonym("session", "new") || ev.Keys[event.KindAccount] != alice {
		t.Errorf("login: new session %v, account %v", ev.NewSession, ev.Keys[event.KindAccount])
	}
	if got := view("new"); got != alice {
		t.Errorf("the session in Set-Cookie belongs to %v, want alice", got)
	}
	if got := view("old"); got != 0 {
		t.Errorf("the request's session was given to %v although the answer set another", got)
	}
	run(e, login(`{"user":"alice","password":"x"}`, "Cookie", "sid=kept"), 200)
	if got := view("kept"); got != alice {
		t.Errorf("without Set-Cookie the request's session belongs to %v, want alice", got)
	}
	ev = run(e, request("GET", "/item/1", "Cookie", "sid=vouched"), 200, "X-User", "ALICE")
	if ev.Flags&event.FlagVouched == 0 || view("vouched") != alice {
		t.Error("a response header did not vouch for the account")
	}
	run(e, request("GET", "/logout", "Cookie", "sid=kept"), 302, "Set-Cookie", "sid=; Max-Age=0")
	if got := view("kept"); got != 0 {
		t.Errorf("after logout the session belongs to %v", got)
	}
}

func TestRequestHeaderIdentityIsAClaimUnlessFromATrustedProxy(t *testing.T) {
	e := newExtractor(t)
	x := request("GET", "/item/1", "X-Auth-User", "mallory")
	if ev := run(e, x, 200); ev.Keys[event.KindAccount] != 0 || ev.Claimed != pseudonym("account", "mallory") {
		t.Errorf("untrusted: account %v, claimed %v", ev.Keys[event.KindAccount], ev.Claimed)
	}
	x = request("GET", "/item/1", "X-Auth-User", "mallory")
	x.FromTrustedProxy = true
	if ev := run(e, x, 200); ev.Keys[event.KindAccount] != pseudonym("account", "mallory") || ev.Flags&event.FlagVouched == 0 {
		t.Errorf("trusted: account %v, flags %v", ev.Keys[event.KindAccount], ev.Flags)
	}
}

func TestPayment(t *testing.T) {
	e := newExtractor(t)
	x := request("POST", "/api/orders/A-17/pay", "Content-Type", "application/json")
	x.Body = []byte(`{"card":{"number":"4111 1111 1111 1111","exp":"12/29","csc":"737"},"amount":12.50}`)
	x.ResponseBody = []byte(`{"approved":true}`)
	ev := run(e, x, 201)
	if ev.Outcome != event.OutcomeSuccess {
		t.Errorf("outcome %v", ev.Outcome)
	}
	want := map[string]string{"order": "A-17", "amount": "12.50", "card.bin": "41111111", "card.iin": "411111", "card": "", "csc": "", "expiry": ""}
	if len(ev.Objects) != len(want) {
		t.Errorf("objects: %v", ev.Objects)
	}
	for name, value := range want {
		o := ev.Object(name)
		switch {
		case o == nil:
			t.Errorf("%s is missing", name)
		case o.Value != value || o.Hash == 0 || o.Ephemeral != (name == "csc" || name == "expiry"):
			t.Errorf("%s: %+v", name, *o)
		}
	}
	if o := ev.Object("card"); o != nil && o.Hash != pseudonym("object:card", "4111111111111111") {
		t.Error("the card's digits are not what is hashed")
	}
	x.ResponseBody = []byte(`{"approved":false}`)
	if ev := run(e, x, 201); ev.Outcome != event.OutcomeNone {
		t.Errorf("2xx without approval: outcome %v", ev.Outcome)
	}
	if ev := run(e, x, 402); ev.Outcome != event.OutcomeFailure {
		t.Errorf("402: outcome %v", ev.Outcome)
	}
}

func zipped(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.Bytes()
}

func TestBodies(t *testing.T) {
	good := `{"user":"alice","password":"x"}`
	multipart := "--b\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nalice\r\n--b--\r\n"
	for name, c := range map[string]struct {
		body        []byte
		contentType string
		encoding    string
		truncated   bool
		claimed     string
		unreadable  bool
		ambiguous   bool
	}{
		"JSON":                          {body: []byte(good), claimed: "alice"},
		"JSON with a byte order mark":   {body: []byte("\ufeff" + good), claimed: "alice"},
		"JSON number":                   {body: []byte(`{"user":00}`), unreadable: true},
		"a number is its text":          {body: []byte(`{"user":1.50e3}`), claimed: "1.50e3"},
		"escapes are resolved":          {body: []byte(`{"us\u0065r":"\u0061lice"}`), claimed: "alice"},
		"the last of two wins":          {body: []byte(`{"user":"bob","user":"alice"}`), claimed: "alice", ambiguous: true},
		"two equal are not ambiguous":   {body: []byte(`{"user":"alice","user":"alice"}`), claimed: "alice"},
		"other letter case":             {body: []byte(`{"user":"alice","USER":"bob"}`), claimed: "alice", ambiguous: true},
		"null is absent":                {body: []byte(`{"user":null}`)},
		"trailing bytes":                {body: []byte(good + "x"), unreadable: true},
		"cut JSON":                      {body: []byte(good[:20]), unreadable: true},
		"truncated":                     {body: []byte(good), truncated: true, unreadable: true},
		"empty":                         {body: nil},
		"gzip":                          {body: zipped(good), encoding: "gzip", claimed: "alice"},
		"gzip cut short":                {body: zipped(good)[:30], encoding: "gzip", unreadable: true},
		"gzip bomb":                     {body: zipped(strings.Repeat(" ", 10<<20) + good), encoding: "gzip", unreadable: true},
		"not gzip":                      {body: []byte(good), encoding: "gzip", unreadable: true},
		"br":                            {body: []byte(good), encoding: "br", unreadable: true},
		"too large":                     {body: []byte(good + strings.Repeat(" ", flow.MaxBody)), unreadable: true},
		"too deep":                      {body: []byte(strings.Repeat("[", 10000)), unreadable: true},
		"form":                          {body: []byte("user=al%69ce&password=x"), contentType: "application/x-www-form-urlencoded", claimed: "alice"},
		"the first of two fields wins":  {body: []byte("user=alice&user=bob"), contentType: "application/x-www-form-urlencoded; charset=utf-8", claimed: "alice", ambiguous: true},
		"multipart":                     {body: []byte(multipart), contentType: "multipart/form-data; boundary=b", claimed: "alice"},
		"multipart without an end":      {body: []byte(multipart[:len(multipart)-9]), contentType: "multipart/form-data; boundary=b", unreadable: true},
		"JSON under another media type": {body: []byte(good), contentType: "text/plain", claimed: "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newExtractor(t)
			x := login("")
			x.Body, x.BodyTruncated = c.body, c.truncated
			if c.contentType != "" {
				x.Headers[3].Value = c.contentType
			}
			if c.encoding != "" {
				x.Headers = append(x.Headers, flow.Field{Name: "Content-Encoding", Value: c.encoding})
			}
			ev := run(e, x, 401)
			want := event.Hash(0)
			if c.claimed != "" {
				want = pseudonym("account", c.claimed)
			}
			if ev.Claimed != want {
				t.Errorf("claimed %v, want %v (%s)", ev.Claimed, want, c.claimed)
			}
			if got := ev.Flags&event.FlagClaimsUnreadable != 0; got != c.unreadable {
				t.Errorf("claims_unreadable %v", got)
			}
			if got := ev.Flags&event.FlagAmbiguous != 0; got != c.ambiguous {
				t.Errorf("ambiguous %v", got)
			}
		})
	}
}

func TestFirstOfRepeatedNamesWins(t *testing.T) {
	e := newExtractor(t)
	for name, x := range map[string]*flow.Exchange{
		"cookies":            request("GET", "/item/1", "Cookie", "sid=a; sid=b"),
		"cookies, two lines": request("GET", "/item/1", "Cookie", "sid=a", "cookie", "sid=b"),
		"query":              request("POST", "/search?page=a&page=b", "Cookie", "sid=a"),
		"headers":            request("GET", "/item/1", "X-Device-Id", "a", "x-device-id", "b", "Cookie", "sid=a"),
	} {
		ev := run(e, x, 200)
		if ev.Flags&event.FlagAmbiguous == 0 {
			t.Errorf("%s: not ambiguous", name)
		}
		if ev.Keys[event.KindSession] != pseudonym("session", "a") {
			t.Errorf("%s: not the first", name)
		}
	}
}

func TestSpellingAPathOtherwiseDoesNotEscapeItsRole(t *testing.T) {
	e := newExtractor(t)
	for _, target := range []string{
		"/api/login", "/api/login/", "//api//login", "/api/./login", "/api/x/../login", "/api/%6cogin", "/api/login;v=1",
		"http://shop.example/api/login", "/api/login?x", "/api/login#f",
	} {
		var ev event.Event
		if e.Begin(request("POST", target), &ev); ev.Role != event.RoleLogin {
			t.Errorf("%s: role %v", target, ev.Role)
		}
		if n := e.Needs("shop", "POST", target); !n.Body || !n.RejectUnreadable {
			t.Errorf("%s: needs %+v", target, n)
		}
	}
	for _, x := range []*flow.Exchange{request("GET", "/api/login"), request("POST", "/api/login/x"), request("POST", "/api")} {
		var ev event.Event
		if e.Begin(x, &ev); ev.Role != event.RoleNone || ev.Route != "" {
			t.Errorf("%s %s: role %v", x.Method, x.Target, ev.Role)
		}
	}
}

func TestRedaction(t *testing.T) {
	e := newExtractor(t)
	for target, want := range map[string]string{
		"/item/17":                                    "/item/17",
		"/":                                           "/",
		"/contact/alice@mail.example":                 "/contact/{email}",
		"/contact/anything":                           "/contact/{email}",
		"//contact/./anything":                        "//contact/./{email}",
		"/u/alice%40mail.example/x":                   "/u/{email}/x",
		"/u/alice%2540mail.example":                   "/u/{email}",
		"/card/4111111111111111":                      "/card/{card}",
		"/card/4111-1111-1111-1111":                   "/card/{card}",
		"/item/4111111111111112":                      "/item/4111111111111112",
		"/s/0123456789abcdef0123456789abcdef/x":       "/s/{token}/x",
		"/s/550e8400-e29b-41d4-a716-446655440000":     "/s/550e8400-e29b-41d4-a716-446655440000",
		"/reset/550e8400-e29b-41d4-a716-446655440000": "/reset/{token}",
		"/a/how-to-bake-a-good-bread-in-10-minutes":   "/a/how-to-bake-a-good-bread-in-10-minutes",
		"/x;jsessionid=0A1B2C/y":                      "/x;{parameters}/y",
		"/static/app.3f9a8b7c.js":                     "/static/app.3f9a8b7c.js",
		"/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc":   "/{token}",
	} {
		var ev event.Event
		if e.Begin(request("POST", target), &ev); ev.Path != want {
			t.Errorf("%s: stored as %s, want %s", target, ev.Path, want)
		}
	}
}

func TestPostYieldsContentFeatures(t *testing.T) {
	e := newExtractor(t)
	post := func(text string) *event.Event {
		x := request("POST", "/contact/Bob.S99@Mail.Example", "Content-Type", "application/x-www-form-urlencoded")
		x.Body = []byte("phone=%2B44+7911+123456&text=" + strings.ReplaceAll(text, " ", "+"))
		return run(e, x, 200)
	}
	ev := post("buy cheap pills at https://pills.example and www.more.example today or tomorrow while they last")
	for name, want := range map[string]string{
		"email": "", "email.domain": "mail.example", "email.pattern": "a.a9", "phone": "", "phone.country": "44",
		"phone.prefix": "44791", "content": "", "content.links": "2",
	} {
		if o := ev.Object(name); o == nil || o.Value != want {
			t.Errorf("%s: %+v, want %q", name, o, want)
		}
	}
	a, b := ev.Object("content.simhash"), post("buy cheap pills at https://pills.example and www.more.example today or monday while they last").Object("content.simhash")
	if a == nil || b == nil || len(a.Value) != 16 {
		t.Fatalf("no simhash: %v %v", a, b)
	}
	one, two := post("hi best watches cheap today only come and save much money friends now"), post("hello best watches cheap today only come and save much money friends soon")
	if a, b = one.Object("content.shingle"), two.Object("content.shingle"); a == nil || b == nil || a.Hash != b.Hash {
		t.Errorf("two wordings of one text share no shingle: %v %v", a, b)
	}
	// What everybody says all the time has no likeness.
	for _, text := range []string{"thanks", "is this still available", "see this"} {
		if o := post(text).Object("content.shingle"); o != nil {
			t.Errorf("%q has a shingle", text)
		}
	}
}

func TestPlainSite(t *testing.T) {
	e := newExtractor(t)
	x := request("GET", "/a?b=1&c=2", "Cookie", "sid=abc", "Referer", "https://user:pw@other.example:8443/x?y")
	x.Host = "PLAIN.example:8080"
	ev := run(e, x, 404, "Content-Type", "Text/HTML; charset=utf-8")
	if ev.Site != "plain" || ev.Host != "plain.example" || ev.QueryKeys != "b&c" || ev.RefererHost != "other.example" ||
		ev.ContentType != "text/html" || ev.Status != 404 {
		t.Errorf("%+v", ev)
	}
	for k := range event.NumKinds {
		want := k != event.KindSession && k != event.KindDevice && k != event.KindAccount && k != event.KindASN && k != event.KindTargetAccount
		if (ev.Keys[k] != 0) != want {
			t.Errorf("%v: %v", k, ev.Keys[k])
		}
	}
	x.Host = "unknown.example"
	if ev := run(e, x, 200); ev.Site != "default" {
		t.Errorf("site of an undeclared host is %q", ev.Site)
	}
}

func TestFingerprintAndTemplate(t *testing.T) {
	e := newExtractor(t)
	keys := func(change func(x *flow.Exchange)) event.Keys {
		x := request("GET", "/item/1?a=1&b=2", "Accept-Language", "en", "X-Own", "1")
		change(x)
		var ev event.Event
		e.Begin(x, &ev)
		return ev.Keys
	}
	base := keys(func(*flow.Exchange) {})
	for _, c := range []struct {
		what                  string
		change                func(x *flow.Exchange)
		fingerprint, template bool // stay the same
	}{
		{"parameter values", func(x *flow.Exchange) { x.Target = "/item/1?a=5&b=7" }, true, true},
		{"path", func(x *flow.Exchange) { x.Target = "/other?a=5&b=7" }, true, true},
		{"a cookie", func(x *flow.Exchange) { x.Headers = append(x.Headers, flow.Field{Name: "Cookie", Value: "a=b"}) }, true, true},
		{"parameter order", func(x *flow.Exchange) { x.Target = "/item/1?b=1&a=2" }, true, false},
		{"header order", func(x *flow.Exchange) { x.Headers[1], x.Headers[2] = x.Headers[2], x.Headers[1] }, false, false},
		{"one more header", func(x *flow.Exchange) { x.Headers = append(x.Headers, flow.Field{Name: "X-New", Value: "1"}) }, true, false},
		{"no accept-language", func(x *flow.Exchange) { x.Headers = append(x.Headers[:3:3], x.Headers[4]) }, false, false},
		{"user agent", func(x *flow.Exchange) { x.Headers[1].Value = "curl/8" }, false, true},
		{"JA4", func(x *flow.Exchange) { x.TLS.JA4 = "other" }, false, true},
	} {
		got := keys(c.change)
		if same := got[event.KindFingerprint] == base[event.KindFingerprint]; same != c.fingerprint {
			t.Errorf("%s: same fingerprint %v, want %v", c.what, same, c.fingerprint)
		}
		if same := got[event.KindRequestTemplate] == base[event.KindRequestTemplate]; same != c.template {
			t.Errorf("%s: same template %v, want %v", c.what, same, c.template)
		}
	}
}
