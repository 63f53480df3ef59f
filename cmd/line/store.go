package line

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirproject/weir/store/clickhouse"
	"github.com/weirproject/weir/store/embedded"
	"github.com/weirproject/weir/stream"
)

// storeFile is what weir up tells of the embedded engine; its ports are new at
// each of its starts.
type storeFile struct {
	TCP   string               `json:"tcp"`
	HTTP  string               `json:"http"`
	Users embedded.Credentials `json:"users"`
}

// tables holds the store as it is reachable now: it connects, migrates, and
// connects again when the embedded engine comes back on other ports.
type tables struct {
	env      Env
	rejected *prometheus.CounterVec
	metrics  *prometheus.Registry
	// counted are the connected store's metrics; each store has its own.
	counted *prometheus.Registry

	mu      sync.Mutex
	store   *clickhouse.Store
	err     error
	changed chan struct{} // closed and replaced when store or err changes
}

var errStoreAway = errors.New("not reachable yet")

func newTables(env Env, metrics *prometheus.Registry) *tables {
	t := &tables{
		env: env, metrics: metrics, err: errStoreAway, changed: make(chan struct{}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weir_store_rejected_total", Help: "Records that could not be read and were not stored.",
		}, []string{"kind"}),
	}
	return t
}

// Run keeps the store connected until ctx ends.
func (t *tables) Run(ctx context.Context) error {
	var current string
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		cfg, id, err := t.config()
		if err == nil && id != current {
			var store *clickhouse.Store
			if store, err = t.open(ctx, cfg); err == nil {
				current = id
				t.set(store, nil)
			}
		}
		if err != nil && ctx.Err() == nil {
			t.set(nil, err)
		}
		select {
		case <-ctx.Done():
			t.set(nil, ctx.Err())
			return nil
		case <-tick.C:
		}
	}
}

func (t *tables) open(ctx context.Context, cfg clickhouse.Config) (*clickhouse.Store, error) {
	counted := prometheus.NewRegistry()
	cfg.Metrics = counted
	store, err := clickhouse.Open(cfg, t.env.Log)
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if t.counted != nil {
		t.metrics.Unregister(t.counted)
	}
	t.counted = counted
	if err := t.metrics.Register(counted); err != nil {
		t.env.Log.Warn("the store's metrics are not exported", "err", err)
	}
	return store, nil
}

// config returns how to reach the store and an id that changes with it.
func (t *tables) config() (clickhouse.Config, string, error) {
	c := t.env.Config
	cfg := clickhouse.Config{Retention: clickhouse.Retention{
		Events: time.Duration(c.Retention.Events), Cold: time.Duration(c.Retention.Cold), Decisions: time.Duration(c.Retention.Decisions),
	}}
	if len(c.ClickHouse.Addr) > 0 {
		tlsConfig, err := clientTLS(c.ClickHouse.TLS)
		if err != nil {
			return cfg, "", fmt.Errorf("clickhouse.tls: %w", err)
		}
		cfg.Addr, cfg.HTTPAddr, cfg.Cluster = c.ClickHouse.Addr, c.ClickHouse.HTTPAddr, c.ClickHouse.Cluster
		cfg.Username, cfg.Password, cfg.TLS = c.ClickHouse.Username, c.ClickHouse.Password, tlsConfig
		cfg.AnalystUsername, cfg.AnalystPassword = c.ClickHouse.AnalystUsername, c.ClickHouse.AnalystPassword
		return cfg, "configured", nil
	}
	var f storeFile
	if err := readRunFile(c.Data, "store.json", &f); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return cfg, "", errStoreAway
		}
		return cfg, "", err
	}
	cfg.Addr, cfg.HTTPAddr = []string{f.TCP}, []string{f.HTTP}
	cfg.Username, cfg.Password = embedded.Writer, f.Users[embedded.Writer]
	cfg.AnalystUsername, cfg.AnalystPassword = embedded.Analyst, f.Users[embedded.Analyst]
	return cfg, f.TCP + "/" + f.HTTP, nil
}

func (t *tables) set(store *clickhouse.Store, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if store == nil && t.store != nil && !errors.Is(err, context.Canceled) {
		return // keep what worked: inserts and queries tell for themselves
	}
	if old := t.store; old != nil {
		_ = old.Close() // its engine is gone, or we are leaving
	}
	t.store, t.err = store, err
	close(t.changed)
	t.changed = make(chan struct{})
}

// wait returns the store once there is one.
func (t *tables) wait(ctx context.Context) (*clickhouse.Store, error) {
	for {
		t.mu.Lock()
		store, changed := t.store, t.changed
		t.mu.Unlock()
		if store != nil {
			return store, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("store: %w", context.Cause(ctx))
		}
	}
}

// now returns the store, or why there is none.
func (t *tables) now() (*clickhouse.Store, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.store == nil {
		return nil, fmt.Errorf("the store is %w", t.err)
	}
	return t.store, nil
}

// storePatience is how long a question waits for a store that is still coming
// up: the line is ready before the store is, because verdicts do not need it.
const storePatience = 5 * time.Second

// soon returns the store, waiting a moment for it, or why there is none.
func (t *tables) soon(ctx context.Context) (*clickhouse.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	if store, err := t.wait(ctx); err == nil {
		return store, nil
	}
	return t.now()
}

// Err says why there is no store.
func (t *tables) Err() error {
	_, err := t.now()
	return err
}

func (t *tables) reject(kind string, rec *stream.Record, err error) {
	t.rejected.WithLabelValues(kind).Inc()
	t.env.Log.Warn("record is not stored", "kind", kind, "topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset, "err", err)
}
