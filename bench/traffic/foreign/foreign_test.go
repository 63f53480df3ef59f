package foreign

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/weirproject/weir/bench/traffic"
)

func TestSameSeedGivesSameBytes(t *testing.T) {
	for _, kind := range Kinds() {
		sum := func(seed uint64) [32]byte {
			var out bytes.Buffer
			w := &traffic.Writer{Exchanges: &out, Labels: &out}
			if err := Play(Config{Kind: kind, Seed: seed, People: 100, Days: 2, Level: evasive, Outage: true, Release: true}, w.Write); err != nil {
				t.Fatal(err)
			}
			return sha256.Sum256(out.Bytes())
		}
		first := sum(5)
		if sum(5) != first {
			t.Errorf("%s: two runs of one seed differ", kind)
		}
		if sum(6) == first {
			t.Errorf("%s: two seeds give the same traffic", kind)
		}
	}
}

// TestEveryThreatAtEveryLevel: each plan is played whole, in order of time.
func TestEveryThreatAtEveryLevel(t *testing.T) {
	for _, kind := range Kinds() {
		for _, level := range []string{plain, evasive, hard, rotating} {
			attempts, kinds, last := map[string]int{}, map[string]int{}, int64(0)
			err := Play(Config{Kind: kind, Seed: 3, People: 300, Days: 2, Level: level, Sale: true}, func(x *traffic.Exchange, l *traffic.Label) error {
				if x.Time < last {
					t.Fatalf("%s %s: %s %s comes out of order", kind, level, x.Method, x.Target)
				}
				last = x.Time
				if l.Class == traffic.Bot {
					if l.Level != level || l.Threat == "" {
						t.Fatalf("%s %s: label %+v", kind, level, l)
					}
					if l.Attempt {
						attempts[l.Threat]++
					}
					return nil
				}
				kinds[l.Kind]++
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			want := plans[kind]
			if level == rotating {
				want = []step{{threat: "OAT-008"}}
			}
			for _, s := range want {
				if attempts[s.threat] < 20 {
					t.Errorf("%s %s: %d attempts of %s", kind, level, attempts[s.threat], s.threat)
				}
			}
			if len(attempts) != len(want) {
				t.Errorf("%s %s: attempts of %d threats, want %d", kind, level, len(attempts), len(want))
			}
			for _, class := range []string{"home", "mobile", "office", "family", "kiosk", "shared", "forgetful", "pwman", "comparer", "private", "qa", "callcentre", "stale", "monitor"} {
				if kinds[class] == 0 {
					t.Errorf("%s %s: no traffic of class %q", kind, level, class)
				}
			}
		}
	}
}

// TestPeopleDoNotHangOnAttacks: what people send is the same with and without.
func TestPeopleDoNotHangOnAttacks(t *testing.T) {
	sum := func(level string) (lines [32]byte, n int) {
		h := sha256.New()
		err := Play(Config{Kind: Tickets, Seed: 8, People: 100, Days: 2, Level: level}, func(x *traffic.Exchange, l *traffic.Label) error {
			if l.Class != traffic.Bot && x.Time < int64(2*day*1e9) {
				n++
				h.Write(x.AppendJSON(nil))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return [32]byte(h.Sum(nil)), n
	}
	without, n := sum("")
	if with, m := sum(evasive); with != without || n < 1000 {
		t.Errorf("people sent %d exchanges without attacks and %d others with them", n, m)
	}
}

func TestConfigFaults(t *testing.T) {
	for _, c := range []Config{
		{Kind: "shop", People: 100, Days: 1},
		{Kind: Forum, People: 10, Days: 1},
		{Kind: Forum, People: 100},
		{Kind: Forum, People: 100, Days: 1, Level: "fierce"},
	} {
		if err := Play(c, func(*traffic.Exchange, *traffic.Label) error { return nil }); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	if name, flows := Flows("shop"); name != "" || flows != "" {
		t.Errorf("a flow map of an unknown site: %q", name)
	}
}
