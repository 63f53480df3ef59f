package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/config"
)

// contract is the example of CONTRACTS.md section 3.
const contract = `apiVersion: weir/v1
kind: Config
data: ./weir-data
kafka: {brokers: []}
clickhouse: {addr: []}
sites:
  - name: shop
    hosts: [shop.example]
    upstream: http://127.0.0.1:9000
    flows: flows/shop.yaml
    fail: open
    routes: [{match: {path: "/api/transfer"}, fail: closed, mode: shadow, bodyLimit: 1MiB}]
enforce:
  listen: 127.0.0.1:8080
  tls: {cert: "", key: ""}
  mode: shadow
  trustedProxies: []
  clientHeader: ""
  proxyProtocol: false
  bodyLimit: 10MiB
  timeouts: {header: 10s, idle: 60s, upstream: 60s}
  staleAfter: 10m
allowlists: [{name: office, clients: [198.51.100.0/24], reason: "...", expires: 2027-01-01}]
feed: {listen: "", tls: {cert: "", key: ""}}
retention: {events: 30d, cold: 90d, decisions: 90d, log: 2GiB, disk: 50GiB}
collect:
  ebpf: {enabled: auto, ports: []}
  accessLogs: [{path: /var/log/nginx/access.log, format: combined, site: shop}]
sinks: [{name: siem, type: file, format: ocsf, path: ./weir-data/siem.ndjson}]
admin: {listen: 127.0.0.1:6060}
keys: {pseudonym: ./weir-data/keys/pseudonym}
process: {snapshots: ./weir-data/snapshots}
`

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func TestContractExample(t *testing.T) {
	c, err := config.Parse("weir.yaml", []byte(contract), env())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ got, want any }{
		{c.Sites[0].Routes[0].BodyLimit, config.Size(1 << 20)},
		{c.Sites[0].Routes[0].Match.Path, "/api/transfer"},
		{time.Duration(c.Retention.Events), 30 * 24 * time.Hour},
		{int64(c.Retention.Log), int64(2 << 30)},
		{c.Allowlists[0].Clients[0].String(), "198.51.100.0/24"},
		{c.Allowlists[0].Expires, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)},
		{time.Duration(c.Enforce.Timeouts.Header), 10 * time.Second},
	} {
		if x.got != x.want {
			t.Errorf("got %v, want %v", x.got, x.want)
		}
	}
	// What it says is the default, apart from what names things.
	d := config.Default()
	d.Sites, d.Allowlists, d.Sinks, d.Collect.AccessLogs = c.Sites, c.Allowlists, c.Sinks, c.Collect.AccessLogs
	d.Keys, d.Process.Snapshots = c.Keys, c.Process.Snapshots
	d.Kafka.Brokers, d.ClickHouse.Addr, d.Collect.EBPF.Ports, d.Enforce.TrustedProxies = []string{}, []string{}, []uint16{}, c.Enforce.TrustedProxies
	if changes := c.Diff(&d); changes != nil {
		t.Errorf("differs from the defaults: %+v", changes)
	}
}

