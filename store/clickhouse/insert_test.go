package clickhouse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirproject/weir/store/clickhouse"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// rollupChecks compare each roll-up with the events it was made from; every
// pair of answers must be equal.
var rollupChecks = [][2]string{
	{
		"SELECT toUInt64(count()), sum(response_bytes), countIf(status BETWEEN 400 AND 499), countIf(outcome = 'failure'), countIf(action = 'block'), max(duration_us) FROM weir.events",
		"SELECT sum(requests), sum(response_bytes), sum(client_errors), sum(failures), sum(refused), max(duration_us_max) FROM weir.routes_by_hour",
	},
	{
		"SELECT toUInt64(count()), sum(response_bytes), countIf(outcome = 'failure'), min(time), max(time), uniqExact(actor) FROM weir.events WHERE actor != 0",
		"SELECT sum(requests), sum(response_bytes), sum(failures), min(first_seen), max(last_seen), uniqExact(actor) FROM weir.actors_by_hour",
	},
	{
		"SELECT site, toStartOfHour(toDateTime(time, 'UTC')) AS h, if(route = '', learned_route, route) AS r, toUInt64(count()) FROM weir.events GROUP BY ALL ORDER BY ALL",
		"SELECT site, hour, route, sum(requests) FROM weir.routes_by_hour GROUP BY ALL ORDER BY ALL",
	},
}

func checkRollups(t *testing.T, s *clickhouse.Store) {
	t.Helper()
	for _, c := range rollupChecks {
		want, got := table(t, s, clickhouse.Writer, c[0]), table(t, s, clickhouse.Writer, c[1])
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("roll-up differs from the events (-events +roll-up):\n%s", diff)
		}
		if len(want) == 0 {
			t.Errorf("nothing to compare: %s", c[0])
		}
	}
}

