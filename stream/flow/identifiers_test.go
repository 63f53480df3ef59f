package flow_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// TestIdentifiersAreOfTheRequestAlone: whatever came before, in whatever order, a
// request has the identifiers that it has by itself.
func TestIdentifiersAreOfTheRequestAlone(t *testing.T) {
	var xs []*flow.Exchange
	for _, client := range []string{"203.0.113.7:1", "203.0.113.8:1", "[2001:db8::1]:1"} {
		for _, agent := range []string{"", "Mozilla/5.0", "curl/8.5"} {
			for _, ja4 := range []string{"", "t13d1516h2_8daaf6152771_b186095e22b6"} {
				for _, target := range []string{"/item/1", "/item/1?a=1", "/item/1?b=1"} {
					for form := range 3 {
						x := request("GET", target)
						x.Client, x.TLS.JA4, x.Headers[1].Value = netip.MustParseAddrPort(client), ja4, agent
						if x.HeadersKnown = form > 0; form > 1 {
							x.Headers[0], x.Headers[2] = x.Headers[2], x.Headers[0]
						}
						xs = append(xs, x)
					}
				}
			}
		}
	}
	shared := newExtractor(t)
	seen := map[event.Keys]string{}
	for round := range 3 {
		for i := range xs {
			x := xs[(i*(2*round+5))%len(xs)]
			var got, want event.Event
			shared.Begin(x, &got)
			newExtractor(t).Begin(x, &want)
			if got.Keys != want.Keys {
				t.Fatalf("round %d: %v %q %q %s: %v, by itself %v", round, x.Client, x.Headers[1].Value, x.TLS.JA4, x.Target, got.Keys, want.Keys)
			}
			name := fmt.Sprint(x.Client, x.Headers, x.TLS.JA4, x.Target, x.HeadersKnown)
			if other, ok := seen[got.Keys]; ok && other != name {
				t.Fatalf("%s and %s have the same identifiers", other, name)
			}
			seen[got.Keys] = name
		}
	}
	if len(seen) < 100 {
		t.Fatalf("%d different sets of identifiers of %d requests", len(seen), len(xs))
	}
}
