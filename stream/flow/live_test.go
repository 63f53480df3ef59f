package flow_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// remade returns an extractor with another map for the shop.
func remade(tb testing.TB, inherit *flow.Extractor, sessions int, change func(*flow.Map)) *flow.Extractor {
	tb.Helper()
	ring, err := flow.NewKeyring(testKey)
	if err != nil {
		tb.Fatal(err)
	}
	m := shopMap()
	change(m)
	e, err := flow.NewExtractor(flow.Config{
		Keys: ring, Inherit: inherit, Sessions: sessions, Sites: []flow.Site{{Name: "shop", Hosts: []string{"*"}, Map: m}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func TestAReloadNeitherLosesOwnersNorSplitsAnExchange(t *testing.T) {
	old := newExtractor(t)
	l := flow.NewLive(old)
	run(old, login(`{"user":"alice","password":"x"}`, "Cookie", "sid=abc"), 200)

	// Begun under the old map, where a login succeeds with 200.
	x := login(`{"user":"bob","password":"x"}`, "Cookie", "sid=bob")
	var ev event.Event
	l.Begin(x, &ev)
	l.Swap(remade(t, l.Extractor(), 0, func(m *flow.Map) {
		m.Routes[0].Outcome.Success = &flow.Condition{Status: "204"}
		m.Routes[2].Role = "list_view"
	}))
	x.Status = 200
	l.End(x, &ev)
	if ev.Outcome != event.OutcomeSuccess {
		t.Errorf("an exchange that was under way has outcome %v by the new map, want success by the old one", ev.Outcome)
	}

	for sid, name := range map[string]string{"abc": "alice", "bob": "bob"} {
		x = request("GET", "/item/1", "Cookie", "sid="+sid)
		l.Begin(x, &ev)
		if got := ev.Keys[event.KindAccount]; got != pseudonym("account", name) {
			t.Errorf("after the reload session %s belongs to %v, want %s", sid, got, name)
		}
		if ev.Role != event.RoleListView {
			t.Errorf("role after the reload: %v, want the new map's", ev.Role)
		}
	}
	if n := l.Needs("shop", "POST", "/api/login"); !n.Body {
		t.Error("the new map's needs are not told")
	}
}

func TestOwnersOutliveARestart(t *testing.T) {
	e := newExtractor(t)
	for i := range 50 {
		run(e, login(fmt.Sprintf(`{"user":"u%d","password":"x"}`, i), "Cookie", fmt.Sprintf("sid=s%d", i)), 200)
	}
	before := e.OwnersVersion()
	run(e, request("GET", "/logout", "Cookie", "sid=s7"), 200)
	if e.OwnersVersion() == before {
		t.Error("a logout does not count as a change")
	}
	var saved bytes.Buffer
	if err := e.SaveOwners(&saved); err != nil {
		t.Fatal(err)
	}

	again := newExtractor(t)
	if n, err := again.LoadOwners(bytes.NewReader(saved.Bytes())); err != nil || n != 49 {
		t.Fatalf("loaded %d sessions, %v; want 49", n, err)
	}
	for i := range 50 {
		want := pseudonym("account", fmt.Sprintf("u%d", i))
		if i == 7 {
			want = 0
		}
		got := run(again, request("GET", "/item/1", "Cookie", fmt.Sprintf("sid=s%d", i)), 200).Keys[event.KindAccount]
		if got != want {
			t.Errorf("session %d belongs to %v, want %v", i, got, want)
		}
	}
	var twice bytes.Buffer
	if err := again.SaveOwners(&twice); err != nil || !bytes.Equal(saved.Bytes(), twice.Bytes()) {
		t.Errorf("saving what was loaded gives other bytes (%v)", err)
	}
}

func TestUnusableOwnersAreRefusedWhole(t *testing.T) {
	e := newExtractor(t)
	for i := range 200 {
		run(e, login(fmt.Sprintf(`{"user":"u%d","password":"x"}`, i), "Cookie", fmt.Sprintf("sid=s%d", i)), 200)
	}
	var b bytes.Buffer
	if err := e.SaveOwners(&b); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	flipped := bytes.Clone(good)
	flipped[40] ^= 1
	otherKey, err := flow.NewKeyring([]byte("another key of thirty-two bytes!"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := flow.NewExtractor(flow.Config{Keys: otherKey})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		e   *flow.Extractor
		raw []byte
	}{
		"empty":         {newExtractor(t), nil},
		"another file":  {newExtractor(t), []byte("apiVersion: weir/v1\nkind: Config\ndata: ./weir-data\n")},
		"cut short":     {newExtractor(t), good[:len(good)-1]},
		"one bit wrong": {newExtractor(t), flipped},
		"too many":      {remade(t, nil, 64, func(*flow.Map) {}), good},
		"another key":   {other, good},
	} {
		if n, err := c.e.LoadOwners(bytes.NewReader(c.raw)); !errors.Is(err, flow.ErrOwners) || n != 0 {
			t.Errorf("%s: loaded %d, %v", name, n, err)
		}
		if c.e.OwnersVersion() != 0 {
			t.Errorf("%s: left something behind", name)
		}
	}
}

func FuzzLoadOwners(f *testing.F) {
	e := newExtractor(f)
	run(e, login(`{"user":"u","password":"x"}`, "Cookie", "sid=s"), 200)
	var b bytes.Buffer
	if err := e.SaveOwners(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:20])
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := remade(t, nil, 64, func(*flow.Map) {})
		if n, err := e.LoadOwners(bytes.NewReader(raw)); err != nil && n != 0 || n > 128 {
			t.Fatalf("loaded %d, %v", n, err)
		}
	})
}

func TestObjectsAndTimesOfTheAnswer(t *testing.T) {
	e := remade(t, nil, 0, func(m *flow.Map) {
		m.Routes = []flow.Route{{
			Match: flow.Match{Path: "/drop/{id}"}, Role: "item_view",
			Objects: flow.Objects{
				{"item", flow.Selectors{"path:id"}},
				{"stock", flow.Selectors{"response_body:/stock"}},
				{"coupon", flow.Selectors{"query:code", "response_body:/coupon"}},
				{"page", flow.Selectors{"response_header:X-Page"}},
			},
			Opens:  flow.Selectors{"query:from", "response_body:/sale/opens"},
			Closes: flow.Selectors{"response_body:/sale/closes"},
		}}
	})
	if !e.Needs("shop", "GET", "/drop/7").ResponseBody {
		t.Fatal("the answer's body is not asked for")
	}
	answer := []byte(`{"stock":3,"coupon":"SPRING","sale":{"opens":"2026-03-02T10:00:00Z","closes":"2026-03-02T11:00:00Z"}}`)
	at := func(hour int) int64 { return time.Date(2026, 3, 2, hour, 0, 0, 0, time.UTC).UnixNano() }
	for _, c := range []struct {
		name, target  string
		body          []byte
		objects       map[string]string // value, or "#" and the pseudonym
		opens, closes int64
	}{
		{"all of it in the answer", "/drop/7", answer, map[string]string{
			"item": "7", "stock": "3", "coupon": "#" + pseudonym("object:coupon", "SPRING").String(), "page": "2",
		}, at(10), at(11)},
		{"the request wins", "/drop/7?code=MINE&from=2026-03-02T09:00:00Z", answer, map[string]string{
			"item": "7", "stock": "3", "coupon": "#" + pseudonym("object:coupon", "MINE").String(), "page": "2",
		}, at(9), at(11)},
		{"an answer that cannot be read", "/drop/7", []byte(`{"stock":`), map[string]string{"item": "7", "page": "2"}, 0, 0},
	} {
		x := request("GET", c.target)
		x.ResponseBody = c.body
		ev := run(e, x, 200, "Content-Type", "application/json", "X-Page", "2")
		got := map[string]string{}
		for _, o := range ev.Objects {
			if got[o.Name] = o.Value; o.Value == "" {
				got[o.Name] = "#" + o.Hash.String()
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(c.objects) || ev.Opens != c.opens || ev.Closes != c.closes {
			t.Errorf("%s: objects %v, opens %d, closes %d; want %v, %d, %d", c.name, got, ev.Opens, ev.Closes, c.objects, c.opens, c.closes)
		}
	}
	m := shopMap()
	m.Routes[2].Objects = flow.Objects{{"item", flow.Selectors{"set_cookie:sid"}}}
	if f := m.Check(); len(f) != 1 {
		t.Errorf("an object read from a cookie that is being set: %v", f)
	}
}
