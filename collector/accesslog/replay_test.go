package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

const clfLine = `192.0.2.1 - - [08/Jun/2020:08:04:43 +0000] "GET /%d HTTP/1.1" 200 5 "-" "agent"`

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	var b bytes.Buffer
	var err error
	switch filepath.Ext(name) {
	case ".gz":
		w := gzip.NewWriter(&b)
		_, err = w.Write([]byte(text))
		err = errors.Join(err, w.Close())
	case ".zst":
		w, err1 := zstd.NewWriter(&b)
		if err1 != nil {
			t.Fatal(err1)
		}
		_, err = w.Write([]byte(text))
		err = errors.Join(err, w.Close())
	default:
		b.WriteString(text)
	}
	if err = errors.Join(err, os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplayReadsFilesOfAllKindsInOrder(t *testing.T) {
	line := func(n int) string { return fmt.Sprintf(clfLine, n) }
	cfg := ReplayConfig{
		Paths: []string{
			writeFile(t, "access.log", line(1)+"\r\n\nrubbish\n"+line(2)), // the last line lacks its newline
			writeFile(t, "access.log", "\ufeff"+line(3)+"\n"),             // with a byte order mark
			writeFile(t, "access.log.gz", line(4)+"\n"+line(5)+"\n"),
			writeFile(t, "old.zst", line(6)+"\n"), "-",
		},
		Format: FormatCombined, Site: "shop", Node: "n", Stdin: strings.NewReader(line(7) + "\n" + strings.Repeat("x", 5*MaxLine) + "\n" + line(8)),
	}
	var rejected []string
	cfg.Reject = func(err error) { rejected = append(rejected, err.Error()) }
	var got []string
	stats, err := Replay(t.Context(), cfg, func(x *flow.Exchange) error {
		if x.Site != "shop" || x.Node != "n" || x.Source != event.SourceReplay {
			t.Errorf("%+v", x)
		}
		got = append(got, x.ID+x.Target)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"access.log:1/1", "access.log:4/2", "access.log~2:1/3", "access.log.gz:1/4", "access.log.gz:2/5", "old.zst:1/6",
		"stdin:1/7", "stdin:3/8",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if stats.Lines != 10 || stats.Exchanges != 8 || stats.Rejected != 2 || stats.ByReason["syntax"] != 1 || stats.ByReason["long"] != 1 {
		t.Errorf("%+v", stats)
	}
	if len(rejected) != 2 || !strings.Contains(rejected[0], "access.log:3: ") || !strings.Contains(rejected[1], "-:2: line is too long") {
		t.Errorf("%q", rejected)
	}
}

func TestReplayEndsWhereItMust(t *testing.T) {
	good := fmt.Sprintf(clfLine, 1) + "\n"
	stop := errors.New("enough")
	exchange := `{"id":"a","time":"2026-03-02T09:15:00Z","client":"192.0.2.1","method":"GET","target":"/","status":200}` + "\n"
	for _, c := range []struct {
		name   string
		path   string
		strict bool
		emit   error
		want   string
		seen   uint64
	}{
		{"strict", writeFile(t, "a", good+"rubbish\n"+good), true, nil, "a:2: line does not have", 1},
		{"lenient", writeFile(t, "a", good+"rubbish\n"+good), false, nil, "", 2},
		{"emit", writeFile(t, "a", good+good), false, stop, "enough", 1},
		{"missing file", filepath.Join(t.TempDir(), "none"), false, nil, "no such file", 0},
		{"no gzip", writeFile(t, "a", good) + "", false, nil, "", 1},
		{"repeated exchange id", writeFile(t, "a", exchange+exchange), true, nil, `id is repeated: id "a"`, 1},
	} {
		var x ReplayConfig
		x.Paths, x.Strict = []string{c.path}, c.strict
		stats, err := Replay(t.Context(), x, func(*flow.Exchange) error { return c.emit })
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || stats.Exchanges != c.seen {
			t.Errorf("%s: %v, %+v", c.name, err, stats)
		}
	}
	path := filepath.Join(t.TempDir(), "broken.gz")
	if err := os.WriteFile(path, []byte("not gzip at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Replay(t.Context(), ReplayConfig{Paths: []string{path}}, nil); err == nil || !strings.Contains(err.Error(), "broken.gz") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	big := writeFile(t, "big", strings.Repeat(good, 5000))
	if stats, err := Replay(ctx, ReplayConfig{Paths: []string{big}}, func(*flow.Exchange) error { return nil }); !errors.Is(err, context.Canceled) || stats.Lines > 2000 {
		t.Errorf("%v after %d lines", err, stats.Lines)
	}
}

func TestDeadLetterStaysSmallAndKeepsSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dead")
	d := NewDeadLetter(path, 4096)
	now := time.Unix(1, 0)
	d.now = func() time.Time { return now }
	for i := range 1000 {
		if i%5 == 0 {
			now = now.Add(time.Second)
		}
		if err := d.Add(fmt.Sprint("log:", i), FormatCombined, ErrSyntax, bytes.Repeat([]byte("x"), 2000)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{path, path + ".1"} {
		if st, err := os.Stat(p); err != nil || st.Size() > 4096 || st.Size() == 0 || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", p, st, err)
		}
	}
	for range 100 { // one second has room for ten
		if err := d.Add("log:1", FormatCombined, ErrSyntax, []byte("burst")); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || bytes.Count(text, []byte("burst")) > maxSamplesPerSecond {
		t.Errorf("%d samples in one second, %v", bytes.Count(text, []byte("burst")), err)
	}
	now = now.Add(time.Hour)
	secret := []byte(`{"id":"x","body":"{\"password\":\"hunter2\"}","status":"hunter2"`)
	for _, f := range []Format{FormatExchange, FormatJSON, FormatAuto} {
		var x flow.Exchange
		reason := NewParser(f).Parse(secret, nil, &x)
		if err := d.Add("log:2", f, reason, secret); reason == nil || err != nil {
			t.Fatal(reason, err)
		}
	}
	if text, err = os.ReadFile(path); err != nil || bytes.Contains(text, []byte("hunter2")) || !bytes.Contains(text, []byte("not shown")) {
		t.Errorf("%v: %s", err, text)
	}
	var none *DeadLetter
	if err := none.Add("x", FormatAuto, ErrSyntax, nil); err != nil {
		t.Error(err)
	}
}

func TestConfigurationFaultsAreNamed(t *testing.T) {
	if err := (FollowConfig{PollEvery: -1}).Validate(); err == nil || !strings.Contains(err.Error(), "log to follow") ||
		!strings.Contains(err.Error(), "position file") || !strings.Contains(err.Error(), "intervals") {
		t.Error(err)
	}
	if err := (ReplayConfig{}).Validate(); err == nil {
		t.Error("nothing to replay was accepted")
	}
	if err := (ReplayConfig{Paths: []string{"-", "-"}}).Validate(); err == nil {
		t.Error("standard input twice was accepted")
	}
}
