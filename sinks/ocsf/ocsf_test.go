package ocsf_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/weirproject/weir/sinks/ocsf"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

var format = ocsf.Format{Version: "1.0.0"}

func fullVerdict() verdict.Verdict {
	return verdict.Verdict{
		ID: "v_0123456789abcdef0123456789abcdef", Revision: 1, Sequence: 17, Site: "shop", Time: 1_772_442_900_123_456_789, Expires: 1_772_446_500_000_000_000,
		Scope: verdict.ScopeActor, Actor: "a_0000000000000001", Action: event.ActionBlock, Mode: event.ModeEnforce,
		Threats: []verdict.Threat{"OAT-008", "OAT-007"}, Score: 27400, Confidence: 999_900, FalsePositiveBound: 100_000, Bound: "model",
		Binds: []verdict.Group{{All: []verdict.Bind{{Kind: "session", Value: 7}}, Routes: []string{"/api/login"}}},
		Evidence: verdict.Evidence{
			Summary:  "17 accounts tried once each in 6 m.",
			Features: []verdict.Feature{{Name: "distinct_target_accounts", Value: 17000, Expected: 1020, Bits: 8100}},
			Links:    []verdict.Link{{From: "session:9f", To: "device:77", Bits: 6900}}, Events: []string{"r-1", "r-9"},
			Range: verdict.Range{Topic: "weir.events", From: 100, To: 180}, Caps: []string{"cap"}, Counterfactual: "fewer accounts",
		},
		Baseline: "b_1", Engine: "1.4.0", Policy: "sha256:12", Limit: &verdict.Limit{Per: "1m", Requests: 5, Key: "actor"}, Maturity: "mature",
	}
}

func fullDecision() verdict.Decision {
	return verdict.Decision{
		ID: "r-000001", Time: 1_772_442_900_123_456_789, Site: "shop", Action: event.ActionBlock, Proposed: event.ActionBlock, Mode: event.ModeEnforce,
		Verdict: "v_0123456789abcdef0123456789abcdef", Actor: "a_0000000000000001", Scope: verdict.ScopeActor, Threats: []verdict.Threat{"OAT-008"},
		Reason: "because", Revision: 2, Matched: []string{"v_1", "v_2"}, Group: 1, Rule: "verdict", Policy: "sha256:12", Fuel: 90, Nanoseconds: 1200,
		RetryAfterSeconds: 12, Location: "/wait",
		Request: &verdict.Request{
			Client: "2001:db8::1", Method: "POST", Host: "shop.example", Path: "/api/login", Route: "/api/login", QueryKeys: "next", UserAgent: "Mozilla/5.0",
			JA4: "t13d1516h2_8daaf6152771_b186095e22b6", Session: "0000000000000007", Account: "0000000000000008", Device: "0000000000000009",
			Target: "000000000000000a", Role: "login",
		},
	}
}

var modes = []event.Mode{event.ModeNone, event.ModeShadow, event.ModeEnforce}

func TestEveryVerdictIsAValidDetectionFinding(t *testing.T) {
	s := loadSchema(t)
	n := 0
	for action := event.ActionNone; action <= event.ActionBlock; action++ {
		for _, mode := range modes {
			for _, scope := range []verdict.Scope{verdict.ScopeRequest, verdict.ScopeCohort, verdict.ScopeSite} {
				for variant := range 4 {
					v := fullVerdict()
					v.Action, v.Mode, v.Scope = action, mode, scope
					switch variant {
					case 1:
						v.Revision = 3
					case 2:
						v.Revision, v.Revoked = 4, true
					case 3: // a manual one, with nothing that may be absent
						v = verdict.Verdict{ID: "m", Revision: 1, Site: "s", Scope: scope, Action: action, Mode: mode}
					}
					b, err := format.Verdict(&v)
					if err == nil {
						err = s.validate("detection_finding", b)
					}
					if err != nil {
						t.Fatalf("%s %s variant %d: %v\n%s", action, mode, variant, err, b)
					}
					n++
				}
			}
		}
	}
	if n == 0 {
		t.Fatal("no case")
	}
}

func TestEveryDecisionIsAValidHTTPActivity(t *testing.T) {
	s := loadSchema(t)
	n := 0
	for action := event.ActionNone; action <= event.ActionBlock; action++ {
		for proposed := action; proposed <= event.ActionBlock; proposed++ {
			for _, mode := range modes {
				for _, method := range []string{"GET", "PATCH", "PROPFIND", "g\x00t", ""} {
					d := fullDecision()
					d.Action, d.Proposed, d.Mode, d.Request.Method = action, proposed, mode, method
					check(t, s, &d)
					d = verdict.Decision{ID: "r", Action: action, Proposed: proposed, Mode: mode}
					check(t, s, &d)
					for _, client := range []string{"203.0.113.7", "[2001:db8::1]:443", "fe80::1%eth0", "unix"} {
						d.Request = &verdict.Request{Client: client, Method: method}
						check(t, s, &d)
					}
					n++
				}
			}
		}
	}
	if n == 0 {
		t.Fatal("no case")
	}
}

func check(tb testing.TB, s *schema, d *verdict.Decision) {
	tb.Helper()
	b, err := format.Decision(d)
	if err == nil {
		err = s.validate("http_activity", b)
	}
	if err != nil {
		tb.Fatalf("%s %s %s: %v\n%s", d.Action, d.Proposed, d.Mode, err, b)
	}
}

