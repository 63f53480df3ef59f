package flow_test

import (
	"strings"
	"testing"

	"github.com/weirproject/weir/stream/flow"
)

func TestCheckNamesEveryFault(t *testing.T) {
	m := shopMap()
	m.Kind = "Flowmap"
	m.Identifiers.Session = flow.Selectors{"cokie:sid"}
	m.Routes = append(m.Routes,
		flow.Route{Match: flow.Match{Path: "/a"}, Role: "logn"},
		flow.Route{Match: flow.Match{Path: "/b/{id}"}, Objects: flow.Objects{{"item", flow.Selectors{"path:ids"}}}},
		flow.Route{Match: flow.Match{Path: "/c"}, Objects: flow.Objects{{"card", flow.Selectors{"body:number"}}}, Plain: []string{"card"}},
		flow.Route{Match: flow.Match{Path: "/d"}, Proves: "account", Outcome: flow.Outcome{Success: &flow.Condition{Status: "2x"}}},
		flow.Route{Match: flow.Match{Path: "/e"}, Role: "checkout_step"},
		flow.Route{Match: flow.Match{Path: "/item/{other}", Method: "GET"}},
		flow.Route{Match: flow.Match{Path: "/f{x}"}},
		flow.Route{Match: flow.Match{Path: "/g"}, Claims: flow.Claims{Account: flow.Selectors{"response_body:/user"}}},
		flow.Route{Match: flow.Match{Path: "/h"}, Unreadable: "rejct"},
	)
	got := map[string]string{}
	for _, f := range m.Check() {
		got[f.Path] = f.Text
	}
	want := map[string]string{
		"kind":                             `"Flowmap" is not a flow map`,
		"identifiers.session[0]":           `did you mean "cookie"?`,
		"routes[6].role":                   `did you mean "login"?`,
		"routes[7].objects.item":           `did you mean "id"?`,
		"routes[8].objects.card":           "must start with /",
		"routes[8].plain[0]":               "can never stay readable",
		"routes[9].proves":                 "needs claims.account",
		"routes[9].outcome.success.status": `status "2x"`,
		"routes[10].step":                  "is required",
		"routes[11].match":                 "declared twice",
		"routes[12].match":                 "as a whole",
		"routes[13].claims.account":        "reads the response",
		"routes[14].unreadable":            `did you mean "reject"?`,
	}
	for path, text := range want {
		if !strings.Contains(got[path], text) {
			t.Errorf("%s: %q, want %q", path, got[path], text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d faults, want %d: %v", len(got), len(want), got)
	}
	if err := shopMap().Validate(); err != nil {
		t.Errorf("the example has faults: %v", err)
	}
}

func TestTable(t *testing.T) {
	var table flow.Table[string]
	for _, template := range []string{"/", "/item/{id}", "/item/new", "/{any}/x", "/files/{rest...}", "/item/{id}/edit", "/star/*"} {
		if err := table.Add("", template, template); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Add("GET, POST", "/item/{id}", "by method"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/", "/"},
		{"GET", "", "/"},
		{"PUT", "/item/7", "/item/{id}"},
		{"POST", "/item/7", "by method"},
		{"GET", "/item/new", "/item/new"},
		{"GET", "/item/x", "by method"},
		{"GET", "/item/7/edit", "/item/{id}/edit"},
		{"GET", "/item/7/x", ""},
		{"GET", "/foo/x", "/{any}/x"},
		{"GET", "/files", "/files/{rest...}"},
		{"GET", "/files/" + strings.Repeat("a/", 100), "/files/{rest...}"},
		{"GET", "/" + strings.Repeat("a/", 100), ""},
		{"GET", "/../..", "/"},
		{"GET", "/star/a/b", "/star/*"},
	} {
		if got, _ := table.Find(c.method, c.path); got != c.want {
			t.Errorf("%s %.40s: %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

func TestKeyring(t *testing.T) {
	previous := []byte("fedcba9876543210")
	ring, err := flow.NewKeyring(testKey, previous)
	if err != nil {
		t.Fatal(err)
	}
	old, err := flow.NewKeyring(previous)
	if err != nil {
		t.Fatal(err)
	}
	ids := ring.KeyIDs()
	if len(ids) != 2 || ids[0] != ring.KeyID() || ids[1] != old.KeyID() || ids[0] == ids[1] {
		t.Fatalf("key ids %v", ids)
	}
	if got := ring.Pseudonym("account", "  Alice"); got != pseudonym("account", "alice") {
		t.Errorf("account: %v", got)
	}
	if got, ok := ring.PseudonymUnder(ids[1], "session", "abc"); !ok || got != old.Pseudonym("session", "abc") {
		t.Errorf("under the previous key: %v %v", got, ok)
	}
	if _, ok := ring.PseudonymUnder("k_none", "session", "abc"); ok {
		t.Error("an unknown key has a pseudonym")
	}
	for _, keys := range [][][]byte{{[]byte("short")}, {testKey, testKey}, {testKey, previous, []byte("0000000000000000")}} {
		if _, err := flow.NewKeyring(keys[0], keys[1:]...); err == nil {
			t.Errorf("%q: no error", keys)
		}
	}
	for _, c := range []struct{ kind, value, want string }{
		{"account", " ALICE@Mail ", "alice@mail"},
		{"session", " AbC ", "AbC"},
		{"object:card", "4111 1111-1111", "411111111111"},
		{"object:phone", "0044 (20) 7946", "+44207946"},
		{"object:email", "A@B.C", "a@b.c"},
		{"object:item", "X1", "X1"},
	} {
		if got := flow.Normalise(c.kind, c.value); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.kind, c.value, got, c.want)
		}
	}
}