func TestFaultsNameFileLineAndNearestKey(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":         {"data: x\nenforc: {}\n", `weir.yaml:2: key "enforc" is not known: did you mean "enforce"?`},
		"unknown inner key":   {"enforce:\n  listen: 127.0.0.1:1\n  bodylimit: 1MiB\n", `weir.yaml:3: enforce: key "bodylimit" is not known: did you mean "bodyLimit"?`},
		"twice":               {"data: x\ndata: y\n", `weir.yaml:2: key "data" stands twice`},
		"duration":            {"enforce: {staleAfter: 10 minutes}", `weir.yaml:1: enforce.staleAfter: "10 minutes" is no duration such as 10s`},
		"size":                {"enforce: {bodyLimit: 10 megs}", `enforce.bodyLimit: "10 megs" is no size`},
		"network":             {"enforce: {trustedProxies: [10.0.0.1/8]}", `enforce.trustedProxies[0]: "10.0.0.1/8" has bits set beyond its length: did you mean "10.0.0.0/8"?`},
		"enum":                {"enforce: {mode: enforced}", `enforce.mode: "enforced" is none of shadow, enforce: did you mean "enforce"?`},
		"kind of value":       {"sites: shop", `sites: want a list, got a single value`},
		"syntax":              {"data: [\n", `weir.yaml:`},
		"variable":            {"data: ${WEIR_NOWHERE}", `data: environment variable WEIR_NOWHERE is not set`},
		"two documents":       {"data: x\n---\ndata: y\n", "more than one YAML document"},
		"site":                {"sites: [{name: shop}]\ncollect: {accessLogs: [{path: a, site: shob}]}", `weir.yaml:2: collect.accessLogs[0].site: site "shob" is not declared: did you mean "shop"?`},
		"upstream":            {"sites:\n- name: a\n  upstream: localhost:9000\n", `weir.yaml:3: sites[0].upstream: want a URL`},
		"snapshots on ftp":    {"process: {snapshots: 'ftp://h/x'}", "process.snapshots: ftp:// is no place"},
		"a bucket's name":     {"process: {snapshots: 's3://A/x'}", "process.snapshots: \"s3://A/x\": want s3://BUCKET/PREFIX"},
		"one key of two":      {"process: {snapshots: 's3://abc/x', s3: {accessKey: a}}", "process.s3: needs both"},
		"s3 without a bucket": {"process: {s3: {region: a}}", "process.s3: is set, but"},
		"feed in the clear":   {"enforce: {feed: {url: \"http://192.0.2.1:7000\", key: k}}", "enforce.feed.url: must begin with https://"},
		"feed without a key":  {"enforce: {feed: {url: \"https://192.0.2.1:7000\"}}", "enforce.feed.key: is required"},
		"feed elsewhere":      {"enforce: {feed: {url: \"https://192.0.2.1:7000/feed\", key: k}}", "enforce.feed.url: must end with"},
		"key without feed":    {"enforce: {feed: {key: k}}", "enforce.feed.url: is empty"},
		"feed":                {"feed: {listen: \"0.0.0.0:7000\"}", "feed.tls: is required"},
		"rollout to nobody":   {"sites: [{name: a, rollout: 0}]", "sites[0].rollout: 0 would act on nobody"},
		"a route's rollout":   {"sites: [{name: a, routes: [{match: {path: /x}, rollout: 0}]}]", "sites[0].routes[0].rollout: 0 would act on nobody"},
		"PROXY from nobody":   {"enforce: {proxyProtocol: true}", "enforce.proxyProtocol: is expected from trusted proxies only"},
		"everybody":           {"allowlists: [{name: a, clients: [0.0.0.0/0]}]", "is everybody"},
		"small log":           {"retention: {log: 127MiB}", "retention.log: 127MiB is less than 128MiB"},
		"port taken":          {"admin: {listen: \"127.0.0.1:8080\"}", "admin.listen: 127.0.0.1:8080 is used by enforce.listen already"},
		"alias to itself":     {"sites: &a [*a]", "sites[0]: want keys and values, got a list"},
		"version":             {"apiVersion: weir/v2", `"weir/v2" is none of weir/v1`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("weir.yaml", []byte(c.text), env())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	_, err := config.Parse("weir.yaml", []byte("enforce: {mode: x, bodyLimit: y}\nsinks: [{}]\n"), env())
	if err == nil || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("not all faults at once: %v", err)
	}
}

