package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weirproject/weir/stream/broker"
	"github.com/weirproject/weir/stream/killtest"
)

// Environment of the child processes of the kill tests.
const (
	envRole   = "WEIR_KILL_ROLE"
	envDir    = "WEIR_KILL_DIR"
	envBroker = "WEIR_KILL_BROKER"
	envStore  = "WEIR_KILL_STORE"
	envParts  = "WEIR_KILL_PARTITIONS"
	envMember = "WEIR_KILL_MEMBER"
	// envSession is the session timeout, a Go duration.
	envSession = "WEIR_KILL_SESSION"
	// envForever keeps a worker running; else it ends when it is level with the
	// log.
	envForever = "WEIR_KILL_FOREVER"
	// envLog makes a worker say what it does, "client" also what its client does.
	envLog = "WEIR_TEST_LOG"
)

// worker plays the role of a child process of the kill tests; false when this
// process is none.
func worker(role string) bool {
	var err error
	switch role {
	case "":
		return false
	case "broker":
		err = brokerChild()
	case "kfake":
		err = kfakeChild()
	case "store":
		err = storeChild()
	case "processor":
		err = processorChild()
	default:
		err = fmt.Errorf("role %q is not known", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(3)
	}
	return true
}

func brokerChild() error {
	return broker.Serve(context.Background(), broker.Config{Dir: filepath.Join(os.Getenv(envDir), "log"), Listen: os.Getenv(envBroker)})
}

// kfakeChild is the bare log, which lets sessions be short.
func kfakeChild() error {
	listen := func(network, _ string) (net.Listener, error) {
		return new(net.ListenConfig).Listen(context.Background(), network, os.Getenv(envBroker))
	}
	_, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(listen),
		kfake.DataDir(filepath.Join(os.Getenv(envDir), "kfake")), kfake.GroupMinSessionTimeout(time.Millisecond))
	if err != nil {
		return err
	}
	select {}
}

// connectionTo logs in where the log in dir has credentials; Apache Kafka in
// these tests has none.
func connectionTo(address, dir string) Connection {
	c := Connection{Brokers: []string{address}}
	if who, err := broker.ReadCredentials(filepath.Join(dir, "log")); err == nil {
		c.SASL = &SASL{Mechanism: "SCRAM-SHA-256", User: who.User, Password: who.Password}
	}
	return c
}

// storeChild is a table in two partitions with deduplication tokens and a
// roll-up, in files: rows/TOKEN.PART holds the rows of one insert in one
// partition, written once.
func storeChild() error {
	dir := filepath.Join(os.Getenv(envDir), "rows")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", os.Getenv(envStore))
	if err != nil {
		return err
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = storeRows(dir, r.URL.Query().Get("token"), body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})}
	return srv.Serve(l)
}

var storeMu sync.Mutex

func storeRows(dir, token string, body []byte) error {
	storeMu.Lock()
	defer storeMu.Unlock()
	var rows []row
	if err := json.Unmarshal(body, &rows); err != nil {
		return err
	}
	var parts [2][]row
	for _, r := range rows {
		h := fnv.New32a()
		_, _ = h.Write([]byte(r.ID))
		parts[h.Sum32()%2] = append(parts[h.Sum32()%2], r)
	}
	for i, part := range parts {
		name := filepath.Join(dir, strings.ReplaceAll(token, "/", "_")+"."+strconv.Itoa(i))
		if _, err := os.Stat(name); err == nil {
			continue // this token, this partition: inserted before
		}
		b, err := json.Marshal(part)
		if err != nil {
			return err
		}
		if err := os.WriteFile(name+".tmp", b, 0o600); err != nil {
			return err
		}
		if err := os.Rename(name+".tmp", name); err != nil {
			return err
		}
	}
	return nil
}

// httpStore is the processor's side of storeChild.
type httpStore struct {
	addr string
}

func (s httpStore) Insert(ctx context.Context, token string, b *Batch) error {
	rows, err := rowsOf(b)
	if err != nil {
		return Permanent(err)
	}
	body, err := json.Marshal(rows)
	if err != nil {
		return Permanent(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+"/?token="+token, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("store: %s", text)
	}
	return err
}

// processorChild runs one member of the group. Small ranges, frequent snapshots
// and a backlog of a few records bring every path within a life of a second.
func processorChild() error {
	dir := os.Getenv(envDir)
	log := slog.New(slog.DiscardHandler)
	if os.Getenv(envLog) != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	session, err := time.ParseDuration(os.Getenv(envSession))
	if err != nil {
		return err
	}
	connection := connectionTo(os.Getenv(envBroker), dir)
	if os.Getenv(envLog) == "client" {
		connection.Log = log
	}
	g, err := NewGroup(GroupConfig{
		Connection: connection, Member: os.Getenv(envMember), NewEngine: newCountEngine,
		Store: httpStore{addr: os.Getenv(envStore)}, Snapshots: NewDirectory(filepath.Join(dir, "snapshots")), Log: log,
		FlushRows: 200, FlushInterval: 10 * time.Millisecond, BacklogBytes: 40_000, SnapshotInterval: slow * slow * 15 * time.Millisecond,
		SessionTimeout: session, StopTimeout: slow * time.Second, At: killtest.Hook(),
	}, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	parts, err := strconv.Atoi(os.Getenv(envParts))
	if err != nil {
		return err
	}
	if os.Getenv(envForever) == "" && os.Getenv(killtest.Env) == "" {
		go func() {
			defer cancel()
			for level := 0; level < 10 && pause(ctx, 20*time.Millisecond); {
				level++
				st := g.Status()
				for _, s := range st {
					if min(s.Engine, s.Stored) < s.LogEnd {
						level = 0
					}
				}
				if len(st) < parts {
					level = 0
				}
			}
		}()
	}
	return g.Run(ctx)
}
