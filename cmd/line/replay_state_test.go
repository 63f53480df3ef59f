package line

import (
	"bytes"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// A replay that goes on from a state knows whose sessions are whose: without
// that, everybody who logged in the day before would be a stranger.
func TestReplayStateKeepsSessionOwners(t *testing.T) {
	fresh := func() *ReplayParts {
		p, err := NewReplay(ReplayOptions{Mode: event.ModeEnforce, Site: "shop", Flows: "../demo/flows.yaml"})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, second := fresh(), fresh()
	login := &flow.Exchange{
		ID: "1", Time: time.Unix(1772442900, 0), Site: "shop", Method: "POST", Target: "/api/login", Status: 200,
		Headers:         []flow.Field{{Name: "Content-Type", Value: "application/json"}, {Name: "Cookie", Value: "sid=s"}},
		Body:            []byte(`{"user":"alice","password":"x"}`),
		ResponseHeaders: []flow.Field{{Name: "Set-Cookie", Value: "sid=s2"}},
	}
	var ev event.Event
	first.Extractor.Begin(login, &ev)
	first.Extractor.End(login, &ev)
	for i, part := range first.State() {
		var b bytes.Buffer
		if err := part.Save(&b); err != nil {
			t.Fatal(err)
		}
		if err := second.State()[i].Load(&b); err != nil {
			t.Fatal(err)
		}
	}
	page := &flow.Exchange{
		ID: "2", Time: time.Unix(1772529300, 0), Site: "shop", Method: "GET", Target: "/item/7", Status: 200,
		Headers: []flow.Field{{Name: "Cookie", Value: "sid=s2"}},
	}
	var next event.Event
	second.Extractor.Begin(page, &next)
	if got, want := next.Keys[event.KindAccount], ev.Claimed; got != want || want == 0 {
		t.Fatalf("the session's account is %s, want %s", got, want)
	}
}
