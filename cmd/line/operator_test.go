package line

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/event"
)

func TestTextsOfAChangeAreBounded(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	for name, q := range map[string]admin.VerdictRequest{
		"reason": {Reason: long}, "value": {Value: long}, "by": {By: long}, "id": {ID: long}, "site": {Site: long}, "kind": {Kind: long}, "for": {For: long},
		"": {Reason: long[1:], Value: long[1:]},
	} {
		body, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		var got admin.VerdictRequest
		err = decodeChange(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body))), &got)
		if (err != nil) != (name != "") || err != nil && !strings.HasPrefix(err.Error(), name+" has 1025 bytes") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestOrdersThatASiteCannotFollowAreRefused in words that say what to type.
func TestOrdersThatASiteCannotFollowAreRefused(t *testing.T) {
	o := &operator{processor: &processor{role: &role{}}}
	put := func(sites ...config.Site) { o.now.Store(&config.Loaded{Config: config.Config{Sites: sites}}) }
	put()
	if got, err := o.site(""); err != nil || got != "default" {
		t.Errorf("without sites: %q, %v", got, err)
	}
	put(config.Site{Name: "shop", RedirectTo: "/sorry"}, config.Site{Name: "blog"})
	for name, want := range map[string]string{"": "several sites: name one with --site (shop, blog)", "shob": `did you mean "shop"?`, "shop": ""} {
		_, err := o.site(name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("site %q: %v, want %q", name, err, want)
		}
	}
	for site, fine := range map[string]bool{"shop": true, "blog": false} {
		if err := o.able(site, event.ActionRedirect); (err == nil) != fine {
			t.Errorf("redirect on %s: %v", site, err)
		}
		if err := o.able(site, event.ActionBlock); err != nil {
			t.Errorf("block on %s: %v", site, err)
		}
	}
}
