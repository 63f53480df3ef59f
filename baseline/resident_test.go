package baseline

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// TestResidentsOfAnOverrunProgramAreSpared: a verdict on a program that few owners
// have, and strangers overrun, spares whoever has logged in and those who have used
// it here for long; one on a program of nobody spares nobody.
func TestResidentsOfAnOverrunProgramAreSpared(t *testing.T) {
	e := New(Config{Entities: 1 << 14})
	now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	visit := func(w map[string]string) {
		now = now.Add(time.Hour)
		e.Observe(build("shop", now, now.String(), w), verdict.Position{})
	}
	for range 80 {
		visit(map[string]string{
			"client": "home", "ua": "rare", "device": "mine", "session": "s", "template": "form", "role": "login", "path": "/api/login",
			"claimed": "me", "secret": "right", "outcome": "success", "flags": "proves",
		})
		visit(map[string]string{"client": "elsewhere", "ua": "tool", "template": "form"})
	}
	visit(map[string]string{"client": "new", "ua": "rare", "device": "other", "session": "y", "template": "form"})
	spared := func(ua string) map[string]event.Hash {
		c := &threat.Case{}
		c.Subject = threat.Tool
		c.Bind(threat.Bound{Kind: uint8(event.KindFingerprint), Value: uint64(hash("fingerprint", ua))})
		all := map[string]event.Hash{}
		for _, b := range e.groups(&e.in, c)[0].None {
			all[b.Kind+" "+b.Value.String()] = b.Value
		}
		return all
	}
	got := spared("rare")
	for _, want := range []verdict.Bind{
		{Kind: "account"}, {Kind: "device", Value: hash("device", "mine")}, {Kind: "client_fingerprint", Value: hash("cf", "homerare")},
	} {
		if _, ok := got[want.Kind+" "+want.Value.String()]; !ok {
			t.Errorf("%s %s is not spared: %v", want.Kind, want.Value, got)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d are spared, want 3: %v", len(got), got)
	}
	if got := spared("tool"); len(got) != 0 {
		t.Errorf("visitors with a program of nobody are spared: %v", got)
	}
}

// TestAnOverrunProgramIsBound: what a program's owners send is bound to it only once
// strangers from several addresses are more than the owners explain, and then only
// beside the form.
func TestAnOverrunProgramIsBound(t *testing.T) {
	e := New(Config{Entities: 1 << 14})
	now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	visit := func(w map[string]string) {
		now = now.Add(5 * time.Minute)
		e.Observe(build("shop", now, now.String(), w), verdict.Position{})
	}
	for range 900 {
		visit(map[string]string{
			"client": "home", "ua": "rare", "device": "mine", "session": "s", "template": "form", "role": "login", "path": "/api/login",
			"claimed": "me", "secret": "right", "outcome": "success", "flags": "proves",
		})
	}
	c := &threat.Case{}
	c.Subject = threat.Tool
	first := 0
	for i := 1; i <= 20; i++ {
		visit(map[string]string{"client": fmt.Sprint("stranger", i), "ua": "rare", "template": "form", "path": fmt.Sprint("/item/", i)})
		if e.bindTool(&e.in, c) && first == 0 {
			first = i
		}
	}
	if first < 7 || first > 15 {
		t.Errorf("bound at the %dth stranger, want 7 to 15", first)
	}
	for _, b := range c.Binds[:c.BindCount] {
		if b.Kind != uint8(event.KindFingerprint) || b.WithKind != uint8(event.KindRequestTemplate) || b.With == 0 {
			t.Errorf("bound by %+v, want the program beside the form", b)
		}
	}
}
