package main

import (
	"io"
	"strings"
	"testing"

	"github.com/weirproject/weir/stream/event"
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
