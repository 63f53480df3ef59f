package clickhouse

import (
	"context"
	"fmt"
	"reflect"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Role is on whose behalf a query runs.
type Role uint8

const (
	// Analyst is a person: read-only, with limits.
	Analyst Role = iota
	// Writer is weir itself.
	Writer
)

// Column is one column of an answer, with its ClickHouse type.
type Column struct {
	Name string
	Type string
}

// Rows is an answer that is read row by row. Close it; reading to the end is
// not enough.
type Rows struct {
	rows    driver.Rows
	cancel  context.CancelFunc
	columns []Column
	scan    []any
	values  []any
	err     error
}

// Query runs one statement and streams its answer. As Analyst it cannot write,
// and its limits of time, rows and memory end it with a server error.
func (s *Store) Query(ctx context.Context, as Role, sql string, args ...any) (*Rows, error) {
	conn := s.writer
	// The driver turns a deadline into max_execution_time, which the analyst
	// may not raise; so the context ends the query from here instead.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	end := func() { stop(); cancel() }
	if as == Analyst {
		conn = s.analyst
		if s.cfg.AnalystUsername == "" {
			inner = ch.Context(inner, ch.WithSettings(s.cfg.analystSettings()))
		}
	}
	rows, err := conn.Query(inner, sql, args...)
	if err != nil {
		end()
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	r := &Rows{rows: rows, cancel: end}
	for _, t := range rows.ColumnTypes() {
		r.columns = append(r.columns, Column{Name: t.Name(), Type: t.DatabaseTypeName()})
		r.scan = append(r.scan, reflect.New(t.ScanType()).Interface())
	}
	r.values = make([]any, len(r.scan))
	return r, nil
}

// analystSettings are the limits for a server on which weir made no users. The
// query itself cannot change them, because readonly is among them.
func (c Config) analystSettings() ch.Settings {
	return ch.Settings{
		"readonly": 1, "max_execution_time": int(max(c.QueryTimeout/time.Second, 1)), "max_rows_to_read": 500_000_000,
		"max_result_rows": 100_000, "result_overflow_mode": "throw", "max_memory_usage": 1 << 30,
	}
}

// Columns returns the answer's columns.
func (r *Rows) Columns() []Column { return r.columns }

// Next moves to the next row; false at the end or on an error.
func (r *Rows) Next() bool {
	if r.err != nil || !r.rows.Next() {
		return false
	}
	if r.err = r.rows.Scan(r.scan...); r.err != nil {
		return false
	}
	for i, p := range r.scan {
		r.values[i] = plain(reflect.ValueOf(p).Elem().Interface())
	}
	return true
}

// Values returns the row's values as few Go types: numbers, json.Number for
// decimals, string, bool, time.Time, netip.Addr, nil, []any and map[string]any.
// The slice is valid until the next Next. Text prints one for people.
func (r *Rows) Values() []any { return r.values }

// Err returns what ended the rows early.
func (r *Rows) Err() error {
	err := r.err
	if err == nil {
		err = r.rows.Err()
	}
	if err != nil {
		return fmt.Errorf("clickhouse: %w", err)
	}
	return nil
}

// Close ends the query.
func (r *Rows) Close() error {
	err := r.rows.Close()
	r.cancel()
	return err
}
