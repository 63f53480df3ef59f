package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sys/unix"
)

// Serve runs the embedded log until ctx ends or Config.Parent does, closes it
// cleanly and returns nil; an error says why it could not start. It is meant to
// be all that its process does: it sets the process's umask, and a fault inside
// kfake ends the process, which the parent then starts again.
func Serve(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	// kfake creates its files with mode 0644; segments hold events.
	unix.Umask(0o077)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("log directory: %w", err)
	}
	held, err := lock(cfg.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }() // the lock goes with it
	b := &broker{cfg: cfg, metrics: newMetrics(cfg.Registerer)}
	if err := b.open(); err != nil {
		return fmt.Errorf("open log in %s: %w", cfg.Dir, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if cfg.Parent != nil {
		// Not waited for: the read ends with the process at the latest.
		go func() {
			_, _ = io.Copy(io.Discard, cfg.Parent)
			cancel()
		}()
	}
	err = b.announce()
	if err == nil {
		b.run(ctx)
	}
	return errors.Join(err, b.close())
}

type broker struct {
	cfg     Config
	metrics *metrics
	id      incarnation
	cluster *kfake.Cluster
	dir     *os.File
	// full is set while the disk is low; wrote since the last sync.
	full, wrote atomic.Bool
}

func (b *broker) open() error {
	creds, err := credentials(b.cfg.Dir)
	if err != nil {
		return err
	}
	if b.id, err = openIncarnation(b.cfg.Dir); err != nil {
		return err
	}
	if err = prepareLog(b.cfg.Dir, b.id.ID); err != nil {
		return err
	}
	if b.dir, err = os.Open(b.cfg.Dir); err != nil {
		return err
	}
	b.checkDisk()
	// What was closed in order is appended to at the length noted then, also where
	// recovery has just cut damaged bytes off: no record behind the cut could be
	// fetched. A second recovery finds other lengths and believes the segments.
	var cut atomic.Bool
	if b.cluster, err = b.recover(creds, &cut); err == nil && cut.Load() {
		b.cluster.Close()
		b.cluster, err = b.recover(creds, &cut)
	}
	if err != nil {
		_ = b.dir.Close()
		return err
	}
	// Recovery reads segments through memory, which Go would keep.
	debug.FreeOSMemory()
	return nil
}

// recover opens what kfake left; cut is set when it had to cut a segment.
func (b *broker) recover(creds Credentials, cut *atomic.Bool) (*kfake.Cluster, error) {
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID(b.id.ID),
		kfake.DataDir(filepath.Join(b.cfg.Dir, dirLog)),
		kfake.ListenFn(b.listen),
		kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", creds.User, creds.Password),
		kfake.WithLogger(logger{b.cfg.Log, cut}),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes": strconv.FormatInt(b.cfg.SegmentBytes, 10),
			// Time never empties a partition: an empty one would count from 0
			// again after a restart.
			"log.retention.ms": "-1",
			// A group's offsets are kept for ten years, not for seven days: weir
			// may have been switched off for longer.
			"offsets.retention.minutes": "5256000",
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("%w: if a file of the log is damaged, move %s away: what was not processed or stored yet is lost, "+
			"what was learned and stored stays", err, b.cfg.Dir)
	}
	return cluster, nil
}

// listen takes the configured address; with port 0 the port of the last time
// if it is still free.
func (b *broker) listen(network, _ string) (net.Listener, error) {
	var listening net.ListenConfig
	address := b.cfg.Listen
	host, port, _ := net.SplitHostPort(address)
	if last, err := ReadReady(b.cfg.Dir); port == "0" && err == nil {
		if lastHost, lastPort, err := net.SplitHostPort(last.Address); err == nil && lastHost == host {
			if l, err := listening.Listen(context.Background(), network, net.JoinHostPort(host, lastPort)); err == nil {
				return b.guard(l), nil
			}
		}
	}
	l, err := listening.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return b.guard(l), nil
}

func (b *broker) guard(l net.Listener) *guard {
	g := newGuard(l, b.cfg.MaxConnections, b.metrics.reject)
	g.full, g.refused = b.full.Load, b.metrics.refused.Inc
	g.produced = func() { b.wrote.Store(true) }
	return g
}