func TestInsertedEventsComeBack(t *testing.T) {
	_, s := newStore(t, nil)
	events := makeEvents("r", 3000, recently())
	insertEvents(t, s, "t1", events, 10)
	if got := one(t, s, "SELECT count(), uniqExact(id) FROM weir.events"); got != "3000 3000" {
		t.Fatalf("count and ids: %s, want 3000 3000", got)
	}
	checkRollups(t, s)
	var got []clickhouse.StoredEvent
	err := s.EventsInRange(t.Context(), 3, 10, 14, func(e *clickhouse.StoredEvent) error {
		got = append(got, *e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := make([]clickhouse.StoredEvent, len(events))
	for i, ev := range events {
		ev.Secret, ev.Objects = 0, append([]event.Object(nil), ev.Objects...)
		if n := len(ev.Objects); ev.Objects[n-1].Ephemeral {
			ev.Objects = ev.Objects[:n-1]
		}
		want[i] = clickhouse.StoredEvent{
			Event: ev, Actor: actorOf(i), Position: verdict.Position{Partition: 3, Offset: 10 + int64(i/700), Row: int32(i % 700)},
		}
		if ev.Route == "" {
			want[i].LearnedRoute = "/item/{id}"
		}
	}
	opts := cmp.Options{cmpopts.EquateComparable(event.Event{}.Client), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("events differ (-written +read):\n%.3000s", diff)
	}
	byID, err := s.EventsByID(t.Context(), "r-000007", "r-002999", "nowhere")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]clickhouse.StoredEvent{want[7], want[2999]}, byID, opts); diff != "" {
		t.Errorf("by id (-want +got):\n%s", diff)
	}
	// Nothing that lives on the log only may be anywhere on disk.
	for _, column := range []string{"toString(objects)", "toString(object_keys)"} {
		sql := fmt.Sprintf("SELECT count() FROM weir.events WHERE positionCaseInsensitive(%s, '5ec4e7') > 0 OR position(%s, '%d') > 0", column, column, 0x5ec4e7)
		if n := one(t, s, sql); n != "0" {
			t.Errorf("%s rows show an ephemeral object in %s", n, column)
		}
	}
}

func TestRequestsViewReadsAsPeopleExpect(t *testing.T) {
	_, s := newStore(t, nil)
	events := makeEvents("v", 100, recently())
	events[0].Flags = event.FlagProves | event.FlagClockClamped
	events[0].Payload = event.PayloadSQL | event.PayloadTool
	events[1].Flags = event.FlagShadowed
	insertEvents(t, s, "t", events, 1)
	want := "v-000000 000000000000a000 a_000000000000f000 000000000000e000  /api/login clock_clamped,proves sql,tool 000000000000001f ::ffff:203.0.113.0 0000000000abcdef"
	got := table(t, s, clickhouse.Analyst, `SELECT id, session, actor, target_account, account, route, flags, payload, header_order, toString(client_ip), objects['card']
		FROM weir.requests WHERE session = '000000000000a000' AND id = 'v-000000'`)
	if diff := cmp.Diff([]string{want}, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := table(t, s, clickhouse.Analyst, "SELECT count() FROM weir.requests")[0]; got != "99" {
		t.Errorf("%s requests, want 99: a shadowed copy is no request of its own", got)
	}
	if got := one(t, s, "SELECT sum(requests) FROM weir.routes_by_hour"); got != "99" {
		t.Errorf("roll-up counts %s, want 99", got)
	}
	// People write an IPv4 address as they know it, and networks too.
	for _, filter := range []string{"client_ip = '203.0.113.7'", "isIPAddressInRange(toString(client_ip), '::ffff:203.0.113.7/128')"} {
		if got := table(t, s, clickhouse.Analyst, "SELECT count() FROM weir.requests WHERE "+filter)[0]; got != "2" {
			t.Errorf("%s: %s requests, want 2", filter, got)
		}
	}
	plan := strings.Join(table(t, s, clickhouse.Analyst, "EXPLAIN indexes = 1 SELECT count() FROM weir.requests WHERE actor = 'a_000000000000f000' AND session = '1'"), "\n")
	for _, index := range []string{"by_actor", "by_session"} {
		if !strings.Contains(plan, index) {
			t.Errorf("a filter on requests does not use the index %s:\n%s", index, plan)
		}
	}
}

func TestRepeatedTokenAddsNothing(t *testing.T) {
	_, s := newStore(t, nil)
	// Two days and two sites: several partitions in one insert.
	events := makeEvents("d", 2000, recently())
	for i := range events[:1000] {
		events[i].Time -= int64(30 * time.Hour)
	}
	body := stitch(t, events, 5)
	other := stitch(t, events[:700], 5) // the token names the range: bytes are not compared
	for i, b := range [][]byte{body, body, other} {
		if err := s.InsertEvents(t.Context(), "inc/weir.events/0/5-8/events", bytes.NewReader(b)); err != nil {
			t.Fatalf("insert %d: %v", i, err)
		}
	}
	if got := one(t, s, "SELECT count(), uniqExact(id), uniqExact(_partition_id) FROM weir.events"); got != "2000 2000 2" {
		t.Errorf("count, ids and partitions: %s, want 2000 2000 2", got)
	}
	checkRollups(t, s)
	// A new token with the same rows is a new insert, else a lost incarnation
	// would look like a repeat.
	insertEvents(t, s, "inc2/weir.events/0/5-8/events", events, 5)
	if got := one(t, s, "SELECT count(), uniqExact(id) FROM weir.events"); got != "4000 2000" {
		t.Errorf("after a second token: %s, want 4000 2000", got)
	}
	checkRollups(t, s)
}

// brokenReader ends with an error after the first bytes, as a client that dies.
type brokenReader struct{ r io.Reader }

var errBroken = errors.New("broken on purpose")

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = errBroken
	}
	return n, err
}