func TestInterpolation(t *testing.T) {
	text := "data: ${DIR:-/var/lib/weir}/x\nnode: ${NODE}\nkafka: {brokers: [\"${HOST:-a}:${PORT:-9092}\"]}\nenforce: {killSwitch: \"${PP:-true}\"}\nclickhouse: {password: \"$${LITERAL}\"}\n"
	c, err := config.Parse("weir.yaml", []byte(text), env("NODE", "n${X}", "HOST", ""))
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "/var/lib/weir/x" || c.Node != "n${X}" || c.Kafka.Brokers[0] != "a:9092" || !c.Enforce.KillSwitch || c.ClickHouse.Password != "${LITERAL}" {
		t.Errorf("%+v", c)
	}
	if c.Keys.Pseudonym != "/var/lib/weir/x/keys/pseudonym" {
		t.Errorf("key default %s", c.Keys.Pseudonym)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const smallMap = "apiVersion: weir/v1\nkind: FlowMap\nsite: shop\nidentifiers:\n  session: cookie:sid\nroutes:\n- match: {method: GET, path: \"/item/{id}\"}\n  role: item_view\n  objects: {item: \"path:id\"}\n"

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "weir.yaml")
	write(t, file, contract)
	write(t, file+".local", "enforce:\n  mode: enforce\nretention: {disk: 60GiB}\n")
	write(t, filepath.Join(dir, "flows/shop.yaml"), smallMap)
	l, err := config.Load(file, env())
	if err != nil {
		t.Fatal(err)
	}
	if l.Enforce.Mode != "enforce" || l.Enforce.Listen != "127.0.0.1:8080" || l.Retention.Disk != 60<<30 || len(l.Files) != 2 {
		t.Errorf("%+v", l)
	}
	sites := l.FlowSites()
	if len(sites) != 1 || sites[0].Map == nil || sites[0].Map.Routes[0].Objects[0].Name != "item" {
		t.Errorf("%+v", sites)
	}
	write(t, file+".local", "enforce:\n  mod: enforce\n")
	if _, err := config.Load(file, env()); err == nil || !strings.Contains(err.Error(), "weir.yaml.local:2: enforce: key \"mod\"") {
		t.Errorf("local fault: %v", err)
	}
	write(t, file+".local", "")
	write(t, filepath.Join(dir, "flows/shop.yaml"), strings.Replace(smallMap, "item_view", "itemview", 1))
	if _, err := config.Load(file, env()); err == nil || !strings.Contains(err.Error(), `shop.yaml:8: routes[0].role: role "itemview" is not known: did you mean "item_view"?`) {
		t.Errorf("flow fault: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "flows/shop.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(file, env()); err == nil || !strings.Contains(err.Error(), "weir.yaml:10: sites[0].flows: read flow map: open") {
		t.Errorf("missing map: %v", err)
	}
	if _, err := config.Load("", env()); err != nil {
		t.Errorf("the defaults have faults: %v", err)
	}
}

func TestFilesBesideTheConfigurationBecomeAbsolute(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "shop.yaml"), "apiVersion: weir/v1\nkind: FlowMap\nsite: shop\n")
	file := filepath.Join(dir, "weir.yaml")
	write(t, file, "apiVersion: weir/v1\nkind: Config\nsites: [{name: shop, hosts: ['*'], flows: shop.yaml}]\nlookup: {asn: data/asn.tsv, verifiedBots: /etc/bots.tsv}\n")
	c, err := config.Load(file, env())
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		c.Sites[0].Flows: filepath.Join(dir, "shop.yaml"), c.Lookup.ASN: filepath.Join(dir, "data/asn.tsv"), c.Lookup.VerifiedBots: "/etc/bots.tsv",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	// What is written elsewhere names the same files.
	other := filepath.Join(t.TempDir(), "effective.yaml")
	if err := c.WriteFile(other); err != nil {
		t.Fatal(err)
	}
	if again, err := config.Load(other, env()); err != nil || again.Maps["shop"] == nil {
		t.Errorf("read back from another directory: %v", err)
	}
}

func TestPrintRoundTripsAndHidesSecrets(t *testing.T) {
	text := strings.Replace(contract, "clickhouse: {addr: []}", "clickhouse: {addr: [\"h:9000\"], username: weir, password: planted-secret-1}", 1)
	text = strings.Replace(text, "kafka: {brokers: []}", "kafka: {brokers: [\"b:9092\"], sasl: {mechanism: PLAIN, username: u, password: planted-secret-2}}", 1)
	text = strings.Replace(text, "path: ./weir-data/siem.ndjson}", "path: \"a${B:-b}: c\"}, {name: hook, type: webhook, url: \"https://h.example/\", token: planted-secret-3, headers: {X-Key: planted-secret-4}}", 1)
	c, err := config.Parse("weir.yaml", []byte(text), env())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "planted") || strings.Count(out.String(), "(hidden)") != 4 {
		t.Errorf("secrets:\n%s", out.String())
	}
	again, err := config.Parse("printed.yaml", out.Bytes(), env())
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	c.ClickHouse.Password, c.Kafka.SASL.Password, c.Sinks[1].Token, c.Sinks[1].Headers["X-Key"] = "(hidden)", "(hidden)", "(hidden)", "(hidden)"
	var second bytes.Buffer
	if err := again.Print(&second); err != nil || second.String() != out.String() {
		t.Errorf("%v\n%s\n%s", err, out.String(), second.String())
	}
}

