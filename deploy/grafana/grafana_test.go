package grafana

import (
	"io/fs"
	"strings"
	"testing"
	"time"
)

func TestDashboards(t *testing.T) {
	dashboards, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(dashboards) != 3 {
		t.Errorf("%d dashboards, want 3", len(dashboards))
	}
	seen := map[string]bool{}
	for _, d := range dashboards {
		if d.UID == "" || d.Title == "" || seen[d.UID] {
			t.Errorf("dashboard %q %q: uid or title missing or taken", d.UID, d.Title)
		}
		seen[d.UID] = true
		ids, taken := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			if p.ID == 0 || ids[p.ID] || p.Title == "" || p.Description == "" || p.Datasource.UID != "weir" || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d %q lacks an id, a title, a description, the data source or a query", d.UID, p.ID, p.Title)
			}
			ids[p.ID] = true
			if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W <= 0 || p.GridPos.H <= 0 {
				t.Errorf("%s: panel %q is outside the grid", d.UID, p.Title)
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Fatalf("%s: panels %q and %q overlap", d.UID, other, p.Title)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

func TestPanelsExpand(t *testing.T) {
	panels, err := Panels()
	if err != nil {
		t.Fatal(err)
	}
	main := 0
	for _, p := range panels {
		sql, err := Expand(p.SQL, time.Unix(1000, 0), time.Unix(2000, 0), time.Minute)
		if err != nil {
			t.Errorf("%s, %s: %v", p.Dashboard, p.Title, err)
		}
		if !strings.HasPrefix(sql, "SELECT ") || strings.Contains(sql, ";") {
			t.Errorf("%s, %s: not one SELECT: %s", p.Dashboard, p.Title, sql)
		}
		if p.Main {
			main++
		}
	}
	if main < 25 {
		t.Errorf("%d main panels, want at least 25", main)
	}
}

func TestExpand(t *testing.T) {
	from, to := time.Unix(1000, 0), time.Unix(2000, 0)
	const raw = "SELECT $__timeInterval(time) AS time FROM t WHERE $__timeFilter(e.time) AND $__conditionalAll(site IN (${site:singlequote}), $site) AND hour > $__fromTime"
	const want = "SELECT toStartOfInterval(toDateTime(time), INTERVAL 60 second) AS time FROM t WHERE e.time >= toDateTime(1000) AND e.time <= toDateTime(2000) AND 1=1 AND hour > toDateTime(1000)"
	if got, err := Expand(raw, from, to, time.Minute); err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	if got, err := Expand("SELECT $__unknown(time)", from, to, time.Minute); err == nil {
		t.Errorf("an unknown macro gave %s", got)
	}
}

func TestProvisioningIsEmbedded(t *testing.T) {
	for _, name := range []string{"provisioning/datasources/weir.yaml", "provisioning/dashboards/weir.yaml"} {
		if raw, err := fs.ReadFile(Files, name); err != nil || !strings.HasPrefix(string(raw), "# ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
