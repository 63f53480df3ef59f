package clickhouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/verdict"
)

// StoredEvent is a row of events: the event without what lives on the log only
// (its secret, ephemeral objects), what the engine said to it, and its place.
type StoredEvent struct {
	event.Event
	Actor        event.Hash
	LearnedRoute string
	Position     verdict.Position
}

// eventColumns are read in the order of (*StoredEvent).scan.
const eventColumns = `toUnixTimestamp64Nano(time), id, source, node, site, workload, client_ip, client_port, client_asn, country,
	tls_version, sni, ja4, protocol, method, host, path, route, query_keys, status, request_bytes, response_bytes, duration_us,
	user_agent, accept_language, referer_host, content_type, header_order,
	[session, device, account, client, client_net, asn_key, fingerprint, client_fingerprint, target_account, request_template],
	claimed, new_session, new_device, role, outcome, step, cost, opens, closes, mapKeys(objects), mapValues(objects), object_keys,
	payload, action, mode, verdict, flags, key_id, actor, learned_route, partition, offset, row`

// EventsByID returns the events with these ids, in the order of the log. Ids
// that are not stored are missing from the answer.
func (s *Store) EventsByID(ctx context.Context, ids ...string) ([]StoredEvent, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var list []StoredEvent
	err := s.events(ctx, func(e *StoredEvent) error {
		list = append(list, *e)
		return nil
	}, "SELECT "+eventColumns+" FROM weir.events WHERE id IN (?) ORDER BY partition, offset, row", ids)
	return list, err
}

// EventsInRange calls each for every event of a partition's offsets from first
// to last, both inclusive, in the order of the log. each owns what it is given;
// its error ends the walk and is returned.
func (s *Store) EventsInRange(ctx context.Context, partition int32, first, last int64, each func(*StoredEvent) error) error {
	const where = " FROM weir.events WHERE partition = ? AND offset BETWEEN ? AND ? ORDER BY offset, row"
	return s.events(ctx, each, "SELECT "+eventColumns+where, partition, first, last)
}

func (s *Store) events(ctx context.Context, each func(*StoredEvent) error, query string, args ...any) error {
	rows, err := s.writer.Query(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("clickhouse: read events: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		e := new(StoredEvent)
		if err := e.scan(rows.Scan); err != nil {
			return fmt.Errorf("clickhouse: read events: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("clickhouse: read events: %w", err)
	}
	return nil
}

func (e *StoredEvent) scan(scan func(...any) error) error {
	var (
		source, role, outcome, action, mode string
		requestBytes, responseBytes, micros uint64
		order, claimed, newSession, newDev  uint64
		keys, objectKeys                    []uint64
		names, values                       []string
		payload                             uint16
		flags                               uint32
		actor                               uint64
		client                              netip.Addr
	)
	err := scan(&e.Time, &e.ID, &source, &e.Node, &e.Site, &e.Workload, &client, &e.ClientPort, &e.ASN, &e.Country,
		&e.TLSVersion, &e.SNI, &e.JA4, &e.Protocol, &e.Method, &e.Host, &e.Path, &e.Route, &e.QueryKeys, &e.Status,
		&requestBytes, &responseBytes, &micros, &e.UserAgent, &e.AcceptLanguage, &e.RefererHost, &e.ContentType, &order, &keys,
		&claimed, &newSession, &newDev, &role, &outcome, &e.Step, &e.Cost, &e.Opens, &e.Closes, &names, &values, &objectKeys,
		&payload, &action, &mode, &e.Verdict, &flags, &e.KeyID, &actor, &e.LearnedRoute,
		&e.Position.Partition, &e.Position.Offset, &e.Position.Row)
	if err != nil {
		return err
	}
	if client = client.Unmap(); !client.IsUnspecified() {
		e.Client = client
	}
	e.RequestBytes, e.ResponseBytes = int64(requestBytes), int64(responseBytes)
	e.Duration = int64(micros) * 1000
	e.HeaderOrder, e.Claimed, e.Actor = event.Hash(order), event.Hash(claimed), event.Hash(actor)
	e.NewSession, e.NewDevice = event.Hash(newSession), event.Hash(newDev)
	for i, key := range keys {
		e.Keys[i] = event.Hash(key)
	}
	e.Payload, e.Flags = event.Payload(payload), event.Flags(flags)
	if len(names) != len(objectKeys) || len(names) != len(values) {
		return fmt.Errorf("event %s: %d objects but %d keys", e.ID, len(names), len(objectKeys))
	}
	for i, name := range names {
		o := event.Object{Name: name, Value: values[i], Hash: event.Hash(objectKeys[i])}
		if o.Value == o.Hash.String() { // a hashed object shows its hash
			o.Value = ""
		}
		e.Objects = append(e.Objects, o)
	}
	return e.parseEnums(source, role, outcome, action, mode)
}

func (e *StoredEvent) parseEnums(source, role, outcome, action, mode string) error {
	var errs [5]error
	e.Source, errs[0] = event.ParseSource(source)
	e.Role, errs[1] = event.ParseRole(role)
	e.Outcome, errs[2] = event.ParseOutcome(outcome)
	e.Action, errs[3] = event.ParseAction(action)
	e.Mode, errs[4] = event.ParseMode(mode)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	return nil
}

// VerdictByID returns the highest revision of a verdict, or ErrNotFound.
func (s *Store) VerdictByID(ctx context.Context, id string) (*verdict.Verdict, error) {
	v := new(verdict.Verdict)
	return v, s.record(ctx, v, "verdict", "SELECT record FROM weir.verdicts WHERE id = ? ORDER BY revision DESC LIMIT 1", id)
}

// DecisionByRequest returns the decision on a request, or ErrNotFound: plain
// allows leave none.
func (s *Store) DecisionByRequest(ctx context.Context, id string) (*verdict.Decision, error) {
	d := new(verdict.Decision)
	return d, s.record(ctx, d, "decision", "SELECT record FROM weir.decisions WHERE id = ? ORDER BY time DESC LIMIT 1", id)
}

func (s *Store) record(ctx context.Context, into any, what, query, id string) error {
	var text string
	err := s.writer.QueryRow(ctx, query, id).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s %q: %w", what, id, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("clickhouse: read %s: %w", what, err)
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(into); err != nil {
		return fmt.Errorf("%s %q: stored record: %w", what, id, err)
	}
	return nil
}
