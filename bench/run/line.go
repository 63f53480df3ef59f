package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/store/clickhouse"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/broker"
)

const (
	lineRate      = 20_000
	lineSites     = 4 // per minute of the soak
	linesPerSite  = lineRate * 60 / lineSites
	floorRows     = 50_000 // rows of an insert, as the processor makes them
	floorMost     = 1_200_000
	settleMerges  = 5 * time.Second
	lineSpan      = 11 * time.Hour // of event time that a run covers
	lineDrainTime = 2 * time.Minute
)

// template is one exchange without its id, time and site.
type template struct {
	at   int64 // nanoseconds after the start
	rest []byte
}

// templates are one day of the simulated shop.
func templates(n int) ([]template, error) {
	out := make([]template, 0, n)
	var first int64
	var b []byte
	err := playShop(n, func(x *traffic.Exchange) error {
		if first == 0 {
			first = x.Time
		}
		b = x.AppendJSON(b[:0])
		i := bytes.Index(b, []byte(`,"client":`))
		if i < 0 {
			return errors.New("an exchange without a client")
		}
		out = append(out, template{x.Time - first, bytes.Clone(b[i:])})
		return nil
	})
	if err != nil {
		return nil, err
	}
	span := out[len(out)-1].at
	for i := range out {
		// Without overflow: fractions of the span in millionths.
		out[i].at = int64(float64(out[i].at) / float64(span) * float64(lineSpan))
	}
	return out, nil
}

// lineStart is when a run's events begin: all of them on one UTC day and, for the
// length of a soak, at most a day old, as the follower wants them. The table is
// partitioned by day, and parts merge within a partition: with a midnight among
// the rows the floor had its 24 parts on both sides of it and merged none of them
// in some hours (3.4 us a row), all of them in others (5.9).
func lineStart(now time.Time) time.Time {
	midnight := now.UTC().Truncate(24 * time.Hour)
	if start := now.Add(-lineSpan - 30*time.Minute); !start.Before(midnight) {
		return start
	}
	return midnight.Add(-lineSpan)
}

// feed appends n exchanges to the log file at the line's rate, sites in turn.
func feed(ctx context.Context, file io.Writer, ts []template, sites []string, count *atomic.Int64) error {
	begin := time.Now()
	start := lineStart(begin)
	hosts := make([][]byte, len(sites))
	for i, s := range sites {
		hosts[i] = []byte(s + ".example")
	}
	var b []byte
	n := 0
	for _, t := range ts {
		for s, host := range hosts {
			b = append(b, `{"id":"`...)
			b = append(append(b, sites[s]...), '-')
			b = strconv.AppendInt(b, int64(n), 10)
			b = append(b, `","time":"`...)
			b = start.Add(time.Duration(t.at)).UTC().AppendFormat(b, time.RFC3339Nano)
			b = append(b, '"')
			b = append(b, bytes.ReplaceAll(t.rest, []byte("shop.example"), host)...)
			n++
			if n%200 != 0 {
				continue
			}
			if _, err := file.Write(b); err != nil {
				return err
			}
			b = b[:0]
			count.Store(int64(n))
			due := begin.Add(time.Duration(n) * time.Second / lineRate)
			if err := wait(ctx, time.Until(due)); err != nil {
				return err
			}
		}
	}
	_, err := file.Write(b)
	count.Store(int64(n))
	return err
}

// watched is what the soak saw, sampled once a second.
type watched struct {
	engineLag, storeLag []float64
	resident            []float64 // MB
	peak                int64
	peaks               map[string]int64 // by part
	problems            map[string]int
}

func watch(ctx context.Context, up *installation, done <-chan struct{}) *watched {
	w := &watched{peaks: map[string]int64{}, problems: map[string]int{}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return w
		case <-done:
			return w
		case <-tick.C:
		}
		parts := tree(up.pid())
		w.peak = max(w.peak, total(parts).RSS)
		w.resident = append(w.resident, float64(total(parts).RSS)/1e6)
		for part, u := range parts {
			w.peaks[part] = max(w.peaks[part], u.RSS)
		}
		a, err := up.accounts(ctx)
		if err != nil {
			continue
		}
		w.engineLag, w.storeLag = append(w.engineLag, a.engineLag), append(w.storeLag, a.storeLag)
		for _, p := range a.problems {
			w.problems[p]++
		}
	}
}

