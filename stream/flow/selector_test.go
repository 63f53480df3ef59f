package flow_test

import (
	"testing"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// TestEverySelectorSource walks the nine sources of a selector: as an object, as
// a claim, as an identifier, and names that are not there.
func TestEverySelectorSource(t *testing.T) {
	ring, err := flow.NewKeyring(testKey)
	if err != nil {
		t.Fatal(err)
	}
	const form, js = "application/x-www-form-urlencoded", "application/json"
	cases := []struct {
		there, absent string
		body, kind    string
		response      bool
	}{
		{"body:/a/0/b~1c", "body:/a/1", `{"a":[{"b/c":"v1"}]}`, js, false},
		{"form:f", "form:g", "x=1&f=v1", form, false},
		{"query:q", "query:r", "", "", false},
		{"path:id", "path:other", "", "", false},
		{"header:X-Thing", "header:X-Other", "", "", false},
		{"cookie:c", "cookie:d", "", "", false},
		{"response_body:/r", "response_body:/s", "", "", true},
		{"response_header:X-R", "response_header:X-S", "", "", true},
		{"set_cookie:sc", "set_cookie:sd", "", "", true},
	}
	for _, c := range cases {
		t.Run(c.there, func(t *testing.T) {
			ask := func(r flow.Route, ids flow.Identifiers) *event.Event {
				t.Helper()
				r.Match = flow.Match{Path: "/thing/{id}"}
				e, err := flow.NewExtractor(flow.Config{Keys: ring, Sites: []flow.Site{{
					Name: "shop", Hosts: []string{"*"},
					Map: &flow.Map{APIVersion: "weir/v1", Kind: "FlowMap", Site: "shop", Identifiers: ids, Routes: []flow.Route{r}},
				}}})
				if err != nil {
					t.Fatal(err)
				}
				x := request("POST", "/thing/v1?q=v1", "X-Thing", "v1", "Cookie", "a=b; c=v1", "Content-Type", c.kind)
				x.Body, x.ResponseBody = []byte(c.body), []byte(`{"r":"v1"}`)
				return run(e, x, 200, "X-R", "v1", "Set-Cookie", "sc=v1; Path=/", "Content-Type", js)
			}
			var ev *event.Event
			setsCookie := c.there == "set_cookie:sc" // which can only identify
			if !setsCookie {
				ev = ask(flow.Route{Role: "item_view", Objects: flow.Objects{{"item", flow.Selectors{c.there}}}}, flow.Identifiers{})
				if o := ev.Object("item"); o == nil || o.Value != "v1" {
					t.Errorf("as an object it gives %+v", o)
				}
			}
			if c.absent != "path:other" && !setsCookie { // the map's check refuses that one
				ev = ask(flow.Route{Role: "item_view", Objects: flow.Objects{{"item", flow.Selectors{c.absent, c.there}}}}, flow.Identifiers{})
				if o := ev.Object("item"); o == nil || o.Value != "v1" {
					t.Errorf("behind one that is absent it gives %+v", o)
				}
			}
			if !c.response {
				ev = ask(flow.Route{Role: "login", Claims: flow.Claims{Account: flow.Selectors{c.there}}}, flow.Identifiers{})
				if ev.Claimed != pseudonym("account", "v1") || ev.Keys[event.KindTargetAccount] == 0 {
					t.Errorf("as a claim it gives %v, target %v", ev.Claimed, ev.Keys[event.KindTargetAccount])
				}
			}
			if c.response && c.there != "response_body:/r" {
				ev = ask(flow.Route{Role: "item_view"}, flow.Identifiers{Account: flow.Selectors{c.there}})
				if ev.Keys[event.KindAccount] != pseudonym("account", "v1") {
					t.Errorf("vouched for by the application it gives account %v", ev.Keys[event.KindAccount])
				}
			}
			if from := c.there[:6]; from == "cookie" || from == "header" {
				ev = ask(flow.Route{Role: "item_view"}, flow.Identifiers{Session: flow.Selectors{c.there}, Device: flow.Selectors{c.there}})
				if ev.Keys[event.KindSession] != pseudonym("session", "v1") || ev.Keys[event.KindDevice] != pseudonym("device", "v1") {
					t.Errorf("as an identifier it gives session %v, device %v", ev.Keys[event.KindSession], ev.Keys[event.KindDevice])
				}
			}
		})
	}
}

// TestOutcomeConditions walks the forms of status, and values of the answer.
func TestOutcomeConditions(t *testing.T) {
	ring, err := flow.NewKeyring(testKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status, pointer, value string
		code                   int
		body                   string
		want                   bool
	}{
		{"200", "", "", 200, "", true},
		{"200", "", "", 201, "", false},
		{"401,403", "", "", 403, "", true},
		{"401,403", "", "", 402, "", false},
		{"200-299", "", "", 299, "", true},
		{"200-299", "", "", 300, "", false},
		{"2xx", "", "", 204, "", true},
		{"2xx", "", "", 304, "", false},
		{"2xx, 302, 400-404", "", "", 403, "", true},
		{"2xx", "/ok", "true", 200, `{"ok":true}`, true},
		{"2xx", "/ok", "true", 200, `{"ok":false}`, false},
		{"2xx", "/ok", "*", 200, `{"ok":0}`, true},
		{"2xx", "/ok", "*", 200, `{}`, false},
		{"", "/n", "7", 500, `{"n":7}`, true},
	} {
		cond := &flow.Condition{Status: c.status}
		if c.pointer != "" {
			cond.ResponseBody = map[string]string{c.pointer: c.value}
		}
		e, err := flow.NewExtractor(flow.Config{Keys: ring, Sites: []flow.Site{{Name: "shop", Hosts: []string{"*"}, Map: &flow.Map{
			APIVersion: "weir/v1", Kind: "FlowMap", Site: "shop",
			Routes: []flow.Route{{Match: flow.Match{Path: "/x"}, Role: "order", Outcome: flow.Outcome{Success: cond}}},
		}}}})
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		x := request("POST", "/x")
		x.ResponseBody = []byte(c.body)
		if got := run(e, x, c.code, "Content-Type", "application/json").Outcome == event.OutcomeSuccess; got != c.want {
			t.Errorf("status %q, %s = %q: an answer of %d %s is a success: %v", c.status, c.pointer, c.value, c.code, c.body, got)
		}
	}
}

// TestTheWholeOfABodyIsNoValueOfIt: a body that is one JSON text, or holds
// nothing that is selected, claims nothing.
func TestTheWholeOfABodyIsNoValueOfIt(t *testing.T) {
	e := newExtractor(t)
	for _, body := range []string{`"mallory"`, `17`, `true`, `{}`, `[]`, `{"x":{"user":"mallory"}}`, `["mallory"]`} {
		if ev := run(e, login(body), 401); ev.Claimed != 0 || ev.Keys[event.KindTargetAccount] != 0 {
			t.Errorf("%s claims %v", body, ev.Claimed)
		}
	}
}
