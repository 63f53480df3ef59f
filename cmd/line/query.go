package line

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/store/clickhouse"
	"github.com/weirproject/weir/stream/verdict"
)

const (
	// maxResultRows bounds what one answer of /v1/sql carries; SQL's own LIMIT
	// and the analyst's limits come first.
	maxResultRows = 100_000
	// maxDecisions bounds one answer of /v1/decisions.
	maxDecisions = 10_000
)

// routes puts the questions a processor answers on its socket.
func (p *processor) routes() error {
	keys, err := Keyring(p.Config)
	if err != nil {
		return err
	}
	ops := &operator{processor: p, keys: keys}
	p.mux.HandleFunc("POST /v1/sql", p.sql)
	p.mux.HandleFunc("GET /v1/verdicts", func(w http.ResponseWriter, _ *http.Request) { admin.JSON(w, p.feed.InForce(), nil) })
	p.mux.HandleFunc("GET /v1/verdicts/{id}", p.verdict)
	p.mux.Handle("GET /v1/verdicts/stream", p.feed)
	p.mux.HandleFunc("POST /v1/verdicts", ops.add)
	p.mux.HandleFunc("POST /v1/verdicts/revoke", ops.revoke)
	p.mux.HandleFunc("GET /v1/decisions", p.decisions)
	p.mux.HandleFunc("GET /v1/explain/{id}", p.explain)
	p.mux.HandleFunc("GET /v1/shadow", p.shadow)
	return nil
}

func (p *processor) sql(w http.ResponseWriter, r *http.Request) {
	var q admin.SQLRequest
	if err := admin.Decode(r, &q); err != nil {
		admin.JSON(w, nil, err)
		return
	}
	t, err := p.query(r.Context(), q.Query)
	admin.JSON(w, t, err)
}

// query runs one statement as the analyst.
func (p *processor) query(ctx context.Context, sql string) (*admin.Table, error) {
	store, err := p.store.soon(ctx)
	if err != nil {
		return nil, &admin.Error{Status: http.StatusServiceUnavailable, Err: err}
	}
	rows, err := store.Query(ctx, clickhouse.Analyst, sql)
	if err != nil {
		return nil, refusedQuery(err)
	}
	defer func() { _ = rows.Close() }()
	t := &admin.Table{Rows: [][]any{}}
	for _, c := range rows.Columns() {
		t.Columns = append(t.Columns, c.Name)
	}
	for rows.Next() {
		if len(t.Rows) == maxResultRows {
			return nil, admin.Errorf(http.StatusBadRequest, "the answer has more than %d rows: add a LIMIT", maxResultRows)
		}
		values := rows.Values()
		row := make([]any, len(values))
		for i, v := range values {
			row[i] = jsonValue(v)
		}
		t.Rows = append(t.Rows, row)
	}
	if err := rows.Err(); err != nil {
		return nil, refusedQuery(err)
	}
	return t, nil
}

// refusedQuery is a query's error in words that help whoever wrote it.
func refusedQuery(err error) error {
	if strings.Contains(err.Error(), `unsupported column type "AggregateFunction(`) {
		err = errors.New("a column of this roll-up holds a state that only its own function reads: name the columns you want, and read that one with uniqCombinedMerge(12)(COLUMN); DESCRIBE shows the types")
	}
	return &admin.Error{Status: http.StatusBadRequest, Err: err}
}

// jsonValue turns a driver's value into one that JSON shows as people expect.
func jsonValue(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case json.Number: // a Decimal
		return v
	case fmt.Stringer:
		s := v.String()
		if a, err := netip.ParseAddr(s); err == nil {
			return a.Unmap().String()
		}
		return s
	case uint64:
		return json.Number(strconv.FormatUint(v, 10))
	case int64:
		return json.Number(strconv.FormatInt(v, 10))
	}
	return v
}

func (p *processor) verdict(w http.ResponseWriter, r *http.Request) {
	v, err := p.findVerdict(r.Context(), r.PathValue("id"))
	admin.JSON(w, v, err)
}

