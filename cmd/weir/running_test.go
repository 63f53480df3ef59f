package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/cmd/admin"
)

// answering serves h as the weir that runs on ./data, until the test ends.
func answering(t *testing.T, h http.HandlerFunc) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("WEIR_DATA", "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.ServeUnix(ctx, admin.Socket("data", "weir"), h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(time.Millisecond) {
		// A socket is bound before it listens: that it is there is not enough.
		c, err := net.Dial("unix", admin.Socket("data", "weir"))
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// said runs one command line and returns what it wrote.
func said(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetArgs(args)
	if err := root.Execute(); err != nil {
		t.Fatalf("weir %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// TestNumbersOfAnAnswerAreExact: sums and 64-bit keys are no floats.
func TestNumbersOfAnAnswerAreExact(t *testing.T) {
	answering(t, func(w http.ResponseWriter, _ *http.Request) {
		admin.JSON(w, &admin.Table{Columns: []string{"n", "key", "mean", "list"}, Rows: [][]any{
			{json.Number("82000000"), json.Number("18446744073709551615"), 0.25, []any{json.Number("9007199254740993")}},
		}}, nil)
	})
	for form, want := range map[string]string{
		"human": "82000000  18446744073709551615  0.25  [9007199254740993]",
		"csv":   "82000000,18446744073709551615,0.25,[9007199254740993]",
		"json":  `"key": 18446744073709551615`,
	} {
		if got := said(t, "--data", "data", "sql", "SELECT 1", "-o", form); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", form, got, want)
		}
	}
}

// TestAFaultyConfigurationHidesNoRunningWeir: while it is mended, whoever is on
// duty still has to ask what runs and to take a verdict back.
func TestAFaultyConfigurationHidesNoRunningWeir(t *testing.T) {
	answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/status" {
			admin.JSON(w, &admin.Status{Healthy: true, Version: "here"}, nil)
			return
		}
		admin.JSON(w, []int{}, nil)
	})
	for _, faulty := range []string{"enforce: [\ndata: ./data\n", "data: ./data\nenforce: {listn: x}\n"} {
		if err := os.WriteFile("weir.yaml", []byte(faulty), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := said(t, "status"); !strings.Contains(got, "weir here") {
			t.Errorf("status: %s", got)
		}
	}
	if got := said(t, "verdicts", "list", "-o", "json"); !strings.Contains(got, "[]") {
		t.Errorf("verdicts: %s", got)
	}
	if code := run([]string{"status", "-c", "none.yaml"}); code != 1 {
		t.Errorf("a configuration that is not there: exit %d, want 1", code)
	}
}

// TestDurationsTakeDays as those of weir.yaml do.
func TestDurationsTakeDays(t *testing.T) {
	var asked []string
	answering(t, func(w http.ResponseWriter, r *http.Request) {
		var q admin.VerdictRequest
		if r.Method == http.MethodPost && admin.Decode(r, &q) == nil {
			asked = append(asked, q.For)
		} else {
			asked = append(asked, r.URL.Query().Get("since"))
		}
		admin.JSON(w, map[string]any{}, nil)
	})
	said(t, "--data", "data", "shadow", "report", "--since", "7d", "-o", "json")
	said(t, "--data", "data", "verdicts", "add", "--account", "ann", "--for", "2d", "--reason", "x", "-o", "json")
	if want := "7d 2d"; strings.Join(asked, " ") != want {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	for _, line := range []string{"status --wait 2x", "flows suggest --since soon", "replay f --verdict-delay -1s"} {
		if code := run(strings.Fields(line)); code != 2 {
			t.Errorf("weir %s: exit %d, want 2", line, code)
		}
	}
}