func runLine(minutes int) func(context.Context, *environment, *result) error {
	return func(ctx context.Context, env *environment, res *result) error { return lineFor(ctx, env, res, minutes) }
}

func lineFor(ctx context.Context, env *environment, res *result, minutes int) error {
	var sites []string
	for i := range lineSites * minutes {
		sites = append(sites, fmt.Sprintf("sh%02d", i))
	}
	ts, err := templates(linesPerSite)
	if err != nil {
		return err
	}
	var bodies [][]byte
	n, rows := int64(len(ts)*len(sites)), int64(0)
	for round := range env.rounds {
		if round == 0 || minutes == 1 {
			if bodies, rows, err = lineRound(ctx, env, res, round, ts, sites); err != nil {
				return err
			}
		}
		if err := lineFloor(ctx, env, res, round, bodies, rows); err != nil {
			return err
		}
	}
	res.note("weir up with an exchange file that grows by %d lines/s for %d min: %d sites of the simulated shop with their flow map, %s of event time; CPU of supervisor, collector, embedded log, processor and embedded ClickHouse until all rows are in, and %s and the last merge have passed",
		lineRate, minutes, len(sites), lineSpan, settleMerges)
	return lineRows(res, n, len(bodies))
}

// lineRound feeds a new installation, and returns its rows as Arrow streams.
func lineRound(ctx context.Context, env *environment, res *result, round int, ts []template, sites []string) ([][]byte, int64, error) {
	dir, err := env.scratch("line")
	if err != nil {
		return nil, 0, err
	}
	log := filepath.Join(dir, "exchanges.ndjson")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = file.Close() }()
	up, err := startUp(ctx, env, upConfig{sites: sites, accessLog: log})
	if err != nil {
		return nil, 0, err
	}
	defer up.stop()
	if err := soak(ctx, up, res, round, file, ts, sites); err != nil {
		return nil, 0, err
	}
	bodies, rows, err := up.bodies(ctx, filepath.Join(up.data, "floor"), min(int64(len(ts)*len(sites)), floorMost))
	if err != nil {
		return nil, 0, fmt.Errorf("make Arrow streams of the log: %w", err)
	}
	return bodies, rows, nil
}

func soak(ctx context.Context, up *installation, res *result, round int, file io.Writer, ts []template, sites []string) error {
	n := int64(len(ts) * len(sites))
	before := tree(up.pid())
	began := time.Now()
	done := make(chan struct{})
	seen := make(chan *watched, 1)
	go func() { seen <- watch(ctx, up, done) }()
	var count atomic.Int64
	err := feed(ctx, file, ts, sites, &count)
	fed := time.Since(began)
	close(done)
	w := <-seen
	if err != nil {
		return err
	}
	var a accounts
	drain := time.Now()
	err = poll(ctx, lineDrainTime, func() (bool, error) {
		if a, err = up.accounts(ctx); err != nil {
			return false, err
		}
		rows, err := up.rows(ctx)
		return a.delivered+a.lost >= n && (rows >= n-a.lost), err
	}, "all events in the store")
	if err != nil {
		rows, _ := up.rows(ctx)
		return fmt.Errorf("%w: %d sent, %d produced, %d delivered, %d lost, %d rows", err, n, a.produced, a.delivered, a.lost, rows)
	}
	drained := time.Since(drain)
	merged, err := up.settle(ctx)
	if err != nil {
		return err
	}
	after := tree(up.pid())
	// The first tenth fills tables that have their size.
	tenth := len(w.resident) / 10
	early, late := percentile(w.resident[tenth:2*tenth], .5), percentile(w.resident[len(w.resident)-tenth:], .5)
	v := map[string]float64{
		"events": float64(n), "fed_s": fed.Seconds(), "drained_s": drained.Seconds(), "lost": float64(a.lost), "merged_per_row": merged / float64(n), "peak_MB": float64(w.peak) / 1e6,
		"engine_lag_p99_s": percentile(w.engineLag, .99), "store_lag_p99_s": percentile(w.storeLag, .99),
		"store_lag_most_s": percentile(w.storeLag, 1), "resident_MB_early": early, "resident_MB_late": late,
	}
	for _, part := range slices.Sorted(maps.Keys(after)) {
		v["cpu_us_"+part] = us(after[part].CPU-before[part].CPU) / float64(n)
		v["peak_MB_"+part] = float64(w.peaks[part]) / 1e6
	}
	v["cpu_us"] = us(total(after).CPU-total(before).CPU) / float64(n)
	v["cores"] = (total(after).CPU - total(before).CPU).Seconds() / (fed + drained).Seconds()
	res.add(round, "line", v)
	for _, p := range slices.Sorted(maps.Keys(w.problems)) {
		res.note("weir status said %d times: %s", w.problems[p], p)
	}
	return nil
}

