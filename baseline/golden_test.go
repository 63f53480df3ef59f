package baseline

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

//go:generate go test -run ^TestGolden$ . -args -update

var update = flag.Bool("update", false, "rewrite testdata/golden")

// goldenEvents is a fixed script: people and a stuffing campaign, then for each
// role a short campaign with an object of its own, a path scan with payloads,
// and a reader of documents as an access log shows it.
func goldenEvents() []*event.Event {
	out := crowd(21, 4000)
	now := time.Unix(0, out[len(out)-1].Time).UTC()
	send := func(gap time.Duration, words map[string]string) {
		now = now.Add(gap)
		out = append(out, build("shop", now, fmt.Sprintf("g-%d", len(out)), words))
	}
	objects := map[string]string{
		"pay_auth": "card", "coupon_apply": "coupon", "otp_send": "phone", "payout": "payee", "transfer": "payee", "address_change": "address",
		"post": "content", "captcha_verify": "captcha", "reserve": "seat", "signup": "email",
	}
	for _, role := range event.RoleNames() {
		object := objects[role]
		if object == "" {
			object = "item"
		}
		for i := range 60 {
			words := map[string]string{
				"role": role, "path": "/api/" + role, "client": fmt.Sprint("c", role, i%6), "ua": "tool-" + role, "session": fmt.Sprint("s", role, i/2),
				"template": "t-" + role, "obj." + object: fmt.Sprint(object, i%20), "outcome": "failure",
			}
			if i%4 == 3 {
				words["outcome"] = "success"
			}
			if role == "login" || role == "reset" || role == "signup" {
				words["claimed"], words["secret"] = fmt.Sprint("victim", i), fmt.Sprint("secret", i%3)
			}
			if role == "post" {
				words["obj.content.simhash"], words["obj.content.shingle"] = words["obj.content"], words["obj.content"]
			}
			send(time.Second, words)
		}
	}
	for i := range 200 {
		send(700*time.Millisecond, map[string]string{
			"client": "scanner", "ua": "scan", "path": fmt.Sprintf("/old/%d.php", i), "status": "404", "payload": event.Payload(1 << (i % 8)).String(),
		})
		send(300*time.Millisecond, map[string]string{"client": "reader", "ua": "read", "path": fmt.Sprintf("/article/%d", i), "log": "yes"})
	}
	return out
}

// golden runs the script and describes every byte that left the engine.
func golden(t *testing.T) string {
	t.Helper()
	e := New(Config{Entities: 1 << 14, Cases: 512})
	verdicts, results := fnv.New64a(), fnv.New64a()
	counts := map[verdict.Threat]int{}
	events := goldenEvents()
	for i, ev := range events {
		lent, spoil := lend(ev)
		r := e.Observe(lent, verdict.Position{Offset: int64(i)})
		_, _ = fmt.Fprintf(results, "%s %s\n", r.Actor, r.Route)
		for j := range r.Verdicts {
			b, err := json.Marshal(&r.Verdicts[j])
			if err != nil {
				t.Fatal(err)
			}
			_, _ = verdicts.Write(append(b, '\n'))
			counts[r.Verdicts[j].Threats[0]]++
		}
		spoil() // an engine keeps nothing of an event
	}
	var state bytes.Buffer
	if err := e.Snapshot(&state); err != nil {
		t.Fatal(err)
	}
	snapshot := fnv.New64a()
	_, _ = snapshot.Write(state.Bytes())
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "events %d\nactors and routes %016x\nverdicts %016x\nsnapshot %016x\n", len(events), results.Sum64(), verdicts.Sum64(), snapshot.Sum64())
	for _, th := range slices.Sorted(maps.Keys(counts)) {
		_, _ = fmt.Fprintln(&b, th, strconv.Itoa(counts[th]))
	}
	if len(counts) < 15 {
		t.Errorf("only %d threats show in the script: too little is tested", len(counts))
	}
	return b.String()
}

// TestGolden holds that one script gives the same bytes on every machine and in
// every build: verdicts as JSON, actors, routes and state. deploy/arm64.sh runs
// it as an arm64 program. After a change that is meant to change verdicts, run
// go generate ./baseline and look at the difference.
func TestGolden(t *testing.T) {
	const path = "testdata/golden"
	got := golden(t)
	if *update {
		if err := os.WriteFile(filepath.FromSlash(path), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%swant\n%safter a change that is meant: go generate ./baseline", got, want)
	}
}