// announce writes the ready file and the ready line.
func (b *broker) announce() error {
	address := b.cluster.ListenAddrs()[0]
	err := writeJSON(filepath.Join(b.cfg.Dir, fileReady),
		Ready{Address: address, Incarnation: b.id.ID, PID: os.Getpid()})
	if err != nil {
		return err
	}
	b.cfg.Log.Info("log is ready", "address", address, "incarnation", b.id.ID)
	if b.cfg.Ready != nil {
		if _, err := fmt.Fprintln(b.cfg.Ready, "ready", address); err != nil {
			return fmt.Errorf("tell the parent: %w", err)
		}
	}
	return nil
}

// run does the periodic work until ctx ends.
func (b *broker) run(ctx context.Context) {
	var wg sync.WaitGroup
	every := func(d time.Duration, do func()) {
		wg.Go(func() {
			t := time.NewTicker(d)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-t.C:
					do()
				}
			}
		})
	}
	// kfake's own cleaner runs hourly, and after a restart not at all.
	every(b.cfg.RetentionEvery, b.cluster.ApplyRetention)
	every(b.cfg.SyncEvery, b.sync)
	every(b.cfg.DiskEvery, b.checkDisk)
	wg.Wait()
}

// sync bounds what a power failure can take: kfake itself never syncs.
func (b *broker) sync() {
	if !b.wrote.Swap(false) {
		return
	}
	if err := unix.Syncfs(int(b.dir.Fd())); err != nil {
		b.wrote.Store(true)
		b.cfg.Log.Error("sync log to disk", "err", err)
	}
}

func (b *broker) checkDisk() {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(b.dir.Fd()), &st); err != nil {
		b.cfg.Log.Error("free disk space is unknown", "err", err)
		return
	}
	free := int64(st.Bavail) * st.Bsize
	limit := b.cfg.MinFreeBytes
	if b.full.Load() {
		limit += limit / 4
	}
	full := free < limit
	if full != b.full.Swap(full) {
		if b.cfg.Full != nil {
			b.cfg.Full(full)
		}
		if full {
			b.cfg.Log.Error("disk is nearly full: records are refused until space returns; free some or lower retention.log",
				"free_bytes", free, "needed_bytes", b.cfg.MinFreeBytes)
		} else {
			b.cfg.Log.Info("disk has space again: records are accepted", "free_bytes", free)
		}
	}
	b.metrics.disk(free, full)
}

// close saves kfake's state, forces all to disk and marks the log clean.
func (b *broker) close() error {
	b.cluster.Close()
	err := unix.Syncfs(int(b.dir.Fd()))
	if err == nil {
		err = closeIncarnation(b.cfg.Dir, b.id)
	}
	err = errors.Join(err, b.dir.Close())
	if err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	b.cfg.Log.Info("log is closed")
	return nil
}

// logger passes kfake's warnings on and notes that bytes were cut off a segment.
type logger struct {
	log *slog.Logger
	cut *atomic.Bool
}

// Level is kfake's question how much to say.
func (logger) Level() kfake.LogLevel { return kfake.LogLevelWarn }

// Logf takes one line.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	if strings.Contains(format, "truncating") {
		l.cut.Store(true)
	}
	switch level {
	case kfake.LogLevelError:
		l.log.Error("log engine", "err", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("log engine", "err", fmt.Sprintf(format, args...))
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug: // not asked for, see Level
	}
}

type metrics struct {
	rejected *prometheus.CounterVec
	refused  prometheus.Counter
	free     prometheus.Gauge
	isFull   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_log_rejected_connections_total", Help: "Connections to the embedded log that its guard closed.",
		}, []string{"reason"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_log_refused_produces_total", Help: "Produce requests refused because the disk was nearly full.",
		}),
		free: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_log_disk_free_bytes", Help: "Free bytes of the embedded log's file system.",
		}),
		isFull: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weir_log_full", Help: "1 while the embedded log refuses records because the disk is nearly full.",
		}),
	}
	for _, r := range rejectReasons {
		m.rejected.WithLabelValues(r)
	}
	if reg != nil {
		reg.MustRegister(m.rejected, m.refused, m.free, m.isFull)
	}
	return m
}

func (m *metrics) reject(reason string) { m.rejected.WithLabelValues(reason).Inc() }

func (m *metrics) disk(free int64, full bool) {
	m.free.Set(float64(free))
	m.isFull.Set(0)
	if full {
		m.isFull.Set(1)
	}
}
