package line

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/gonum/mathext"

	"github.com/weirproject/weir/cmd/admin"
)

const (
	// shadowSince is how far back a shadow report looks unless told otherwise.
	shadowSince = 7 * 24 * time.Hour
	// shadowGroups and shadowSamples bound what a report lists.
	shadowGroups  = 20
	shadowSamples = 10
	// shadowSlack is how much earlier than its decision a request may have begun.
	shadowSlack = 5 * time.Minute
)

// shadowKeys are the expressions that a report groups by. Age and purchases are
// of the proven account, as far back as events are kept.
var shadowKeys = []struct{ name, sql string }{
	{"action", "s.proposed"},
	{"route", "if(r.route = '', s.route, r.route)"},
	{"threat", "arrayJoin(if(empty(s.threats), [''], s.threats))"},
	{"account_age", "multiIf(a.account = '', 'no proven account', s.time < a.first_seen + toIntervalDay(1), 'under a day', s.time < a.first_seen + toIntervalDay(7), '1 to 7 days', s.time < a.first_seen + toIntervalDay(30), '7 to 30 days', '30 days and more')"},
	{"customer_value", "multiIf(a.account = '', 'no proven account', a.purchases = 0, 'no purchase', a.purchases < 3, '1 or 2 purchases', a.purchases < 10, '3 to 9 purchases', '10 purchases and more')"},
	{"country", "r.country"},
}

func (p *processor) shadow(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since := time.Now().Add(-shadowSince)
	if s := q.Get("since"); s != "" {
		var err error
		if since, err = parseSince(s); err != nil {
			admin.JSON(w, nil, &admin.Error{Status: http.StatusBadRequest, Err: err})
			return
		}
	}
	rep, err := shadowReport(r.Context(), p.query, since, q.Get("rule"))
	admin.JSON(w, rep, err)
}

// shadowReport asks the store what shadow mode would have done since a time. A
// rule is a decision's rule or one of its threats; "" is all.
func shadowReport(ctx context.Context, query func(context.Context, string) (*admin.Table, error), since time.Time, rule string) (*admin.ShadowReport, error) {
	rep := &admin.ShadowReport{Since: since.UTC(), Rule: rule, Groups: map[string][]admin.ShadowGroup{}}
	// As the view shadow, without what a rate limit would have let pass.
	acted := fmt.Sprintf("SELECT * FROM weir.decisions FINAL WHERE time >= fromUnixTimestamp64Nano(%d) AND mode = 'shadow' AND proposed NOT IN ('', 'allow', 'observe') AND (proposed != 'rate_limit' OR JSONExtractInt(record, 'retry_after') > 0)", since.UnixNano())
	if rule != "" {
		text := quoteAll([]string{rule})
		acted += fmt.Sprintf(" AND (rule = %s OR has(threats, %s))", text, text)
	}
	seen := fmt.Sprintf("SELECT id, time, route, country, account, mode, %s AS unit FROM weir.requests WHERE time >= fromUnixTimestamp64Nano(%d) AND source = 'enforcer'", shadowUnit(""), since.Add(-shadowSlack).UnixNano())
	with := fmt.Sprintf(`WITH s AS (%s),
r AS (%s AND id IN (SELECT id FROM s)),
a AS (SELECT account, min(time) AS first_seen, countIf(role IN ('order', 'pay_auth') AND outcome = 'success') AS purchases
    FROM weir.requests WHERE account != '' AND account IN (SELECT account FROM s) GROUP BY account) `, acted, seen)
	const joined = "FROM s LEFT JOIN r ON s.id = r.id LEFT JOIN a ON s.account = a.account "
	for _, k := range shadowKeys {
		t, err := query(ctx, fmt.Sprintf("%sSELECT %s AS key, count() AS n, uniqExact(if(r.unit = '', %s, r.unit)), uniqExactIf(s.account, s.account != '') %sGROUP BY key ORDER BY n DESC, key LIMIT %d",
			with, k.sql, shadowUnit("s."), joined, shadowGroups))
		if err != nil {
			return nil, fmt.Errorf("shadow report by %s: %w", k.name, err)
		}
		list := make([]admin.ShadowGroup, 0, len(t.Rows))
		for _, row := range t.Rows {
			n, err := counts(row[1:], 3)
			if err != nil {
				return nil, fmt.Errorf("shadow report by %s: %w", k.name, err)
			}
			list = append(list, admin.ShadowGroup{Key: fmt.Sprint(row[0]), Requests: n[0], Sessions: n[1], Accounts: n[2]})
		}
		rep.Groups[k.name] = list
	}
	if err := shadowTotals(ctx, query, rep, acted, seen); err != nil {
		return nil, err
	}
	var err error
	rep.Samples, err = query(ctx, fmt.Sprintf("%sSELECT s.time AS time, s.id AS id, s.proposed AS proposed, s.method AS method, if(r.route = '', s.path, r.route) AS route, s.client_ip AS client_ip, s.account AS account, s.verdict AS verdict, s.reason AS reason %s"+
		"ORDER BY s.account = '', s.time DESC LIMIT %d", with, joined, shadowSamples))
	if err != nil {
		return nil, fmt.Errorf("shadow report's samples: %w", err)
	}
	return rep, nil
}

