package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSinksAreTested needs no running weir: one sink takes its finding, one
// receives it by HTTP, one is refused.
func TestSinksAreTested(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("WEIR_DATA", t.TempDir())
	received := make(chan []byte, 1)
	takes := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		received <- b
	}))
	defer takes.Close()
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refuses.Close()
	conf := fmt.Sprintf(`apiVersion: weir/v1
kind: Config
sites: [{name: shop, hosts: ["*"]}]
sinks:
  - {name: siem, type: file, format: ocsf, path: siem.ndjson}
  - {name: hook, type: webhook, format: json, url: %q, records: [decisions]}
`, takes.URL)
	if err := os.WriteFile("weir.yaml", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run([]string{"sinks", "test"}); code != 0 {
		t.Errorf("exit %d", code)
	}
	b, err := os.ReadFile("siem.ndjson")
	var finding struct {
		ClassUID int    `json:"class_uid"`
		Message  string `json:"message"`
		IsAlert  bool   `json:"is_alert"`
	}
	if err == nil {
		err = json.Unmarshal(b, &finding)
	}
	if err != nil || finding.ClassUID != 2004 || finding.IsAlert || !strings.HasPrefix(finding.Message, "Test of the sink") {
		t.Errorf("%v: %s", err, b)
	}
	if got := <-received; !bytes.Contains(got, []byte(`"rule":"test"`)) || bytes.Count(got, []byte{'\n'}) > 1 {
		t.Errorf("the hook received %s", got)
	}
	if entries, _ := filepath.Glob(filepath.Join(os.Getenv("WEIR_DATA"), "sinks", "*", "*.position")); len(entries) > 0 {
		t.Errorf("positions were written: %v", entries)
	}
	if err := os.WriteFile("weir.yaml", []byte(conf+fmt.Sprintf("  - {name: closed, type: webhook, url: %q}\n", refuses.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run([]string{"sinks", "test", "-o", "json"}); code != 1 {
		t.Errorf("with one that refuses: exit %d", code)
	}
	if err := os.WriteFile("weir.yaml", []byte("apiVersion: weir/v1\nkind: Config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run([]string{"sinks", "test"}); code != 1 {
		t.Errorf("without sinks: exit %d", code)
	}
}
