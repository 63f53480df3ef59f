package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/line"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
)

// TestAVerdictSaysWhomItMeets: who reviews or takes one back has to see which
// requests it is about.
func TestAVerdictSaysWhomItMeets(t *testing.T) {
	bind := func(kind string, v event.Hash) verdict.Bind { return verdict.Bind{Kind: kind, Value: v} }
	v := &verdict.Verdict{ID: "v_1", Revision: 1, Action: event.ActionBlock, Site: "shop", Binds: []verdict.Group{
		{All: []verdict.Bind{bind("client", 0x7f)}},
		{All: []verdict.Bind{bind("target_account", 1), bind("request_template", 2)}, None: []verdict.Bind{bind("device", 3)}, Routes: []string{"/login"}},
	}}
	for i := range 7 {
		v.Binds = append(v.Binds, verdict.Group{All: []verdict.Bind{bind("session", event.Hash(16+i))}})
	}
	got := (&global{color: "never"}).describeVerdict(io.Discard, v)
	for _, want := range []string{
		"meets client 000000000000007f\n",
		"or target_account 0000000000000001 and request_template 0000000000000002, without device 0000000000000003, on /login\n",
		"or session 0000000000000011\n", "... or 5 more\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n    "); n != 5 {
		t.Errorf("%d lines of binds:\n%s", n, got)
	}
}

// TestVerdictsOfOnePerson: the question of whoever answers the telephone is which
// verdicts name this address or account.
func TestVerdictsOfOnePerson(t *testing.T) {
	var all []verdict.Verdict
	answering(t, func(w http.ResponseWriter, _ *http.Request) { admin.JSON(w, all, nil) })
	if err := os.WriteFile("weir.yaml", []byte("data: ./data\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load("weir.yaml", os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := line.Keyring(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for id, b := range map[string]struct {
		kind, value string
		action      event.Action
	}{
		"v_address": {"client", "203.0.113.7", event.ActionBlock},
		"v_net":     {"client_net", "203.0.113.0/24", event.ActionObserve},
		"v_net6":    {"client_net", "2001:db8:1::/48", event.ActionObserve},
		"v_owner":   {"account", "alice", event.ActionRateLimit},
		"v_target":  {"target_account", "alice", event.ActionBlock},
		"v_session": {"session", "s1", event.ActionBlock},
	} {
		bind := verdict.Bind{Kind: b.kind, Value: keys.Pseudonym(b.kind, flow.Normalise(b.kind, b.value))}
		all = append(all, verdict.Verdict{ID: id, Site: "shop", Action: b.action, Binds: []verdict.Group{{All: []verdict.Bind{bind}}}})
	}
	cases := map[string][]string{
		"":                               {"v_address", "v_net", "v_net6", "v_owner", "v_session", "v_target"},
		"--client 203.0.113.7":           {"v_address", "v_net"},
		"--client 203.0.113.8":           {"v_net"},
		"--client 2001:db8:1::9":         {"v_net6"},
		"--account Alice":                {"v_owner", "v_target"},
		"--account Alice --action block": {"v_target"},
		"--session s1":                   {"v_session"},
		"--device d":                     {},
		"--site blog":                    {},
	}
	// What stands under the key before a rotation is found after it.
	for _, rotate := range []bool{false, true} {
		if rotate {
			if err := config.RotateKey(cfg.Keys.Pseudonym); err != nil {
				t.Fatal(err)
			}
		}
		for args, want := range cases {

			var got []struct{ ID string }
			text := said(t, append([]string{"verdicts", "list", "-o", "json"}, strings.Fields(args)...)...)
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("%s: %v in %s", args, err, text)
			}
			ids := []string{}
			for _, v := range got {
				ids = append(ids, v.ID)
			}
			if slices.Sort(ids); !slices.Equal(ids, want) {
				t.Errorf("%q: %v, want %v", args, ids, want)
			}
		}
	}
	for _, wrong := range []string{"--client nobody", "--action blok"} {
		if code := run(append([]string{"verdicts", "list"}, strings.Fields(wrong)...)); code != 2 {
			t.Errorf("%s: exit %d, want 2", wrong, code)
		}
	}
}
