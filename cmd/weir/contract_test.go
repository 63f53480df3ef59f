package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/event"
)

// guesses writes exchanges of a tool that guesses passwords.
func guesses(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	begin := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for i := range n {
		_, _ = fmt.Fprintf(&b, `{"id":"r-%d","time":%q,"client":"203.0.113.7:5%03d","method":"POST","host":"shop.example","target":"/api/login",`+
			`"headers":[["User-Agent","python-requests/2.31"],["Content-Type","application/json"],["Cookie","sid=s%d; did=d1"]],"body":"{\"user\":\"u%d\",\"password\":\"x\"}","status":401,"duration_us":900}`+"\n",
			i, begin.Add(time.Duration(i)*400*time.Millisecond).Format(time.RFC3339Nano), i, i/20, i)
	}
	if err := os.WriteFile("guesses.ndjson", []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return "guesses.ndjson"
}

const loginMap = `apiVersion: weir/v1
kind: FlowMap
site: shop
identifiers: {session: ["cookie:sid"], device: ["cookie:did"]}
routes:
  - match: {method: POST, path: /api/login}
    role: login
    claims: {account: "body:/user", secret: "body:/password"}
    outcome: {success: {status: "200"}, failure: {status: "401,403"}}
    proves: account
`

// object is a JSON object with its keys in order.
type object struct {
	keys   []string
	values map[string]json.RawMessage
}

func parseObject(t *testing.T, b []byte) object {
	t.Helper()
	o := object{values: map[string]json.RawMessage{}}
	if err := json.Unmarshal(b, &o.values); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	_, _ = dec.Token()
	for dec.More() {
		key, _ := dec.Token()
		o.keys = append(o.keys, key.(string))
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// want checks one field's text form.
func (o object) want(t *testing.T, key, form string) {
	t.Helper()
	if !regexp.MustCompile(`^(?:` + form + `)$`).Match(o.values[key]) {
		t.Errorf("%s is %s, want %s", key, o.values[key], form)
	}
}

// The forms of CONTRACTS.md section 8.
const (
	timeForm = `"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"`
	numForm  = `-?\d+(\.\d{1,9})?`
	listForm = `\[.*\]`
)

// TestReplayWritesWhatTheContractNames walks sections 6 and 8 field by field.
func TestReplayWritesWhatTheContractNames(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("WEIR_DATA", "")
	if err := os.WriteFile("shop.yaml", []byte(loginMap), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run([]string{"replay", guesses(t, 80), "--site", "shop", "--flows", "shop.yaml", "--mode", "enforce", "--decisions", "d.ndjson", "--verdicts", "v.ndjson"}); code != 0 {
		t.Fatalf("exit %d", code)
	}
	decisions := lines(t, "d.ndjson")
	if len(decisions) != 80 {
		t.Fatalf("%d decisions", len(decisions))
	}
	for _, b := range decisions {
		o := parseObject(t, b)
		want := []string{"id", "time", "site", "action", "proposed", "mode", "verdict", "actor", "scope", "threats", "reason"}
		if !slices.Equal(o.keys, want) {
			t.Fatalf("a decision has the fields %v, want %v", o.keys, want)
		}
		o.want(t, "time", timeForm)
		o.want(t, "actor", `"a_[0-9a-f]{16}"`)
		o.want(t, "verdict", `"(v_[0-9a-f]{32})?"`)
		o.want(t, "threats", `\[("OAT-0\d\d"(,"OAT-0\d\d")*)?\]`)
	}
	verdicts := lines(t, "v.ndjson")
	if len(verdicts) == 0 {
		t.Fatal("no verdict")
	}
	for i, b := range verdicts {
		verdictForm(t, parseObject(t, b), i+1)
	}
}

func lines(t *testing.T, path string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(b), []byte{'\n'})
}

func verdictForm(t *testing.T, o object, number int) {
	t.Helper()
	for key, form := range map[string]string{
		"id": `"v_[0-9a-f]{32}"`, "revision": `[1-9]\d*`, "sequence": strconv.Itoa(number), "site": `"shop"`, "time": timeForm, "expires": timeForm,
		"scope": `"(request|session|actor|cohort|site)"`, "actor": `"a_[0-9a-f]{16}"`, "action": `"(allow|observe|rate_limit|challenge|redirect|rewrite|block)"`,
		"mode": `"enforce"`, "threats": `\["OAT-0\d\d"(,"OAT-0\d\d")*\]`, "score": numForm, "confidence": `0\.\d+|1`, "false_positive_bound": numForm,
		"bound": `"(empirical|model)"`, "binds": `\[\{.*\}\]`, "evidence": `\{.*\}`, "baseline": `"b_[0-9a-f]{16}"`, "engine": `"\d+\.\d+\.\d+"`,
		"policy": `"sha256:[0-9a-f]{64}"`,
	} {
		o.want(t, key, form)
	}
	var binds []json.RawMessage
	if err := json.Unmarshal(o.values["binds"], &binds); err != nil {
		t.Fatal(err)
	}
	for _, g := range binds {
		groupForm(t, parseObject(t, g))
	}
	ev := parseObject(t, o.values["evidence"])
	for key, form := range map[string]string{"summary": `".{20,}"`, "features": listForm, "events": `\["r-\d+".*\]`, "range": `\{"topic":"weir\.events","partition":0,"from":\d+,"to":\d+\}`} {
		ev.want(t, key, form)
	}
	if links := ev.values["links"]; links != nil {
		ev.want(t, "links", `\[(,?\{"from":"(a_[0-9a-f]{16}|[a-z_]+(:[a-z_]+)?(:[0-9a-f]{16})?)","to":"a_[0-9a-f]{16}","bits":-?[0-9.]+\})+\]`)
	}
	var features []struct{ Bits float64 }
	var score, sum float64
	if err := json.Unmarshal(ev.values["features"], &features); err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(o.values["score"], &score) // its form has been checked
	for _, f := range features {
		sum += f.Bits
	}
	if len(features) == 0 || math.Abs(sum-score) > .0005 {
		t.Errorf("%d features of %.3f bits add up to a score of %.3f", len(features), sum, score)
	}
}

func groupForm(t *testing.T, g object) {
	t.Helper()
	for _, key := range g.keys {
		if !slices.Contains([]string{"all", "none", "routes", "expires"}, key) {
			t.Errorf("a group has the field %s", key)
		}
	}
	for _, key := range []string{"all", "none"} {
		var binds []struct{ Kind, Value string }
		if b := g.values[key]; b != nil {
			if err := json.Unmarshal(b, &binds); err != nil {
				t.Fatal(err)
			}
		}
		for _, b := range binds {
			if _, err := event.ParseKind(b.Kind); err != nil && !strings.HasPrefix(b.Kind, "object:") {
				t.Errorf("a bind has the kind %q", b.Kind)
			}
			if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(b.Value) && (key == "all" || b.Value != "") {
				t.Errorf("a bind has the value %q", b.Value)
			}
		}
		if key == "all" && len(binds) == 0 {
			t.Error("a group without all")
		}
	}
}

// TestKindsAreTheClosedList holds the names that binds and `weir pseudonym` take.
func TestKindsAreTheClosedList(t *testing.T) {
	want := []string{"session", "device", "account", "client", "client_net", "asn", "fingerprint", "client_fingerprint", "target_account", "request_template"}
	got := kinds()
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("kinds %v, want %v", got, want)
	}
}

// TestClientsHaveOneSpelling: `weir pseudonym` takes what an analyst pastes.
func TestClientsHaveOneSpelling(t *testing.T) {
	for _, c := range []struct{ kind, value, want string }{
		{"client", "203.0.113.7", "203.0.113.7"},
		{"client", "::ffff:203.0.113.7", "203.0.113.7"},
		{"client", "2001:DB8:0::1", "2001:db8::1"},
		{"client", "203.0.113.7/32", "203.0.113.7"},
		{"client", "203.0.113.0/24", ""},
		{"client", "203.0.113.999", ""},
		{"client_net", "203.0.113.7", "203.0.113.0/24"},
		{"client_net", "203.0.113.0/24", "203.0.113.0/24"},
		{"client_net", "203.0.0.0/16", ""},
		{"client_net", "2001:DB8::1", "2001:db8::/48"},
	} {
		if got, err := clientText(c.kind, c.value); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s %s: %q, %v, want %q", c.kind, c.value, got, err, c.want)
		}
	}
}

// TestReplayMakesNoKey: where nobody has started a weir yet, a replay with its
// configuration gives what one without gives, and leaves nothing behind.
func TestReplayMakesNoKey(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("WEIR_DATA", "")
	in := guesses(t, 40)
	if err := os.WriteFile("weir.yaml", []byte("data: ./data\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"replay", in, "--mode", "enforce", "--decisions", "plain"},
		{"replay", in, "--mode", "enforce", "--decisions", "configured", "-c", "weir.yaml"},
		{"replay", in, "--mode", "enforce", "--decisions", "elsewhere", "--data", "none"},
	} {
		if code := run(args); code != 0 {
			t.Fatalf("%v: exit %d", args, code)
		}
	}
	for _, dir := range []string{"data", "none"} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("the replay made %s", dir)
		}
	}
	want := lines(t, "plain")
	for _, file := range []string{"configured", "elsewhere"} {
		for i, got := range lines(t, file) {
			if a, b := parseObject(t, got), parseObject(t, want[i]); string(a.values["actor"]) != string(b.values["actor"]) {
				t.Fatalf("%s line %d: actor %s, without a configuration %s", file, i+1, a.values["actor"], b.values["actor"])
			}
		}
	}
}