// rows counts the stored events.
func (in *installation) rows(ctx context.Context) (int64, error) {
	var t admin.Table
	if err := in.admin.Post(ctx, "/v1/sql", admin.SQLRequest{Query: "SELECT toString(count()) FROM events"}, &t); err != nil || len(t.Rows) == 0 {
		return 0, err
	}
	return strconv.ParseInt(fmt.Sprint(t.Rows[0][0]), 10, 64)
}

// settle waits until settleMerges has passed and no merge runs, and returns how
// many rows merges have written since the engine's start.
func (in *installation) settle(ctx context.Context) (merged float64, err error) {
	if err := wait(ctx, settleMerges); err != nil {
		return 0, err
	}
	store, err := in.openStore()
	if err != nil {
		return 0, err
	}
	defer func() { _ = store.Close() }()
	err = poll(ctx, lineDrainTime, func() (bool, error) {
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return false, err
		}
		rows, err := store.Query(ctx, clickhouse.Writer, "SELECT count() FROM system.merges")
		if err != nil {
			return false, err
		}
		defer func() { _ = rows.Close() }()
		running := rows.Next() && fmt.Sprint(rows.Values()...) != "0"
		return !running, rows.Err()
	}, "no merge running")
	if err != nil {
		return 0, err
	}
	rows, err := store.Query(ctx, clickhouse.Writer, "SELECT toFloat64(sum(value)) FROM system.events WHERE event = 'MergedRows'")
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	if rows.Next() {
		merged, _ = rows.Values()[0].(float64)
	}
	return merged, rows.Err()
}

// lineFloor inserts rows as Arrow streams made beforehand into the table of a
// new installation, empty as the line's was.
func lineFloor(ctx context.Context, env *environment, res *result, round int, bodies [][]byte, rows int64) error {
	dir, err := env.scratch("floor")
	if err != nil {
		return err
	}
	up, err := startUp(ctx, env, upConfig{sites: []string{"none"}, accessLog: filepath.Join(dir, "none.ndjson")})
	if err != nil {
		return err
	}
	defer up.stop()
	store, err := up.openStore()
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	if err := wait(ctx, settleMerges); err != nil {
		return err
	}
	ownBefore, _ := own()
	before := tree(up.pid())["store"].CPU
	for i, b := range bodies {
		if err := store.InsertEvents(ctx, "bench-floor-"+strconv.Itoa(i), bytes.NewReader(b)); err != nil {
			return err
		}
	}
	ownAfter, _ := own()
	merged, err := up.settle(ctx)
	if err != nil {
		return err
	}
	cpu := tree(up.pid())["store"].CPU - before
	res.add(round, "floor", map[string]float64{
		"rows": float64(rows), "cpu_us": us(cpu+ownAfter-ownBefore) / float64(rows), "cpu_us_store": us(cpu) / float64(rows), "inserts": float64(len(bodies)),
		"merged_per_row": merged / float64(rows),
	})
	return nil
}

