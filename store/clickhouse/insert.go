package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// InsertEvents inserts one Arrow IPC stream, as wire.Stitcher makes it, into
// events. All rows are in, with the roll-ups, when it returns nil. A second call
// with the same token adds nothing, so the caller repeats it after any temporary
// error with the same rows; the token names the range of the log, not the bytes.
// It reads body once and never keeps it.
func (s *Store) InsertEvents(ctx context.Context, token string, body io.Reader) error {
	return s.insert(ctx, "events", "ArrowStream", token, body)
}

// Retry calls insert until it succeeds, is poison or ctx ends, waiting from
// 100 ms up to 5 s in between. note, which may be nil, hears of each failure.
func Retry(ctx context.Context, insert func(context.Context) error, note func(error)) error {
	wait := 100 * time.Millisecond
	for {
		err := insert(ctx)
		if err == nil || Poison(err) {
			return err
		}
		if note != nil {
			note(err)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return errors.Join(ctx.Err(), err)
		case <-t.C:
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// insertSettings make an insert exact: one block, written when the answer is
// given, deduplicated together with its roll-ups.
var insertSettings = map[string]string{
	"async_insert":       "0", // servers may turn it on by default; it would ignore the token
	"insert_deduplicate": "1",
	"deduplicate_blocks_in_dependent_materialized_views": "1",
	"materialized_views_ignore_errors":                   "0",
	"max_insert_threads":                                 "1", // block boundaries must repeat
	"max_partitions_per_insert_block":                    "1000",
	"input_format_skip_unknown_fields":                   "1", // a newer collector's columns
	"input_format_null_as_default":                       "1",
	"input_format_parallel_parsing":                      "0", // threads cost more than some hundred rows
	"wait_end_of_query":                                  "1", // the status then tells the truth
	// A part's first merge, seconds later, makes its indexes: 20,000 rows are read
	// as quickly without.
	"materialize_skip_indexes_on_insert": "0",
}

func (s *Store) insert(ctx context.Context, table, format, token string, body io.Reader) (err error) {
	begin := time.Now()
	defer func() { s.metrics.insert(table, begin, err) }()
	if token == "" {
		return errors.New("clickhouse: insert without a deduplication token")
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.InsertTimeout)
		defer cancel()
	}
	values := url.Values{"database": {Database}, "insert_deduplication_token": {token}}
	values.Set("query", "INSERT INTO "+Database+"."+table+" FORMAT "+format)
	for name, value := range insertSettings {
		values.Set(name, value)
	}
	if s.cfg.Cluster != "" {
		values.Set("insert_quorum", "auto")
	}
	scheme := "http"
	if s.cfg.TLS != nil {
		scheme = "https"
	}
	index := s.next.Load()
	address := s.cfg.HTTPAddr[int(index)%len(s.cfg.HTTPAddr)]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+"://"+address+"/?"+values.Encode(), body)
	if err != nil {
		return fmt.Errorf("clickhouse: insert into %s: %w", table, err)
	}
	// Headers, not the URL: URLs end up in the logs of whatever is in between.
	req.Header.Set("X-ClickHouse-User", s.cfg.Username)
	req.Header.Set("X-ClickHouse-Key", s.cfg.Password)
	res, err := s.http.Do(req)
	if err != nil {
		s.next.CompareAndSwap(index, index+1) // the retry goes to the next address
		return fmt.Errorf("clickhouse: insert into %s: %w", table, err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 8<<10))
	code := res.Header.Get("X-Clickhouse-Exception-Code")
	if res.StatusCode != http.StatusOK || code != "" {
		return fmt.Errorf("insert into %s: %w", table, parseError(res.StatusCode, code, string(answer)))
	}
	if err != nil {
		return fmt.Errorf("clickhouse: insert into %s: %w", table, err)
	}
	return nil
}
