package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirproject/weir/stream/broker"
	"github.com/weirproject/weir/stream/broker/kafkatest"
	"github.com/weirproject/weir/stream/killtest"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

// crashPoints are all the points at which GroupConfig.At is called.
var crashPoints = []string{"polled", "intent", "processed", "inserted", "produced", "snapmid", "snapdone"}

// bench is a set of child processes around one directory.
type bench struct {
	t          *testing.T
	dir        string
	broker     string
	store      string
	partitions int
	producer   *Producer
	emitted    int
	endTraffic func() error
	counted    map[string]int
	// said is what the processors said, told when the test fails.
	said *os.File
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ports, err := kafkatest.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", ports[0])
}

func newBench(t *testing.T, partitions int) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), broker: freeAddr(t), store: freeAddr(t), partitions: partitions}
	var err error
	if b.said, err = os.Create(filepath.Join(b.dir, "processors.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, err := os.ReadFile(b.said.Name())
			t.Logf("%v\n%s", err, text[max(0, len(text)-60_000):])
		}
		_ = b.said.Close()
	})
	return b
}

// child re-executes this test binary in a role.
func (b *bench) child(role string, env ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append([]string{
		envRole + "=" + role, envDir + "=" + b.dir, envBroker + "=" + b.broker, envStore + "=" + b.store,
		fmt.Sprintf("%s=%d", envParts, b.partitions), envMember + "=w0", envSession + "=6s",
	}, env...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if role == "processor" {
		cmd.Stdout, cmd.Stderr = b.said, b.said
		if os.Getenv(envLog) == "" {
			cmd.Env = append(cmd.Env, envLog+"=1")
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func dials(addr string) func() error {
	return func() error {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

func (b *bench) connection() Connection { return connectionTo(b.broker, b.dir) }

// log is the embedded log as a child process, killed every so many lives.
func (b *bench) log(every int) *killtest.Service {
	return killtest.Process("log", every, func() *exec.Cmd { return b.child("broker") }, dials(b.broker))
}

func (b *bench) files(every int) *killtest.Service {
	return killtest.Process("store", every, func() *exec.Cmd { return b.child("store") }, dials(b.store))
}

// traffic starts before the first life and ends before the last.
func (b *bench) traffic(life int) error {
	switch life {
	case 0:
		b.startTraffic()
	case -1:
		return b.endTraffic()
	}
	return nil
}

// startTraffic emits events of six sites all along, also while the log is being
// killed, through one producer that lives as long as the test.
func (b *bench) startTraffic() {
	if _, err := EnsureTopics(b.t.Context(), b.connection(), broker.TopicsConfig{Partitions: b.partitions}); err != nil {
		b.t.Fatal(err)
	}
	b.producer = producer(b.t, b.connection(), nil, nil)
	running(b.t, b.producer.Run)
	ctx, stop := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, slow*3*time.Millisecond) {
			for range 4 {
				b.producer.Emit(testEvent(fmt.Sprintf("site%d", b.emitted%6), b.emitted))
				b.emitted++
			}
		}
	}()
	b.endTraffic = func() error {
		stop()
		<-done
		ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
		defer cancel()
		return b.producer.Flush(ctx)
	}
	b.t.Cleanup(stop)
}

// truth is what an uninterrupted run over the log says.
type truth struct {
	engines  map[int32]*fold
	rows     map[string]row
	verdicts map[string][]byte
}

func (b *bench) uninterrupted() truth {
	b.t.Helper()
	out := truth{engines: make(map[int32]*fold), rows: make(map[string]row), verdicts: make(map[string][]byte)}
	cl, err := b.connection().client()
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	repeated, missing, late := 0, 0, 0
	for p := range int32(b.partitions) {
		_, end, err := bounds(b.t.Context(), cl, TopicEvents, p)
		if err != nil {
			b.t.Fatal(err)
		}
		f := newFold(TopicEvents, p, newCountEngine(p))
		out.engines[p] = f
		err = ReadRange(b.t.Context(), b.connection(), TopicEvents, p, 0, end, func(rec *Record) error {
			res := f.apply(rec, func(v *verdict.Verdict) {
				raw, err := wire.AppendVerdict(nil, v)
				if err != nil {
					b.t.Error(err)
				}
				out.verdicts[v.ID] = raw
				f.aging.add(len(v.Site)+len(raw)+recordOverheadBytes, rec.Time)
			}, nil)
			if res.bad != nil {
				return fmt.Errorf("offset %d: %w", rec.Offset, res.bad)
			}
			repeated, missing, late = repeated+res.repeated, missing+int(res.missing), late+res.late
			if res.chunk.rows == 0 {
				return nil
			}
			rows, err := rowsOf(&Batch{Partition: p, Records: []Stored{res.chunk.stored}, Rows: res.chunk.rows})
			for _, r := range rows {
				out.rows[r.ID] = r
			}
			return err
		})
		if err != nil {
			b.t.Fatal(err)
		}
	}
	b.t.Logf("the log holds %d events, %d more that are repeats, %d that came late", len(out.rows), repeated, late)
	if missing != late {
		b.t.Errorf("%d events are missing on the log, %d of them came late: the producer booked %+v", missing, late, b.producer.Ledger())
	}
	return out
}

// check compares the store, the verdict topic and the last snapshots with an
// uninterrupted run.
func (b *bench) check() {
	t := b.t
	t.Helper()
	want := b.uninterrupted()
	if len(want.rows) != b.emitted {
		t.Errorf("%d distinct events on the log, %d were emitted", len(want.rows), b.emitted)
	}
	b.checkStore(want)
	b.checkVerdicts(want)
	v := &vault{store: NewDirectory(filepath.Join(b.dir, "snapshots")), topic: TopicEvents, newEngine: newCountEngine, log: quiet}
	v.metrics, _ = newGroupMetrics(nil)
	for p, f := range want.engines {
		v.partition = p
		got, _, err := v.newest(t.Context(), f.next, func(string) bool { return true })
		if err != nil || got == nil {
			t.Errorf("partition %d: no snapshot: %v", p, err)
			continue
		}
		if got.next != f.next {
			t.Errorf("partition %d: last snapshot at %d, log ends at %d", p, got.next, f.next)
		}
		f.lineage = got.lineage
		var a, z bytes.Buffer
		if err := f.snapshot(&a, 0); err != nil {
			t.Fatal(err)
		}
		if err := got.snapshot(&z, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), z.Bytes()) {
			t.Errorf("partition %d: the state differs from that of an uninterrupted run", p)
		}
	}
}

func (b *bench) checkStore(want truth) {
	t := b.t
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.dir, "rows", "*.[01]"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no rows stored: %v", err)
	}
	seen := make(map[string]bool)
	rollup, wantRollup := make(map[string]int), make(map[string]int)
	total, wrong := 0, 0
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var rows []row
		if err := json.Unmarshal(raw, &rows); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, r := range rows {
			total++
			seen[r.ID] = true
			rollup[r.Route]++
			if r != want.rows[r.ID] {
				wrong++
			}
		}
	}
	for _, r := range want.rows {
		wantRollup[r.Route]++
	}
	if total != b.emitted || len(seen) != b.emitted {
		t.Errorf("%d rows, %d distinct ids stored, %d events emitted", total, len(seen), b.emitted)
	}
	if wrong > 0 {
		t.Errorf("%d rows differ from an uninterrupted run", wrong)
	}
	for route, n := range wantRollup {
		if rollup[route] != n {
			t.Errorf("roll-up of %s says %d, want %d", route, rollup[route], n)
		}
	}
}

func (b *bench) checkVerdicts(want truth) {
	t := b.t
	t.Helper()
	got, repeats := make(map[string]bool), 0
	caught := make(chan struct{})
	tail, err := NewTail(TailConfig{
		Connection: b.connection(), Topic: TopicVerdicts, Log: quiet, OnCaughtUp: func() { close(caught) },
		OnGap: func(g Gap) { t.Errorf("the verdict topic has a hole: %+v", g) },
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, func(ctx context.Context) error {
		return tail.Run(ctx, func(_ context.Context, recs []Record) error {
			for _, r := range recs {
				v, err := wire.ParseVerdict(r.Value)
				if err != nil {
					return err
				}
				if got[v.ID] {
					repeats++
				}
				got[v.ID] = true
				if !bytes.Equal(r.Value, want.verdicts[v.ID]) {
					t.Errorf("verdict %s differs from an uninterrupted run's: %s", v.ID, r.Value)
				}
			}
			return nil
		})
	})
	<-caught
	stop()
	if len(got) != len(want.verdicts) {
		t.Errorf("%d distinct verdicts, an uninterrupted run gives %d", len(got), len(want.verdicts))
	}
	for id, raw := range want.verdicts {
		if !got[id] {
			t.Errorf("missing: %s", raw)
		}
	}
	t.Logf("%d verdicts, %d repeated with the same id and bytes", len(got), repeats)
}

// TestKills kills the processor at seven points and at random times, and the log
// and the store beside it, and expects the effect of an uninterrupted run.
func TestKills(t *testing.T) {
	t.Parallel()
	kills := 100
	if os.Getenv("WEIR_E2E") != "" {
		kills = 300
	}
	if testing.Short() || slow > 1 { // the children are as slow as this process
		kills = 14
	}
	b := newBench(t, 3)
	plan := &killtest.Plan{
		LastLife: 2 * time.Minute, Kills: kills, Points: crashPoints, MaxPass: 4, Life: slow * 700 * time.Millisecond, Seed: 7,
		Victim:   func() *exec.Cmd { return b.child("processor") },
		Services: []*killtest.Service{b.log(5), b.files(7)},
		Before:   b.traffic,
	}
	b.run(plan, b.check)
}

// run carries out a plan with its services still up while check looks.
func (b *bench) run(plan *killtest.Plan, check func()) {
	t := b.t
	t.Helper()
	plan.After = check
	rep, err := plan.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plan.Points {
		if rep.ByPoint[p] == 0 && plan.Kills >= 50 {
			t.Errorf("no kill at point %q", p)
		}
	}
	points := make([]string, 0, len(rep.ByPoint))
	for p, n := range rep.ByPoint {
		points = append(points, fmt.Sprintf("%s %d", p, n))
	}
	slices.Sort(points)
	t.Logf("%d kills in %v (%s), services %v, %d events", rep.Kills, rep.Took.Round(time.Millisecond), strings.Join(points, ", "), rep.Services, b.emitted)
}

// TestKillsOnApacheKafka is TestKills with Apache Kafka as the log.
func TestKillsOnApacheKafka(t *testing.T) {
	t.Parallel()
	needsKafka(t)
	b := newBench(t, 3)
	b.run(&killtest.Plan{
		LastLife: 2 * time.Minute, Kills: 24, Points: crashPoints, MaxPass: 4, Life: slow * 2 * time.Second, Seed: 11,
		Victim:   func() *exec.Cmd { return b.child("processor") },
		Services: []*killtest.Service{b.kafka(8), b.files(5)},
		Before:   b.traffic,
	}, b.check)
}

func needsKafka(t *testing.T) {
	t.Helper()
	err := kafkatest.Available()
	switch {
	case err != nil && slices.Contains(strings.Split(os.Getenv("WEIR_REQUIRE"), ","), "kafka"):
		t.Fatalf("kafka is required: %v", err)
	case err != nil:
		t.Skipf("kafka: %v", err)
	case testing.Short() || slow > 1:
		t.Skip("kafka: left out with -short and -race")
	}
}

// kafka is Apache Kafka as a service.
func (b *bench) kafka(every int) *killtest.Service {
	var k *kafkatest.Kafka
	start := func(context.Context) (err error) {
		if k != nil {
			return k.Restart()
		}
		if k, err = kafkatest.New(b.t.TempDir()); err == nil {
			b.broker = k.Address
		}
		return err
	}
	kill := func() {
		if k != nil {
			k.Kill()
		}
	}
	return &killtest.Service{Name: "log", Every: every, Start: start, Kill: kill}
}
