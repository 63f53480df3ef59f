package scoreboard

import (
	"testing"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/scenario"
)

// TestSuggestOnTheShop shows the engine the shop without its flow map and
// expects it to find what the map says.
func TestSuggestOnTheShop(t *testing.T) {
	l, err := NewLine("shop", nil)
	if err != nil {
		t.Fatal(err)
	}
	tally := NewTally()
	sink := l.Sink("suggest", tally)
	if err := scenario.Shop(scenario.Config{Seed: 77, People: 1200, Days: 2}, func(x *traffic.Exchange, label *traffic.Label) error { return sink(x, label) }); err != nil {
		t.Fatal(err)
	}
	l.Finish()
	roles := map[string]string{}
	for _, s := range l.Engine().Suggest("shop") {
		roles[s.Role] += " " + s.Method + " " + s.Template
		t.Logf("%-15s %-5s %-32s %v", s.Role, s.Method, s.Template, s.Reasons)
	}
	for _, role := range []string{"login", "search", "item_view", "cart_add", "pay_auth", "signup", "list_view", "coupon_apply", "order"} {
		if roles[role] == "" {
			t.Errorf("%s was not found", role)
		}
	}
	if len(l.Engine().Inventory("shop")) < 20 {
		t.Errorf("only %d endpoints", len(l.Engine().Inventory("shop")))
	}
}
