package baseline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/campaign"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/baseline/threat"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// dice is a deterministic source for made-up traffic.
type dice struct{ s uint64 }

func (d *dice) n(n int) int {
	d.s += 0x9e3779b97f4a7c15
	return int(sketch.Mix(d.s) % uint64(n))
}

// crowd makes a mix of people and of a rotating stuffing campaign.
func crowd(seed uint64, n int) []*event.Event {
	d := &dice{seed}
	t := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	var out []*event.Event
	for i := range n {
		t = t.Add(time.Duration(d.n(20000)) * time.Millisecond)
		p := d.n(300)
		words := map[string]string{
			"client": fmt.Sprintf("home%d", p/2), "ua": fmt.Sprintf("browser%d", p%12), "session": fmt.Sprintf("s%d-%d", p, t.Day()),
			"device": fmt.Sprintf("d%d", p), "template": fmt.Sprintf("t%d", p%5), "path": fmt.Sprintf("/p%d", d.n(40)),
		}
		switch x := d.n(100); {
		case x < 8:
			words["role"], words["path"], words["claimed"], words["secret"] = "login", "/api/login", fmt.Sprintf("user%d", p), "right"
			words["outcome"], words["flags"] = "success", "proves"
			if d.n(5) == 0 {
				words["outcome"], words["secret"] = "failure", fmt.Sprint("wrong", d.n(3))
			}
		case x < 14 && i > n/2:
			words = map[string]string{
				"client": fmt.Sprintf("home%d", d.n(60)), "ua": fmt.Sprintf("copy%d", d.n(6)), "session": fmt.Sprintf("x%d", i), "template": "script",
				"role": "login", "path": "/api/login", "claimed": fmt.Sprintf("user%d", d.n(12)), "secret": strconv.Itoa(i), "outcome": "failure",
			}
		case x < 18:
			words["role"], words["path"], words["obj.card"] = "pay_auth", "/pay", fmt.Sprintf("card%d", p)
			words["outcome"] = "success"
		case x < 60:
			words["account"] = fmt.Sprintf("user%d", p)
		}
		out = append(out, build("shop", t, fmt.Sprintf("r-%d", i), words))
	}
	return out
}

// digest folds results into a hash of every byte that leaves the engine.
func digest(e *Engine, events []*event.Event, from int) uint64 {
	h := fnv.New64a()
	for i, ev := range events {
		r := e.Observe(ev, verdict.Position{Offset: int64(from + i)})
		b, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		_, _ = h.Write(b)
	}
	return h.Sum64()
}

func TestReplayIsByteIdentical(t *testing.T) {
	events := crowd(7, 8000)
	a, b := New(Config{Entities: 1 << 14, Cases: 512}), New(Config{Entities: 1 << 14, Cases: 512})
	if x, y := digest(a, events, 0), digest(b, events, 0); x != y {
		t.Fatalf("two runs differ: %x and %x", x, y)
	}
	if a.Counters().Verdicts == 0 {
		t.Fatal("the traffic gave no verdict: nothing was tested")
	}
}

