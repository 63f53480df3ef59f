package linetest_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/broker"
)

// planted are the secrets: none may appear in any tier. Each is unique, so that
// one found anywhere has come through weir.
var planted = []string{
	"PlantedPassword8x", "4539578763621486", "planted.person@secret.example", "plantedsession5c1e77", "planteddevice9d02aa",
	"plantedbearer77aa31", "plantedquerytoken04", "planted.query@secret.example", "5d41402abc4b2a76b9719d911017c592", "plantedreferer61",
	"PlantedForm4711", "plantedbroken88", "plantedbasic", "plantedcsc997", "plantedresponse12", "plantedremoteuser", "plantedlogtoken55",
	"plantedapikey1f", "planted.path@secret.example", "cGxhbnRlZGJhc2ljOlBsYW50ZWQ",
}

// marker is no secret: it must be found, or the search sees nothing.
const marker = "MarkerAgent/4.2"

// TestSecrets plants secrets in every place of a request and looks for them in
// every tier: log, store, snapshots, saved table, sink files, program logs.
func TestSecrets(t *testing.T) {
	needEngine(t)
	t.Parallel()
	a, w := newApp(t), newWeir(t, "sec")
	access := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(access, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sink := filepath.Join(w.data, "siem.ndjson")
	w.up(t, "-c", w.config(t, fmt.Sprintf(`
sites: [{name: shop, hosts: ["*"], upstream: %q, flows: %q}]
enforce: {mode: enforce}
collect: {ebpf: {enabled: "off"}, accessLogs: [{path: %q, format: combined, site: shop}]}
sinks: [{name: siem, type: file, format: ocsf, path: %q}]
`, a.url, flowMap(t), access, sink)))
	plant(t, newClient(t, w.listen, "127.69.0.1"))
	appendLog(t, access)
	// A tool with the secrets, until it is refused: evidence, decisions and
	// sinks see it too.
	tool := newClient(t, w.listen, "127.69.0.2")
	tool.header = http.Header{"User-Agent": {marker}, "Cookie": {"sid=plantedsession5c1e77; did=planteddevice9d02aa"}}
	blocked := false
	for i := 0; i < 5000 && !blocked; i++ { // the ingress answers dozens while one verdict is on its way
		body := fmt.Sprintf(`{"user":"%d.planted.person@secret.example","password":"PlantedPassword8x"}`, i)
		blocked = refused(tool.post(t, "/api/login?token=plantedquerytoken04", body).status)
	}
	if !blocked {
		t.Error("the tool was never refused: nothing reached decisions and sinks")
	}
	plant(t, tool)
	w.settled(t)
	until(t, 20*time.Second, "the sink's file and the access log's rows are there", func() bool {
		info, err := os.Stat(sink)
		return err == nil && info.Size() > 0 && w.number(t, "SELECT count() AS n FROM events WHERE source = 'accesslog'") >= 2
	})
	w.settled(t)
	searchStore(t, w)
	searchLog(t, w)
	w.stop(t) // snapshots and the verdict table are saved
	searchFiles(t, w)
}

// plant sends each secret where it may stand.
func plant(t *testing.T, c *client) {
	t.Helper()
	h := http.Header{
		"User-Agent": {marker}, "Cookie": {"sid=plantedsession5c1e77; did=planteddevice9d02aa"},
		"Authorization": {"Bearer plantedbearer77aa31"}, "X-Api-Key": {"plantedapikey1f"},
		"Referer": {"http://shop.example/back?ref=plantedreferer61"},
	}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "User-Agent": {marker}}
	basic := http.Header{"Authorization": {"Basic cGxhbnRlZGJhc2ljOlBsYW50ZWQ="}, "User-Agent": {marker}}
	for _, q := range []question{
		{"POST", "/api/login", `{"user":"planted.person@secret.example","password":"PlantedPassword8x"}`, h},
		{"POST", "/api/login", `{"user":"planted.person@secret.example","password":"right-planted.person@secret.example"}`, h},
		{"POST", "/api/login", `{"user":"planted.person@secret.example","password":"plantedbroken88`, h},
		{"POST", "/api/login", "user=planted.person%40secret.example&password=PlantedForm4711", form},
		{"POST", "/api/orders/7/pay", `{"card":{"number":"4539578763621486","csc":"plantedcsc997"},"amount":"5.00"}`, h},
		{"POST", "/api/orders/8/pay", `{"card":{"number":"4539 5787 6362 1486","csc":"plantedcsc997"},"amount":"5.00"}`, h},
		{"GET", "/search?q=x&token=plantedquerytoken04&email=planted.query%40secret.example", "", h},
		{"GET", "/reset/5d41402abc4b2a76b9719d911017c592", "", h},
		{"GET", "/u/planted.path@secret.example/orders", "", h},
		{"GET", "/pay/4539578763621486", "", h},
		{"GET", "/private", "", basic},
		{"POST", "/echo", `{"answer":"plantedresponse12"}`, h},
	} {
		if _, err := c.do(t.Context(), q.method, q.target, q.body, q.header); err != nil {
			t.Fatal(err)
		}
	}
}

