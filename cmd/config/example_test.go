package config_test

import (
	"testing"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// TestShippedExample loads what a new user copies, compiles it, and checks that
// it shows every role.
func TestShippedExample(t *testing.T) {
	l, err := config.Load("../../deploy/examples/shop/weir.yaml", env())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := flow.NewKeyring(flow.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	e, err := flow.NewExtractor(flow.Config{Keys: ring, Sites: l.FlowSites()})
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, r := range l.Maps["shop"].Routes {
		shown[r.Role] = true
	}
	for _, role := range event.RoleNames() {
		if !shown[role] {
			t.Errorf("the example has no route with role %s", role)
		}
	}
	if !e.NeedsBody("shop", "POST", "/api/login") || e.NeedsBody("shop", "GET", "/item/1") || e.SiteOf("www.shop.example") != "shop" {
		t.Error("the example's map is not in force")
	}
}
