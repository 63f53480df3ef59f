package scoreboard

import (
	"slices"
	"strings"
	"testing"

	"github.com/weirproject/weir/baseline/route"
	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/scenario"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/flow"
)

// blank replaces the names of a path's variables.
func blank(path string) string {
	segments := strings.Split(path, "/")
	for i, seg := range segments {
		if strings.HasPrefix(seg, "{") {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}

// TestSuggestOnTheShop surveys the shop without its flow map and expects what
// the map says: nearly every route with its role, and hardly any other.
func TestSuggestOnTheShop(t *testing.T) {
	m, err := config.LoadMap("../traffic/shop.flows.yaml")
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]string{}
	for _, r := range m.Routes {
		declared[r.Match.Method+" "+blank(r.Match.Path)] = r.Role
	}
	s := route.NewSurvey()
	var line []byte
	seen := map[string]int{}
	err = scenario.Shop(scenario.Config{Seed: 77, People: 1200, Days: 2}, func(x *traffic.Exchange, _ *traffic.Label) error {
		x.ID = "r-1"
		line = x.AppendJSON(line[:0])
		var fx flow.Exchange
		if err := flow.ParseExchange(line, &fx); err != nil {
			return err
		}
		path, _, _ := strings.Cut(x.Target, "?")
		seen[x.Method+" "+path]++
		s.Add(&fx)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p := s.Suggest("shop")
	right, roles := 0, map[string]bool{}
	for i, r := range p.Map.Routes {
		at := r.Match.Method + " " + blank(r.Match.Path)
		t.Logf("%-15s %-40s %3d %v", r.Role, at, p.Notes[i].Confidence, p.Notes[i].Reasons)
		if declared[at] == r.Role {
			right++
			roles[r.Role] = true
		} else {
			t.Logf("declared as %q", declared[at])
		}
	}
	// Few visitors use the rarest routes, once or not at all.
	found, rare := 0, 0
	for at, role := range declared {
		if !strings.Contains(at, "{") && seen[at] < 2 {
			rare++
		} else if slices.ContainsFunc(p.Map.Routes, func(r flow.Route) bool { return r.Role == role && r.Match.Method+" "+blank(r.Match.Path) == at }) {
			found++
		} else {
			t.Logf("not found: %s %s (%d requests)", role, at, seen[at])
		}
	}
	t.Logf("precision %d/%d, recall %d/%d", right, len(p.Map.Routes), found, len(declared)-rare)
	if right*100 < len(p.Map.Routes)*90 || found*100 < (len(declared)-rare)*90 {
		t.Error("precision or recall is below 0.9")
	}
	for _, role := range []string{"login", "search", "item_view", "cart_add", "pay_auth", "signup"} {
		if !roles[role] {
			t.Errorf("%s was not found", role)
		}
	}
	if !slices.Equal(p.Map.Identifiers.Session, m.Identifiers.Session) || !slices.Equal(p.Map.Identifiers.Account, m.Identifiers.Account) || !slices.Equal(p.Map.Identifiers.Device, m.Identifiers.Device) {
		t.Errorf("identifiers %+v, want %+v", p.Map.Identifiers, m.Identifiers)
	}
}