// TestReplayOverwritesNoInput: a mistyped --decisions must not empty the log that
// it was to read.
func TestReplayOverwritesNoInput(t *testing.T) {
	t.Chdir(t.TempDir())
	const line = "203.0.113.7 - - [02/Mar/2026:09:15:00 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"x\"\n"
	for _, name := range []string{"a.log", "state"} {
		if err := os.WriteFile(name, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.log", "link"); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"--decisions a.log", "--verdicts ./a.log", "--state-out link", "--decisions out --verdicts ./out", "--state-in state --decisions state",
		"--flows a.log --verdicts link",
	} {
		if code := run(append([]string{"replay", "a.log"}, strings.Fields(args)...)); code != 2 {
			t.Errorf("%s: exit %d, want 2", args, code)
		}
		for _, name := range []string{"a.log", "state"} {
			if b, err := os.ReadFile(name); err != nil || string(b) != line {
				t.Fatalf("%s: %s became %q, %v", args, name, b, err)
			}
		}
	}
	for range 2 { // the second run goes on from the first one's state
		args := []string{"replay", "a.log", "--decisions", os.DevNull, "--verdicts", os.DevNull, "--state-out", "s"}
		if _, err := os.Stat("s"); err == nil {
			args = append(args, "--state-in", "s")
		}
		if code := run(args); code != 0 {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}

// TestPseudonymsOverARotation holds that an analyst finds somebody from before and
// after the key was replaced.
func TestPseudonymsOverARotation(t *testing.T) {
	data := t.TempDir()
	key := filepath.Join(data, "keys", "pseudonym")
	if _, _, err := config.EnsureKeyring(key, os.LookupEnv); err != nil {
		t.Fatal(err)
	}
	weir := func(line string) map[string]string {
		t.Helper()
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(append(strings.Fields(line), "--data", data, "-o", "json"))
		if err := root.Execute(); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var m map[string]string
		if err := json.Unmarshal(out.Bytes(), &m); err != nil {
			t.Fatalf("%s: %v in %s", line, err, out.Bytes())
		}
		return m
	}
	before := weir("pseudonym account ann")
	if code := run(strings.Fields("pseudonym account ann --previous --data " + data)); code != 1 {
		t.Errorf("without a rotation --previous ends with %d, want 1", code)
	}
	rotated := weir("pseudonym --rotate")
	now, previous := weir("pseudonym account ann"), weir("pseudonym account Ann --previous")
	if now["pseudonym"] == before["pseudonym"] || now["key_id"] != rotated["key_id"] {
		t.Errorf("after the rotation %v, before %v, rotation %v", now, before, rotated)
	}
	if previous["pseudonym"] != before["pseudonym"] || previous["key_id"] != rotated["previous_key_id"] {
		t.Errorf("previous %v, before %v, rotation %v", previous, before, rotated)
	}
}