func appendLog(t *testing.T, path string) {
	t.Helper()
	now := time.Now().Format("02/Jan/2006:15:04:05 -0700")
	text := fmt.Sprintf("127.69.0.3 - plantedremoteuser [%[1]s] \"GET /search?token=plantedlogtoken55 HTTP/1.1\" 200 12 \"http://x.example/?t=plantedlogtoken55\" %[2]q\n"+
		"127.69.0.3 - - [%[1]s] \"GET /reset/5d41402abc4b2a76b9719d911017c592 HTTP/1.1\" 200 12 \"-\" %[2]q\n"+
		"broken plantedlogtoken55 line\n", now, marker)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// searchStore looks through every column of every table and view.
func searchStore(t *testing.T, w *weir) {
	t.Helper()
	quoted := "['" + strings.Join(planted, "','") + "']"
	tables := w.sql(t, "SELECT name FROM system.tables WHERE database = 'weir' AND engine NOT LIKE '%View%' ORDER BY name")
	if len(tables) < 5 {
		t.Fatalf("only %d tables", len(tables))
	}
	seen := int64(0)
	for _, row := range tables {
		name := row["name"].(string)
		text := "formatRow('TSVRaw', *)"
		if n := w.number(t, fmt.Sprintf("SELECT count() AS n FROM weir.`%s` WHERE multiSearchAnyCaseInsensitive(%s, %s)", name, text, quoted)); n > 0 {
			found := w.sql(t, fmt.Sprintf("SELECT %s AS line FROM weir.`%s` WHERE multiSearchAnyCaseInsensitive(line, %s) LIMIT 1", text, name, quoted))
			t.Errorf("table %s holds a secret in %d rows, such as %v", name, n, found)
		}
		seen += w.number(t, fmt.Sprintf("SELECT count() AS n FROM weir.`%s` WHERE position(%s, '%s') > 0", name, text, marker))
	}
	if seen == 0 {
		t.Error("the marker is nowhere in the store: the search sees nothing")
	}
}

// searchLog reads every record of every topic.
func searchLog(t *testing.T, w *weir) {
	t.Helper()
	dir := filepath.Join(w.data, "kafka")
	ready, err := broker.ReadReady(dir)
	if err != nil {
		t.Fatal(err)
	}
	login, err := broker.ReadCredentials(dir)
	if err != nil {
		t.Fatal(err)
	}
	conn := stream.Connection{Brokers: []string{ready.Address}, ClientID: "linetest", SASL: &stream.SASL{Mechanism: "SCRAM-SHA-256", User: login.User, Password: login.Password}}
	seen := false
	for _, topic := range []string{stream.TopicEvents, stream.TopicVerdicts, stream.TopicDecisions} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		caughtUp, records := false, 0
		tail, err := stream.NewTail(stream.TailConfig{Connection: conn, Topic: topic, Log: slog.New(slog.DiscardHandler), OnCaughtUp: func() { caughtUp = true; cancel() }})
		if err == nil {
			err = tail.Run(ctx, func(_ context.Context, recs []stream.Record) error {
				for _, r := range recs {
					records++
					whole := bytes.Join([][]byte{r.Key, r.Value}, []byte{'\n'})
					for _, h := range r.Headers {
						whole = append(append(whole, h.Key...), h.Value...)
					}
					seen = seen || bytes.Contains(whole, []byte(marker))
					report(t, fmt.Sprintf("%s/%d offset %d", topic, r.Partition, r.Offset), whole)
				}
				return nil
			})
		}
		cancel()
		if err != nil || !caughtUp || records == 0 {
			t.Errorf("%s: %d records, read to the end %v: %v", topic, records, caughtUp, err)
		}
	}
	if !seen {
		t.Error("the marker is nowhere on the log: the search sees nothing")
	}
}

func report(t *testing.T, where string, text []byte) {
	t.Helper()
	for _, secret := range planted {
		if i := bytes.Index(text, []byte(secret)); i >= 0 {
			t.Errorf("%s holds %s: ...%q...", where, secret, text[max(0, i-60):min(len(text), i+60)])
		}
	}
}

// searchFiles looks through the raw bytes of the data directory.
func searchFiles(t *testing.T, w *weir) {
	t.Helper()
	files, seen := 0, false
	err := filepath.WalkDir(w.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // nobody else writes there
		if err != nil {
			return err
		}
		files++
		if strings.HasSuffix(path, ".rejected") {
			// Samples of access log lines that could not be read stand here as they
			// were: nobody can say what in them is a secret. They stay on the
			// machine whose log holds them too, for its owner alone.
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %s, want it for the owner alone", path, info.Mode())
			}
			return err
		}
		seen = seen || bytes.Contains(text, []byte(marker))
		report(t, path, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 || !seen {
		t.Errorf("%d files, marker seen %v: the search sees nothing", files, seen)
	}
	for _, part := range []string{"snapshots", "enforce/table", "siem.ndjson", "log/enforce.log"} {
		if _, err := os.Stat(filepath.Join(w.data, part)); err != nil {
			t.Errorf("a tier is missing: %v", err)
		}
	}
	t.Logf("%d files searched", files)
}
