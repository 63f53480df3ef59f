package line

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/broker"
)

// Env is what every role is given.
type Env struct {
	Config *config.Loaded
	// Reload returns the configuration as it is now, checked, on SIGHUP.
	Reload func() (*config.Loaded, error)
	Log    *slog.Logger
	// Version is shown in status and written to verdicts.
	Version string
	// Binary is the weir executable, for those who start children.
	Binary string
}

// role is the frame of one process: its metrics, its socket, its goroutines.
type role struct {
	Env
	name    string
	metrics *prometheus.Registry
	mux     *http.ServeMux
	began   time.Time
	clock   *wallClock
	group   *errgroup.Group

	// now is the configuration in force; Config is the one the role began with.
	now atomic.Pointer[config.Loaded]
	// reload puts another configuration in force, as far as that is possible
	// without a restart, or changes nothing and says why.
	reload func(*config.Loaded) error
	// refused is what the last reload was refused for, nil after a good one.
	refused atomic.Pointer[string]
}

// runRole builds a role and blocks until ctx ends or a part of it fails. build
// adds goroutines to the group and returns what /status says.
func runRole(ctx context.Context, env Env, name string, build func(ctx context.Context, r *role) (func() admin.Report, error)) error {
	g, ctx := errgroup.WithContext(ctx)
	hup, stopHangUp := onHangUp() // from the first moment on: unheard, it would end the process
	defer stopHangUp()
	r := &role{Env: env, name: name, metrics: prometheus.NewRegistry(), mux: http.NewServeMux(), began: time.Now(), group: g}
	r.now.Store(env.Config)
	r.clock = newWallClock(env.Log, r.metrics)
	r.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if (name == "enforce" || name == "collect") && !Managed() {
		if err := sharedKey(env.Config); err != nil {
			return err
		}
	}
	say, err := build(ctx, r)
	if err != nil {
		return err
	}
	report := func() admin.Report {
		rep := say()
		rep.Part = name
		if why := r.refused.Load(); why != nil {
			rep.Problems = append(rep.Problems, *why)
		}
		if step := r.clock.note(); step != "" {
			rep.Notes = append(rep.Notes, step)
		}
		return rep
	}
	// The next weir up on this directory finds a part that outlived its own.
	if err := writeRunFile(env.Config.Data, name+".pid", os.Getpid()); err != nil {
		return err
	}
	r.mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		admin.JSON(w, report(), nil)
	})
	r.mux.Handle("GET /metrics", promhttp.HandlerFor(r.metrics, promhttp.HandlerOpts{}))
	r.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { admin.JSON(w, "ok", nil) })
	alone := func(context.Context) admin.Status { return r.status(report()) }
	r.mux.HandleFunc("GET /readyz", readiness(alone))
	r.mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, q *http.Request) { admin.JSON(w, alone(q.Context()), nil) })
	if env.Config.Admin.PProf {
		r.mux.Handle("GET /debug/pprof/", admin.Profiler())
	}
	r.group.Go(func() error { return r.hearHangUp(ctx, hup) })
	r.group.Go(func() error { return r.clock.run(ctx) })
	r.group.Go(func() error { return admin.ServeUnix(ctx, admin.Socket(env.Config.Data, name), r.mux) })
	if addr := env.Config.Admin.Listen; addr != "" && !Managed() {
		r.group.Go(func() error {
			return admin.ServeTCP(ctx, addr, r.mux, func(a net.Addr) { env.Log.Info("admin listener", "addr", a.String()) })
		})
	}
	return g.Wait()
}

// status is what a role that runs by itself says of the line: what it sees of
// it.
func (r *role) status(rep admin.Report) admin.Status {
	st := admin.Status{
		Version: r.Version, Data: r.Config.Data, Reports: []admin.Report{rep}, Problems: []string{},
		Parts: []supervise.State{{Name: r.name, PID: os.Getpid(), Ready: true, Since: r.began}},
	}
	for _, p := range rep.Problems {
		st.Problems = append(st.Problems, r.name+": "+p)
	}
	st.Healthy = len(st.Problems) == 0
	return st
}

