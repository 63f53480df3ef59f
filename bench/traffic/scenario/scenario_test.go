package scenario

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"testing"
	"time"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/bots"
	"github.com/weirproject/weir/bench/traffic/people"
)

func TestSameSeedGivesSameBytes(t *testing.T) {
	sum := func(seed uint64) [32]byte {
		var out bytes.Buffer
		w := &traffic.Writer{Exchanges: &out, Combined: &out, Labels: &out}
		c := Config{Seed: seed, People: 200, Days: 2, Variant: people.Normal, Attacks: []string{"all:evasive@1x20", "OAT-008:rotating@0.5x50"}, Outage: true, Release: true}
		if err := Shop(c, w.Write); err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(out.Bytes())
	}
	first := sum(5)
	if again := sum(5); again != first {
		t.Error("two runs of one seed differ")
	}
	if sum(6) == first {
		t.Error("two seeds give the same traffic")
	}
}

func TestEveryThreatAtEveryLevel(t *testing.T) {
	for _, level := range []bots.Level{bots.Plain, bots.Evasive, bots.Hard} {
		attempts := map[string]int{}
		kinds := map[string]int{}
		last := int64(0)
		err := Shop(Config{Seed: 9, People: 1500, Days: 3, Variant: people.Hostile, Attacks: []string{"all:" + string(level) + "@0.2"}, Flash: true, Outage: true}, func(x *traffic.Exchange, l *traffic.Label) error {
			if x.Time < last {
				t.Fatalf("%s %s at %s comes after %s", x.Method, x.Target, time.Unix(0, x.Time), time.Unix(0, last))
			}
			last = x.Time
			if l.Class == traffic.Bot && l.Attempt {
				attempts[l.Threat]++
			}
			if l.Class != traffic.Bot {
				kinds[l.Kind]++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(attempts) != 21 {
			t.Errorf("%s: %d threats made attempts, want 21: %v", level, len(attempts), attempts)
		}
		for threat, n := range attempts {
			if n < 40 {
				t.Errorf("%s %s: only %d attempts", level, threat, n)
			}
		}
		for _, kind := range []string{
			"", "cgnat", "office", "kiosk", "family_tablet", "shared_account", "agency", "stale_client", "forgotten_password", "incognito", "vpn", "flash_sale", "dormant",
			"price_watcher", "tab_hoarder", "qa_team", "support", "monitor", "partner", "feed_reader", "declared_bot", "link_previewer",
		} {
			if kinds[kind] == 0 {
				t.Errorf("%s: no traffic of kind %q", level, kind)
			}
		}
	}
}

func TestBlogFamilies(t *testing.T) {
	attempts := map[string]int{}
	err := Blog(Config{Seed: 9, People: 300, Days: 1, Attacks: []string{"all"}}, func(_ *traffic.Exchange, l *traffic.Label) error {
		if l.Class == traffic.Bot {
			attempts[l.Who]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range bots.LogFamilies() {
		if attempts[name] < 40 {
			t.Errorf("%s: %d requests", name, attempts[name])
		}
	}
}

func TestExchangeLinesAreJSON(t *testing.T) {
	x := traffic.Exchange{ID: "r-1", Method: "GET", Target: "/\x00\xff\"", Headers: []traffic.Header{{Name: "A", Value: "b\\"}}, Status: 200}
	var v map[string]any
	if err := json.Unmarshal(x.AppendJSON(nil), &v); err != nil {
		t.Fatal(err)
	}
	if v["target"] != "/\x00\u00ff\"" {
		t.Errorf("target %q", v["target"])
	}
}

func TestConfigFaults(t *testing.T) {
	for _, c := range []Config{
		{People: 10, Days: 1},
		{People: 100},
		{People: 100, Days: 1, Variant: "odd"},
		{People: 100, Days: 1, Attacks: []string{"OAT-099:plain"}},
		{People: 100, Days: 1, Attacks: []string{"OAT-001:fierce"}},
		{People: 100, Days: 1, Attacks: []string{"OAT-001:plain@x"}},
	} {
		if err := Shop(c, func(*traffic.Exchange, *traffic.Label) error { return nil }); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	if _, err := Split("train").Seed(1); err == nil {
		t.Error("an unknown split was accepted")
	}
}