// findVerdict looks at what is in force first: it works without the store.
func (p *processor) findVerdict(ctx context.Context, id string) (*verdict.Verdict, error) {
	if v := p.feed.Last(id); v != nil {
		return v, nil
	}
	store, err := p.store.soon(ctx)
	if err != nil {
		return nil, &admin.Error{Status: http.StatusServiceUnavailable, Err: err}
	}
	v, err := store.VerdictByID(ctx, id)
	if errors.Is(err, clickhouse.ErrNotFound) {
		return nil, admin.Errorf(http.StatusNotFound, "no verdict %s: `weir verdicts list` shows those in force", id)
	}
	return v, err
}

func (p *processor) decisions(w http.ResponseWriter, r *http.Request) {
	since := time.Now().Add(-time.Hour)
	if s := r.URL.Query().Get("since"); s != "" {
		var err error
		if since, err = parseSince(s); err != nil {
			admin.JSON(w, nil, &admin.Error{Status: http.StatusBadRequest, Err: err})
			return
		}
	}
	t, err := p.query(r.Context(), fmt.Sprintf("SELECT record FROM decisions WHERE time >= fromUnixTimestamp64Nano(%d) ORDER BY time LIMIT %d", since.UnixNano(), maxDecisions))
	if err != nil {
		admin.JSON(w, nil, err)
		return
	}
	list := make([]json.RawMessage, 0, len(t.Rows))
	for _, row := range t.Rows {
		if record, ok := row[0].(string); ok && json.Valid([]byte(record)) {
			list = append(list, json.RawMessage(record))
		}
	}
	admin.JSON(w, list, nil)
}

// parseSince reads a time (RFC 3339) or a duration before now ("15m").
func parseSince(s string) (time.Time, error) {
	if d, err := config.ParseDuration(s); err == nil {
		return time.Now().Add(-time.Duration(d)), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, fmt.Errorf("since %q: want RFC 3339 or a duration such as 15m", s)
	}
	return t, nil
}

func (p *processor) explain(w http.ResponseWriter, r *http.Request) {
	e, err := p.explanation(r.Context(), r.PathValue("id"))
	if err == nil && e.Verdict != nil && r.URL.Query().Get("replay") != "" {
		e.Replay = p.replay(r.Context(), e.Verdict)
	}
	admin.JSON(w, e, err)
}

const requestColumns = "time, id, site, client_ip, method, host, path, route, status, user_agent, session, account, actor, role, outcome, action, verdict"

func (p *processor) explanation(ctx context.Context, id string) (*admin.Explanation, error) {
	e := &admin.Explanation{ID: id, Kind: "verdict"}
	if strings.HasPrefix(id, "v_") {
		v, err := p.findVerdict(ctx, id)
		if err != nil {
			return nil, err
		}
		e.Verdict = v
	} else if err := p.explainRequest(ctx, e); err != nil {
		return nil, err
	}
	if e.Verdict != nil && len(e.Verdict.Evidence.Events) > 0 && p.store.Err() == nil {
		var err error
		e.Events, err = p.query(ctx, "SELECT "+requestColumns+" FROM requests WHERE id IN ("+quoteAll(e.Verdict.Evidence.Events)+") ORDER BY time")
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (p *processor) explainRequest(ctx context.Context, e *admin.Explanation) error {
	store, err := p.store.soon(ctx)
	if err != nil {
		return &admin.Error{Status: http.StatusServiceUnavailable, Err: err}
	}
	e.Kind = "request"
	if e.Request, err = p.query(ctx, "SELECT "+requestColumns+" FROM requests WHERE id = "+quoteAll([]string{e.ID})+" LIMIT 1"); err != nil {
		return err
	}
	d, err := store.DecisionByRequest(ctx, e.ID)
	switch {
	case errors.Is(err, clickhouse.ErrNotFound):
		if len(e.Request.Rows) == 0 {
			return admin.Errorf(http.StatusNotFound, "no verdict, decision or request has the id %s (events reach the store within about a second; of what was refused before any decision, as malformed or for a host that is not declared, only a counter tells)", e.ID)
		}
		return nil
	case err != nil:
		return err
	}
	e.Kind, e.Decision = "decision", d
	if e.Decision.Verdict != "" {
		if e.Verdict, err = p.findVerdict(ctx, e.Decision.Verdict); err != nil {
			return err
		}
	}
	return nil
}

// quoteAll writes SQL string literals; ids are opaque and may come from others.
func quoteAll(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	return strings.Join(out, ",")
}
