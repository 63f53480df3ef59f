package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/scenario"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/broker"
	"github.com/weirproject/weir/stream/broker/kafkatest"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

const (
	processorEvents = 1_000_000
	topicFloor      = "bench.json"
)

// shopExtractor is the extractor of the simulated shop, for one site or several
// of its kind.
func shopExtractor(dir string, sites ...string) (*flow.Extractor, error) {
	file := filepath.Join(dir, "flows.yaml")
	if err := os.WriteFile(file, []byte(traffic.ShopFlows), 0o600); err != nil {
		return nil, err
	}
	keys, err := flow.NewKeyring(flow.PublicKey)
	if err != nil {
		return nil, err
	}
	cfg := flow.Config{Keys: keys}
	for _, name := range sites {
		m, err := config.LoadMap(file)
		if err != nil {
			return nil, err
		}
		m.Site = name
		cfg.Sites = append(cfg.Sites, flow.Site{Name: name, Hosts: []string{name + ".example"}, Map: m})
	}
	return flow.NewExtractor(cfg)
}

// playShop gives the first n exchanges of the simulated shop: people, services
// and a plain attack of each kind.
func playShop(n int, take func(x *traffic.Exchange) error) error {
	seed, err := scenario.Development.Seed(9)
	if err != nil {
		return err
	}
	i := 0
	err = scenario.Shop(scenario.Config{Seed: seed, People: max(n/20, 100), Days: 3, Attacks: []string{"all:plain@0.5"}}, func(x *traffic.Exchange, _ *traffic.Label) error {
		if i == n {
			return errEnough
		}
		i++
		x.ID = "r-" + strconv.Itoa(i)
		return take(x)
	})
	if err == nil {
		return fmt.Errorf("the simulator gave %d exchanges only", i)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// recorded are the same events as weir writes them and as other people do.
type recorded struct {
	records []wire.Record
	json    [][]byte
}

func record(dir string, n int) (*recorded, error) {
	extract, err := shopExtractor(dir, "shop")
	if err != nil {
		return nil, err
	}
	out := &recorded{}
	enc := wire.NewEncoder(wire.EncoderConfig{})
	var (
		line  []byte
		x     flow.Exchange
		ev    event.Event
		first = uint64(1)
	)
	// One partition at 20,000 events/s and a linger of 10 ms: 200 a record.
	flush := func() {
		count := enc.Len()
		if r, ok := enc.Flush("bench", first); ok {
			out.records = append(out.records, r)
			first += uint64(count)
		}
	}
	err = playShop(n, func(t *traffic.Exchange) error {
		line = t.AppendJSON(line[:0])
		if err := flow.ParseExchange(line[:len(line)-1], &x); err != nil {
			return err
		}
		extract.Begin(&x, &ev)
		extract.End(&x, &ev)
		if err := enc.Append(&ev); err != nil {
			return err
		}
		if enc.Len() == 200 {
			flush()
		}
		b, err := json.Marshal(struct {
			TS     int64  `json:"ts"`
			ID     string `json:"id"`
			Host   string `json:"host"`
			IP     string `json:"ip"`
			Method string `json:"method"`
			Path   string `json:"path"`
			Status uint16 `json:"status"`
			Bytes  int64  `json:"bytes"`
			RT     int64  `json:"rt_us"`
			UA     string `json:"ua"`
		}{ev.Time / 1e6, ev.ID, ev.Host, ev.Client.String(), ev.Method, ev.Path, ev.Status, int64(ev.ResponseBytes), ev.Duration / 1000, ev.UserAgent})
		out.json = append(out.json, b)
		return err
	})
	flush()
	return out, err
}

// produce writes both forms to the log; the wire records go to one partition.
func (r *recorded) produce(ctx context.Context, conn stream.Connection) error {
	cl, err := client(conn, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(1<<20),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, w := range r.records {
		cl.Produce(ctx, &kgo.Record{Topic: stream.TopicEvents, Value: w.Value, Headers: wire.Headers[kgo.RecordHeader](w.Info)}, nil)
	}
	for _, b := range r.json {
		cl.Produce(ctx, &kgo.Record{Topic: topicFloor, Value: b}, nil)
	}
	return cl.Flush(ctx)
}

func client(conn stream.Connection, opts ...kgo.Opt) (*kgo.Client, error) {
	opts = append(opts, kgo.SeedBrokers(conn.Brokers...))
	if conn.SASL != nil {
		opts = append(opts, kgo.SASL(scram.Auth{User: conn.SASL.User, Pass: conn.SASL.Password}.AsSha256Mechanism()))
	}
	return kgo.NewClient(opts...)
}

// consumed is what a measured consumer prints.
type consumed struct {
	Events   int     `json:"events"`
	CPU      float64 `json:"cpu_s"`
	Wall     float64 `json:"wall_s"`
	PeakMB   float64 `json:"peak_MB"`
	Rows     int     `json:"rows"`
	Verdicts int     `json:"verdicts"`
}

// own is this process's CPU time and peak memory in MB so far. The peak is that
// of /proc: rusage inherits the parent's over exec.
func own() (cpu time.Duration, peak float64) {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	text, _ := os.ReadFile("/proc/self/status")
	if _, rest, ok := strings.Cut(string(text), "VmHWM:"); ok {
		line, _, _ := strings.Cut(rest, "kB")
		kb, _ := strconv.ParseFloat(strings.TrimSpace(line), 64)
		peak = kb * 1024 / 1e6
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), peak
}

// childArgs passes a connection to a child program.
func childArgs(conn stream.Connection, rest ...string) []string {
	b, _ := json.Marshal(address{conn.Brokers, conn.SASL})
	return append([]string{string(b)}, rest...)
}

type address struct {
	Brokers []string
	SASL    *stream.SASL
}

func parseConn(s string) (stream.Connection, error) {
	var a address
	err := json.Unmarshal([]byte(s), &a)
	return stream.Connection{Brokers: a.Brokers, ClientID: "bench", SASL: a.SASL}, err
}

type observing struct{ *baseline.Engine }

// Cut implements stream.Engine.
func (e observing) Cut() (stream.Cut, error) { return e.Engine.Cut() }

// Observe implements stream.Engine.
func (e observing) Observe(ev *event.Event, pos verdict.Position) stream.Result {
	r := e.Engine.Observe(ev, pos)
	return stream.Result{Actor: r.Actor, Route: r.Route, Verdicts: r.Verdicts}
}

// childEngine is weir's processor without the store: the stream.Group and the
// engine that weir process runs, on the first partition, until n records are
// in. It prints what it took up to there.
func childEngine(args []string) error {
	conn, err := parseConn(args[0])
	if err != nil {
		return err
	}
	records, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	dir := args[2]
	debug.SetGCPercent(baseline.GCPercent) // as weir process does
	verdicts := 0
	g, err := stream.NewGroup(stream.GroupConfig{
		Connection: conn, Group: "bench-" + strconv.Itoa(os.Getpid()), Leave: true, Snapshots: stream.NewDirectory(dir),
		NewEngine: func(int32) stream.Engine { return observing{baseline.New(baseline.Config{})} },
		OnVerdict: func(*verdict.Verdict) { verdicts++ },
		Log:       slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	for {
		select {
		case err := <-done:
			return fmt.Errorf("the group ended early: %w", errors.Join(err, ctx.Err()))
		case <-time.After(5 * time.Millisecond):
		}
		if st := g.Status(); len(st) > 0 && st[0].Engine >= records {
			break
		}
	}
	cpu, peak := own()
	wall := time.Since(began).Seconds()
	cancel()
	err = <-done
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(consumed{CPU: cpu.Seconds(), Wall: wall, PeakMB: peak, Verdicts: verdicts}))
}

func runProcessor(ctx context.Context, env *environment, res *result) error {
	dir, err := env.scratch("processor")
	if err != nil {
		return err
	}
	rec, err := record(dir, processorEvents)
	if err != nil {
		return fmt.Errorf("record events: %w", err)
	}
	bytes, jsonBytes := 0, 0
	for _, r := range rec.records {
		bytes += len(r.Value)
	}
	for _, b := range rec.json {
		jsonBytes += len(b)
	}
	res.note("%d events of the simulated shop with all identifiers and a plain attack of every kind, one partition, lz4; %d bytes an event in weir's records of 200 events, %d in the floor's JSON of ten fields, a record each",
		processorEvents, bytes/processorEvents, jsonBytes/processorEvents)
	res.note("GOMAXPROCS=1 on both sides; CPU of the consumer only, start-up included; weir runs the stream.Group of weir process with the whole engine and publishes its verdicts, without the store; both take turns after one reading that does not count, and the ratio is the median of each run's to the floors beside it")
	logs := []struct {
		name  string
		start func() (stream.Connection, func(), error)
	}{
		{"embedded log", func() (stream.Connection, func(), error) {
			s, conn, err := startLog(ctx, env, filepath.Join(dir, "log"), 1)
			return conn, s.stop, err
		}},
		{"Apache Kafka " + kafkatest.Version, func() (stream.Connection, func(), error) { return startKafka(ctx, dir) }},
	}
	for _, l := range logs {
		conn, stop, err := l.start()
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		err = measureProcessor(ctx, env, res, l.name, conn, rec)
		stop()
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		weir, floor := "weir, "+l.name, "floor, "+l.name
		res.compare("log to verdicts, all detectors, "+l.name, "events per CPU-second", res.median(weir, "events_per_cpu_s"),
			res.median(floor, "events_per_cpu_s"), medianOf(besideFloors(res.Samples, weir, floor, "events_per_cpu_s")), "hand-written JSON consumer", atLeast(.35, "x"))
	}
	return nil
}

func startKafka(ctx context.Context, dir string) (stream.Connection, func(), error) {
	data := filepath.Join(dir, "kafka-data")
	if err := errors.Join(kafkatest.Available(), os.MkdirAll(data, 0o700)); err != nil {
		return stream.Connection{}, func() {}, err
	}
	k, err := kafkatest.New(data)
	if err != nil {
		return stream.Connection{}, func() {}, err
	}
	conn := stream.Connection{Brokers: []string{k.Address}, ClientID: "bench"}
	_, err = stream.EnsureTopics(ctx, conn, broker.TopicsConfig{Partitions: 1, ReplicationFactor: 1})
	return conn, k.Kill, err
}

func measureProcessor(ctx context.Context, env *environment, res *result, name string, conn stream.Connection, rec *recorded) error {
	if err := makeTopic(ctx, conn, topicFloor); err != nil {
		return err
	}
	if err := rec.produce(ctx, conn); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	one := func(round int, subject string, args ...string) error {
		s, err := measureEnv(ctx, []string{"GOMAXPROCS=1"}, env.self, append([]string{"child"}, args...)...)
		if err != nil {
			return err
		}
		var c consumed
		if err := json.Unmarshal([]byte(s.Output), &c); err != nil {
			return fmt.Errorf("%s said %q: %w", subject, tail(s.Output, 200), err)
		}
		v := map[string]float64{"events_per_cpu_s": processorEvents / c.CPU, "cpu_s": c.CPU, "wall_s": c.Wall, "peak_MB": c.PeakMB}
		if c.Rows > 0 {
			v["rows"] = float64(c.Rows)
		} else {
			v["verdicts"] = float64(c.Verdicts)
		}
		res.add(round, subject+", "+name, v)
		return nil
	}
	// The first to read has a log beside it that still compiles and flushes.
	floor := append([]string{"child", "floor"}, childArgs(conn, strconv.Itoa(processorEvents))...)
	if _, err := measureEnv(ctx, []string{"GOMAXPROCS=1"}, env.self, floor...); err != nil {
		return err
	}
	// A run takes three seconds and feels its neighbours: more of them than of others.
	for round := range 2*env.rounds + 1 {
		snapshots, err := env.scratch("snapshots")
		if err != nil {
			return err
		}
		if err := one(round, "weir", append([]string{"engine"}, childArgs(conn, strconv.Itoa(len(rec.records)), snapshots)...)...); err != nil {
			return err
		}
		if err := one(round, "floor", floor[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// makeTopic makes a topic of one partition.
func makeTopic(ctx context.Context, conn stream.Connection, topic string) error {
	cl, err := client(conn)
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, 1, 1
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
	return nil
}
