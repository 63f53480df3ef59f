package config

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/weirproject/weir/stream/flow"
)

func TestWriteMapIsReadBack(t *testing.T) {
	shop, err := os.ReadFile("../demo/flows.yaml")
	if err != nil {
		t.Fatal(err)
	}
	demo, err := ParseMap("demo", shop)
	if err != nil {
		t.Fatal(err)
	}
	full := &flow.Map{
		APIVersion: flow.APIVersion, Kind: flow.MapKind, Site: "no", Hash: []string{"seat"}, Plain: []string{"payee"},
		Identifiers: flow.Identifiers{Session: flow.Selectors{"cookie:a.b", "header:Authorization"}, Account: flow.Selectors{"response_header:X-User"}},
		Routes: []flow.Route{
			{
				Match: flow.Match{Method: "POST,PUT", Path: `/a"b\/$HOME/x: y/{id}`}, Role: "pay_auth", Cost: 0.5, Unreadable: "pass",
				Objects: flow.Objects{{Name: "card", Selectors: flow.Selectors{"body:/a~1b/'", "form:card"}}, {Name: "order", Selectors: flow.Selectors{"path:id"}}},
				Outcome: flow.Outcome{
					Success: &flow.Condition{Status: "2xx", ResponseBody: map[string]string{"/ok": "true", "/b": "*"}},
					Failure: &flow.Condition{ResponseHeader: map[string]string{"X-Error": "1"}},
				},
			},
			{Match: flow.Match{Path: "/ü\u2028"}, Role: "checkout_step", Step: 2},
		},
	}
	empty := &flow.Map{APIVersion: flow.APIVersion, Kind: flow.MapKind, Site: "x"}
	for name, m := range map[string]*flow.Map{"demo": demo, "full": full, "empty": empty} {
		var b bytes.Buffer
		notes := MapNotes{Head: []string{"a\nb: c"}, Tail: []string{"\x1b[31m"}, Identifiers: map[string]string{"session": "x\u2028y: z"}, Routes: [][]string{{"why\r\nrole: login"}}}
		if err := WriteMap(&b, m, notes); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\x1b\r") {
			t.Errorf("%s: control characters in\n%q", name, b.String())
		}
		got, err := ParseMap(name, b.Bytes())
		if err != nil {
			t.Errorf("%s: %v in\n%s", name, err, b.String())
			continue
		}
		if len(m.Routes) == 0 {
			got.Routes = nil
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: read back %+v, want %+v from\n%s", name, got, m, b.String())
		}
	}
}