func TestSnapshotHalfWayChangesNothing(t *testing.T) {
	events := crowd(8, 8000)
	for _, at := range []int{0, 1, 3000, 6000} {
		whole := New(Config{Entities: 1 << 14, Cases: 512})
		digest(whole, events[:at], 0)
		var buf bytes.Buffer
		if err := whole.Snapshot(&buf); err != nil {
			t.Fatal(err)
		}
		again := New(Config{Entities: 1 << 14, Cases: 512})
		if err := again.Restore(bytes.NewReader(buf.Bytes())); err != nil {
			t.Fatal(err)
		}
		var again1 bytes.Buffer
		if err := again.Snapshot(&again1); err != nil || !bytes.Equal(buf.Bytes(), again1.Bytes()) {
			t.Errorf("restored at %d: state differs at once", at)
		}
		if x, y := digest(whole, events[at:], at), digest(again, events[at:], at); x != y {
			t.Fatalf("restored at %d: %x, uninterrupted %x", at, y, x)
		}
		var s1, s2 bytes.Buffer
		if whole.Snapshot(&s1) != nil || again.Snapshot(&s2) != nil || !bytes.Equal(s1.Bytes(), s2.Bytes()) {
			t.Fatalf("restored at %d: final states differ", at)
		}
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	e := New(Config{Entities: 1 << 12, Cases: 64})
	digest(e, crowd(9, 3000), 0)
	var buf bytes.Buffer
	if err := e.Snapshot(&buf); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < buf.Len(); at += 1 + buf.Len()/50 {
		bad := bytes.Clone(buf.Bytes())
		bad[at] ^= 0x10
		if err := e.Restore(bytes.NewReader(bad)); err == nil {
			t.Fatalf("a flipped bit at %d of %d was accepted", at, buf.Len())
		}
		if err := e.Restore(bytes.NewReader(buf.Bytes()[:at])); err == nil {
			t.Fatalf("a snapshot cut at %d was accepted", at)
		}
	}
	if err := e.Restore(bytes.NewReader(buf.Bytes())); err != nil {
		t.Fatal("the engine does not recover:", err)
	}
	other := New(Config{Entities: 1 << 13, Cases: 64})
	if err := other.Restore(bytes.NewReader(buf.Bytes())); err == nil {
		t.Error("a snapshot of other sizes was accepted")
	}
}

func TestObserveAllocatesNothingInSteadyState(t *testing.T) {
	e := New(Config{Entities: 1 << 14, Cases: 512})
	events := crowd(10, 6000)[:3000] // without the campaign: it allocates verdicts
	digest(e, events, 0)
	var quiet []*event.Event
	for _, ev := range events {
		if ev.Outcome != event.OutcomeFailure {
			quiet = append(quiet, ev)
		}
	}
	shift := events[len(events)-1].Time - events[0].Time + 1e9
	for _, ev := range quiet {
		ev.Time += shift
	}
	i := 0
	if n := testing.AllocsPerRun(len(quiet)-10, func() {
		e.Observe(quiet[i], verdict.Position{Offset: int64(i)})
		i++
	}); n != 0 {
		t.Errorf("%.2f allocations per event", n)
	}
}

func TestMemoryIsBoundedUnderFloods(t *testing.T) {
	e := New(Config{Entities: 1 << 12, Cases: 64, Verdicts: 64, Sites: 4})
	before := e.Counters().Bytes
	for i := range 60000 {
		ev := build(fmt.Sprintf("site%d", i%9), time.Unix(1767225600+int64(i/50), 0), strconv.Itoa(i), map[string]string{
			"client": strconv.Itoa(i), "ua": strconv.Itoa(i), "session": strconv.Itoa(i), "template": strconv.Itoa(i), "role": "login",
			"claimed": strconv.Itoa(i % 5000), "secret": "x", "outcome": "failure", "path": fmt.Sprint("/", i),
		})
		e.Observe(ev, verdict.Position{Offset: int64(i)})
	}
	c := e.Counters()
	if c.Bytes > before+5*1<<20 || c.Evicted == 0 || c.Overflow == 0 || len(e.InForce()) > 64 {
		t.Errorf("bytes %d -> %d, evicted %d, sites overflown %d, in force %d", before, c.Bytes, c.Evicted, c.Overflow, len(e.InForce()))
	}
}

// TestCampaignsThatMakeRoomCount holds that an attack which the table of attacks has
// no room for shows in the engine's counters.
func TestCampaignsThatMakeRoomCount(t *testing.T) {
	e := New(Config{Entities: 1 << 12, Cases: 64, Verdicts: 64})
	for v := range uint64(1000) {
		e.attacks.See(&campaign.Sighting{Site: 1 + v, Now: 1e6, Visit: 1 + v, Place: v, Program: v + 1, Act: 3, Convicted: true})
	}
	if c := e.Counters(); c.Evicted == 0 || c.Evicted != e.attacks.Evicted() {
		t.Errorf("%d made room, the attacks count %d: want the same and some", c.Evicted, e.attacks.Evicted())
	}
}

// TestVerdictsThatMakeRoom holds that a full ledger gives up what only observes, then
// the engine's oldest, then what a person gave, and counts it.
func TestVerdictsThatMakeRoom(t *testing.T) {
	e := New(Config{Entities: 1 << 12, Cases: 64, Verdicts: 16})
	theirs := []verdict.Threat{"OAT-008"}
	e.force.put(verdict.Verdict{ID: "person", Action: event.ActionBlock, Expires: 100})
	for i := range 15 {
		e.force.put(verdict.Verdict{ID: strconv.Itoa(i), Action: event.ActionBlock, Threats: theirs, Expires: 100})
	}
	e.force.list[e.force.at["9"]].Action = event.ActionObserve
	e.force.put(verdict.Verdict{ID: "new", Threats: theirs, Expires: 100})
	var left []string
	for i := range e.force.list {
		id := e.force.list[i].ID
		if left = append(left, id); e.force.at[id] != i {
			t.Errorf("%s is looked for at %d, it stands at %d", id, e.force.at[id], i)
		}
	}
	if got := strings.Join(left, " "); got != "person 2 3 4 5 6 7 8 10 11 12 13 14 new" || e.Counters().Evicted != 3 {
		t.Errorf("left %s, %d made room", got, e.Counters().Evicted)
	}
	e = New(Config{Entities: 1 << 12, Cases: 64, Verdicts: 16})
	for i := range 17 {
		e.force.put(verdict.Verdict{ID: strconv.Itoa(i), Action: event.ActionAllow, Expires: 100})
	}
	if n := len(e.InForce()); n != 14 {
		t.Errorf("%d verdicts of people, at a limit of 16", n)
	}
}

// TestFlat checks that state types hold no pointer and no padding: they are
// written as they lie in memory.
func TestFlat(t *testing.T) {
	for _, v := range append([]any{feature.Conduct{}, feature.Stats{}, feature.Site{}, feature.Route{}, threat.Case{}}, actor.FlatTypes()...) {
		if _, err := flatSize(reflect.TypeOf(v)); err != nil {
			t.Errorf("%T: %v", v, err)
		}
	}
}

func flatSize(t reflect.Type) (uintptr, error) {
	switch t.Kind() {
	case reflect.Struct:
		var sum uintptr
		for f := range t.Fields() {
			n, err := flatSize(f.Type)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", f.Name, err)
			}
			sum += n
		}
		if sum != t.Size() {
			return 0, fmt.Errorf("%s has %d bytes of padding", t, t.Size()-sum)
		}
		return sum, nil
	case reflect.Array:
		n, err := flatSize(t.Elem())
		return n * uintptr(t.Len()), err
	case reflect.Pointer, reflect.Slice, reflect.String, reflect.Map, reflect.Interface, reflect.Bool, reflect.Float32, reflect.Float64, reflect.Int, reflect.Uint:
		return 0, fmt.Errorf("%s is not flat", t)
	default:
	}
	return t.Size(), nil
}