func TestDiffClassifiesChanges(t *testing.T) {
	a, b := config.Default(), config.Default()
	b.Enforce.Mode, b.Enforce.Listen, b.Sites, b.Data = "enforce", "127.0.0.1:1", []config.Site{{Name: "x"}}, "/d"
	got := b.Diff(&a)
	want := []config.Change{{Path: "data"}, {Path: "sites", Reload: true}, {Path: "enforce.listen"}, {Path: "enforce.mode", Reload: true}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := a.Diff(&a); got != nil {
		t.Errorf("no change: %+v", got)
	}
	// What was read once more may have an empty list where there was none.
	c := config.Default()
	c.Kafka.Brokers, a.Sites, c.Sites = []string{}, []config.Site{{Name: "x"}}, []config.Site{{Name: "x", Hosts: []string{}}}
	if got := c.Diff(&a); got != nil {
		t.Errorf("empty lists: %+v", got)
	}
}

func TestSchema(t *testing.T) {
	for _, f := range []func() ([]byte, error){config.Schema, config.MapSchema} {
		text, err := f()
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Properties map[string]struct {
				Description string
				Properties  map[string]any
			}
			AdditionalProperties bool
		}
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		if len(s.Properties) < 5 || s.AdditionalProperties {
			t.Errorf("%s", text)
		}
		for name, p := range s.Properties {
			if p.Description == "" {
				t.Errorf("%s has no description", name)
			}
		}
	}
}

func TestScalars(t *testing.T) {
	for s, want := range map[string]time.Duration{"10s": 10 * time.Second, "30d": 720 * time.Hour, "2w": 336 * time.Hour, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0} {
		d, err := config.ParseDuration(s)
		if err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v %v", s, d, err)
		}
		if again, err := config.ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%s prints as %s", s, d)
		}
	}
	for _, s := range []string{"", "d", "-1s", "1", "1.5d", "99999999999d", "1y"} {
		if d, err := config.ParseDuration(s); err == nil {
			t.Errorf("%q is %v", s, d)
		}
	}
	for s, want := range map[string]int64{"2GiB": 2 << 30, "10 MiB": 10 << 20, "1kB": 1000, "4096": 4096, "7B": 7, "0": 0} {
		n, err := config.ParseSize(s)
		if err != nil || int64(n) != want {
			t.Errorf("%s: %v %v", s, n, err)
		}
		if again, err := config.ParseSize(n.String()); err != nil || again != n {
			t.Errorf("%s prints as %s", s, n)
		}
	}
	for _, s := range []string{"", "GiB", "-1", "1.5GiB", "9999999TiB", "1 GiBs"} {
		if n, err := config.ParseSize(s); err == nil {
			t.Errorf("%q is %v", s, n)
		}
	}
}

func TestKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys", "pseudonym")
	if _, err := config.Keyring(file, env()); err == nil {
		t.Error("a missing key file was loaded")
	}
	ring, created, err := config.EnsureKeyring(file, env())
	if err != nil || !created {
		t.Fatal(created, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, created, err := config.EnsureKeyring(file, env())
	if err != nil || created || again.KeyID() != ring.KeyID() {
		t.Errorf("second load: %v %v", created, err)
	}
	if err := config.RotateKey(file); err != nil {
		t.Fatal(err)
	}
	rotated, err := config.Keyring(file, env())
	if err != nil || len(rotated.KeyIDs()) != 2 || rotated.KeyIDs()[1] != ring.KeyID() {
		t.Errorf("rotated: %v %v", rotated.KeyIDs(), err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode after rotation %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Keyring(file, env()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a readable key: %v", err)
	}
	if err := config.RotateKey("env:K"); err == nil || !strings.Contains(err.Error(), "environment variable K") {
		t.Errorf("a key of the environment: %v", err)
	}
	hexKey := strings.Repeat("0f", 32)
	if _, err := config.Keyring("env:K", env("K", hexKey)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "zz" + hexKey, "0f0f", hexKey + "," + hexKey} {
		if _, err := config.Keyring("env:K", env("K", bad)); err == nil || strings.Contains(err.Error(), "0f0f0f") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(contract))
	f.Add([]byte("a: &a {b: *a}\n"))
	f.Add([]byte("enforce: {mode: ${X:-shadow}}"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = config.Parse("weir.yaml", text, env("X", "y"))
	})
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte(smallMap))
	f.Add([]byte("routes: [{match: {path: /a}, objects: {card: [body:/a, form:b]}, outcome: {success: {status: 2xx, response_body: {/a: '*'}}}}]"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = config.ParseMap("map.yaml", text)
	})
}

// TestFlowMapIsFoundFromElsewhere: the parts of weir up read the configuration
// again from the run directory.
func TestFlowMapIsFoundFromElsewhere(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"etc/flows/shop.yaml": smallMap,
		"etc/weir.yaml":       "sites: [{name: shop, hosts: ['*'], upstream: 'http://127.0.0.1:9000', flows: flows/shop.yaml}]\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := config.Load("etc/weir.yaml", env())
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "weir.yaml")
	if err := l.WriteFile(other); err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(other, env())
	if err != nil || again.Maps["shop"] == nil {
		t.Fatalf("maps %v, %v", again, err)
	}
}

func TestKeysThatWouldDoNothingAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"lapi: {listen: '127.0.0.1:8081'}":            "lapi.listen: is not built yet",
		"appsec: {listen: '127.0.0.1:7422'}":          "appsec.listen: is not built yet",
		"sinks: [{name: a, type: syslog}]":            `"syslog" is none of file, webhook`,
		"sinks: [{name: a, type: file, format: cef}]": `"cef" is none of ocsf, json`,
		"lapi: {pprof: true}":                         `lapi: key "pprof" is not known`,
		"kafka: {replicas: -1}":                       "kafka.replicas: -1 is not between",
	} {
		_, err := config.Parse("weir.yaml", []byte(text), env())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestPrintJSON(t *testing.T) {
	c := config.Default()
	c.ClickHouse.Password = "hunter2"
	var out bytes.Buffer
	if err := c.PrintJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Enforce struct{ Listen, BodyLimit string }
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Enforce.Listen != "127.0.0.1:8080" || got.Enforce.BodyLimit != "10MiB" {
		t.Errorf("%v %+v", err, got)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Error("the password is shown")
	}
}

func TestRolloutsThatAreNotSaid(t *testing.T) {
	c, err := config.Parse("weir.yaml", []byte("sites:\n  - {name: a, rollout: 10, routes: [{match: {path: /x}}, {match: {path: /y}, rollout: 5}]}\n  - {name: b}\n"), env())
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Sites[0], c.Sites[1]
	if a.Rollout != 10 || a.Routes[0].Rollout != 10 || a.Routes[1].Rollout != 5 || b.Rollout != 100 {
		t.Errorf("%d %d %d %d, want 10 10 5 100", a.Rollout, a.Routes[0].Rollout, a.Routes[1].Rollout, b.Rollout)
	}
}

// TestASiteThatFlagsAddIsWhole: what weir up writes for its parts must read back.
func TestASiteThatFlagsAddIsWhole(t *testing.T) {
	c := config.Default()
	c.Sites = append(c.Sites, config.Site{Name: "shop", Hosts: []string{"*"}, Upstream: "http://127.0.0.1:9000"})
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := c.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(path, env())
	if err != nil {
		t.Fatal(err)
	}
	if s := again.Sites[0]; s.Rollout != 100 || s.Fail != "open" {
		t.Errorf("%+v", s)
	}
}
