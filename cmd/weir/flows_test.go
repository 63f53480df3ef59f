package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/demo"
	"github.com/weirproject/weir/stream/flow"
)

// command runs one command line and returns its standard output.
func command(ctx context.Context, t *testing.T, args ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	if err := root.ExecuteContext(ctx); err != nil {
		t.Fatalf("weir %s: %v", strings.Join(args, " "), err)
	}
	return out.Bytes()
}

// recordDemo writes two days of the demo's shop as an exchange file and as a
// combined access log.
func recordDemo(t *testing.T) (exchanges, combined string) {
	t.Helper()
	dir := t.TempDir()
	exchanges, combined = filepath.Join(dir, "demo.ndjson"), filepath.Join(dir, "access.log")
	var files [2]*bufio.Writer
	for i, path := range []string{exchanges, combined} {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = bufio.NewWriter(f)
		defer func() { _ = f.Close() }()
		defer func() { _ = files[i].Flush() }()
	}
	pairs := func(fields []flow.Field) (out [][2]string) {
		for _, f := range fields {
			out = append(out, [2]string{f.Name, f.Value})
		}
		return out
	}
	enc := json.NewEncoder(files[0])
	n, err := demo.Record(t.Context(), 2, time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), func(x *flow.Exchange) {
		err := enc.Encode(map[string]any{
			"id": x.ID, "time": x.Time.Format(time.RFC3339Nano), "client": x.Client.String(), "method": x.Method, "host": x.Host, "target": x.Target,
			"headers": pairs(x.Headers), "body": string(x.Body), "status": x.Status, "response_headers": pairs(x.ResponseHeaders), "response_body": string(x.ResponseBody),
		})
		if err != nil {
			t.Error(err)
		}
		_, _ = files[1].WriteString(x.Client.Addr().String() + " - - [" + x.Time.Format("02/Jan/2006:15:04:05 -0700") + `] "` + x.Method + " " + x.Target + ` HTTP/1.1" ` +
			string(rune('0'+x.Status/100)) + string(rune('0'+x.Status/10%10)) + string(rune('0'+x.Status%10)) + ` 10 "-" "x"` + "\n")
	})
	if err != nil || n < 1000 {
		t.Fatalf("%d exchanges: %v", n, err)
	}
	return exchanges, combined
}

// byRole lists a map's routes as "METHOD PATTERN" by role.
func byRole(m *flow.Map) map[string][]string {
	out := map[string][]string{}
	for i := range m.Routes {
		path := strings.Split(m.Routes[i].Match.Path, "/")
		for j, seg := range path {
			if strings.HasPrefix(seg, "{") {
				path[j] = "{}"
			}
		}
		out[m.Routes[i].Role] = append(out[m.Routes[i].Role], m.Routes[i].Match.Method+" "+strings.Join(path, "/"))
	}
	return out
}

func TestFlowsSuggestFindsWhatTheDemosMapSays(t *testing.T) {
	exchanges, combined := recordDemo(t)
	declared, err := config.ParseMap("demo", demo.Flows)
	if err != nil {
		t.Fatal(err)
	}
	want := byRole(declared)
	for name, file := range map[string]string{"exchanges": exchanges, "access log": combined} {
		text := command(t.Context(), t, "flows", "suggest", file, "--site", "shop")
		path := filepath.Join(t.TempDir(), "proposed.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := command(t.Context(), t, "flows", "check", path); !bytes.Contains(out, []byte("fine")) {
			t.Errorf("%s: flows check says %s", name, out)
		}
		got, err := config.LoadMap(path)
		if err != nil {
			t.Fatal(err)
		}
		roles := byRole(got)
		for role, routes := range want {
			for _, r := range routes {
				if r == "GET /search" && name == "access log" && len(roles[role]) == 0 {
					continue // nobody searches in this record
				}
				if r != "GET /search" && !slices.Contains(roles[role], r) {
					t.Errorf("%s: %s %s was not proposed, but %v:\n%s", name, role, r, roles[role], text)
				}
			}
		}
		for role := range roles {
			if want[role] == nil {
				t.Errorf("%s: %v is no %s", name, roles[role], role)
			}
		}
		if bytes.Contains(text, []byte("correct-")) || bytes.Contains(text, []byte("@shop.example")) {
			t.Errorf("%s: a value is in the proposal", name)
		}
		if name == "exchanges" {
			compareLogin(t, got, declared)
		}
	}
}