func TestOperatorsRecords(t *testing.T) {
	e := New(Config{Entities: 1 << 14, Cases: 512})
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	attack := func(from, n int) (last verdict.Verdict) {
		for i := from; i < from+n; i++ {
			now = now.Add(2 * time.Second)
			r := e.Observe(build("shop", now, fmt.Sprint("r", i), map[string]string{
				"client": "203.0.113.9", "ua": "tool", "template": "tool", "role": "login", "claimed": fmt.Sprint("u", i), "secret": strconv.Itoa(i), "outcome": "failure",
			}), verdict.Position{Offset: int64(i)})
			for _, v := range r.Verdicts {
				last = v
			}
		}
		return last
	}
	v := attack(0, 40)
	if v.Action < event.ActionChallenge || len(e.InForce()) == 0 {
		t.Fatalf("no verdict: %+v", v)
	}
	r := e.Control(&verdict.Control{Kind: "revoke", Site: "shop", ID: v.ID, Time: verdict.Time(now.UnixNano()), By: "ann", Reason: "a customer's script"}, verdict.Position{Offset: 40})
	if len(r) != 1 || !r[0].Revoked || r[0].Revision <= v.Revision {
		t.Fatalf("revocation: %+v", r)
	}
	if why := r[0].Evidence.Summary; why != "Revoked by ann: a customer's script" {
		t.Errorf("revoked: %q", why)
	}
	for _, f := range e.InForce() {
		if f.ID == v.ID {
			t.Error("a revoked verdict is in force")
		}
	}
	if again := attack(41, 20); again.ID == v.ID {
		t.Error("a revoked verdict came back within the day")
	}
	bind := []verdict.Bind{{Kind: "client", Value: hash("client", "203.0.113.9")}}
	e.Control(&verdict.Control{Kind: "allow", Site: "shop", ID: "office", Allow: bind}, verdict.Position{})
	if v := attack(70, 60); v.ID != "" {
		t.Errorf("an allowed client is accused: %+v", v)
	}
	e.Control(&verdict.Control{Kind: "disallow", Site: "shop", ID: "office"}, verdict.Position{})
	// With a verdict of its own an allow record reaches the enforcers too, and
	// ends with it.
	pass := verdict.Verdict{
		ID: "v_" + fmt.Sprintf("%032x", 8), Action: event.ActionAllow, Expires: verdict.Time(now.Add(time.Hour).UnixNano()), Binds: []verdict.Group{{All: bind}},
	}
	for range 2 { // given twice it counts once
		r = e.Control(&verdict.Control{Kind: "allow", Site: "shop", ID: pass.ID, Allow: bind, Verdict: &pass}, verdict.Position{Offset: 130})
		if len(r) != 1 || r[0].Action != event.ActionAllow || r[0].Site != "shop" || len(e.sites["shop"].allow) != 1 {
			t.Fatalf("allow with a verdict: %+v, %d records", r, len(e.sites["shop"].allow))
		}
	}
	if v := attack(140, 60); v.ID != "" {
		t.Errorf("an allowed client is accused: %+v", v)
	}
	if r = e.Control(&verdict.Control{Kind: "disallow", Site: "shop", ID: pass.ID}, verdict.Position{Offset: 200}); len(r) != 1 || !r[0].Revoked {
		t.Errorf("disallow: %+v", r)
	}
	if v := attack(210, 60); v.ID == "" {
		t.Error("nobody accuses the client once it is no longer allowed")
	}
	manual := verdict.Verdict{ID: "v_" + fmt.Sprintf("%032x", 7), Action: event.ActionBlock, Expires: verdict.Time(now.Add(time.Hour).UnixNano()), Binds: []verdict.Group{{All: bind}}}
	if r := e.Control(&verdict.Control{Kind: "verdict", Site: "shop", Verdict: &manual}, verdict.Position{}); len(r) != 1 || r[0].Site != "shop" || r[0].Revision != 1 {
		t.Errorf("manual verdict: %+v", r)
	}
}

