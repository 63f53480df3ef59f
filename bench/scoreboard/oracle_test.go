package scoreboard

import (
	"testing"

	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/stream/event"
)

// Bots of one threat pay a second after the request before, of another at
// people's pace: an oracle tells the first apart and not the second.
func TestTheOracleSeesWhatOneVisitShows(t *testing.T) {
	o := NewOracle()
	visit := func(class traffic.Class, threat string, n int, gap int64) {
		l := &traffic.Label{Class: class, Who: threat, Threat: threat, Session: n}
		o.Add("run", &event.Event{Time: int64(n) * 1e12, Method: "GET", Route: "/"}, l)
		l.Attempt = threat != ""
		o.Add("run", &event.Event{Time: int64(n)*1e12 + gap, Method: "POST", Route: "/pay", Role: event.RolePayAuth}, l)
	}
	for n := range 400 {
		visit(traffic.Person, "", n, 20e9+int64(n)*1e8)
		visit(traffic.Bot, "OAT-006", n, 1e9)
		visit(traffic.Bot, "OAT-008", n, 20e9+int64(n)*1e8)
	}
	if got := o.Recall("OAT-006", []int{1}); got[0] < .95 {
		t.Errorf("quick payments: recall %v", got)
	}
	if got := o.Recall("OAT-008", []int{1}); got[0] > .3 {
		t.Errorf("payments at people's pace: recall %v", got)
	}
}
