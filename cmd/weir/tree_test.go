package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestEveryCommandTeachesByExample walks the whole tree.
func TestEveryCommandTeachesByExample(t *testing.T) {
	seen := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.Hidden || cmd.HasSubCommands() || strings.HasPrefix(cmd.CommandPath(), "weir completion") {
			return
		}
		seen++
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no short help or no example", cmd.CommandPath())
		}
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			if !strings.HasPrefix(line, "  weir ") {
				t.Errorf("%s: example %q is no command line", cmd.CommandPath(), line)
			}
		}
	}
	walk(newRoot())
	if seen < 20 {
		t.Fatalf("only %d commands", seen)
	}
}

// TestWrongUsageEndsWithTwo holds the exit status that scripts branch on; none
// of these needs a running weir.
func TestWrongUsageEndsWithTwo(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("WEIR_DATA", t.TempDir())
	for _, line := range []string{
		"bogus", "verdicts bogus", "flows bogus", "config bogus", "sinks bogus", "allowlists bogus", "enforcers bogus", "enforcers add", "shadow bogus", "shadow report --since soon", "completion tcsh", "help bogus",
		"up", "up --bogus", "up extra", "up --mode block --demo", "up --ebpf maybe --demo", "up --listen 8080 --demo", "up --upstream localhost:9000",
		"sql", "verdicts show", "verdicts add", "verdicts add --client 192.0.2.1", "verdicts add --client nobody --reason x",
		"verdicts add --client 192.0.2.0/24 --reason x", "verdicts add --client 192.0.2.1 --action challenge --reason x",
		"verdicts add --client 192.0.2.1 --for -1h --reason x", "verdicts add --client 192.0.2.1 --session s --reason x",
		"replay", "replay --format elf f", "replay --mode off f", "replay --learn-until soon f", "pseudonym account", "pseudonym acount a", "pseudonym --rotate account a",
		"status --wait long", "status -o csv", "status -o xml", "--color pink status", "explain v_1 -o csv", "explain a_0123456789abcdef", "verdicts revoke a_0123456789abcdef", "up --demo -o json",
	} {
		if code := run(strings.Fields(line)); code != 2 {
			t.Errorf("weir %s ends with %d, want 2", line, code)
		}
	}
	for _, line := range []string{"status", "sql SELECT", "explain v_1", "verdicts list", "flows check none.yaml", "config check none.yaml", "pseudonym account ann", "pseudonym --rotate", "enforcers list", "enforcers add a", "shadow report", "enforce", "collect", "replay none.log"} {
		if code := run(strings.Fields(line)); code != 1 {
			t.Errorf("weir %s ends with %d, want 1", line, code)
		}
	}
	for _, line := range []string{"", "help", "help verdicts add", "verdicts", "version", "--version", "version -o json", "completion bash", "completion zsh", "completion fish", "config check", "config print -o json", "config schema -o json", "flows schema", "sinks list -o csv"} {
		if code := run(strings.Fields(line)); code != 0 {
			t.Errorf("weir %s ends with %d, want 0", line, code)
		}
	}
}

func TestShellsCompleteFlagValues(t *testing.T) {
	for line, want := range map[string]string{
		"up --mode ":             "shadow\nenforce\n",
		"status --output ":       "human\njson\ncsv\n",
		"verdicts add --action ": "allow\nobserve\nrate_limit\nredirect\nblock\n",
		"verd":                   "verdicts",
		"help verdicts sh":       "show",
	} {
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(append([]string{"__complete"}, strings.Split(line, " ")...))
		if err := root.Execute(); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q completes to %q, want %q", line, out.String(), want)
		}
	}
}
