package clickhouse_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/store/clickhouse"
)

func TestValuesOfEveryKind(t *testing.T) {
	_, s := newStore(t, nil)
	for _, c := range []struct{ sql, text, json string }{
		{"toUInt8(7), -1::Int64, 18446744073709551615", "7 -1 18446744073709551615", "[7,-1,18446744073709551615]"},
		{"1.5, nan, inf", "1.5 NaN +Inf", `[1.5,"NaN","+Inf"]`},
		{"toDecimal64(27.4, 3)", "27.4", "[27.4]"},
		{"NULL, toNullable(5)", " 5", "[null,5]"},
		{"true, 'it''s'", "true it's", `[true,"it's"]`},
		{"toDateTime64('2026-03-02 09:15:00.000123', 9, 'UTC')", "2026-03-02 09:15:00.000123", `["2026-03-02T09:15:00.000123Z"]`},
		{"toIPv6('::ffff:203.0.113.7'), toIPv6('2001:db8::1'), toIPv4('203.0.113.7')", "203.0.113.7 2001:db8::1 203.0.113.7", `["203.0.113.7","2001:db8::1","203.0.113.7"]`},
		{"[1, 2], map('b', 'x', 'a', 'y')", "[1, 2] {a: y, b: x}", `[[1,2],{"a":"y","b":"x"}]`},
		{"[(1, 'a')::Tuple(n UInt8, s String)]", "[{n: 1, s: a}]", `[[{"n":1,"s":"a"}]]`},
		{"[toDecimal64(8.1, 3)], toLowCardinality('z')", "[8.1] z", `[[8.1],"z"]`},
		{"(1, toDecimal64(2.5, 1))", "[1, 2.5]", "[[1,2.5]]"},
		{"toDate('2026-03-02'), toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')", "2026-03-02 00:00:00 61f0c404-5cb3-11e7-907b-a6006ad3dba0", `["2026-03-02T00:00:00Z","61f0c404-5cb3-11e7-907b-a6006ad3dba0"]`},
	} {
		rows, err := s.Query(t.Context(), clickhouse.Analyst, "SELECT "+c.sql)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		for rows.Next() {
			cells := make([]string, len(rows.Values()))
			for i, v := range rows.Values() {
				cells[i] = clickhouse.Text(v)
			}
			if got := strings.Join(cells, " "); got != c.text {
				t.Errorf("%s as text: %q, want %q", c.sql, got, c.text)
			}
			if got, err := json.Marshal(rows.Values()); err != nil || string(got) != c.json {
				t.Errorf("%s as JSON: %s, %v, want %s", c.sql, got, err, c.json)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Errorf("%s: %v", c.sql, err)
		}
	}
	rows, err := s.Query(t.Context(), clickhouse.Analyst, "SELECT time, score AS bits FROM weir.verdicts")
	if err != nil {
		t.Fatal(err)
	}
	want := []clickhouse.Column{{Name: "time", Type: "DateTime64(9, 'UTC')"}, {Name: "bits", Type: "Decimal(18, 3)"}}
	if diff := cmp.Diff(want, rows.Columns()); diff != "" {
		t.Errorf("columns of an empty answer (-want +got):\n%s", diff)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Error(err)
	}
}

func TestQueriesOfPeopleFailWithTheServersWords(t *testing.T) {
	_, s := newStore(t, nil)
	for sql, code := range map[string]int{
		"SELECT nothing FROM weir.requests": 47, "SELEC 1": 62, "SELECT * FROM weir.nowhere": 60, "INSERT INTO weir.losses (node) VALUES ('x')": 497,
		"SELECT sum(throwIf(number = 3000000)) FROM numbers(4000000)": 395, "": 62,
	} {
		_, err := readAll(t.Context(), s, clickhouse.Analyst, sql)
		if err == nil || clickhouse.Code(err) != code {
			t.Errorf("%q: %v, want code %d", sql, err, code)
		}
	}
	// Statements without an answer are no error for those who may run them.
	if got := table(t, s, clickhouse.Analyst, "SHOW TABLES FROM weir"); !slices.Contains(got, "requests") {
		t.Errorf("SHOW TABLES: %v", got)
	}
}

func TestInsertMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	_, s := newStore(t, func(c *clickhouse.Config) { c.Metrics = reg })
	insertEvents(t, s, "t", makeEvents("x", 10, recently()), 1)
	if err := s.InsertEvents(t.Context(), "p", strings.NewReader("not an arrow stream, whatever its length may be")); err == nil {
		t.Error("garbage was inserted")
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			words := []string{f.GetName()}
			for _, l := range m.GetLabel() {
				words = append(words, l.GetValue())
			}
			got[strings.Join(words, " ")] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]float64{
		"weir_store_inserts_total ok events": 1, "weir_store_inserts_total poison events": 1, "weir_store_insert_seconds events": 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}
