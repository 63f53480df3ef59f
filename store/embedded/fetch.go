package embedded

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kind says how the engine is run.
type Kind uint8

const (
	// KindLibrary is libchdb.so, loaded by a child of this program.
	KindLibrary Kind = iota
	// KindProgram is a clickhouse program, run as `clickhouse local`.
	KindProgram
)

// Binary is the engine on disk.
type Binary struct {
	Path string
	Kind Kind
}

// What Fetch obtains. The digests are of the package as published on npm and of
// the library in it; a newer engine means new digests here and nowhere else.
//
// The Python package (chdb-core 26.7.3) is no second way: its library has 116
// undefined Python symbols and does not export chdb_query_cmdline.
const (
	Version       = "26.7.3-stable.1"
	npmPackage    = "@chdb/lib-linux-x64-gnu@" + Version
	npmTarball    = "chdb-lib-linux-x64-gnu-" + Version + ".tgz"
	tarballSHA256 = "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad"
	librarySHA256 = "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5"
	libraryBytes  = 566330096
	libraryName   = "libchdb.so"
)

// Progress reports the steps of a fetch: what is being done, and how far it is.
// total is 0 where it is unknown.
type Progress func(step string, done, total int64)

// MissingClientError says that nothing on this machine can obtain the engine.
// Package names what to install on Debian and Ubuntu.
type MissingClientError struct {
	Package string
	Tried   []string
}

func (e *MissingClientError) Error() string {
	return fmt.Sprintf("no ClickHouse engine: %s: install npm (`apt-get install -y --no-install-recommends %s`), name a clickhouse program of "+
		"version 26.5 or later in WEIR_CLICKHOUSE, or set clickhouse.addr to a server", strings.Join(e.Tried, "; "), e.Package)
}

// CacheDir is the default place of the library: ~/.cache/weir/chdb-VERSION
// (XDG_CACHE_HOME is honoured). WEIR_CHDB names a library elsewhere.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("engine cache: %w: set HOME or XDG_CACHE_HOME", err)
	}
	return filepath.Join(dir, "weir", "chdb-"+Version), nil
}

// Fetch returns the engine, obtaining it once if need be, in this order:
// WEIR_CLICKHOUSE (a clickhouse program), WEIR_CHDB (a library), the library in
// cacheDir, `npm pack` (178 MB) into cacheDir, `clickhouse` on PATH. The error
// is a *MissingClientError when none can work here. Several processes may call
// it at once; one fetches and the others wait. progress may be nil.
func Fetch(ctx context.Context, cacheDir string, progress Progress) (Binary, error) {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	return find(ctx, progress, func() (string, error) { return fetchLibrary(ctx, cacheDir, progress) })
}

// Find returns the engine as Fetch would, without obtaining anything.
func Find(ctx context.Context, cacheDir string) (Binary, error) {
	quiet := func(string, int64, int64) {}
	return find(ctx, quiet, func() (string, error) {
		library := filepath.Join(cacheDir, libraryName)
		return library, verifyLibrary(ctx, library, quiet)
	})
}

// find looks where the environment says, else takes what library returns, else
// the program on PATH.
func find(ctx context.Context, progress Progress, library func() (string, error)) (Binary, error) {
	if path := os.Getenv("WEIR_CLICKHOUSE"); path != "" {
		return Binary{Path: path, Kind: KindProgram}, named("WEIR_CLICKHOUSE", checkProgram(ctx, path))
	}
	if path := os.Getenv("WEIR_CHDB"); path != "" {
		return Binary{Path: path, Kind: KindLibrary}, named("WEIR_CHDB", verifyLibrary(ctx, path, progress))
	}
	path, err := library()
	if err == nil {
		return Binary{Path: path, Kind: KindLibrary}, nil
	}
	if ctx.Err() != nil {
		return Binary{}, err
	}
	tried := &MissingClientError{Package: "npm", Tried: []string{err.Error()}}
	if path, err = exec.LookPath("clickhouse"); err == nil {
		err = checkProgram(ctx, path)
	}
	if err == nil {
		return Binary{Path: path, Kind: KindProgram}, nil
	}
	tried.Tried = append(tried.Tried, err.Error())
	return Binary{}, tried
}

// named says who named an engine that is of no use.
func named(variable string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s names no engine that weir can use: %w: mend it, or unset it to have the engine fetched", variable, err)
	}
	return err
}

// fetchLibrary returns the path of the verified library under cacheDir.
func fetchLibrary(ctx context.Context, cacheDir string, progress Progress) (string, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("the engine library is pinned for linux/amd64 only, this is %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	if err := os.MkdirAll(cacheDir, 0o750); err != nil {
		return "", fmt.Errorf("engine cache: %w", err)
	}
	unlock, err := lockDir(ctx, cacheDir)
	if err != nil {
		return "", err
	}
	defer unlock()
	library := filepath.Join(cacheDir, libraryName)
	var damaged error
	if _, err := os.Stat(library); err == nil {
		if damaged = verifyLibrary(ctx, library, progress); damaged == nil || ctx.Err() != nil {
			return library, damaged
		}
		// A half written or damaged file is of no use to anyone: fetch anew.
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		if damaged != nil {
			return "", fmt.Errorf("%w; npm: %w", damaged, err)
		}
		return "", fmt.Errorf("npm: %w", err)
	}
	work, err := os.MkdirTemp(cacheDir, "fetch-*")
	if err != nil {
		return "", fmt.Errorf("engine cache: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := npmPack(ctx, npm, work, progress); err != nil {
		return "", err
	}
	return library, unpack(ctx, filepath.Join(work, npmTarball), library, progress)
}

// npmPack downloads the package with the machine's own npm, so that its proxy
// and registry settings apply. npm's cache is kept inside work: otherwise
// another 178 MB would stay in the home directory.
func npmPack(ctx context.Context, npm, work string, progress Progress) error {
	cmd := exec.CommandContext(ctx, npm, "pack", "--silent", "--cache", filepath.Join(work, "npm"), "--pack-destination", work, npmPackage) //nolint:gosec // G204: fixed arguments
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = io.Discard, &stderr, work
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("npm pack: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		progress("download the ClickHouse engine (178 MB) with npm", 0, 0)
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("npm pack %s: %w: %s", npmPackage, err, strings.TrimSpace(stderr.String()))
			}
			return nil
		case <-tick.C:
		}
	}
}