func TestInsertFailures(t *testing.T) {
	e, s := newStore(t, nil)
	body := stitch(t, makeEvents("f", 30000, recently()), 1)
	noLogin := open(t, configFor(e, func(c *clickhouse.Config) { c.Password = "wrong" }))
	nowhere := open(t, configFor(e, func(c *clickhouse.Config) { c.HTTPAddr = []string{"127.0.0.1:1"} }))
	overloaded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer overloaded.Close()
	busy := open(t, configFor(e, func(c *clickhouse.Config) { c.HTTPAddr = []string{strings.TrimPrefix(overloaded.URL, "http://")} }))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	cases := []struct {
		name   string
		store  *clickhouse.Store
		ctx    context.Context
		body   io.Reader
		poison bool
	}{
		{"a body that breaks off", s, t.Context(), brokenReader{bytes.NewReader(body[:len(body)/2])}, false},
		{"a body that is no Arrow", s, t.Context(), strings.NewReader("not arrow at all, but long enough to be read"), true},
		{"a truncated Arrow stream", s, t.Context(), bytes.NewReader(body[:len(body)/2]), true},
		{"a wrong password", noLogin, t.Context(), bytes.NewReader(body), false},
		{"nobody listening", nowhere, t.Context(), bytes.NewReader(body), false},
		{"an overloaded proxy", busy, t.Context(), bytes.NewReader(body), false},
		{"an ended context", s, ended, bytes.NewReader(body), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.store.InsertEvents(c.ctx, "same token", c.body)
			if err == nil {
				t.Fatal("the insert succeeded")
			}
			if clickhouse.Poison(err) != c.poison {
				t.Errorf("poison %v, want %v: %v", clickhouse.Poison(err), c.poison, err)
			}
			if got := one(t, s, "SELECT count() FROM weir.events"); got != "0" {
				t.Fatalf("%s rows are in after a failed insert", got)
			}
		})
	}
	if err := s.InsertEvents(t.Context(), "", bytes.NewReader(body)); err == nil {
		t.Error("an insert without a token succeeded")
	}
	if err := s.InsertEvents(t.Context(), "same token", bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if got := one(t, s, "SELECT count() FROM weir.events"); got != "30000" {
		t.Errorf("%s rows after the retry, want 30000: a failed insert must not use up its token", got)
	}
}

func TestSpreadOverTooManyDaysIsPoison(t *testing.T) {
	_, s := newStore(t, nil)
	events := makeEvents("p", 1100, recently())
	for i := range events {
		events[i].Time -= int64(i) * int64(24*time.Hour)
	}
	body := stitch(t, events, 1)
	if err := s.InsertEvents(t.Context(), "t", bytes.NewReader(body)); !clickhouse.Poison(err) {
		t.Errorf("1,100 days in one insert: %v, want poison", err)
	}
}

func sampleVerdict() verdict.Verdict {
	now := verdict.Time(recently().UnixNano())
	return verdict.Verdict{
		ID: "v_00000000000000000000000000000001", Revision: 1, Sequence: 17, Site: "shop", Time: now, Expires: now + verdict.Time(time.Hour),
		Scope: verdict.ScopeActor, Actor: "a_000000000000f000", Action: event.ActionBlock, Mode: event.ModeEnforce,
		Threats: []verdict.Threat{"OAT-008"}, Score: 27400, Confidence: 999900, FalsePositiveBound: 100000, Bound: "model",
		Binds: []verdict.Group{{All: []verdict.Bind{{Kind: "session", Value: 0xa000}}}},
		Evidence: verdict.Evidence{
			Summary:  "17 accounts tried once each in 6 m",
			Features: []verdict.Feature{{Name: "distinct_target_accounts", Value: 17000, Expected: 1020, Bits: 8100}},
			Links:    []verdict.Link{{From: "session:9f", To: "device:77", Bits: 6900}},
			Events:   []string{"r-000001", "r-000005"}, Range: verdict.Range{Topic: "weir.events", From: 100, To: 180},
		},
		Baseline: "b_1", Engine: "1.4.0", Policy: "sha256:00",
	}
}

func TestVerdicts(t *testing.T) {
	_, s := newStore(t, nil)
	ctx := t.Context()
	first := sampleVerdict()
	second := first
	second.Revision, second.Revoked = 2, true
	for _, batch := range [][]verdict.Verdict{{first, second}, {first}, {second}} {
		if err := s.InsertVerdicts(ctx, fmt.Sprintf("v%d-%d", len(batch), batch[0].Revision), batch); err != nil {
			t.Fatal(err)
		}
	}
	if got := table(t, s, clickhouse.Analyst, `SELECT id, revision, revoked, toFloat64(score), threats[1], features[1].bits, dateDiff('minute', time, expires)
		FROM weir.verdicts FINAL`); len(got) != 1 || got[0] != "v_00000000000000000000000000000001 2 true 27.4 OAT-008 8.1 60" {
		t.Errorf("verdicts: %v", got)
	}
	v, err := s.VerdictByID(ctx, first.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&second, v); diff != "" {
		t.Errorf("verdict by id (-want +got):\n%s", diff)
	}
	if _, err := s.VerdictByID(ctx, "v_0"); !errors.Is(err, clickhouse.ErrNotFound) {
		t.Errorf("an unknown verdict: %v, want ErrNotFound", err)
	}
}

