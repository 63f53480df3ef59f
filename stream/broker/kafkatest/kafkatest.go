// Package kafkatest runs a real Apache Kafka for tests: one broker and
// controller process from the jars that "make deps" fetches (pom.xml), on
// loopback ports of its own.
//
// It promises a broker that answers within seconds, ends with the test (also
// when the test process is killed) and can be killed and started again on the
// same data and address; where Java or the jars are missing, the test is skipped
// with the reason, or fails where WEIR_REQUIRE lists kafka. It is not for
// production use.
package kafkatest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Version of Apache Kafka that pom.xml names.
const Version = "4.1.0"

//go:embed server.properties
var properties string

// clusterID is any valid one; each broker is a cluster of its own.
const clusterID = "4L6g3nShT-eMCtK--X86sw"

// startTimeout bounds a start; on a busy machine with a cold cache the JVM
// alone takes several seconds.
const startTimeout = 60 * time.Second

// jvm are flags that start fast and stay small: about 200 MiB resident.
var jvm = []string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"}

// Libs returns the directory of the jars: $WEIR_KAFKA_LIBS, or
// ~/.cache/weir/kafka-VERSION.
func Libs() string {
	if dir := os.Getenv("WEIR_KAFKA_LIBS"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".cache", "weir", "kafka-"+Version)
}

// Available returns nil when a broker can be started here, else what is missing.
func Available() error {
	if _, err := exec.LookPath("java"); err != nil {
		return errors.New("no java on PATH: run make deps")
	}
	if jars, _ := filepath.Glob(filepath.Join(Libs(), "kafka_2.13-*.jar")); len(jars) == 0 {
		return fmt.Errorf("no Apache Kafka jars in %s: run make deps", Libs())
	}
	return nil
}

// Kafka is a running broker.
type Kafka struct {
	// Address is the bootstrap address, the same over restarts.
	Address string
	dir     string
	cmd     *exec.Cmd
	exited  chan struct{}
	output  *output
}

// Start runs a broker for the time of a test.
func Start(tb testing.TB) *Kafka {
	tb.Helper()
	if err := Available(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("WEIR_REQUIRE"), ","), "kafka") {
			tb.Fatalf("kafka is required: %v", err)
		}
		tb.Skipf("kafka: %v", err)
	}
	k, err := New(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(k.Kill)
	return k
}

// New starts a broker with its data in dir. The caller calls Stop or Kill.
func New(dir string) (*Kafka, error) {
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	k := &Kafka{Address: net.JoinHostPort("127.0.0.1", ports[0]), dir: dir}
	text := strings.NewReplacer("BROKER_PORT", ports[0], "CONTROLLER_PORT", ports[1],
		"LOG_DIR", filepath.Join(dir, "data")).Replace(properties)
	if err := os.WriteFile(k.config(), []byte(text), 0o600); err != nil {
		return nil, err
	}
	if err := k.format(); err != nil {
		return nil, err
	}
	return k, k.Restart()
}

func (k *Kafka) config() string { return filepath.Join(k.dir, "server.properties") }

func java(args ...string) *exec.Cmd {
	class := []string{"-cp", filepath.Join(Libs(), "*")}
	return exec.Command("java", slices.Concat(jvm, class, args)...) //nolint:gosec,noctx // the package's own arguments; Stop and Kill end it
}

// FreePorts returns loopback ports that were free a moment ago, for servers that
// are stopped and started again on them. They lie below the range from which
// kernels give ports to connections (net.ipv4.ip_local_port_range, from 32768
// on): there a client that dials while the server is away can be given, and keep,
// the very port that it dials.
func FreePorts(n int) ([]string, error) {
	const first, count = 15000, 17000
	var ports []string
	for range 1000 {
		port := strconv.Itoa(first + rand.IntN(count))
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:"+port)
		if err != nil {
			continue // taken, as are those held below
		}
		defer func() { _ = l.Close() }()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports on 127.0.0.1 between %d and %d", n, first, first+count)
}

// formatted keeps a freshly formatted data directory in the process, two small
// files, since the formatter is a JVM start of its own.
var formatted struct {
	sync.Mutex
	files map[string][]byte
}

func (k *Kafka) format() error {
	formatted.Lock()
	defer formatted.Unlock()
	data := filepath.Join(k.dir, "data")
	if formatted.files == nil {
		out, err := java("kafka.tools.StorageTool", "format", "-t", clusterID, "-c", k.config()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("format kafka storage: %w\n%s", err, out)
		}
		formatted.files = map[string][]byte{}
		entries, err := os.ReadDir(data)
		for _, e := range entries {
			b, err1 := os.ReadFile(filepath.Join(data, e.Name()))
			formatted.files[e.Name()], err = b, errors.Join(err, err1)
		}
		return err
	}
	err := os.MkdirAll(data, 0o700)
	for name, b := range formatted.files {
		err = errors.Join(err, os.WriteFile(filepath.Join(data, name), b, 0o600))
	}
	return err
}

// Restart starts the broker again after Kill or Stop, on the same data and
// address, and waits until it answers.
func (k *Kafka) Restart() error {
	k.output = &output{}
	k.cmd = java("kafka.Kafka", k.config())
	k.cmd.Dir, k.cmd.Stdout, k.cmd.Stderr = k.dir, k.output, k.output
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := k.cmd.Start(); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	exited := make(chan struct{})
	k.exited = exited
	go func() {
		_ = k.cmd.Wait()
		close(exited)
	}()
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		err := answers(k.Address)
		if err == nil {
			return nil
		}
		select {
		case <-retry.C:
		case <-exited:
			return fmt.Errorf("kafka ended at its start:\n%s", k.output)
		case <-deadline.C:
			k.Kill()
			return fmt.Errorf("kafka does not answer after %v: %w\n%s", startTimeout, err, k.output)
		}
	}
}

// answers asks for the broker's metadata (request 3, version 1, no topics) and
// wants one live broker in it.
func answers(address string) error {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	request := []byte{0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0}
	if _, err := c.Write(request); err != nil {
		return err
	}
	head := make([]byte, 12) // size, correlation id, number of brokers
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	if n := binary.BigEndian.Uint32(head[8:]); n != 1 {
		return fmt.Errorf("%d brokers are registered", n)
	}
	return nil
}

// Stop ends the broker in order (SIGTERM).
func (k *Kafka) Stop() { k.end(syscall.SIGTERM) }

// Kill ends the broker at once (SIGKILL).
func (k *Kafka) Kill() { k.end(syscall.SIGKILL) }

func (k *Kafka) end(s syscall.Signal) {
	if k.cmd == nil || k.cmd.Process == nil {
		return
	}
	_ = k.cmd.Process.Signal(s)
	<-k.exited
}

// output keeps the first 64 KiB.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write never fails.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Write(p[:min(len(p), max(0, 64<<10-o.b.Len()))])
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