func lineRows(res *result, n int64, inserts int) error {
	res.note("floor: the rows of the log, the engine's actors with them, as %d ready-made Arrow streams, one after the other, into the empty table of a new installation with its roll-ups; CPU of the ClickHouse process and of the sender, merges as above included; line and floor take turns, and the ratio is the median of each line's to the floors beside it", inserts)
	res.compare("whole line, CPU per event", "us", res.median("line", "cpu_us"), res.median("floor", "cpu_us"),
		medianOf(besideFloors(res.Samples, "line", "floor", "cpu_us")), "ready-made ArrowStream", atMost(4, "x"))
	res.value(fmt.Sprintf("events lost of %d at %s/s", n, number(lineRate)), "events", res.most("line", "lost"), atMost(0, ""))
	res.value("times that a merge wrote a row, line", "", res.median("line", "merged_per_row"), nil)
	res.value("times that a merge wrote a row, floor", "", res.median("floor", "merged_per_row"), nil)
	res.value("lag of the engine, p99", "s", res.median("line", "engine_lag_p99_s"), nil)
	res.value("lag of the store, p99", "s", res.median("line", "store_lag_p99_s"), nil)
	res.value("lag of the store, most", "s", res.most("line", "store_lag_most_s"), nil)
	res.value("CPU of all processes", "cores", res.median("line", "cores"), nil)
	res.value("peak resident memory of all processes", "MB", res.most("line", "peak_MB"), nil)
	res.value("resident memory in the last tenth of the time", "MB", res.median("line", "resident_MB_late"), nil)
	return nil
}

// openStore connects to the installation's ClickHouse as its owner.
func (in *installation) openStore() (*clickhouse.Store, error) {
	var f struct {
		TCP   string            `json:"tcp"`
		HTTP  string            `json:"http"`
		Users map[string]string `json:"users"`
	}
	if err := readJSON(filepath.Join(in.data, "run", "store.json"), &f); err != nil {
		return nil, err
	}
	return clickhouse.Open(clickhouse.Config{
		Addr: []string{f.TCP}, HTTPAddr: []string{f.HTTP}, Username: "weir", Password: f.Users["weir"],
		AnalystUsername: "analyst", AnalystPassword: f.Users["analyst"],
	}, slog.New(slog.DiscardHandler))
}

// collecting is a stream.Store that keeps insert bodies instead of sending them.
type collecting struct {
	mu     sync.Mutex
	bodies [][]byte
	rows   int64
	most   int64
	full   context.CancelFunc
}

// Insert implements stream.Store.
func (c *collecting) Insert(_ context.Context, _ string, b *stream.Batch) error {
	var body bytes.Buffer
	n, err := b.WriteArrow(&body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows < c.most {
		c.bodies = append(c.bodies, body.Bytes())
		c.rows += int64(n)
	}
	if c.rows >= c.most {
		c.full()
	}
	return nil
}

// bodies makes insert bodies of the first most events on the log, the engine's
// actors and routes included, in the way the processor does but for its pace.
func (in *installation) bodies(ctx context.Context, scratch string, most int64) (out [][]byte, rows int64, err error) {
	dir := filepath.Join(in.data, "kafka")
	ready, err := broker.ReadReady(dir)
	if err != nil {
		return nil, 0, err
	}
	login, err := broker.ReadCredentials(dir)
	if err != nil {
		return nil, 0, err
	}
	conn := stream.Connection{Brokers: []string{ready.Address}, ClientID: "bench", SASL: &stream.SASL{Mechanism: "SCRAM-SHA-256", User: login.User, Password: login.Password}}
	ctx, cancel := context.WithTimeout(ctx, lineDrainTime)
	defer cancel()
	done, full := context.WithCancel(ctx)
	c := &collecting{most: most, full: full}
	name := "bench-" + filepath.Base(scratch) // of the group and of the topic that takes the verdicts
	g, err := stream.NewGroup(stream.GroupConfig{
		Connection: conn, Group: name, VerdictTopic: name, Snapshots: stream.NewDirectory(scratch), Store: c,
		NewEngine: func(int32) stream.Engine { return observing{baseline.New(baseline.Config{Entities: 1 << 19})} },
		FlushRows: floorRows, FlushInterval: 10 * time.Second, SnapshotInterval: time.Hour, SnapshotEvents: 1 << 40, Leave: true,
		Log: slog.New(slog.DiscardHandler),
	}, nil)
	if err != nil {
		return nil, 0, err
	}
	if err := makeTopic(ctx, conn, name); err != nil {
		return nil, 0, err
	}
	if err := g.Run(done); err != nil {
		return nil, 0, err
	}
	return c.bodies, c.rows, ctx.Err()
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
