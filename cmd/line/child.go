package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/store/embedded"
	"github.com/weirproject/weir/stream/broker"
)

// Child runs one of the hidden children of weir up.
func Child(ctx context.Context, env Env, args []string) error {
	switch args[0] {
	case "clickhouse":
		return embedded.ChildMain(args[1:])
	case "log":
		if len(args) != 2 {
			return errors.New("child log wants the data directory")
		}
		return serveLog(ctx, env, args[1])
	}
	return fmt.Errorf("unknown child %q", args[0])
}

// serveLog runs the embedded log with the questions that a part answers: its
// counters, and whether it takes records. It ends with ctx, or when the
// supervisor at the other end of standard input is gone.
func serveLog(ctx context.Context, env Env, data string) error {
	if err := writeRunFile(data, "log.pid", os.Getpid()); err != nil {
		return err
	}
	var parent io.Reader
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		parent = os.Stdin // a supervisor's leash; started by hand there is none
	}
	metrics, mux := prometheus.NewRegistry(), http.NewServeMux()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var refusing atomic.Bool
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		rep := admin.Report{Part: "log"}
		if refusing.Load() {
			rep.Problems = append(rep.Problems, fmt.Sprintf("the disk of %s is nearly full: records are refused and wait where they are made, until space returns; free some, or lower retention.log", logDir(data)))
		}
		admin.JSON(w, rep, nil)
	})
	r, w := io.Pipe()
	go announce(r)
	ctx, closed := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return admin.ServeUnix(ctx, admin.Socket(data, "log"), mux) })
	g.Go(func() error {
		defer closed()
		return broker.Serve(ctx, broker.Config{Dir: logDir(data), Ready: w, Parent: parent, Log: env.Log, Registerer: metrics, Full: refusing.Store})
	})
	return g.Wait()
}

// announce turns the broker's ready line into the supervisor's.
func announce(r io.Reader) {
	buf := make([]byte, 256)
	for {
		n, err := r.Read(buf)
		if line, ok := strings.CutPrefix(string(buf[:n]), "ready "); ok {
			supervise.Ready("Kafka protocol on " + strings.TrimSpace(line) + " (embedded)")
		}
		if err != nil {
			return
		}
	}
}
