package linetest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/admin"
)

// TestShadowReport lets a plain tool guess passwords beside a person who has
// signed in, and asks what enforcement would have done.
func TestShadowReport(t *testing.T) {
	t.Parallel()
	_, w := protected(t, "sr", "shadow")
	var none admin.ShadowReport
	decode(t, w.ok(t, "shadow", "report", "-o", "json"), &none)
	if none.Requests != 0 || none.Sessions.AtMost != 10_000 || !strings.Contains(none.Sessions.Statement, "nothing can be said") {
		t.Errorf("before any request: %+v", none)
	}
	person := newClient(t, w.listen, "127.64.8.1")
	signedIn := http.Header{"Cookie": {"sid=" + sum("alice") + ".alice; did=d1"}}
	for range 5 {
		if _, err := person.do(t.Context(), http.MethodGet, "/account", "", signedIn); err != nil {
			t.Fatal(err)
		}
	}
	tool := newClient(t, w.listen, "127.64.8.2")
	tries := int64(0)
	guessOn := func() {
		if s := tool.post(t, "/api/login", guess(int(tries))).status; refused(s) {
			t.Fatalf("attempt %d in shadow mode: status %d", tries, s)
		}
		tries++
	}
	until(t, time.Minute, "weir would have acted", func() bool {
		for range 10 {
			guessOn()
		}
		return w.number(t, "SELECT count() FROM shadow") > 0
	})
	w.settled(t)
	var rep admin.ShadowReport
	decode(t, w.ok(t, "shadow", "report", "--since", "1h", "-o", "json"), &rep)
	if rep.Requests != tries+5 || rep.Acted == 0 || rep.Acted > tries || rep.Sessions.Hit != 1 || rep.Sessions.Seen < 2 || rep.Customers.Hit != 0 || rep.Enforced != 0 {
		t.Errorf("report %+v", rep)
	}
	if !strings.HasPrefix(rep.Sessions.Statement, "With 95 % confidence this policy would have challenged, slowed or blocked at most ") {
		t.Errorf("it says %q", rep.Sessions.Statement)
	}
	for name, want := range map[string]string{
		"route": "/api/login", "account_age": "no proven account", "customer_value": "no proven account", "country": "", "threat": "OAT-", "action": "",
	} {
		total := int64(0)
		found := false
		for _, x := range rep.Groups[name] {
			total += x.Requests
			found = found || strings.HasPrefix(x.Key, want)
		}
		if !found || total < rep.Acted {
			t.Errorf("by %s: %+v, want %q among %d", name, rep.Groups[name], want, rep.Acted)
		}
	}
	if rep.Samples == nil || len(rep.Samples.Rows) == 0 {
		t.Error("no samples")
	}
	var one admin.ShadowReport
	decode(t, w.ok(t, "shadow", "report", "--rule", "OAT-021", "-o", "json"), &one)
	if one.Acted != 0 || one.Requests != tries+5 {
		t.Errorf("of another threat: %+v", one)
	}
	text := w.ok(t, "shadow", "report")
	for _, want := range []string{"requests in shadow mode would have been acted on", "account age", "no proven account", "/api/login", "samples"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	t.Logf("\n%s", text)
	w.stop(t)
}