// shadowUnit is what a report counts as a session: the one that a table's row
// names, or of those who bring none, an address and a program.
func shadowUnit(table string) string {
	return strings.ReplaceAll("if(T.session != '', T.session, concat(toString(T.client_ip), ' ', T.user_agent))", "T.", table)
}

// shadowTotals counts sessions: all, and those of accounts that had been known
// for a day, which look like customers.
func shadowTotals(ctx context.Context, query func(context.Context, string) (*admin.Table, error), rep *admin.ShadowReport, acted, seen string) error {
	t, err := query(ctx, fmt.Sprintf(`WITH s AS (%s), a AS (SELECT account, min(time) AS first_seen FROM weir.requests WHERE account != '' GROUP BY account),
hits AS (SELECT id FROM s), strong AS (SELECT id FROM s WHERE proposed = 'block')
SELECT countIf(shadowed), countIf(hit), uniqExactIf(unit, shadowed), uniqExactIf(unit, hit), uniqExactIf(unit, blocked), uniqExactIf(unit, known AND shadowed), uniqExactIf(unit, known AND hit), countIf(NOT shadowed)
FROM (SELECT r.unit AS unit, r.mode = 'shadow' AS shadowed, r.id IN hits AS hit, r.id IN strong AS blocked, a.account != '' AND r.time >= a.first_seen + toIntervalDay(1) AS known
    FROM (%s) AS r LEFT JOIN a ON r.account = a.account)`, acted, seen))
	if err != nil {
		return fmt.Errorf("shadow report: %w", err)
	}
	if len(t.Rows) != 1 {
		return fmt.Errorf("shadow report: the store answered %d rows, want 1", len(t.Rows))
	}
	n, err := counts(t.Rows[0], 8)
	if err != nil {
		return fmt.Errorf("shadow report: %w", err)
	}
	rep.Requests, rep.Acted, rep.Enforced = n[0], n[1], n[7]
	rep.Sessions = admin.ShadowBound{What: "challenged, slowed or blocked", Of: "sessions", Hit: n[3], Seen: n[2]}
	rep.Blocked = admin.ShadowBound{What: "blocked", Of: "sessions", Hit: n[4], Seen: n[2]}
	rep.Customers = admin.ShadowBound{What: "challenged, slowed or blocked", Of: "sessions of accounts known for a day or more", Hit: n[6], Seen: n[5]}
	for _, b := range []*admin.ShadowBound{&rep.Sessions, &rep.Blocked, &rep.Customers} {
		bound(b)
	}
	return nil
}

// bound fills a bound and its words.
func bound(b *admin.ShadowBound) {
	if b.Seen == 0 {
		b.AtMost = 10_000
		b.Statement = "No " + b.Of + " were seen: nothing can be said of them."
		return
	}
	b.AtMost = min(10_000, upper95(b.Hit)*10_000/float64(b.Seen))
	b.Statement = fmt.Sprintf("With 95 %% confidence this policy would have %s at most %s of 10,000 %s (seen: %d of %d).",
		b.What, strconv.FormatFloat(b.AtMost, 'f', 2, 64), b.Of, b.Hit, b.Seen)
}

// upper95 is the one-sided upper 95 % bound of the mean of a Poisson variable
// of which k was seen (Garwood, Biometrika 28, 1936).
func upper95(k int64) float64 { return mathext.GammaIncRegInv(float64(k)+1, .95) }

// counts reads a row of a query's answer that holds so many counts.
func counts(row []any, want int) ([]int64, error) {
	if len(row) != want {
		return nil, fmt.Errorf("the store answered %v, want %d counts", row, want)
	}
	list := make([]int64, want)
	for i, v := range row {
		n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the store answered %v, want a count: %w", v, err)
		}
		list[i] = n
	}
	return list, nil
}