// TestTheMappingIsTheOneOfTheDocuments holds the numbers that dashboards and
// detection content rely on.
func TestTheMappingIsTheOneOfTheDocuments(t *testing.T) {
	for _, c := range []struct {
		action, proposed    event.Action
		mode                event.Mode
		wantAction, wantDis int
		code                int
		alert               bool
	}{
		{event.ActionBlock, event.ActionBlock, event.ModeEnforce, 2, 2, 403, true},
		{event.ActionRateLimit, event.ActionRateLimit, event.ModeEnforce, 2, 25, 429, true},
		{event.ActionAllow, event.ActionRateLimit, event.ModeEnforce, 3, 17, 0, false},
		{event.ActionRedirect, event.ActionRedirect, event.ModeEnforce, 4, 7, 302, true},
		{event.ActionChallenge, event.ActionChallenge, event.ModeEnforce, 2, 23, 0, true},
		{event.ActionObserve, event.ActionObserve, event.ModeEnforce, 3, 18, 0, false},
		{event.ActionAllow, event.ActionBlock, event.ModeShadow, 3, 20, 0, false},
		{event.ActionAllow, event.ActionObserve, event.ModeShadow, 3, 17, 0, false},
		{event.ActionAllow, event.ActionAllow, event.ModeEnforce, 1, 1, 0, false},
	} {
		d := fullDecision()
		d.Action, d.Proposed, d.Mode = c.action, c.proposed, c.mode
		var doc struct {
			Action       int  `json:"action_id"`
			Disposition  int  `json:"disposition_id"`
			Alert        bool `json:"is_alert"`
			HTTPResponse *struct{ Code int }
			Response     *struct {
				Code int `json:"code"`
			} `json:"http_response"`
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
		}
		b, err := format.Decision(&d)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		code := 0
		if doc.Response != nil {
			code = doc.Response.Code
		}
		if doc.Action != c.wantAction || doc.Disposition != c.wantDis || code != c.code || doc.Alert != c.alert || doc.Metadata.UID != "r-000001" {
			t.Errorf("%s proposed %s in %s: action_id %d, disposition_id %d, code %d, alert %v", c.action, c.proposed, c.mode, doc.Action, doc.Disposition, code, doc.Alert)
		}
	}
	v := fullVerdict()
	b, err := format.Verdict(&v)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"title":"Credential Stuffing (OAT-008) by a_0000000000000001"`, `"types":["OAT-008","OAT-007"]`, `"confidence_score":99`,
		`"severity_id":4`, `"is_alert":true`, `"correlation_uid":"v_0123456789abcdef0123456789abcdef"`, `"uid":"v_0123456789abcdef0123456789abcdef:1"`,
		`"observation_parameter":"distinct_target_accounts"`, `"related_events":[{"uid":"r-1"`,
		`"risk_score":27`, `"risk_level_id":3,"risk_level":"High"`, `"version":"sha256:12"`,
		`"attacks":[{"tactic":{"uid":"TA0006","name":"Credential Access"},"technique":{"uid":"T1110","name":"Brute Force"},"sub_technique":{"uid":"T1110.004","name":"Credential Stuffing"},"version":"16.1"}`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is missing in %s", want, b)
		}
	}
}

// TestTheValidatorFinds makes sure that the checks above check something.
func TestTheValidatorFinds(t *testing.T) {
	s := loadSchema(t)
	for _, c := range []struct{ from, to, want string }{
		{`"activity_id":6`, `"activity_id":66`, "activity_id: 66 is not in its enum"},
		{`"severity_id":4,`, ``, "severity_id is required"},
		{`"class_uid":4002`, `"class_uid":4001`, "class_uid is 4001"},
		{`"profiles":["security_control"]`, `"profiles":[]`, "action_id is not an attribute"},
		{`"ip":"2001:db8::1"`, `"ip":"nowhere"`, "src_endpoint.ip"},
		{`"src_endpoint":{"ip":"2001:db8::1"}`, `"src_endpoint":{}`, "at_least_one"},
		{`"code":403`, `"code":"403"`, "http_response.code: want an integer"},
		{`"user_agent":"Mozilla/5.0"`, `"user_agent":5`, "http_request.user_agent: want a string"},
		{`"observables":[{`, `"observables":{"x":{`, ""},
		{`"disposition":"Blocked"`, `"disposition":"Isolated"`, "disposition_id is \"Blocked\""},
		{`"type_id":2,"type":"IP Address"`, `"type_id":77,"type":"IP Address"`, "77 is not in its enum"},
	} {
		d := fullDecision()
		b, err := format.Decision(&d)
		if err != nil {
			t.Fatal(err)
		}
		bad := strings.Replace(string(b), c.from, c.to, 1)
		if bad == string(b) {
			t.Errorf("%s does not stand in %s", c.from, b)
		}
		if err := s.validate("http_activity", []byte(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s instead of %s: %v", c.to, c.from, err)
		}
	}
}

// FuzzDecision holds that whatever stands on the topic gives a valid document.
func FuzzDecision(f *testing.F) {
	d := fullDecision()
	b, err := json.Marshal(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"id":"x","time":null,"action":"block","request":{"client":"1.2.3.4:5"}}`))
	s := loadSchema(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d verdict.Decision
		if err := json.Unmarshal(raw, &d); err != nil {
			return
		}
		check(t, s, &d)
	})
}

func ExampleFormat_Decision() {
	d := verdict.Decision{
		ID: "r-7", Time: 1_772_442_900_000_000_000, Site: "shop", Action: event.ActionAllow, Proposed: event.ActionBlock, Mode: event.ModeShadow,
		Rule: "verdict", Reason: "session bound", Request: &verdict.Request{Client: "203.0.113.7", Method: "GET", Host: "shop.example", Path: "/"},
	}
	b, _ := ocsf.Format{Version: "1.0.0"}.Decision(&d)
	var doc map[string]any
	_ = json.Unmarshal(b, &doc)
	fmt.Println(doc["class_name"], doc["type_name"], doc["action"], doc["disposition"])
	// Output: HTTP Activity HTTP Activity: Get Observed Count
}