// readiness answers /readyz: this process can do its own work; with ?line also
// that an event that enters now will be processed, stored and enforced.
func readiness(status func(context.Context) admin.Status) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("line") {
			admin.JSON(w, "ready", nil)
			return
		}
		st := status(r.Context())
		var err error
		if !st.Healthy {
			err = admin.Errorf(http.StatusServiceUnavailable, "%s", strings.Join(st.Problems, "; "))
		}
		admin.JSON(w, "the line is ready", err)
	}
}

// managedEnv tells a role that weir up runs it.
const managedEnv = "WEIR_MANAGED"

// Managed reports whether weir up runs this process.
func Managed() bool { return os.Getenv(managedEnv) == "1" }

// runFile is a file of the run directory, where weir up tells its parts what it
// learned at start (0600).
func runFile(data, name string) string { return filepath.Join(data, "run", name) }

// writeRunFile replaces a run file atomically.
func writeRunFile(data, name string, v any) error {
	return replaceFile(runFile(data, name), func(w io.Writer) error {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			return fmt.Errorf("encode %s: %w", name, err)
		}
		return nil
	})
}

// replaceFile writes a file (0600) that is never seen half written. It is not
// synced: what a power loss spoils is refused by its reader and made again.
func replaceFile(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+".tmp"))
	}
	return nil
}

func readRunFile(data, name string, v any) error {
	b, err := os.ReadFile(runFile(data, name))
	if err != nil {
		return fmt.Errorf("is weir up running on this data directory? %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("run file %s: %w", name, err)
	}
	return nil
}

// logDir holds the embedded log.
func logDir(data string) string { return filepath.Join(data, "kafka") }

// connection returns how to reach the log: Apache Kafka as configured, or the
// embedded one.
func connection(env Env, client string) (stream.Connection, error) {
	k := env.Config.Kafka
	if len(k.Brokers) > 0 {
		return kafkaConnection(k, client)
	}
	dir := logDir(env.Config.Data)
	ready, err := broker.ReadReady(dir)
	if err != nil {
		return stream.Connection{}, fmt.Errorf("no kafka.brokers are configured and no embedded log runs (weir up starts one): %w", err)
	}
	login, err := broker.ReadCredentials(dir)
	if err != nil {
		return stream.Connection{}, fmt.Errorf("embedded log: %w", err)
	}
	return stream.Connection{
		Brokers: []string{ready.Address}, ClientID: "weir-" + client, Dial: broker.Dial(dir),
		SASL: &stream.SASL{Mechanism: "SCRAM-SHA-256", User: login.User, Password: login.Password},
	}, nil
}

// defaultBrokerPartitions is for an Apache Kafka; the embedded log has its own
// default.
const defaultBrokerPartitions = 8

// ensureTopics makes the topics that are missing.
func ensureTopics(ctx context.Context, cfg *config.Loaded, conn stream.Connection) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	embedded := len(cfg.Kafka.Brokers) == 0
	topics := broker.TopicsConfig{
		Partitions: cfg.Kafka.Partitions, ReplicationFactor: int16(cfg.Kafka.Replicas),
		LogBytes: int64(cfg.Retention.Log), Manage: embedded,
	}
	if topics.Partitions == 0 && !embedded {
		topics.Partitions = defaultBrokerPartitions
	}
	if embedded {
		topics.ReplicationFactor = 0 // it has one node
	}
	_, err := stream.EnsureTopics(ctx, conn, topics)
	if err != nil && !embedded {
		err = fmt.Errorf("kafka.brokers %s: %w: is Apache Kafka running there, and do kafka.tls and kafka.sasl fit?", strings.Join(cfg.Kafka.Brokers, ", "), err)
	}
	return err
}

// node is this machine's name in events.
func node(cfg *config.Loaded) string {
	if cfg.Node != "" {
		return cfg.Node
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
