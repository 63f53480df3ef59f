package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// childEnv carries the Config of a broker that the test binary runs as.
const childEnv = "WEIR_BROKER_TEST_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(child(text))
	}
	os.Exit(m.Run())
}

func child(text string) int {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := Serve(ctx, Config{
		Dir: c.Dir, MinFreeBytes: c.MinFree, MaxConnections: c.MaxConnections, RetentionEvery: c.RetentionEvery,
		Ready: os.Stdout, Parent: os.Stdin, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type childConfig struct {
	Dir            string
	MinFree        int64
	MaxConnections int
	RetentionEvery time.Duration
}

// proc is a running broker process.
type proc struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr *lines
	dir    string
	addr   string
	exited chan error
}

type lines struct {
	sync.Mutex
	strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Builder.Write(b)
}

func (l *lines) String() string {
	l.Lock()
	defer l.Unlock()
	return l.Builder.String()
}

// launch starts a broker process and waits for its ready line.
func launch(t *testing.T, cfg childConfig) *proc {
	t.Helper()
	if cfg.MinFree == 0 {
		cfg.MinFree = 1 << 20
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &proc{cmd: exec.Command(os.Args[0]), dir: cfg.Dir, stderr: &lines{}, exited: make(chan error, 1)} //nolint:gosec // the test binary itself
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	p.cmd.Stderr = p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err1 := p.cmd.StdoutPipe()
	in, err2 := p.cmd.StdinPipe()
	p.stdin = in
	if err := errors.Join(err1, err2, p.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	if err != nil || !strings.HasPrefix(line, "ready 127.0.0.1:") {
		t.Fatalf("no ready line: %q %v\n%s", line, err, p.stderr)
	}
	p.addr = strings.TrimSpace(strings.TrimPrefix(line, "ready "))
	return p
}

// wait returns how the process ended.
func (p *proc) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.exited:
		p.exited <- err
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("broker does not end\n%s", p.stderr)
		return nil
	}
}

func (p *proc) kill(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Kill()
	_ = p.wait(t)
}

func (p *proc) alive() bool {
	select {
	case err := <-p.exited:
		p.exited <- err
		return false
	default:
		return true
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// client logs in as weir does.
func (p *proc) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := ReadCredentials(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, append(opts, kgo.SeedBrokers(p.addr),
		kgo.SASL(scram.Auth{User: c.User, Pass: c.Password}.AsSha256Mechanism()))...)
}

func newClient(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(20*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// produce appends records to partition 0.
func produce(t *testing.T, cl *kgo.Client, from, n, size int) {
	t.Helper()
	var recs []*kgo.Record
	for i := range n {
		value := fmt.Appendf(nil, "record %d %s", from+i, strings.Repeat("x", size))
		recs = append(recs, &kgo.Record{Topic: "weir.events", Value: value})
	}
	if err := cl.ProduceSync(testContext(t), recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// offsets returns where partition 0 begins and ends.
func offsets(t *testing.T, cl *kgo.Client) (start, end int64) {
	t.Helper()
	adm := kadm.NewClient(cl)
	s, err1 := adm.ListStartOffsets(testContext(t), "weir.events")
	e, err2 := adm.ListEndOffsets(testContext(t), "weir.events")
	if err := errors.Join(err1, err2, s.Error(), e.Error()); err != nil {
		t.Fatal(err)
	}
	so, _ := s.Lookup("weir.events", 0)
	eo, _ := e.Lookup("weir.events", 0)
	return so.Offset, eo.Offset
}

// consume reads partition 0 from an offset until n records arrived.
func consume(t *testing.T, p *proc, from int64, n int) []*kgo.Record {
	t.Helper()
	cl := p.client(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		"weir.events": {0: kgo.NewOffset().At(from)},
	}))
	defer cl.Close()
	var recs []*kgo.Record
	for len(recs) < n {
		fs := cl.PollFetches(testContext(t))
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		recs = append(recs, fs.Records()...)
	}
	return recs
}

func ensure(t *testing.T, cl *kgo.Client, cfg TopicsConfig) {
	t.Helper()
	got, err := EnsureTopics(testContext(t), cl, cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := cfg.Partitions
	if want == 0 {
		want = DefaultPartitions
	}
	for _, topic := range topicShares {
		if got[topic.name] != want {
			t.Fatalf("partitions %v, want %d", got, want)
		}
	}
}

func TestRecordsOffsetsAndCommitsSurviveKill(t *testing.T) {
	dir := t.TempDir()
	p := launch(t, childConfig{Dir: dir})
	cl := p.client(t, kgo.Dialer(Dial(dir)))
	ensure(t, cl, TopicsConfig{Manage: true})
	ensure(t, cl, TopicsConfig{Manage: true}) // a second start finds its topics
	before, err := Incarnation(testContext(t), cl, "weir.events")
	if err != nil {
		t.Fatal(err)
	}
	adm := kadm.NewClient(cl)
	addr, kept := p.addr, 0
	for round := range 3 {
		produce(t, cl, round*100, 100, 1000)
		var commit kadm.Offsets
		commit.AddOffset("weir.events", 0, int64(round*100+50), -1)
		if err := adm.CommitAllOffsets(testContext(t), "g", commit); err != nil {
			t.Fatal(err)
		}
		p.kill(t)
		p = launch(t, childConfig{Dir: dir})
		if p.addr == addr {
			kept++
		}
		if start, end := offsets(t, cl); start != 0 || end != int64(round*100+100) {
			t.Fatalf("round %d: offsets %d to %d", round, start, end)
		}
		o, err := adm.FetchOffsets(testContext(t), "g")
		if at, _ := o.Lookup("weir.events", 0); err != nil || at.At != int64(round*100+50) {
			t.Fatalf("round %d: committed %d, %v", round, at.At, err)
		}
	}
	if kept == 0 { // a connection may be given the free port, but not each time
		t.Errorf("restarted on %s, was %s", p.addr, addr)
	}
	for i, r := range consume(t, p, 0, 300) {
		if !strings.HasPrefix(string(r.Value), fmt.Sprintf("record %d ", i)) || r.Offset != int64(i) {
			t.Fatalf("record %d at %d is %.20q", i, r.Offset, r.Value)
		}
	}
	if after, err := Incarnation(testContext(t), cl, "weir.events"); err != nil || after != before {
		t.Errorf("incarnation %q became %q, %v", before, after, err)
	}
}

func TestBrokerClosesCleanlyWhenItsParentIsGone(t *testing.T) {
	dir := t.TempDir()
	p := launch(t, childConfig{Dir: dir})
	produceOne := p.client(t)
	ensure(t, produceOne, TopicsConfig{})
	produce(t, produceOne, 0, 10, 10)
	_ = p.stdin.Close()
	if err := p.wait(t); err != nil {
		t.Fatalf("%v\n%s", err, p.stderr)
	}
	var i incarnation
	if err := readJSON(filepath.Join(dir, fileIncarnation), &i); err != nil || !i.Clean {
		t.Errorf("%+v, %v", i, err)
	}
	p = launch(t, childConfig{Dir: dir})
	if recs := consume(t, p, 0, 10); len(recs) != 10 {
		t.Errorf("%d records", len(recs))
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.wait(t); err != nil {
		t.Errorf("on SIGTERM: %v\n%s", err, p.stderr)
	}
}

func TestStrangersAreKeptOut(t *testing.T) {
	dir := t.TempDir()
	p := launch(t, childConfig{Dir: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for name, opts := range map[string][]kgo.Opt{
		"no login":       nil,
		"wrong password": {kgo.SASL(scram.Auth{User: "weir", Pass: "weir"}.AsSha256Mechanism())},
		"default login":  {kgo.SASL(scram.Auth{User: "admin", Pass: "admin"}.AsSha256Mechanism())},
	} {
		cl := newClient(t, append(opts, kgo.SeedBrokers(p.addr), kgo.RequestRetries(0))...)
		if _, err := kadm.NewClient(cl).ListTopics(ctx); err == nil {
			t.Errorf("%s: got in", name)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if i, err := d.Info(); err == nil && path != dir && i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, i.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := Serve(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another broker") {
		t.Errorf("second broker: %v", err)
	}
}

func TestRetentionDropsTheOldestAndNeverResetsOffsets(t *testing.T) {
	dir := t.TempDir()
	cfg := childConfig{Dir: dir, RetentionEvery: 50 * time.Millisecond}
	p := launch(t, cfg)
	cl := p.client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	ensure(t, cl, TopicsConfig{Partitions: 1, LogBytes: 128 << 20}) // 102 MiB of events
	n := 0
	for range 16 {
		produce(t, cl, n, 10, 900_000)
		n += 10
	}
	deadline := time.Now().Add(10 * time.Second)
	start, end := offsets(t, cl)
	for ; start == 0; start, end = offsets(t, cl) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was dropped")
		}
	}
	if end != int64(n) || start > int64(n-90) {
		t.Fatalf("offsets %d to %d of %d", start, end, n)
	}
	for _, stop := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		_ = p.cmd.Process.Signal(stop)
		_ = p.wait(t)
		p = launch(t, cfg)
		if _, e := offsets(t, cl); e != end {
			t.Fatalf("after %v: end %d, was %d", stop, e, end)
		}
		produce(t, cl, n, 1, 10)
		n, end = n+1, end+1
		if recs := consume(t, p, end-1, 1); !strings.HasPrefix(string(recs[0].Value), fmt.Sprintf("record %d ", n-1)) {
			t.Fatalf("record %d is %.20q", end-1, recs[0].Value)
		}
	}
}

// An installation keeps the partitions it was made with when the default has
// changed since, and its log the size it may have.
func TestExistingTopicsKeepTheirPartitionsAndShareTheSize(t *testing.T) {
	p := launch(t, childConfig{Dir: t.TempDir()})
	cl := p.client(t)
	const size = 512 << 20
	ensure(t, cl, TopicsConfig{Partitions: 4, LogBytes: size})
	got, err := EnsureTopics(testContext(t), cl, TopicsConfig{LogBytes: size, Manage: true})
	if err != nil || got["weir.events"] != 4 {
		t.Fatalf("partitions %v, %v; want 4 of weir.events", got, err)
	}
	configs, err := kadm.NewClient(cl).DescribeTopicConfigs(testContext(t), "weir.events")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if want := strconv.Itoa(size / 100 * 80 / 4); c.Key == "retention.bytes" && c.MaybeValue() != want {
			t.Fatalf("retention.bytes %s of each of 4 partitions, want %s", c.MaybeValue(), want)
		}
	}
}

func TestLowDiskRefusesRecordsButServesThem(t *testing.T) {
	dir := t.TempDir()
	p := launch(t, childConfig{Dir: dir})
	cl := p.client(t)
	ensure(t, cl, TopicsConfig{})
	produce(t, cl, 0, 10, 10)
	p.kill(t)

	p = launch(t, childConfig{Dir: dir, MinFree: 1 << 60})
	impatient := p.client(t, kgo.RecordRetries(1), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))
	err := impatient.ProduceSync(testContext(t), &kgo.Record{Topic: "weir.events", Value: []byte("x")}).FirstErr()
	if !errors.Is(err, kerr.KafkaStorageError) || !kerr.IsRetriable(err) {
		t.Errorf("produce on a full disk: %v", err)
	}
	if recs := consume(t, p, 0, 10); len(recs) != 10 {
		t.Errorf("%d records", len(recs))
	}
	if !strings.Contains(p.stderr.String(), "disk is nearly full") {
		t.Errorf("no word to the operator:\n%s", p.stderr)
	}
	p.kill(t)
	launch(t, childConfig{Dir: dir})
	produce(t, cl, 10, 1, 10)
	if _, end := offsets(t, cl); end != 11 {
		t.Errorf("end %d after space returned", end)
	}
}

func TestCompactionIsRefused(t *testing.T) {
	p := launch(t, childConfig{Dir: t.TempDir()})
	adm := kadm.NewClient(p.client(t, kgo.RequestRetries(0)))
	compact := map[string]*string{"cleanup.policy": new("compact")}
	resp, err := adm.CreateTopics(testContext(t), 1, 1, compact, "t")
	if err != nil || !errors.Is(resp["t"].Err, kerr.InvalidConfig) {
		t.Errorf("create: %v %v", err, resp["t"].Err)
	}
	if _, err := adm.CreateTopics(testContext(t), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	_, err = adm.AlterTopicConfigs(testContext(t), []kadm.AlterConfig{{Name: "cleanup.policy", Value: compact["cleanup.policy"]}}, "t")
	if err == nil {
		t.Error("alter was accepted")
	}
	if !p.alive() {
		t.Errorf("broker died\n%s", p.stderr)
	}
}

func TestConfigurationFaultsAreNamed(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{Config{}.Validate(), "needs a directory"},
		{Config{Dir: "d", Listen: "0.0.0.0:9092"}.Validate(), "loopback"},
		{Config{Dir: "d", Listen: "localhost"}.Validate(), "loopback"},
		{Config{Dir: "d", SegmentBytes: 1}.Validate(), "segmentBytes"},
		{TopicsConfig{Partitions: -1}.Validate(), "partitions -1"},
		{TopicsConfig{LogBytes: 1}.Validate(), "retention.log 1 bytes"},
		{TopicsConfig{MaxMessageBytes: 1}.Validate(), "max message"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("want %q: %v", c.want, c.err)
		}
	}
	if err := errors.Join(Config{Dir: "d"}.Validate(), Config{Dir: "d", Listen: "[::1]:0"}.Validate(), TopicsConfig{}.Validate()); err != nil {
		t.Error(err)
	}
}
