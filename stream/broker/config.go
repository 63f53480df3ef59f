package broker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultMinFreeBytes is Config.MinFreeBytes where nothing else is said.
const DefaultMinFreeBytes = 512 << 20

// Config is what Serve needs. Zero fields take their defaults.
type Config struct {
	// Dir holds the log, the credentials and the ready file; it is created with
	// mode 0700.
	Dir string
	// Listen is a loopback address. Port 0, the default "127.0.0.1:0", is chosen
	// at the first start and kept as long as it is free, so that clients find a
	// restarted broker.
	Listen string
	// MinFreeBytes of the file system below which produce requests are refused;
	// default 512 MiB. They are accepted again at 5/4 of it.
	MinFreeBytes int64
	// SegmentBytes of topics that do not set their own; default 32 MiB.
	SegmentBytes int64
	// MaxConnections, default 512; further ones are closed at once.
	MaxConnections int
	// RetentionEvery, SyncEvery and DiskEvery are how often old records are
	// dropped (30 s), written data is forced to disk (1 s) and free space is
	// looked at (200 ms: what fills a disk is quick).
	RetentionEvery, SyncEvery, DiskEvery time.Duration
	// Ready, if set, receives one line "ready ADDRESS" when clients may come.
	Ready io.Writer
	// Parent, if set, is read until its end, which means that the parent process
	// is gone: the broker then closes as if told to. Pass standard input, whose
	// other end the parent holds.
	Parent io.Reader
	// Full, if set, hears at each change whether records are refused because the
	// disk is nearly full.
	Full func(bool)
	// Log defaults to no logging, Registerer to none.
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.MinFreeBytes == 0 {
		c.MinFreeBytes = DefaultMinFreeBytes
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 32 << 20
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 512
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.RetentionEvery, 30 * time.Second}, {&c.SyncEvery, time.Second}, {&c.DiskEvery, 200 * time.Millisecond}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports all faults.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("data: the log needs a directory"))
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		errs = append(errs, fmt.Errorf("listen %q: want a loopback address with port, such as 127.0.0.1:0", c.Listen))
	}
	if c.MinFreeBytes < 0 || c.SegmentBytes < 1<<20 || c.MaxConnections < 1 {
		errs = append(errs, fmt.Errorf("minFreeBytes %d, segmentBytes %d, maxConnections %d: want at least 0, 1 MiB, 1",
			c.MinFreeBytes, c.SegmentBytes, c.MaxConnections))
	}
	if c.RetentionEvery < 0 || c.SyncEvery < 0 || c.DiskEvery < 0 {
		errs = append(errs, errors.New("intervals must be positive"))
	}
	return errors.Join(errs...)
}

// DefaultLogBytes is the size that the whole log may have on this machine: 2 GiB,
// but no more than a quarter of the memory, which a restart after a crash needs.
func DefaultLogBytes() int64 {
	const most = 2 << 30
	if total := memoryBytes(); total > 0 {
		return min(most, total/4)
	}
	return most
}

// memoryBytes reads MemTotal; 0 when it is unknown.
func memoryBytes() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // read only
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemTotal:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}