func TestDecisions(t *testing.T) {
	_, s := newStore(t, nil)
	ctx := t.Context()
	d := sampleDecision(0)
	for _, token := range []string{"d1", "d1", "sent twice by the enforcer"} {
		if err := s.InsertDecisions(ctx, token, []verdict.Decision{d}); err != nil {
			t.Fatal(err)
		}
	}
	if got := table(t, s, clickhouse.Analyst, "SELECT id, proposed, toString(client_ip), path FROM weir.shadow"); len(got) != 1 || got[0] != "r-000000 block ::ffff:203.0.113.7 /api/login" {
		t.Errorf("shadow: %v", got)
	}
	back, err := s.DecisionByRequest(ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&d, back); diff != "" {
		t.Errorf("decision by request (-want +got):\n%s", diff)
	}
	if _, err := s.DecisionByRequest(ctx, "nowhere"); !errors.Is(err, clickhouse.ErrNotFound) {
		t.Errorf("a request without a decision: %v, want ErrNotFound", err)
	}
}

func TestLossesAndBaselines(t *testing.T) {
	_, s := newStore(t, nil)
	ctx := t.Context()
	losses := []clickhouse.Loss{
		{Time: time.Now(), Node: "n1", Source: "enforcer", Counter: "produced", Count: 10},
		{Time: time.Now(), Node: "n1", Source: "enforcer", Counter: "delivered", Count: 9},
		{Time: time.Now(), Node: "n1", Source: "enforcer", Counter: "lost", Cause: "queue_full", Count: 1},
	}
	for range 2 {
		if err := s.InsertLosses(ctx, "l1", losses); err != nil {
			t.Fatal(err)
		}
	}
	if got := one(t, s, "SELECT sumIf(count, counter = 'produced'), sumIf(count, counter != 'produced') FROM weir.losses"); got != "10 10" {
		t.Errorf("produced and its sum: %s, want 10 10", got)
	}
	learned := []clickhouse.Learned{{Time: recently(), Site: "shop", Baseline: "b_1", Key: "/api/login", Name: "failure_rate", Value: 31, Observations: 400, Since: time.Unix(1772442000, 0)}}
	if err := s.InsertBaselines(ctx, "b1", learned); err != nil {
		t.Fatal(err)
	}
	if got := one(t, s, "SELECT key, toFloat64(value), observations, toUnixTimestamp(since) FROM weir.baselines"); got != "/api/login 0.031 400 1772442000" {
		t.Errorf("baselines: %s", got)
	}
	if err := s.InsertVerdicts(ctx, "nothing", nil); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
}

func sampleDecision(i int) verdict.Decision {
	return verdict.Decision{
		ID: fmt.Sprintf("r-%06d", i), Time: verdict.Time(recently().Add(time.Duration(i) * time.Second).UnixNano()), Site: "shop",
		Action: event.ActionAllow, Proposed: event.ActionBlock, Mode: event.ModeShadow,
		Verdict: "v_00000000000000000000000000000001", Actor: "a_000000000000f000", Scope: verdict.ScopeActor, Threats: []verdict.Threat{"OAT-008"},
		Reason: "17 accounts tried once each in 6 m", Revision: 1, Matched: []string{"v_00000000000000000000000000000001"},
		Rule: "verdict", Policy: "sha256:00", Nanoseconds: 4100,
		Request: &verdict.Request{
			Client: "203.0.113.7:51234", Method: "POST", Host: "shop.example", Path: "/api/login", Route: "/api/login", UserAgent: "curl/8",
			Session: "000000000000a000", Target: "000000000000e000", Role: "login",
		},
	}
}