func TestClockToleratesDisorderAndOneWrongStamp(t *testing.T) {
	s := &feature.Site{}
	base := int64(1767225600e9)
	for _, c := range []struct{ at, want int64 }{
		{0, 0}, {10e9, 10e9}, {5e9, 10e9}, {86400e9 * 365, 10e9}, {11e9, 11e9}, {86400e9, 11e9}, {86401e9, 11e9}, {86402e9, 86402e9}, {0, 86402e9},
	} {
		if got := s.Advance(base + c.at); got != base+c.want {
			t.Errorf("at +%ds the clock says +%ds, want +%ds", c.at/1e9, (got-base)/1e9, c.want/1e9)
		}
	}
}

func FuzzObserve(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), uint64(1))
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		if len(raw) > 4096 {
			return
		}
		e := New(Config{Entities: 1024, Cases: 16, Verdicts: 16, Sites: 2})
		d := &dice{seed}
		for i, c := range raw {
			ev := &event.Event{
				ID: strconv.Itoa(i), Site: fmt.Sprint("s", c%3), Time: int64(c)<<uint(d.n(56)) - int64(d.n(1000)), Duration: int64(d.n(1 << 40)), Method: []string{"GET", "POST", "\x00"}[d.n(3)],
				Path: string(raw[:i]), QueryKeys: string(raw[i:]), Status: uint16(d.n(65536)), Role: event.Role(d.n(int(event.NumRoles))), Outcome: event.Outcome(d.n(3)), Payload: event.Payload(d.n(256)),
				Flags: event.Flags(d.n(1 << 12)), Action: event.Action(d.n(8)), Mode: event.Mode(d.n(3)), Secret: event.Hash(d.n(4)), Claimed: event.Hash(d.n(5)), HeaderOrder: event.Hash(d.n(2)),
				ResponseBytes: int64(d.n(1<<50)) - 5,
			}
			for k := range ev.Keys {
				ev.Keys[k] = event.Hash(d.n(6))
			}
			if c&1 != 0 {
				ev.Objects = []event.Object{{Name: []string{"card", "item", "", "phone.prefix"}[d.n(4)], Hash: event.Hash(d.n(9)), Ephemeral: c&2 != 0}}
			}
			r := e.Observe(ev, verdict.Position{Offset: int64(i)})
			for k := range r.Verdicts {
				checkVerdict(t, &r.Verdicts[k])
			}
		}
		var buf bytes.Buffer
		if err := e.Snapshot(&buf); err != nil {
			t.Fatal(err)
		}
		if err := New(Config{Entities: 1024, Cases: 16, Verdicts: 16, Sites: 2}).Restore(&buf); err != nil {
			t.Fatal(err)
		}
	})
}
