package scoreboard

import (
	"math"
	"strings"
	"testing"

	"github.com/weirproject/weir/bench/traffic"
)

func TestBoundsMatchTheTables(t *testing.T) {
	// Garwood's exact Poisson limits: 3 events give 0.6187 to 8.7673.
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{3, 1000000, .6187, 8.7673}, {10, 1000000, 4.7954, 18.3904}, {0, 1000000, 0, 2.9957}} {
		r := Rate(c.k, c.n)
		if math.Abs(r.Low-c.low) > 1e-3 || math.Abs(r.High-c.high) > 1e-3 {
			t.Errorf("%d of %d: %+v, want %g to %g", c.k, c.n, r, c.low, c.high)
		}
	}
}

func TestTallyCountsAttemptsSessionsAndActors(t *testing.T) {
	tally := NewTally()
	add := func(action, actor string, l traffic.Label, second int64, threats ...string) {
		tally.Add("run", &Decision{Action: action, Actor: actor, Threats: threats}, &l, second*1e9)
	}
	bot := traffic.Label{Class: traffic.Bot, Who: "c", Threat: "OAT-008", Level: "plain", Session: 1, Attempt: true}
	add("allow", "a1", bot, 10)
	add("observe", "a1", bot, 11, "OAT-008")
	add("challenge", "a1", bot, 12, "OAT-007")
	add("block", "a1", bot, 20, "OAT-008")
	bot.Attempt = false
	add("allow", "a1", bot, 21)
	person := traffic.Label{Class: traffic.Person, Who: "p1", Kind: "office", Session: 1}
	add("allow", "a2", person, 12)
	add("block", "a2", person, 13, "OAT-008")
	person.Session = 2
	add("rate_limit", "a2", person, 14, "OAT-011")
	add("allow", "a3", traffic.Label{Class: traffic.Person, Who: "p1", Session: 3}, 15)
	add("block", "s", traffic.Label{Class: traffic.Service, Who: "s-uptime", Kind: "monitor", Session: 3}, 15)

	c := tally.Campaigns()[0]
	if c.Attempts != 4 || c.Challenged != 1 || c.Blocked != 1 || c.FirstAttempts != 2 || c.FirstSeconds != 2 || c.FirstBlock != 3 || c.RightThreat != 1 {
		t.Errorf("campaign %+v", c)
	}
	kinds := tally.Kinds()
	if len(kinds) != 4 || kinds[0].Sessions != 3 || kinds[0].Blocked != 1 || kinds[0].Challenged != 1 || kinds[1].Name != "office" || kinds[3].Name != "service: monitor" {
		t.Errorf("kinds %+v", kinds)
	}
	if p := tally.People(); p.Precision != 1 || math.Abs(p.Recall-1.0/3) > 1e-9 {
		t.Errorf("people's actors %+v", p)
	}
	if p := tally.Precision()["OAT-008"]; p != .5 {
		t.Errorf("precision %g", p)
	}
	var out strings.Builder
	if err := tally.Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| OAT-008 | plain | 1 | 4 | 50.0 % | 25.0 % | 2 (2); 2 (2) | 3 | 50 % | 0.50 |", "**all people** | 3 |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, out.String())
		}
	}
}
