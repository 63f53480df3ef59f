// Package feed receives verdicts from /v1/verdicts/stream, for an enforcer that
// does not read the topic itself.
//
// It promises that a verdict is applied before its position counts as received,
// that a connection that has gone silent is noticed, that it resumes after the
// last position and takes a full snapshot where the server announces a gap, and
// that what the server sends is bounded before it is parsed. It never decides
// and never forgets a verdict by itself.
//
// # What the server speaks
//
// Server-sent events (WHATWG HTML 9.2) on GET /v1/verdicts/stream with
// "Authorization: Bearer KEY" and, to resume, "Last-Event-ID". Events:
//
//	event: gap           What is behind the position asked for is gone; a
//	                     snapshot follows.
//	event: snapshot      The verdicts that follow, up to snapshot-end, are all
//	                     that are in force, without evidence. Sent first where
//	                     no position was asked for.
//	event: verdict       data: one verdict in JSON, as on the topic; id: the
//	                     position after it, opaque.
//	event: snapshot-end  id: the position of the snapshot, unless its verdicts
//	                     bore it already.
//	: still here         a comment, at least every 15 s.
//
// An event without a name is a verdict. A position that came within a snapshot
// counts only once the snapshot has ended: whoever resumed from the middle of
// one would miss the rest of it.
package feed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/stream/verdict"
)

// Sink takes what the feed brings; *enforcer.Enforcer with its table's outcome
// dropped is one. Calls come from one goroutine.
type Sink interface {
	// Receive applies a verdict; live is false within a snapshot. An error says
	// that the verdict was refused and is logged; the feed goes on.
	Receive(v *verdict.Verdict, live bool) error
	// BeginSnapshot and EndSnapshot frame a full state.
	BeginSnapshot()
	EndSnapshot() int
	// Touch notes that the feed is alive at a wall clock time (UTC nanoseconds)
	// and how far it has been applied.
	Touch(now int64, position string)
}

// Config says where the feed is.
type Config struct {
	// URL of the stream, https except on loopback.
	URL string
	// Key is sent as a bearer token; "" sends none.
	Key string
	// Position to resume after, "" for a snapshot.
	Position string
	// Silence is how long the server may say nothing before the connection
	// counts as dead; default 45 s.
	Silence time.Duration
	// BackOff is the first pause after a failure, doubled up to BackOffMax with
	// a random quarter more or less; defaults 250 ms and 30 s.
	BackOff, BackOffMax time.Duration
	// MaxEventBytes bounds one event; default 1 MiB. A larger one ends the
	// connection.
	MaxEventBytes int
}

// Validate returns all faults.
func (c Config) Validate() error {
	var errs []error
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		errs = append(errs, fmt.Errorf("feed.url %q: want http(s)://host/v1/verdicts/stream", c.URL))
	}
	if c.Silence < 0 || c.BackOff < 0 || c.BackOffMax < 0 || c.MaxEventBytes < 0 {
		errs = append(errs, errors.New("feed: silence, backOff, backOffMax and maxEventBytes must not be negative"))
	}
	return errors.Join(errs...)
}

// Counts are what a client has seen since it was made.
type Counts struct {
	Verdicts, Refused, Malformed, Gaps, Connects, Failures int64
}

// Client follows one feed.
type Client struct {
	cfg      Config
	sink     Sink
	http     *http.Client
	log      *slog.Logger
	position string // what to resume after; Run's goroutine only
	pending  string // position of the snapshot that is being received

	verdicts, refused, malformed, gaps, connects, failures atomic.Int64
}

// New returns a client that Run starts. A nil HTTP client is a plain one; it
// must have no overall timeout, since a stream never ends.
func New(cfg Config, sink Sink, client *http.Client, log *slog.Logger) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	for p, v := range map[*time.Duration]time.Duration{&cfg.Silence: 45 * time.Second, &cfg.BackOff: 250 * time.Millisecond, &cfg.BackOffMax: 30 * time.Second} {
		if *p == 0 {
			*p = v
		}
	}
	if cfg.MaxEventBytes == 0 {
		cfg.MaxEventBytes = 1 << 20
	}
	if client == nil {
		client = &http.Client{}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Client{cfg: cfg, sink: sink, http: client, log: log, position: cfg.Position}, nil
}

// Counts returns the counters.
func (c *Client) Counts() Counts {
	return Counts{
		Verdicts: c.verdicts.Load(), Refused: c.refused.Load(), Malformed: c.malformed.Load(),
		Gaps: c.gaps.Load(), Connects: c.connects.Load(), Failures: c.failures.Load(),
	}
}

