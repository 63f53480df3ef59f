package clickhouse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/weirproject/weir/stream/verdict"
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
	return insertRows(ctx, s, "losses", token, losses, func(l *Loss) (any, error) {
		return map[string]any{
			"time": stamp(l.Time.UnixNano()), "node": l.Node, "source": l.Source, "counter": l.Counter, "cause": l.Cause, "count": l.Count,
		}, nil
	})
}

// InsertBaselines inserts learned quantities; see InsertEvents for the token.
func (s *Store) InsertBaselines(ctx context.Context, token string, learned []Learned) error {
	return insertRows(ctx, s, "baselines", token, learned, func(l *Learned) (any, error) {
		return map[string]any{
			"time": stamp(l.Time.UnixNano()), "site": l.Site, "baseline": l.Baseline, "key": l.Key, "name": l.Name,
			"value": l.Value, "observations": l.Observations, "since": stamp(l.Since.UnixNano()),
		}, nil
	})
}

// insertRows sends rows as JSONEachRow. That costs 40 times an Arrow column,
// but these tables get hundreds of rows where events gets millions.
func insertRows[T any](ctx context.Context, s *Store, table, token string, items []T, row func(*T) (any, error)) error {
	if len(items) == 0 {
		return nil
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for i := range items {
		fields, err := row(&items[i])
		if err == nil {
			err = enc.Encode(fields)
		}
		if err != nil {
			return fmt.Errorf("insert into %s: row %d: %w", table, i, err)
		}
	}
	return s.insert(ctx, table, "JSONEachRow", token, &body)
}

// stamp is a time as a DateTime64(9) column reads it.
func stamp(nanoseconds int64) string {
	return time.Unix(0, nanoseconds).UTC().Format("2006-01-02 15:04:05.000000000")
}

type featureRow struct {
	Name     string        `json:"name"`
	Value    verdict.Milli `json:"value"`
	Expected verdict.Milli `json:"expected"`
	Bits     verdict.Milli `json:"bits"`
}

func verdictRow(v *verdict.Verdict) (any, error) {
	record, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	features := make([]featureRow, len(v.Evidence.Features))
	for i, f := range v.Evidence.Features {
		features[i] = featureRow(f)
	}
	return map[string]any{
		"id": v.ID, "revision": v.Revision, "sequence": v.Sequence, "site": v.Site,
		"time": stamp(int64(v.Time)), "expires": stamp(int64(v.Expires)),
		"scope": v.Scope, "actor": v.Actor, "action": v.Action, "mode": v.Mode, "threats": list(v.Threats),
		"score": v.Score, "confidence": v.Confidence, "false_positive_bound": v.FalsePositiveBound, "bound": v.Bound,
		"revoked": v.Revoked, "maturity": v.Maturity,
		"summary": v.Evidence.Summary, "features": features, "links": list(v.Evidence.Links), "events": list(v.Evidence.Events),
		"topic": v.Evidence.Range.Topic, "partition": v.Evidence.Range.Partition,
		"first_offset": v.Evidence.Range.From, "last_offset": v.Evidence.Range.To,
		"caps": list(v.Evidence.Caps), "counterfactual": v.Evidence.Counterfactual,
		"baseline": v.Baseline, "engine": v.Engine, "policy": v.Policy, "record": string(record),
	}, nil
}

func decisionRow(d *verdict.Decision) (any, error) {
	record, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	r := d.Request
	if r == nil {
		r = &verdict.Request{}
	}
	ip, port := clientOf(r.Client)
	return map[string]any{
		"id": d.ID, "time": stamp(int64(d.Time)), "site": d.Site, "action": d.Action, "proposed": d.Proposed, "mode": d.Mode,
		"verdict": d.Verdict, "revision": d.Revision, "matched": list(d.Matched), "bind_group": d.Group,
		"actor": d.Actor, "scope": d.Scope, "threats": list(d.Threats), "reason": d.Reason, "rule": d.Rule, "policy": d.Policy,
		"fuel": d.Fuel, "nanoseconds": d.Nanoseconds,
		"client_ip": ip, "client_port": port, "method": r.Method, "host": r.Host, "path": r.Path, "route": r.Route,
		"query_keys": r.QueryKeys, "user_agent": r.UserAgent, "ja4": r.JA4,
		"session": r.Session, "account": r.Account, "device": r.Device, "target_account": r.Target, "role": r.Role,
		"record": string(record),
	}, nil
}

// list makes an absent list an empty one: JSON null is not an array.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
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