// compareLogin expects of the proposal what the written map says.
func compareLogin(t *testing.T, got, want *flow.Map) {
	t.Helper()
	if !slices.Equal(got.Identifiers.Session, want.Identifiers.Session) || !slices.Equal(got.Identifiers.Device, want.Identifiers.Device) ||
		!slices.Equal(got.Identifiers.Account, want.Identifiers.Account) {
		t.Errorf("identifiers %+v, want %+v", got.Identifiers, want.Identifiers)
	}
	find := func(m *flow.Map, role string) *flow.Route {
		i := slices.IndexFunc(m.Routes, func(r flow.Route) bool { return r.Role == role })
		if i < 0 {
			t.Fatalf("no %s", role)
		}
		return &m.Routes[i]
	}
	l, w := find(got, "login"), find(want, "login")
	if !slices.Equal(l.Claims.Account, w.Claims.Account) || !slices.Equal(l.Claims.Secret, w.Claims.Secret) || l.Proves != w.Proves ||
		l.Outcome.Success.Status != w.Outcome.Success.Status || l.Outcome.Failure.Status != w.Outcome.Failure.Status {
		t.Errorf("login %+v, want %+v", l, w)
	}
	for _, role := range []string{"pay_auth", "cart_add", "item_view"} {
		p := find(got, role)
		for _, o := range find(want, role).Objects {
			if !slices.ContainsFunc(p.Objects, func(have flow.NamedSelectors) bool {
				return have.Name == o.Name && slices.Equal(have.Selectors, o.Selectors)
			}) {
				t.Errorf("%s: %s is not among %+v", role, o.Name, p.Objects)
			}
		}
	}
}

func TestFlowsSuggestWritesJSON(t *testing.T) {
	exchanges, _ := recordDemo(t)
	var got struct {
		Site   string
		Routes []struct {
			Role       string
			Confidence int
			Reasons    []string
			Claims     map[string][]string
		}
	}
	if err := json.Unmarshal(command(t.Context(), t, "flows", "suggest", exchanges, "--site", "shop", "-o", "json"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Site != "shop" || len(got.Routes) < 4 || got.Routes[0].Role != "login" || got.Routes[0].Confidence < 80 || len(got.Routes[0].Reasons) < 3 ||
		got.Routes[0].Claims["account"][0] != "body:/user" {
		t.Errorf("%+v", got)
	}
}

// TestFlowsSuggestFindsTheSite: without --site it asks for the one that the store
// has requests of, and says so where there is none or more than one.
func TestFlowsSuggestFindsTheSite(t *testing.T) {
	var sites []string
	answering(t, func(w http.ResponseWriter, r *http.Request) {
		var q admin.SQLRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		rows := [][]any{}
		if strings.Contains(q.Query, "DISTINCT site") {
			for _, s := range sites {
				rows = append(rows, []any{s})
			}
		} else if strings.Contains(q.Query, "site = 'shop'") {
			rows = append(rows, []any{"POST", "/login", "", json.Number("200"), json.Number("40")})
		}
		admin.JSON(w, &admin.Table{Rows: rows}, nil)
	})
	for _, c := range []struct {
		sites []string
		args  []string
		fault string
	}{
		{[]string{"shop"}, nil, ""},
		{[]string{"blog", "shop"}, []string{"--site", "shop"}, ""},
		{[]string{"blog", "shop"}, nil, "--site (requests of the last 168h0m0s: blog, shop)"},
		{[]string{"shop"}, []string{"--site", "shpo"}, "--site"},
		{nil, nil, "nothing was stored"},
	} {
		sites = c.sites
		args := append([]string{"flows", "suggest", "--data", "data"}, c.args...)
		if c.fault == "" {
			if got := said(t, args...); !strings.Contains(got, "site: shop") {
				t.Errorf("%v of %v: %s", c.args, c.sites, got)
			}
			continue
		}
		root := newRoot()
		root.SetOut(io.Discard)
		root.SetArgs(args)
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%v of %v: %v", c.args, c.sites, err)
		}
	}
}