// Run follows the feed until ctx ends, and returns nil then.
func (c *Client) Run(ctx context.Context) error {
	pause := c.cfg.BackOff
	for {
		begun := time.Now()
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is Run's ordinary end
		}
		c.failures.Add(1)
		c.log.Warn("verdict feed interrupted; the last verdicts stay in force", "url", c.cfg.URL, "err", err)
		if time.Since(begun) > c.cfg.BackOffMax {
			pause = c.cfg.BackOff
		}
		timer := time.NewTimer(pause*3/4 + rand.N(pause/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		pause = min(2*pause, c.cfg.BackOffMax)
	}
}

// follow holds one connection.
func (c *Client) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL, http.NoBody)
	if err != nil {
		return fmt.Errorf("verdict feed: %w", err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if c.cfg.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	}
	if c.position != "" {
		req.Header.Set("Last-Event-ID", c.position)
	}
	silence := time.AfterFunc(c.cfg.Silence, func() { cancel(fmt.Errorf("nothing heard for %s", c.cfg.Silence)) })
	defer silence.Stop()
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("verdict feed: %w", cause(ctx, err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		hint := ""
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			hint = ": is this enforcer's key still listed by `weir enforcers list`?"
		}
		return fmt.Errorf("verdict feed answered %s%s", resp.Status, hint)
	}
	c.connects.Add(1)
	err = c.read(resp.Body, func() { silence.Reset(c.cfg.Silence) })
	return fmt.Errorf("verdict feed: %w", cause(ctx, err))
}

func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// message is one server-sent event.
type message struct {
	name, id string
	data     []byte
}

// read takes events until the connection ends.
func (c *Client) read(r io.Reader, alive func()) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	var m message
	snapshot := false
	size := 0
	for {
		line, err := readLine(lines, c.cfg.MaxEventBytes-size)
		if err != nil {
			return err
		}
		alive()
		size += len(line)
		switch field, value := split(line); {
		case len(line) == 0:
			c.dispatch(&m, &snapshot)
			m, size = message{data: m.data[:0]}, 0
		case field == "event":
			m.name = string(value)
		case field == "id":
			if bytes.IndexByte(value, 0) < 0 { // WHATWG HTML 9.2.6
				m.id = string(value)
			}
		case field == "data":
			m.data = append(append(m.data, value...), '\n')
		case field == "" && !snapshot:
			c.sink.Touch(time.Now().UnixNano(), c.position)
			size = 0
		}
	}
}

var errTooLong = errors.New("an event is longer than maxEventBytes")

// readLine returns a line without its end, valid until the next call.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			if len(long) > most {
				return nil, errTooLong
			}
			line, err = r.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if err != nil {
		return nil, err
	}
	if len(line) > most {
		return nil, errTooLong
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
}

// split takes a line apart; a comment has the empty field.
func split(line []byte) (field string, value []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	return string(name), bytes.TrimPrefix(value, []byte{' '})
}

// dispatch handles one complete event.
func (c *Client) dispatch(m *message, snapshot *bool) {
	switch m.name {
	case "", "verdict", "message":
		if len(m.data) > 0 {
			c.verdict(m.data, !*snapshot)
		}
	case "gap":
		c.gaps.Add(1)
		c.log.Info("verdict feed announces a gap; a snapshot follows", "reason", string(bytes.TrimSpace(m.data)))
	case "snapshot":
		*snapshot, c.pending = true, ""
		c.sink.BeginSnapshot()
	case "snapshot-end":
		if *snapshot {
			*snapshot = false
			c.log.Info("verdict snapshot received", "dropped", c.sink.EndSnapshot())
			if c.pending != "" {
				c.position = c.pending
			}
		}
	}
	if *snapshot {
		if m.id != "" {
			c.pending = m.id
		}
		return
	}
	if m.id != "" {
		c.position = m.id
	}
	c.sink.Touch(time.Now().UnixNano(), c.position)
}

func (c *Client) verdict(data []byte, live bool) {
	var v verdict.Verdict
	if err := json.Unmarshal(data, &v); err != nil {
		c.malformed.Add(1)
		c.log.Warn("verdict feed sent a malformed verdict", "err", err)
		return
	}
	c.verdicts.Add(1)
	if err := c.sink.Receive(&v, live); err != nil {
		c.refused.Add(1)
		c.log.Warn("verdict refused", "err", err)
	}
}