// unpack checks the package's digest, then writes the library in it to target,
// which appears only when its own digest was right.
func unpack(ctx context.Context, tarball, target string, progress Progress) error {
	if err := checkDigest(ctx, tarball, tarballSHA256); err != nil {
		return err
	}
	f, err := os.Open(tarball)
	if err != nil {
		return fmt.Errorf("unpack the engine: %w", err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("unpack the engine: %w", err)
	}
	archive := tar.NewReader(z)
	for {
		header, err := archive.Next()
		if err != nil {
			return fmt.Errorf("unpack the engine: no %s in the package: %w", libraryName, err)
		}
		if header.Name == "package/"+libraryName {
			break
		}
	}
	tmp := target + ".part"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755) //nolint:gosec // G302: a library is executable
	if err != nil {
		return fmt.Errorf("unpack the engine: %w", err)
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), &meter{ctx: ctx, r: io.LimitReader(archive, libraryBytes+1), report: func(n int64) {
		progress("unpack the engine", n, libraryBytes)
	}})
	if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
		err = digestError(target, sum, librarySHA256)
	}
	if err == nil {
		err = os.Rename(tmp, target)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("unpack the engine: %w: is there 600 MB of room?", err)
	}
	return markVerified(target)
}

// verifyLibrary checks the library's digest. Half a gigabyte takes a second, so
// the result is noted beside it with the file's size, time and inode and holds
// while these are the same.
func verifyLibrary(ctx context.Context, path string, progress Progress) error {
	want, err := verifiedMark(path)
	if err != nil {
		return fmt.Errorf("engine library: %w", err)
	}
	if got, err := os.ReadFile(path + ".verified"); err == nil && string(got) == want { //nolint:gosec // G304: beside the library
		return nil
	}
	progress("check the engine's SHA-256", 0, 0)
	if err := checkDigest(ctx, path, librarySHA256); err != nil {
		return err
	}
	_ = markVerified(path) // a read-only directory only costs the second again
	return nil
}

func verifiedMark(path string) (string, error) {
	info, err := os.Stat(path) //nolint:gosec // G703: the library that the operator named
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %d\n", librarySHA256, info.Size(), info.ModTime().UnixNano()), nil
}

func markVerified(path string) error {
	mark, err := verifiedMark(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path+".verified", []byte(mark), 0o600) //nolint:gosec // G703: beside the library
}

func checkDigest(ctx context.Context, path, want string) error {
	f, err := os.Open(path) //nolint:gosec // G304: named by the operator or by us
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, &meter{ctx: ctx, r: f, report: func(int64) {}}); err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	return digestError(path, sum, want)
}

func digestError(path string, sum hash.Hash, want string) error {
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("%s: SHA-256 is %s, want %s: the file is damaged or not the pinned version; remove it", path, got, want)
	}
	return nil
}

// meter passes reads through, counts them and ends them with ctx.
type meter struct {
	ctx    context.Context //nolint:containedctx // lives as long as one copy
	r      io.Reader
	n      int64
	report func(int64)
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	if m.n>>24 != (m.n+int64(n))>>24 { // every 16 MiB
		m.report(m.n + int64(n))
	}
	m.n += int64(n)
	return n, err
}

// checkProgram checks that a clickhouse program can open ports in local mode,
// which came with 26.5.
func checkProgram(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "local", "--version").Output() //nolint:gosec // G204: named by the operator
	if err != nil {
		return fmt.Errorf("%s local --version: %w", path, err)
	}
	major, minor, ok := parseVersion(string(out))
	if !ok {
		return fmt.Errorf("%s: version not understood: %q", path, strings.TrimSpace(string(out)))
	}
	if major < 26 || major == 26 && minor < 5 {
		return fmt.Errorf("%s is ClickHouse %d.%d; weir needs 26.5 or later to run it as its child (any supported version works as clickhouse.addr)", path, major, minor)
	}
	return nil
}

// parseVersion finds the first MAJOR.MINOR in a text such as
// "ClickHouse local version 26.7.2.1 (official build).".
func parseVersion(s string) (major, minor int, ok bool) {
	for word := range strings.FieldsSeq(s) {
		parts := strings.Split(word, ".")
		if len(parts) < 3 {
			continue
		}
		major, err := strconv.Atoi(parts[0])
		minor, err2 := strconv.Atoi(parts[1])
		if err == nil && err2 == nil {
			return major, minor, true
		}
	}
	return 0, 0, false
}

// lockDir takes an advisory lock on the directory, waiting for its holder.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("engine cache: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("engine cache: lock: %w", err), f.Close())
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, errors.Join(fmt.Errorf("engine cache: another process is fetching: %w", err), f.Close())
		}
	}
}
