package flow_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

// TestGoldenEvents holds the events of a few exchanges under the public key, to
// the last hash: installations compare pseudonyms, fingerprints and templates
// over months and over versions.
func TestGoldenEvents(t *testing.T) {
	ring, err := flow.NewKeyring(flow.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	e, err := flow.NewExtractor(flow.Config{Keys: ring, Sites: []flow.Site{{Name: "shop", Hosts: []string{"shop.example"}, Map: shopMap()}}})
	if err != nil {
		t.Fatal(err)
	}
	var events []*event.Event
	for i, x := range plantedExchanges() {
		events = append(events, run(e, x, []int{200, 401, 302}[i%3], "Set-Cookie", "sid=next; Path=/", "Content-Type", "text/html"))
	}
	var x flow.Exchange
	if err := flow.ParseExchange([]byte(exampleLine), &x); err != nil {
		t.Fatal(err)
	}
	events = append(events, run(e, &x, x.Status))
	got, err := json.MarshalIndent(events, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile("testdata/golden.json", got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("events differ from testdata/golden.json; if that is meant, run go test -update and say so in the release notes\n%s", got)
	}
}
