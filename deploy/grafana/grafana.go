// Package grafana owns the dashboards and the provisioning files for Grafana
// with its ClickHouse plugin.
//
// It promises that every panel's SQL can be had as a plain statement, so that
// tests run the very text that Grafana will send. It talks to no server.
package grafana

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"
)

// Files holds dashboards/*.json and provisioning/*/*.yaml.
//
//go:embed dashboards/*.json provisioning
var Files embed.FS

// Panel is one query of a dashboard.
type Panel struct {
	Dashboard string
	Title     string
	// SQL is the query as it stands in the dashboard, with the plugin's macros.
	SQL string
	// Main says that an empty answer is a fault. A panel whose description
	// begins with "May be empty" is not main.
	Main bool
}

// dashboard is the part of Grafana's JSON that is needed here.
type dashboard struct {
	UID        string `json:"uid"`
	Title      string `json:"title"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Query string `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID          int    `json:"id"`
		Title       string `json:"title"`
		Description string `json:"description"`
		Datasource  struct {
			UID string `json:"uid"`
		} `json:"datasource"`
		GridPos struct{ X, Y, W, H int } `json:"gridPos"`
		Targets []struct {
			RawSQL string `json:"rawSql"`
		} `json:"targets"`
	} `json:"panels"`
}

func load() ([]dashboard, error) {
	names, err := fs.Glob(Files, "dashboards/*.json")
	if err != nil {
		return nil, fmt.Errorf("grafana dashboards: %w", err)
	}
	list := make([]dashboard, len(names))
	for i, name := range names {
		raw, err := Files.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(raw, &list[i])
		}
		if err != nil {
			return nil, fmt.Errorf("grafana %s: %w", name, err)
		}
	}
	return list, nil
}

// Panels returns every query of every dashboard, those of its variables too.
func Panels() ([]Panel, error) {
	dashboards, err := load()
	if err != nil {
		return nil, err
	}
	var list []Panel
	for _, d := range dashboards {
		for _, v := range d.Templating.List {
			list = append(list, Panel{Dashboard: d.UID, Title: "variable " + v.Name, SQL: v.Query, Main: true})
		}
		for _, p := range d.Panels {
			for _, t := range p.Targets {
				list = append(list, Panel{
					Dashboard: d.UID, Title: p.Title, SQL: t.RawSQL, Main: !strings.HasPrefix(p.Description, "May be empty"),
				})
			}
		}
	}
	return list, nil
}

var (
	timeFilter     = regexp.MustCompile(`\$__timeFilter\(([^()]*)\)`)
	timeInterval   = regexp.MustCompile(`\$__timeInterval\(([^()]*)\)`)
	conditionalAll = regexp.MustCompile(`\$__conditionalAll\([^()]*\([^()]*\), \$[a-z]+\)`)
	macro          = regexp.MustCompile(`\$[A-Za-z_{][A-Za-z_:}]*`)
)

// Expand replaces the plugin's macros as it does itself for that time range,
// with every variable set to All. An error names a macro that is left.
func Expand(sql string, from, to time.Time, interval time.Duration) (string, error) {
	seconds := func(t time.Time) string { return fmt.Sprintf("toDateTime(%d)", t.Unix()) }
	sql = timeFilter.ReplaceAllString(sql, "$1 >= "+seconds(from)+" AND $1 <= "+seconds(to))
	sql = timeInterval.ReplaceAllString(sql, fmt.Sprintf("toStartOfInterval(toDateTime($1), INTERVAL %d second)", max(int64(interval/time.Second), 1)))
	sql = conditionalAll.ReplaceAllString(sql, "1=1")
	sql = strings.NewReplacer("$__fromTime", seconds(from), "$__toTime", seconds(to)).Replace(sql)
	if left := macro.FindString(sql); left != "" {
		return "", fmt.Errorf("unknown macro %s in %s", left, sql)
	}
	return sql, nil
}
