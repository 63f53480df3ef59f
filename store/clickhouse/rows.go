package clickhouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// Loss is an increase of one of weir's own counters.
type Loss struct {
	Time   time.Time
	Node   string
	Source string
	// Counter is produced, delivered or lost; Cause is set for lost only.
	Counter string
	Cause   string
	Count   uint64
}

// Learned is one quantity of a baseline version.
type Learned struct {
	Time     time.Time
	Site     string
	Baseline string
	// Key is the route, role or site, Name what was learned about it.
	Key          string
	Name         string
	Value        verdict.Milli
	Observations uint64
	// Since is when the learning began.
	Since time.Time
}

// InsertVerdicts inserts revisions of verdicts; see InsertEvents for the token.
func (s *Store) InsertVerdicts(ctx context.Context, token string, verdicts []verdict.Verdict) error {
	return insertRows(ctx, s, "verdicts", token, verdicts, verdictRow)
}

// InsertDecisions inserts decisions; see InsertEvents for the token.
func (s *Store) InsertDecisions(ctx context.Context, token string, decisions []verdict.Decision) error {
	return insertRows(ctx, s, "decisions", token, decisions, decisionRow)
}

// InsertLosses inserts counter increases; see InsertEvents for the token.
func (s *Store) InsertLosses(ctx context.Context, token string, losses []Loss) error {
	return insertRows(ctx, s, "losses", token, losses, func(w *rowWriter, l *Loss) error {
		w.text("time", stamp(l.Time.UnixNano()))
		w.text("node", l.Node)
		w.text("source", l.Source)
		w.text("counter", l.Counter)
		w.text("cause", l.Cause)
		w.uint("count", l.Count)
		return nil
	})
}

// InsertBaselines inserts learned quantities; see InsertEvents for the token.
func (s *Store) InsertBaselines(ctx context.Context, token string, learned []Learned) error {
	return insertRows(ctx, s, "baselines", token, learned, func(w *rowWriter, l *Learned) error {
		w.text("time", stamp(l.Time.UnixNano()))
		w.text("site", l.Site)
		w.text("baseline", l.Baseline)
		w.text("key", l.Key)
		w.text("name", l.Name)
		w.value("value", l.Value)
		w.uint("observations", l.Observations)
		w.text("since", stamp(l.Since.UnixNano()))
		return nil
	})
}

// insertRows sends rows as JSONEachRow. That costs 40 times an Arrow column,
// but these tables get hundreds of rows where events gets millions.
func insertRows[T any](ctx context.Context, s *Store, table, token string, items []T, row func(*rowWriter, *T) error) error {
	if len(items) == 0 {
		return nil
	}
	var w rowWriter
	for i := range items {
		w.open()
		if err := errors.Join(row(&w, &items[i]), w.err); err != nil {
			return fmt.Errorf("insert into %s: row %d: %w", table, i, err)
		}
		w.close()
		w.b = append(w.b, '\n')
		if i == 0 { // rows are of about one length
			w.b = slices.Grow(w.b, len(w.b)*len(items))
		}
	}
	return s.insert(ctx, table, "JSONEachRow", token, bytes.NewReader(w.b))
}

// stamp is a time as a DateTime64(9) column reads it.
func stamp(nanoseconds int64) string {
	return time.Unix(0, nanoseconds).UTC().Format("2006-01-02 15:04:05.000000000")
}

func verdictRow(w *rowWriter, v *verdict.Verdict) error {
	record, err := wire.AppendVerdict(nil, v)
	if err != nil {
		return err
	}
	w.text("id", v.ID)
	w.uint("revision", uint64(v.Revision))
	w.int("sequence", v.Sequence)
	w.text("site", v.Site)
	w.text("time", stamp(int64(v.Time)))
	w.text("expires", stamp(int64(v.Expires)))
	w.text("scope", string(v.Scope))
	w.text("actor", v.Actor)
	w.text("action", v.Action.String())
	w.text("mode", v.Mode.String())
	rowList(w, "threats", v.Threats, rowText)
	w.value("score", v.Score)
	w.value("confidence", v.Confidence)
	w.value("false_positive_bound", v.FalsePositiveBound)
	w.text("bound", v.Bound)
	w.bool("revoked", v.Revoked)
	w.text("maturity", v.Maturity)
	evidenceRow(w, &v.Evidence)
	w.text("baseline", v.Baseline)
	w.text("engine", v.Engine)
	w.text("policy", v.Policy)
	w.text("record", string(record))
	return nil
}

func evidenceRow(w *rowWriter, e *verdict.Evidence) {
	w.text("summary", e.Summary)
	rowList(w, "features", e.Features, func(w *rowWriter, f verdict.Feature) {
		w.open()
		w.text("name", f.Name)
		w.value("value", f.Value)
		w.value("expected", f.Expected)
		w.value("bits", f.Bits)
		w.close()
	})
	rowList(w, "links", e.Links, func(w *rowWriter, l verdict.Link) {
		w.open()
		w.text("from", l.From)
		w.text("to", l.To)
		w.value("bits", l.Bits)
		w.close()
	})
	rowList(w, "events", e.Events, rowText)
	w.text("topic", e.Range.Topic)
	w.int("partition", int64(e.Range.Partition))
	w.int("first_offset", e.Range.From)
	w.int("last_offset", e.Range.To)
	rowList(w, "caps", e.Caps, rowText)
	w.text("counterfactual", e.Counterfactual)
}

func decisionRow(w *rowWriter, d *verdict.Decision) error {
	record, err := wire.AppendDecision(nil, d)
	if err != nil {
		return err
	}
	w.text("id", d.ID)
	w.text("time", stamp(int64(d.Time)))
	w.text("site", d.Site)
	w.text("action", d.Action.String())
	w.text("proposed", d.Proposed.String())
	w.text("mode", d.Mode.String())
	w.text("verdict", d.Verdict)
	w.uint("revision", uint64(d.Revision))
	rowList(w, "matched", d.Matched, rowText)
	w.int("bind_group", int64(d.Group))
	w.text("actor", d.Actor)
	w.text("scope", string(d.Scope))
	rowList(w, "threats", d.Threats, rowText)
	w.text("reason", d.Reason)
	w.text("rule", d.Rule)
	w.text("policy", d.Policy)
	w.int("fuel", d.Fuel)
	w.int("nanoseconds", d.Nanoseconds)
	r := d.Request
	if r == nil {
		r = &verdict.Request{}
	}
	requestRow(w, r)
	w.text("record", string(record))
	return nil
}

func requestRow(w *rowWriter, r *verdict.Request) {
	ip, port := clientOf(r.Client)
	w.text("client_ip", ip)
	w.uint("client_port", uint64(port))
	w.text("method", r.Method)
	w.text("host", r.Host)
	w.text("path", r.Path)
	w.text("route", r.Route)
	w.text("query_keys", r.QueryKeys)
	w.text("user_agent", r.UserAgent)
	w.text("ja4", r.JA4)
	w.text("session", r.Session)
	w.text("account", r.Account)
	w.text("device", r.Device)
	w.text("target_account", r.Target)
	w.text("role", r.Role)
}

// clientOf reads "ADDRESS:PORT", "[ADDRESS]:PORT" or "ADDRESS"; what cannot be
// read is the unspecified address, because a decision is worth keeping without it.
func clientOf(s string) (address string, port uint16) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return as16(ap.Addr()), ap.Port()
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return as16(a), 0
	}
	return "::", 0
}

func as16(a netip.Addr) string { return netip.AddrFrom16(a.WithZone("").As16()).String() }
